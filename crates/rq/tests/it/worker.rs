//! A worker's record: birth, heartbeats, death; and waiting for a queue.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rq::{QueueName, RegisterError, WorkerBirth, WorkerName, WorkerState};

use crate::common::{World, at, birth, success};

const TTL: Duration = Duration::from_secs(90);
/// Never reached: the server is asked to wait at most so long.
const LONG: Duration = Duration::from_mins(1);

const RECORD: &str = "rq:worker:w1 hash, 8 min
     - birth: 2026-01-02T03:04:05.000006Z
     - freshq_run: run 1
     - hostname: host
     - ip_address: 127.0.0.1:9
     - last_heartbeat: 2026-01-02T03:04:15.000006Z
     - pid: 4711
     - python_version: 3.11
     - queues: q,other
     - state: idle
     - version: 3.0.0
     rq:workers set, for ever
     - rq:worker:w1
     rq:workers:other set, for ever
     - rq:worker:w1
     rq:workers:q set, for ever
     - rq:worker:w1";

#[tokio::test]
async fn a_birth_is_written_as_rq_writes_it() {
    let world = World::new().await;
    world.client.register(&birth(), at(10)).await.unwrap();
    world.dump().await.assert_is(&RECORD.replace("idle", "started"));
}

#[tokio::test]
async fn a_name_is_taken_while_its_worker_lives() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let before = world.dump().await;
    let other = WorkerBirth { pid: 1, ..birth() };
    let error = world.client.register(&other, at(1)).await.unwrap_err();
    assert!(matches!(&error, RegisterError::NameTaken(name) if name == "w1"), "{error}");
    assert_eq!(world.dump().await, before);
    // The same worker asks again, because the answer was lost.
    world.client.register(&birth(), at(0)).await.unwrap();
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn the_name_of_a_dead_worker_is_free() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.send(&["HSET rq:worker:w1 failed_job_count 7"]).await;
    world.client.death(&birth(), at(5)).await.unwrap();
    let other = WorkerBirth { pid: 1, ..birth() };
    world.client.register(&other, at(10)).await.unwrap();
    world.dump().await.assert_is(&RECORD.replace("idle", "started").replace("4711", "1"));
}

#[tokio::test]
async fn a_death_is_written_as_rq_writes_it() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let neighbour = WorkerBirth { name: WorkerName::new("w2"), ..birth() };
    world.client.register(&neighbour, at(0)).await.unwrap();
    world.send(&["SADD rq:worker:w1:executions x:y"]).await;
    world.client.death(&birth(), at(5)).await.unwrap();
    world.dump().await.without("rq:worker:w2").assert_is(
        "rq:worker:w1 hash, 1 min
         - birth: 2026-01-02T03:04:05.000006Z
         - death: 2026-01-02T03:04:10.000006Z
         - hostname: host
         - ip_address: 127.0.0.1:9
         - last_heartbeat: 2026-01-02T03:04:05.000006Z
         - pid: 4711
         - python_version: 3.11
         - queues: q,other
         - state: started
         - version: 3.0.0
         rq:workers set, for ever
         - rq:worker:w2
         rq:workers:other set, for ever
         - rq:worker:w2
         rq:workers:q set, for ever
         - rq:worker:w2",
    );
}

#[tokio::test]
async fn an_idle_heartbeat_keeps_the_record_alive() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.send(&["EXPIRE rq:worker:w1 5", "HSET rq:worker:w1 successful_job_count 3"]).await;
    assert!(!world.client.heartbeat(&birth(), WorkerState::Suspended, at(10)).await.unwrap());
    let expected = RECORD.replace("idle", "suspended");
    let expected =
        expected.replace("     - version", "     - successful_job_count: 3\n     - version");
    world.dump().await.assert_is(&expected);
}

#[tokio::test]
async fn a_record_that_vanished_is_written_again_and_said_so() {
    for loss in ["DEL rq:worker:w1", "FLUSHALL"] {
        let world = World::new().await;
        world.client.register(&birth(), at(0)).await.unwrap();
        world.send(&[loss]).await;
        assert!(
            world.client.heartbeat(&birth(), WorkerState::Idle, at(10)).await.unwrap(),
            "{loss}"
        );
        world.dump().await.assert_is(RECORD);
        assert!(!world.client.heartbeat(&birth(), WorkerState::Idle, at(10)).await.unwrap());
    }
}

