//! The scheduler's locks and record, and moving jobs that are due.

use rq::{Held, Lock, QueueName, SchedulerBirth};

use crate::common::{World, at};

fn scheduler(name: &str) -> SchedulerBirth {
    SchedulerBirth {
        name: name.to_owned(),
        queues: queues(&["q", "other"]),
        pid: 4711,
        run: "run 1".to_owned(),
        hostname: "host".to_owned(),
        born: at(0),
    }
}

fn queues(names: &[&str]) -> Vec<QueueName> {
    names.iter().map(|name| QueueName::new(*name)).collect()
}

/// Asks for the locks of all queues at second 5.
async fn hold(world: &World, name: &str) -> Vec<Lock> {
    let scheduler = scheduler(name);
    let held = world.client.hold_locks(&scheduler, &scheduler.queues, at(5)).await.unwrap();
    held.into_iter().map(|held| held.lock).collect()
}

/// Moves what is due at second 10.
async fn enqueue_due(world: &World) -> usize {
    world.client.enqueue_due(&QueueName::new("q"), at(10)).await.unwrap()
}

/// Writes a job that is due at so many seconds.
async fn schedule(world: &World, id: &str, seconds: i64, fields: &str) {
    world.job(id, "q", "scheduled", fields).await;
    world.send(&[&format!("ZADD rq:scheduled:q {} {id}", at(seconds).seconds())]).await;
}

#[tokio::test]
async fn locks_and_record_are_as_rqs() {
    let world = World::new().await;
    assert_eq!(hold(&world, "123").await, [Lock::New, Lock::New]);
    world.dump().await.assert_is(
        "rq:scheduler-lock:other string, 2 min
         - 123
         rq:scheduler-lock:q string, 2 min
         - 123
         rq:scheduler:123 hash, 2 min
         - created_at: 2026-01-02T03:04:05.000006Z
         - freshq_run: run 1
         - hostname: host
         - last_heartbeat: 2026-01-02T03:04:10.000006Z
         - name: 123
         - pid: 4711
         - queues: q,other",
    );
    world.send(&["EXPIRE rq:scheduler-lock:q 5", "EXPIRE rq:scheduler:123 5"]).await;
    assert_eq!(hold(&world, "123").await, [Lock::Kept, Lock::Kept]);
    for key in ["rq:scheduler-lock:q", "rq:scheduler:123"] {
        let ttl: i64 = world.ask(&format!("TTL {key}")).await;
        assert!((55..=61).contains(&ttl), "{key} {ttl}");
    }
    world.client.release_locks("123", &scheduler("123").queues).await.unwrap();
    assert!(world.dump().await.keys().is_empty());
}

#[tokio::test]
async fn a_lock_of_another_scheduler_is_left_alone() {
    let world = World::new().await;
    world.send(&["SET rq:scheduler-lock:q 1234 EX 60", "SADD rq:scheduler-lock:other odd"]).await;
    let before = world.dump().await;
    // 1234 is a process id, as RQ before 2.10 writes; the other key is nobody's.
    assert_eq!(hold(&world, "123").await, [Lock::Foreign, Lock::Foreign]);
    world.client.release_locks("123", &scheduler("123").queues).await.unwrap();
    // Without a lock there is no record either.
    assert_eq!(world.dump().await, before);

    world.send(&["DEL rq:scheduler-lock:q"]).await;
    assert_eq!(hold(&world, "123").await, [Lock::New, Lock::Foreign]);
    world.send(&["SET rq:scheduler-lock:q 99 EX 60"]).await;
    // It was taken over: the record goes, the lock stays.
    assert_eq!(hold(&world, "123").await, [Lock::Foreign, Lock::Foreign]);
    let left = world.dump().await;
    assert_eq!(left.keys(), ["rq:scheduler-lock:other", "rq:scheduler-lock:q"]);
    assert_eq!(world.ask::<String>("GET rq:scheduler-lock:q").await, "99");
}

#[tokio::test]
async fn a_scheduler_knows_when_the_next_job_is_due() {
    let world = World::new().await;
    schedule(&world, "later", 40, "").await;
    schedule(&world, "soon", 20, "").await;
    world.send(&["SET rq:scheduled:other odd"]).await;
    let held =
        world.client.hold_locks(&scheduler("1"), &queues(&["q", "other"]), at(5)).await.unwrap();
    let due = at(20).seconds() as f64;
    assert_eq!(
        held,
        [Held { lock: Lock::New, next_due: Some(due) }, Held { lock: Lock::New, next_due: None }]
    );
}

