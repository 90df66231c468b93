//! A job that repeats: it is finished, and runs again.

use rq::{Finish, Finished, Started};

use crate::common::{World, at, birth, failure, success};

fn returns<'a>(started: &'a Started, meta: &str) -> Finish<'a> {
    Finish { meta: Some(meta.as_bytes().to_vec()), ..success(started) }
}

#[tokio::test]
async fn a_repeat_at_once_is_written_as_rq_writes_it() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("j", "q", "repeats_left 2 repeat_intervals [0] meta old").await;
    let before = world.dump().await.without("rq:job:j");
    let started = world.take("e").await;
    world.enqueue("waits", "q", "").await;
    assert_eq!(world.finish(&returns(&started, "new")).await, Finished::Repeated { left: 1 });
    let changed = world.dump().await.since(&before).without("rq:worker").without("rq:job:waits");
    changed.assert_is(
        "rq:finished:q zset, for ever
         - j 1767323558
         rq:job:j hash, for ever
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
         - meta: new
         - origin: q
         - repeat_intervals: [0]
         - repeats_left: 1
         - result: \\x80value
         - started_at: 2026-01-02T03:04:16.000006Z
         - status: queued
         - stopped_callback_name:
         - success_callback_name:
         - timeout: 180
         - worker_name: w1
         rq:queue:q list, for ever
         - waits
         - j
         rq:results:j stream, 9 min
         - execution_ended_at=1767323058.500006 execution_id=e execution_started_at=1767323055.000006 \
             return_value=gHZhbHVl type=1 worker_name=w1",
    );
    assert_eq!(world.worker_field("successful_job_count").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn intervals_are_used_up_and_the_last_one_stays() {
    let world = World::new().await;
    world.enqueue("j", "q", "repeats_left 3 repeat_intervals [10,20]").await;
    let mut seen = Vec::new();
    for attempt in ["a", "b", "c", "d"] {
        let started = world.take(attempt).await;
        let how = world.finish(&success(&started)).await;
        let due: Option<i64> = world.ask("ZSCORE rq:scheduled:q j").await;
        let wait = due.map(|due| due - at(13).seconds());
        seen.push((how, wait, world.field("j", "repeat_intervals").await.unwrap()));
        world.send(&["DEL rq:scheduled:q", "RPUSH rq:queue:q j"]).await;
    }
    let repeated = |left| Finished::Repeated { left };
    assert_eq!(
        seen,
        [
            (repeated(2), Some(10), "[20]".to_owned()),
            (repeated(1), Some(20), "[20]".to_owned()),
            (repeated(0), Some(20), "[20]".to_owned()),
            (Finished::Finished, None, "[20]".to_owned()),
        ]
    );
    assert_eq!(world.field("j", "repeats_left").await.as_deref(), Some("0"));
    assert_eq!(world.status("j").await.as_deref(), Some("finished"));
    assert_eq!(world.ask::<i64>("XLEN rq:results:j").await, 4);
}

#[tokio::test]
async fn a_repeat_that_waits_is_scheduled_as_rq_schedules_it() {
    let world = World::new().await;
    let started = world.run("j", "repeats_left 1 repeat_intervals [60] ttl 1000").await;
    world.defer("child", &["j"], "").await;
    world.send(&["DEL rq:queues"]).await;
    world.finish(&success(&started)).await;
    assert_eq!(world.status("j").await.as_deref(), Some("scheduled"));
    assert_eq!(
        world.field("j", "enqueued_at").await.as_deref(),
        Some("2026-01-01T00:00:00.000000Z")
    );
    assert_eq!(world.queue("q").await, ["child"]);
    let dump = world.dump().await.to_string();
    assert!(dump.contains("rq:queues set, for ever\n- rq:queue:q"), "{dump}");
    assert!(dump.contains("rq:job:j hash, 17 min"), "{dump}");
}

#[tokio::test]
async fn a_result_that_is_not_kept_does_not_end_the_repeats() {
    let world = World::new().await;
    let started = world.run("j", "repeats_left 1 result_ttl 0").await;
    let finish = success(&started);
    assert_eq!(world.finish(&finish).await, Finished::Repeated { left: 0 });
    assert_eq!(world.status("j").await.as_deref(), Some("queued"));
    assert!(!world.is_in("finished", "j").await);
    assert!(world.result("j").await.is_empty());
    // Without any result the registry of running jobs knows that this end was recorded.
    world.send(&["DEL rq:worker:w1"]).await;
    assert_eq!(world.finish(&finish).await, Finished::Already);
    assert_eq!(world.queue("q").await, ["j"]);
    let started = world.take("last").await;
    assert_eq!(world.finish(&success(&started)).await, Finished::Finished);
    assert_eq!(world.status("j").await, None);
}

#[tokio::test]
async fn a_failure_is_not_repeated() {
    let world = World::new().await;
    let started = world.run("j", "repeats_left 2 repeat_intervals [0]").await;
    assert_eq!(world.finish(&failure(&started)).await, Finished::Failed);
    assert_eq!(world.field("j", "repeats_left").await.as_deref(), Some("2"));
    assert!(world.queue("q").await.is_empty());
}

#[tokio::test]
async fn intervals_that_are_none_do_not_wait() {
    for odd in ["[]", "{}", "soon", "7", "null", "[null]", "[\"x\"]", "[-5]", "[[1],2]", "\"\""] {
        let world = World::new().await;
        let started = world.run("j", &format!("repeats_left 1 repeat_intervals {odd}")).await;
        world.finish(&success(&started)).await;
        assert_eq!(world.queue("q").await, ["j"], "{odd}");
    }
}

#[tokio::test]
async fn a_queue_of_another_type_ends_the_repeats() {
    let world = World::new().await;
    let started = world.run("j", "repeats_left 1").await;
    world.send(&["SET rq:queue:q mine"]).await;
    assert_eq!(world.finish(&success(&started)).await, Finished::Finished);
    assert_eq!(world.status("j").await.as_deref(), Some("finished"));
}