#[tokio::test]
async fn a_heartbeat_completes_the_record_that_an_end_left() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.send(&["DEL rq:worker:w1"]).await;
    world.finish(&success(&started)).await;
    assert!(world.client.heartbeat(&birth(), WorkerState::Idle, at(20)).await.unwrap());
    assert_eq!(world.worker_field("pid").await.as_deref(), Some("4711"));
    assert_eq!(world.worker_field("successful_job_count").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_heartbeat_keeps_a_running_job_ahead() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let started = world.run("j", "").await;
    for key in ["execution:j:execution-of-j", "executions:j", "worker:w1:executions"] {
        world.send(&[&format!("EXPIRE rq:{key} 5")]).await;
    }
    assert!(!world.client.job_heartbeat(&birth(), &started, TTL, at(40)).await.unwrap().job_gone);
    let now = at(40).seconds();
    assert_eq!(world.score("wip", "j:execution-of-j").await, Some((now + 90).to_string()));
    assert_eq!(world.ask::<i64>("ZSCORE rq:executions:j execution-of-j").await, now + 150);
    let beat: String = world.ask("HGET rq:execution:j:execution-of-j last_heartbeat").await;
    assert_eq!(beat, at(40).float());
    assert_eq!(world.field("j", "last_heartbeat").await, Some(at(40).text()));
    assert_eq!(world.worker_field("last_heartbeat").await, Some(at(40).text()));
    assert_eq!(world.worker_field("state").await.as_deref(), Some("busy"));
    let dump = world.dump().await.to_string();
    assert!(dump.contains("rq:execution:j:execution-of-j hash, 2 min"), "{dump}");
    assert!(dump.contains("rq:executions:j zset, 3 min"), "{dump}");
    assert!(!dump.contains("rq:worker:w1:executions set, 1 min"), "{dump}");
}

#[tokio::test]
async fn a_heartbeat_does_not_bring_back_a_deleted_job() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let started = world.run("j", "").await;
    world.send(&["DEL rq:job:j"]).await;
    assert!(world.client.job_heartbeat(&birth(), &started, TTL, at(40)).await.unwrap().job_gone);
    assert!(!world.dump().await.keys().contains(&"rq:job:j"));
    world.send(&["HSET rq:job:j last_heartbeat half"]).await;
    assert!(world.client.job_heartbeat(&birth(), &started, TTL, at(40)).await.unwrap().job_gone);
}

#[tokio::test]
async fn a_heartbeat_does_not_take_back_what_was_given_up() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let started = world.run("j", "").await;
    world.send(&["DEL rq:wip:q rq:executions:j"]).await;
    world.client.job_heartbeat(&birth(), &started, TTL, at(40)).await.unwrap();
    assert_eq!(world.ask::<i64>("EXISTS rq:wip:q rq:executions:j").await, 0);
}

#[tokio::test]
async fn a_heartbeat_notes_the_job_again_in_a_record_that_vanished() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let started = world.run("j", "").await;
    world
        .send(&["DEL rq:worker:w1 rq:worker:w1:executions", "SET rq:worker:w1:executions x"])
        .await;
    world.client.job_heartbeat(&birth(), &started, TTL, at(40)).await.unwrap();
    assert_eq!(
        world.ask::<Vec<String>>("SMEMBERS rq:worker:w1:executions").await,
        ["j:execution-of-j"]
    );
    assert_eq!(world.worker_field("pid").await.as_deref(), Some("4711"));
    assert_eq!(world.worker_field("current_job").await.as_deref(), Some("j"));
    assert_eq!(world.worker_field("freshq_execution").await.as_deref(), Some("execution-of-j"));
}

#[tokio::test]
async fn an_execution_record_that_expired_is_written_whole() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    let before = world.dump().await;
    world.send(&["DEL rq:execution:j:execution-of-j"]).await;
    world.client.job_heartbeat(&birth(), &started, TTL, started.started_at).await.unwrap();
    let changed = world.dump().await.since(&before);
    assert!(!changed.keys().contains(&"rq:execution:j:execution-of-j"), "{changed}");
}