#[tokio::test]
async fn a_job_that_is_due_is_queued_as_rq_queues_it() {
    let world = World::new().await;
    schedule(&world, "later", 11, "").await;
    let before = world.dump().await;
    schedule(&world, "j", 10, "ttl 1000").await;
    world.send(&["HDEL rq:job:j timeout enqueued_at"]).await;
    assert_eq!(enqueue_due(&world).await, 1);
    world.dump().await.since(&before).assert_is(
        "rq:job:j hash, 17 min
         - created_at: 2026-01-01T00:00:00.000000Z
         - data: call
         - description: f()
         - ended_at:
         - enqueued_at: 2026-01-02T03:04:15.000006Z
         - failure_callback_name:
         - group_id:
         - last_heartbeat:
         - origin: q
         - started_at:
         - status: queued
         - stopped_callback_name:
         - success_callback_name:
         - timeout: 180
         - ttl: 1000
         - worker_name:
         rq:queue:q list, for ever
         - j",
    );
    // Once more moves nothing.
    let after = world.dump().await;
    assert_eq!(enqueue_due(&world).await, 0);
    assert_eq!(world.dump().await, after);
}

#[tokio::test]
async fn jobs_go_to_the_end_they_ask_for() {
    let world = World::new().await;
    world.enqueue("waits", "q", "").await;
    schedule(&world, "plain", 1, "enqueue_at_front_on_retry 1").await;
    schedule(&world, "front", 2, "enqueue_at_front 1").await;
    schedule(
        &world,
        "retried",
        3,
        "enqueue_at_front_on_retry 1 ended_at 2026-01-01T00:00:00.000000Z",
    )
    .await;
    assert_eq!(enqueue_due(&world).await, 3);
    assert_eq!(world.queue("q").await, ["retried", "front", "waits", "plain"]);
}

#[tokio::test]
async fn odd_entries_stop_nothing() {
    let world = World::new().await;
    world
        .send(&[
            "ZADD rq:scheduled:q 1 gone",
            "ZADD rq:scheduled:q 2 half",
            "HSET rq:job:half status scheduled",
            "ZADD rq:scheduled:q 3 odd",
            "SET rq:job:odd text",
            "ZADD rq:scheduled:q -inf early",
        ])
        .await;
    world.job("early", "q", "no-status-of-rq", "timeout soon ttl never").await;
    schedule(&world, "last", 10, "").await;
    assert_eq!(enqueue_due(&world).await, 5);
    assert_eq!(world.queue("q").await, ["early", "last"]);
    assert!(!world.dump().await.keys().contains(&"rq:scheduled:q"));

    world.send(&["SET rq:scheduled:q odd"]).await;
    assert_eq!(enqueue_due(&world).await, 0);
    world.send(&["DEL rq:scheduled:q rq:queue:q", "SET rq:queue:q odd"]).await;
    schedule(&world, "stays", 10, "").await;
    assert_eq!(enqueue_due(&world).await, 0);
    assert!(world.is_in("scheduled", "stays").await);
}

#[tokio::test]
async fn a_step_moves_a_limited_number() {
    let world = World::new().await;
    let members: Vec<String> = (0..=rq::MOVED_MAX).map(|n| format!("{n} gone-{n}")).collect();
    world.send(&[&format!("ZADD rq:scheduled:q {}", members.join(" "))]).await;
    assert_eq!(enqueue_due(&world).await, rq::MOVED_MAX);
    assert_eq!(enqueue_due(&world).await, 1);
}

#[test]
fn names_are_numbers_and_not_alike() {
    let (one, other) = (SchedulerBirth::random_name(), SchedulerBirth::random_name());
    assert_ne!(one, other);
    assert!(one.len() == 18 && one.parse::<i64>().is_ok(), "{one}");
}

#[tokio::test]
async fn a_job_with_a_rate_limit_goes_to_its_limiter() {
    let world = World::new().await;
    for id in ["one", "two"] {
        schedule(&world, id, 1, "rate_limit_key k rate_limit_concurrency 1").await;
    }
    assert_eq!(enqueue_due(&world).await, 2);
    assert_eq!(world.queue("q").await, ["one"]);
    assert_eq!(world.status("two").await.as_deref(), Some("rate_limited"));
    assert!(!world.dump().await.keys().contains(&"rq:scheduled:q"));
}
