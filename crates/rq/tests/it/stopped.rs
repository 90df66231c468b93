//! A job that was stopped on request: failed for good, whatever it was allowed.

use rq::{Ending, Finish, Finished, STOPPED_TEXT, Started};

use crate::common::{World, at, birth, ended, inflated};

fn stop(started: &Started) -> Finish<'_> {
    ended(started, Ending::Stopped)
}

#[tokio::test]
async fn a_stopped_job_leaves_what_rq_leaves() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("j", "q", "retries_left 3 retry_intervals [0]").await;
    let before = world.dump().await.without("rq:job:j");
    let started = world.take("e").await;
    assert_eq!(world.finish(&stop(&started)).await, Finished::Stopped);
    let result = world.result("j").await;
    assert_eq!(inflated(&result["exc_string"]), STOPPED_TEXT);
    assert_eq!((result["type"].as_str(), result["execution_id"].as_str()), ("2", "e"));
    assert_eq!(result.get("execution_ended_at"), None);
    world.send(&["DEL rq:results:j"]).await;
    world.dump().await.since(&before).without("rq:worker").assert_is(
        "rq:failed:q zset, for ever
         - j 1798859058
         rq:job:j hash, 525600 min
         - code_hash: 0001020304ff
         - created_at: 2026-01-01T00:00:00.000000Z
         - data: call
         - description: f()
         - ended_at:
         - enqueued_at: 2026-01-01T00:00:00.000000Z
         - failure_callback_name:
         - generation: 7
         - group_id:
         - last_heartbeat: 2026-01-02T03:04:18.500006Z
         - origin: q
         - retries_left: 3
         - retry_intervals: [0]
         - started_at: 2026-01-02T03:04:16.000006Z
         - status: stopped
         - stopped_callback_name:
         - success_callback_name:
         - timeout: 180
         - worker_name: w1
         rq:queue:q gone",
    );
    assert_eq!(world.worker_field("failed_job_count").await.as_deref(), Some("1"));
    assert_eq!(world.worker_field("total_working_time").await, None);
}

#[tokio::test]
async fn a_stopped_job_frees_nothing_that_waits_for_it() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.defer("strict", &["j"], "").await;
    world.defer("lenient", &["j"], "allow_dependency_failures 1").await;
    world.finish(&stop(&started)).await;
    for child in ["strict", "lenient"] {
        assert_eq!(world.status(child).await.as_deref(), Some("deferred"), "{child}");
        assert!(world.is_in("deferred", child).await);
    }
}

#[tokio::test]
async fn the_same_stop_twice_is_one() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.finish(&stop(&started)).await;
    let once = world.dump().await;
    assert_eq!(world.finish(&stop(&started)).await, Finished::Already);
    assert_eq!(world.dump().await, once);
}

#[tokio::test]
async fn a_stopped_job_that_is_not_kept_is_deleted() {
    let world = World::new().await;
    let started = world.run("j", "failure_ttl 0").await;
    assert_eq!(world.finish(&stop(&started)).await, Finished::Stopped);
    assert_eq!(world.status("j").await, None);
    assert!(!world.is_in("failed", "j").await);
}