#[tokio::test]
async fn a_shutdown_that_was_asked_for_is_noted() {
    let world = World::new().await;
    world.client.mark_shutdown_requested(&birth().name, at(5)).await.unwrap();
    assert!(world.dump().await.keys().is_empty(), "a record that has vanished stays so");
    world.client.register(&birth(), at(0)).await.unwrap();
    world.client.mark_shutdown_requested(&birth().name, at(5)).await.unwrap();
    assert_eq!(world.worker_field("shutdown_requested_date").await, Some(at(5).text()));
}

#[tokio::test]
async fn keys_of_another_type_stop_no_worker() {
    let world = World::new().await;
    world.send(&["SET rq:worker:w1 x", "SET rq:workers x", "SET rq:workers:q x"]).await;
    world.client.register(&birth(), at(10)).await.unwrap();
    world.dump().await.assert_is(&RECORD.replace("idle", "started"));
    world.send(&["DEL rq:worker:w1", "SET rq:worker:w1 x"]).await;
    assert!(world.client.heartbeat(&birth(), WorkerState::Idle, at(10)).await.unwrap());
    world.dump().await.assert_is(RECORD);
    world.send(&["DEL rq:workers", "SET rq:workers x"]).await;
    world.client.death(&birth(), at(20)).await.unwrap();
    assert_eq!(world.worker_field("death").await, Some(at(20).text()));
    world.send(&["DEL rq:worker:w1", "SET rq:worker:w1 x"]).await;
    world.client.death(&birth(), at(30)).await.unwrap();
    assert_eq!(world.worker_field("death").await, Some(at(30).text()));
}

#[tokio::test]
async fn a_peek_sees_a_push_and_leaves_the_queue_as_it_is() {
    let world = World::new().await;
    let queue = QueueName::new("q");
    let mut peek = world.client.peek(&queue).await.unwrap();
    let (seen, ()) = tokio::join!(peek.wait(LONG), world.send(&["RPUSH rq:queue:q a b c"]));
    assert!(seen.unwrap());
    assert_eq!(world.queue("q").await, ["a", "b", "c"]);
    assert!(peek.wait(LONG).await.unwrap());
    assert_eq!(world.queue("q").await, ["a", "b", "c"]);
    assert_eq!(world.client.queue_length(&queue).await.unwrap(), 3);
}

#[tokio::test]
async fn a_peek_at_an_empty_queue_ends() {
    let world = World::new().await;
    let mut peek = world.client.peek(&QueueName::new("q")).await.unwrap();
    assert!(!peek.wait(Duration::from_millis(50)).await.unwrap());
    assert!(!peek.wait(Duration::ZERO).await.unwrap());
    assert!(world.dump().await.keys().is_empty());
}

#[tokio::test]
async fn a_peek_that_is_dropped_while_it_waits_loses_nothing() {
    let world = World::new().await;
    if world.is_older_than((6, 2, 0)) {
        return; // it does not block
    }
    let mut peek = world.client.peek(&QueueName::new("q")).await.unwrap();
    {
        let mut wait = pin!(peek.wait(LONG));
        let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
        // The server says when it waits for us.
        while !world.ask::<String>("INFO clients").await.contains("blocked_clients:1") {
            tokio::task::yield_now().await;
        }
    }
    drop(peek);
    world.enqueue("j", "q", "").await;
    assert_eq!(world.queue("q").await, ["j"]);
    assert_eq!(world.take("e").await.job, rq::JobId::new("j"));
}

#[tokio::test]
async fn many_peeks_wake_for_one_push_and_one_start_wins() {
    let world = World::new().await;
    let queue = QueueName::new("q");
    let mut first = world.client.peek(&queue).await.unwrap();
    let mut second = world.client.peek(&queue).await.unwrap();
    let push = world.enqueue("j", "q", "");
    let (a, b, ()) = tokio::join!(first.wait(LONG), second.wait(LONG), push);
    assert!(a.unwrap() && b.unwrap());
    assert_eq!(world.queue("q").await, ["j"]);
    assert_eq!(world.take("e").await.job, rq::JobId::new("j"));
    let next = world.start(&crate::common::request("e2", &["q"])).await;
    assert!(matches!(next, rq::StartReply::Empty));
}
