//! A failure that is retried: at once or later, as often as the client allowed.

use rq::{Finished, JobId};

use crate::common::{World, at, birth, failure};

#[tokio::test]
async fn a_retry_without_an_interval_is_queued_as_rq_queues_it() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("waits", "q", "").await;
    let before = world.dump().await;
    world.enqueue("j", "q", "retries_left 2 ttl 1000").await;
    world.send(&["LREM rq:queue:q 1 waits"]).await;
    let started = world.take("e").await;
    world.send(&["RPUSH rq:queue:q waits"]).await;
    assert_eq!(world.finish(&failure(&started)).await, Finished::Retried { left: 1 });
    world.dump().await.since(&before).assert_is(
        "rq:job:j hash, 17 min
         - code_hash: 0001020304ff
         - created_at: 2026-01-01T00:00:00.000000Z
         - data: call
         - description: f()
         - ended_at: 2026-01-02T03:04:18.500006Z
         - enqueued_at: 2026-01-02T03:04:18.500006Z
         - failure_callback_name:
         - generation: 7
         - group_id:
         - last_heartbeat: 2026-01-02T03:04:18.500006Z
         - origin: q
         - retries_left: 1
         - started_at: 2026-01-02T03:04:16.000006Z
         - status: queued
         - stopped_callback_name:
         - success_callback_name:
         - timeout: 180
         - ttl: 1000
         - worker_name: w1
         rq:queue:q list, for ever
         - waits
         - j
         rq:worker:w1 hash, 8 min
         - birth: 2026-01-02T03:04:05.000006Z
         - failed_job_count: 1
         - freshq_finished: e
         - freshq_number: 1
         - freshq_run: run 1
         - hostname: host
         - ip_address: 127.0.0.1:9
         - last_heartbeat: 2026-01-02T03:04:18.500006Z
         - pid: 4711
         - python_version: 3.11
         - queues: q,other
         - state: idle
         - total_working_time: 2.5
         - version: 3.0.0",
    );
}

#[tokio::test]
async fn a_retry_can_go_to_the_front() {
    let world = World::new().await;
    let started = world.run("j", "retries_left 1 enqueue_at_front_on_retry 1").await;
    world.enqueue("waits", "q", "").await;
    world.finish(&failure(&started)).await;
    assert_eq!(world.queue("q").await, ["j", "waits"]);
    assert_eq!(world.take("again").await.job, JobId::new("j"));
    // What it was at first does not matter.
    let world = World::new().await;
    let started =
        world.run("k", "retries_left 1 enqueue_at_front 1 enqueue_at_front_on_retry 0").await;
    world.enqueue("waits", "q", "").await;
    world.finish(&failure(&started)).await;
    assert_eq!(world.queue("q").await, ["waits", "k"]);
}

#[tokio::test]
async fn retries_are_counted_down_to_the_failure() {
    let world = World::new().await;
    world.enqueue("j", "q", "retries_left 2").await;
    let mut ends = Vec::new();
    for attempt in ["a", "b", "c"] {
        let started = world.take(attempt).await;
        ends.push(world.finish(&failure(&started)).await);
    }
    assert_eq!(
        ends,
        [Finished::Retried { left: 1 }, Finished::Retried { left: 0 }, Finished::Failed]
    );
    assert_eq!(world.field("j", "retries_left").await.as_deref(), Some("0"));
    assert_eq!(world.ask::<i64>("XLEN rq:results:j").await, 1);
    assert_eq!(world.worker_field("failed_job_count").await.as_deref(), Some("3"));
    assert!(world.queue("q").await.is_empty());
    assert!(world.is_in("failed", "j").await);
}

/// The waits of a job that fails on each attempt; 0 is a retry at once.
async fn waits(retries: u32, intervals: &str) -> Vec<i64> {
    let world = World::new().await;
    world.enqueue("j", "q", &format!("retries_left {retries} retry_intervals {intervals}")).await;
    let mut waits = Vec::new();
    loop {
        let started = world.take(&format!("attempt{}", waits.len())).await;
        match world.finish(&failure(&started)).await {
            Finished::RetryScheduled { at: due, left } => {
                assert_eq!(world.status("j").await.as_deref(), Some("scheduled"));
                assert_eq!(world.score("scheduled", "j").await, Some(due.to_string()));
                assert_eq!(world.field("j", "retries_left").await, Some(left.to_string()));
                assert!(world.queue("q").await.is_empty());
                waits.push(due - at(13).seconds());
                // What RQ's scheduler does when it is due.
                world.send(&["ZREM rq:scheduled:q j", "HSET rq:job:j status queued"]).await;
                world.send(&["RPUSH rq:queue:q j"]).await;
            }
            Finished::Retried { .. } => waits.push(0),
            end => {
                assert_eq!(end, Finished::Failed);
                return waits;
            }
        }
    }
}

