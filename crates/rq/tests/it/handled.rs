//! A job that RQ's own code ran, in a horse: it has recorded the end, unless it could not.

use rq::{Ending, Finish, Finished, Started};

use crate::common::{World, at, birth, ended, inflated};

fn handled(started: &Started) -> Finish<'_> {
    ended(started, Ending::Handled { otherwise: "it died".to_owned() })
}

/// What RQ's code has written by then, as far as it matters here.
async fn ended_by_rq(world: &World, status: &str) {
    let status = format!("HSET rq:job:j status {status}");
    let gone = "DEL rq:execution:j:execution-of-j rq:executions:j";
    world.send(&[&status, "ZREM rq:wip:q j:execution-of-j", gone]).await;
}

#[tokio::test]
async fn an_end_that_is_recorded_is_left_alone() {
    for (status, how) in [
        ("finished", Finished::Finished),
        ("failed", Finished::Failed),
        ("queued", Finished::Retried { left: 0 }),
        ("canceled", Finished::Already),
        // Another worker has it already.
        ("started", Finished::Already),
    ] {
        let world = World::new().await;
        world.client.register(&birth(), at(0)).await.unwrap();
        let started = world.run("j", "").await;
        ended_by_rq(&world, status).await;
        let before = world.dump().await.without("rq:worker");
        assert_eq!(world.finish(&handled(&started)).await, how, "{status}");
        let changed = world.dump().await.without("rq:worker").since(&before);
        assert!(changed.keys().is_empty(), "{status}: {:?}", changed.keys());
        assert_eq!(world.worker_field("state").await.as_deref(), Some("idle"));
        assert_eq!(world.worker_field("current_job").await, None);
        assert_eq!(world.worker_field("failed_job_count").await, None);
    }
}

#[tokio::test]
async fn a_job_that_nobody_ended_fails_or_is_retried() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    assert_eq!(world.finish(&handled(&started)).await, Finished::Failed);
    assert_eq!(inflated(&world.result("j").await["exc_string"]), "it died");
    assert_eq!(world.worker_field("failed_job_count").await.as_deref(), Some("1"));
    let started = world.run("k", "retries_left 1").await;
    assert_eq!(world.finish(&handled(&started)).await, Finished::Retried { left: 0 });
}
