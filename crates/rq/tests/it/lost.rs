//! A job that was lost with its process goes back to the front of its queue, if that is asked for; not for
//! ever.

use rq::{Ending, Finish, Finished, OnFailure, QueueName};

use crate::common::{World, at, birth, failure, success};

async fn lose(world: &World, execution: &str) -> Finished {
    let started = world.take(execution).await;
    world.finish(&Finish { on_failure: OnFailure::Requeue, ..failure(&started) }).await
}

#[tokio::test]
async fn a_lost_job_runs_next_and_keeps_its_retries() {
    let world = World::new().await;
    world.enqueue("j", "q", "retries_left 2").await;
    world.enqueue("other", "q", "").await;
    assert_eq!(lose(&world, "e1").await, Finished::Requeued { left: 2 });
    assert_eq!(world.queue("q").await, ["j", "other"]);
    assert_eq!(world.status("j").await.as_deref(), Some("queued"));
    assert_eq!(world.field("j", "retries_left").await.as_deref(), Some("2"));
    assert!(world.result("j").await.is_empty());
    assert!(!world.is_in("wip", "j:e1").await);
    // Its end makes nothing of it, and the next time it counts anew.
    let started = world.take("e2").await;
    assert_eq!(world.finish(&success(&started)).await, Finished::Finished);
    assert_eq!(world.field("j", "freshq_lost").await, None);
}

#[tokio::test]
async fn what_kills_its_process_each_time_fails_in_the_end() {
    let world = World::new().await;
    world.enqueue("j", "q", "").await;
    for left in [2, 1, 0] {
        assert_eq!(lose(&world, &format!("e{left}")).await, Finished::Requeued { left });
    }
    assert_eq!(lose(&world, "last").await, Finished::Failed);
    assert!(world.is_in("failed", "j").await);
    assert_eq!(world.field("j", "freshq_lost").await, None);
}

#[tokio::test]
async fn an_answer_that_was_lost_puts_it_back_once() {
    let world = World::new().await;
    world.enqueue("j", "q", "").await;
    let started = world.take("e").await;
    let finish = Finish { on_failure: OnFailure::Requeue, ..failure(&started) };
    assert_eq!(world.finish(&finish).await, Finished::Requeued { left: 2 });
    assert_eq!(world.finish(&finish).await, Finished::Already);
    assert_eq!(world.queue("q").await, ["j"]);
    assert_eq!(world.field("j", "freshq_lost").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_job_that_did_not_fail_is_not_put_back() {
    let world = World::new().await;
    for (id, ending, how) in [
        ("a", Ending::Finished { value: None }, Finished::Finished),
        ("b", Ending::Stopped, Finished::Stopped),
    ] {
        let started = world.run(id, "").await;
        let finish = Finish { on_failure: OnFailure::Requeue, ending, ..failure(&started) };
        assert_eq!(world.finish(&finish).await, how);
    }
}

#[tokio::test]
async fn an_abandoned_job_is_put_back_only_if_its_worker_is_certainly_gone() {
    let world = World::new().await;
    let q = QueueName::new("q");
    for (run, certain) in [(false, false), (true, true)] {
        world.client.register(&birth(), at(0)).await.unwrap();
        let started = world.run("j", "").await;
        let entry = format!("j:{}", started.execution);
        if run {
            let signed = world.client.signed(std::slice::from_ref(&q)).await.unwrap();
            world.client.take_over(&signed[0]).await.unwrap();
        } else {
            world.send(&[&format!("ZADD rq:wip:q 1 {entry}")]).await;
        }
        let expired = world.client.expired_executions(&q, 0, at(1)).await.unwrap();
        let abandon = world.client.abandon(&expired.abandoned[0], OnFailure::Requeue, at(1));
        let how = abandon.await.unwrap().unwrap().how;
        let expected = if certain { Finished::Requeued { left: 2 } } else { Finished::Failed };
        assert_eq!(how, expected);
        assert!(!world.is_in("wip", &entry).await);
        assert_eq!(world.is_in("failed", "j").await, !certain);
        world.send(&["DEL rq:failed:q rq:job:j rq:worker:w1"]).await;
    }
}