#[tokio::test]
async fn the_intervals_are_taken_as_rq_takes_them() {
    assert_eq!(waits(3, "[10,20,30]").await, [10, 20, 30]);
    assert_eq!(waits(2, "[10,20,30]").await, [20, 30]);
    // More retries than intervals: the first one until the rest fits.
    assert_eq!(waits(4, "[10,20]").await, [10, 10, 10, 20]);
    assert_eq!(waits(2, "[5]").await, [5, 5]);
    assert_eq!(waits(2, "[0,7]").await, [0, 7]);
}

#[tokio::test]
async fn intervals_that_are_none_do_not_wait() {
    for odd in
        ["[]", "{}", "soon", "7", "null", "[null]", "[\"x\"]", "[-5]", "[1e999]", "[true]", "\"\""]
    {
        assert_eq!(waits(1, odd).await, [0], "{odd}");
    }
}

#[tokio::test]
async fn a_retry_that_waits_is_scheduled_as_rq_schedules_it() {
    let world = World::new().await;
    let started = world.run("j", "retries_left 1 retry_intervals [60] ttl 1000").await;
    world.send(&["DEL rq:queues", "SET rq:queues x"]).await;
    let due = at(13).seconds() + 60;
    assert_eq!(
        world.finish(&failure(&started)).await,
        Finished::RetryScheduled { left: 0, at: due }
    );
    let dump = world.dump().await.without("rq:job:j").without("rq:worker");
    dump.assert_is(&format!(
        "rq:queues set, for ever
         - rq:queue:q
         rq:scheduled:q zset, for ever
         - j {due}"
    ));
    assert_eq!(
        world.field("j", "enqueued_at").await.as_deref(),
        Some("2026-01-01T00:00:00.000000Z")
    );
    let dump = world.dump().await.to_string();
    assert!(dump.contains("rq:job:j hash, 17 min"), "{dump}");
}

#[tokio::test]
async fn meta_is_written_only_when_the_job_is_put_back() {
    let world = World::new().await;
    let started = world.run("j", "retries_left 1 meta old").await;
    let mut finish = failure(&started);
    finish.meta = Some(b"new".to_vec());
    world.finish(&finish).await;
    assert_eq!(world.field("j", "meta").await.as_deref(), Some("new"));
    let started = world.take("again").await;
    let mut finish = failure(&started);
    finish.meta = Some(b"newer".to_vec());
    assert_eq!(world.finish(&finish).await, Finished::Failed);
    assert_eq!(world.field("j", "meta").await.as_deref(), Some("new"));
    let started = world.run("k", "retries_left 1 meta old").await;
    world.finish(&failure(&started)).await;
    assert_eq!(world.field("k", "meta").await.as_deref(), Some("old"));
}

#[tokio::test]
async fn the_same_retry_twice_is_one() {
    for intervals in ["[]", "[60]"] {
        let world = World::new().await;
        let fields = format!("retries_left 3 retry_intervals {intervals}");
        let started = world.run("j", &fields).await;
        let finish = failure(&started);
        world.finish(&finish).await;
        let once = world.dump().await;
        assert_eq!(world.finish(&finish).await, Finished::Already);
        assert_eq!(world.dump().await, once);
        // A retry leaves no result: without the worker's record the registry of running jobs knows.
        world.send(&["DEL rq:worker:w1"]).await;
        assert_eq!(world.finish(&finish).await, Finished::Already);
        assert_eq!(world.dump().await.without("rq:worker:"), once.without("rq:worker:"));
    }
}

#[tokio::test]
async fn a_job_that_was_given_up_and_put_back_is_not_put_back_again() {
    let world = World::new().await;
    let started = world.run("j", "retries_left 3").await;
    // What RQ's maintenance does with a job whose worker seems to be dead.
    world.send(&["ZREM rq:wip:q j:execution-of-j"]).await;
    world.send(&["HSET rq:job:j status queued retries_left 2", "RPUSH rq:queue:q j"]).await;
    world.finish(&failure(&started)).await;
    assert_eq!(world.queue("q").await, ["j"]);
    assert_eq!(world.field("j", "retries_left").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_retry_frees_no_dependents() {
    let world = World::new().await;
    let started = world.run("j", "retries_left 1").await;
    world.defer("child", &["j"], "allow_dependency_failures 1").await;
    world.finish(&failure(&started)).await;
    assert_eq!(world.status("child").await.as_deref(), Some("deferred"));
    let started = world.take("again").await;
    assert_eq!(world.finish(&failure(&started)).await, Finished::Failed);
    assert_eq!(world.status("child").await.as_deref(), Some("queued"));
}

#[tokio::test]
async fn a_retry_into_a_queue_of_another_type_loses_nothing() {
    let world = World::new().await;
    let started = world.run("j", "retries_left 1").await;
    world.send(&["SET rq:queue:q mine"]).await;
    assert_eq!(world.finish(&failure(&started)).await, Finished::Failed);
    assert_eq!(world.status("j").await.as_deref(), Some("failed"));
    assert_eq!(world.result("j").await["type"], "2");
    assert_eq!(world.ask::<String>("GET rq:queue:q").await, "mine");
}
