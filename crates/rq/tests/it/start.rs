//! Taking a job: which one, what is registered, what is passed over, and asking twice.

use std::time::Duration;

use redis::Value;
use rq::{JobId, StartReply};

use crate::common::{World, at, birth, request, success, taken};

#[tokio::test]
async fn a_start_registers_what_rq_registers() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("j", "q", "").await;
    let before = world.dump().await;
    let started = taken(world.start(&request("e", &["other", "q"])).await);
    assert_eq!((started.job, started.queue.as_str()), (JobId::new("j"), "q"));
    assert_eq!((started.worker.as_str(), started.execution.as_str()), ("w1", "e"));
    assert_eq!((started.started_at, started.ttl_left), (at(10), None));
    assert_eq!(started.hash.text("status").as_deref(), Some("queued"));
    assert_eq!(started.hash.get("data"), Some(b"call".as_slice()));
    // A timeout of 180 s: heartbeats come every 30 s, and 60 s are the margin.
    world.dump().await.since(&before).assert_is(
        "rq:execution:j:e hash, 2 min
         - created_at: 1767323055.000006
         - id: e
         - job_id: j
         - last_heartbeat: 1767323055.000006
         - worker_name: w1
         rq:executions:j zset, 3 min
         - e 1767323205
         rq:job:j hash, for ever
         - code_hash: 0001020304ff
         - created_at: 2026-01-01T00:00:00.000000Z
         - data: call
         - description: f()
         - ended_at:
         - enqueued_at: 2026-01-01T00:00:00.000000Z
         - failure_callback_name:
         - generation: 7
         - group_id:
         - last_heartbeat: 2026-01-02T03:04:15.000006Z
         - origin: q
         - started_at: 2026-01-02T03:04:15.000006Z
         - status: started
         - stopped_callback_name:
         - success_callback_name:
         - timeout: 180
         - worker_name: w1
         rq:queue:q gone
         rq:wip:q zset, for ever
         - j:e 1767323145
         rq:worker:w1 hash, 2 min
         - birth: 2026-01-02T03:04:05.000006Z
         - current_job: j
         - freshq_execution: e
         - freshq_job: j
         - freshq_number: 1
         - freshq_queue: q
         - freshq_run: run 1
         - freshq_undo: {\"before\":[\"queued\",\"\",\"\",\"\",false,false],\"life\":90,\"ttl\":-1}
         - hostname: host
         - ip_address: 127.0.0.1:9
         - last_heartbeat: 2026-01-02T03:04:15.000006Z
         - pid: 4711
         - python_version: 3.11
         - queues: q,other
         - state: busy
         - version: 3.0.0
         rq:worker:w1:executions set, 2 min
         - j:e",
    );
}

#[tokio::test]
async fn jobs_are_taken_in_the_order_of_queues_and_then_of_arrival() {
    let world = World::new().await;
    for (job, queue) in [("low1", "low"), ("high1", "high"), ("low2", "low"), ("high2", "high")] {
        world.enqueue(job, queue, "").await;
    }
    for job in ["high1", "high2", "low1", "low2"] {
        let started = taken(world.start(&request(job, &["high", "low"])).await);
        assert_eq!(started.job, JobId::new(job));
    }
    assert!(matches!(world.start(&request("none", &["high", "low"])).await, StartReply::Empty));
    assert_eq!(world.ask::<Vec<String>>("KEYS rq:queue:*").await, [""; 0]);
}

#[tokio::test]
async fn the_time_until_a_job_counts_as_abandoned_is_rqs() {
    for (timeout, life) in [("5", 65), ("30", 90), ("600", 90), ("-1", 90), ("0", 90), ("soon", 90)]
    {
        let world = World::new().await;
        world.enqueue("j", "q", &format!("timeout {timeout}")).await;
        world.take("e").await;
        let score: i64 = world.score("wip", "j:e").await.unwrap().parse().unwrap();
        assert_eq!(score - at(10).seconds(), life, "timeout {timeout}");
        let score: i64 = world.ask("ZSCORE rq:executions:j e").await;
        assert_eq!(score - at(10).seconds(), life + 60, "timeout {timeout}");
    }
}

#[tokio::test]
async fn a_job_of_another_queue_is_registered_where_rq_looks_for_it() {
    let world = World::new().await;
    world.job("j", "home", "queued", "").await;
    world.send(&["RPUSH rq:queue:q j"]).await;
    let started = world.take("e").await;
    assert_eq!(started.queue.as_str(), "q");
    assert_eq!(world.ask::<Vec<String>>("ZRANGE rq:wip:home 0 -1").await, ["j:e"]);
    assert!(!world.dump().await.keys().contains(&"rq:wip:q"));
    world.finish(&success(&started)).await;
    assert!(!world.dump().await.keys().contains(&"rq:wip:home"));
    assert_eq!(world.ask::<Vec<String>>("ZRANGE rq:finished:home 0 -1").await, ["j"]);
}

#[tokio::test]
async fn ids_without_a_job_are_dropped() {
    let world = World::new().await;
    world.send(&["HSET rq:job:no-data status queued", "SET rq:job:a-string x"]).await;
    world.send(&["RPUSH rq:queue:q no-hash no-data a-string"]).await;
    world.enqueue("j", "q", "").await;
    let before = world.dump().await;
    assert_eq!(world.take("e").await.job, JobId::new("j"));
    let changed = world.dump().await.since(&before);
    assert!(!changed.to_string().contains("no-data") && !changed.to_string().contains("a-string"));
    assert!(world.queue("q").await.is_empty());
}

#[tokio::test]
async fn a_crowd_of_ids_without_a_job_is_dropped_in_turns() {
    let world = World::new().await;
    let crowd: Vec<String> = (0..2500).map(|n| format!("gone{n}")).collect();
    world.send(&[&format!("RPUSH rq:queue:q {}", crowd.join(" "))]).await;
    world.enqueue("j", "q", "").await;
    let mut left = Vec::new();
    let started = loop {
        match world.start(&request("e", &["q"])).await {
            StartReply::Job(started) => break started,
            _ => left.push(world.queue("q").await.len()),
        }
    };
    assert_eq!(started.job, JobId::new("j"));
    assert_eq!(left, [1501, 501]);
}

#[tokio::test]
async fn keys_of_another_type_are_passed_over() {
    let world = World::new().await;
    world.send(&["SET rq:queue:text x", "SET rq:wip:odd x"]).await;
    world.enqueue("kept", "odd", "").await;
    world.enqueue("j", "q", "").await;
    let started = taken(world.start(&request("e", &["text", "odd", "q"])).await);
    assert_eq!(started.job, JobId::new("j"));
    assert_eq!(world.queue("odd").await, ["kept"]);
    assert_eq!(world.status("kept").await.as_deref(), Some("queued"));
    assert_eq!(world.ask::<String>("GET rq:queue:text").await, "x");
    world.send(&["SET rq:ready:q x"]).await;
    assert!(matches!(world.start(&request("e2", &["text", "odd", "q"])).await, StartReply::Empty));
}

#[tokio::test]
async fn keys_of_the_execution_that_have_another_type_make_room() {
    let world = World::new().await;
    world
        .send(&["SET rq:executions:j x", "SET rq:execution:j:e x", "SET rq:worker:w1:executions x"])
        .await;
    world.enqueue("j", "q", "").await;
    let started = world.take("e").await;
    assert_eq!(world.ask::<Vec<String>>("ZRANGE rq:executions:j 0 -1").await, ["e"]);
    assert_eq!(world.ask::<Vec<String>>("SMEMBERS rq:worker:w1:executions").await, ["j:e"]);
    world.finish(&success(&started)).await;
    assert_eq!(world.ask::<Vec<String>>("KEYS rq:execution*").await, [""; 0]);
}

#[tokio::test]
async fn suspended_workers_take_nothing() {
    let world = World::new().await;
    world.enqueue("j", "q", "").await;
    world.send(&["SET rq:suspended 1"]).await;
    assert!(world.client.is_suspended().await.unwrap());
    let before = world.dump().await;
    assert!(matches!(world.start(&request("e", &["q"])).await, StartReply::Suspended));
    assert_eq!(world.dump().await, before);
    world.send(&["DEL rq:suspended"]).await;
    assert!(!world.client.is_suspended().await.unwrap());
    assert_eq!(world.take("e").await.job, JobId::new("j"));
}

#[tokio::test]
async fn the_same_start_twice_is_the_same_job_once() {
    let world = World::new().await;
    world.enqueue("j", "q", "status queued").await;
    world.send(&["HDEL rq:job:j worker_name", "EXPIRE rq:job:j 1000"]).await;
    world.enqueue("next", "q", "").await;
    let first = world.take("e").await;
    let between = world.dump().await;
    let again = world.take("e").await;
    assert_eq!(world.dump().await, between);
    assert_eq!(
        (&again.job, &again.queue, again.ttl_left),
        (&first.job, &first.queue, first.ttl_left)
    );
    let sorted = |started: &rq::Started| {
        let mut fields: Vec<_> =
            started.hash.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        fields.sort();
        fields
    };
    assert_eq!(sorted(&again), sorted(&first), "the fields as they were before");
    assert_eq!(world.queue("q").await, ["next"]);
}

#[tokio::test]
async fn the_same_start_after_its_job_was_deleted_takes_the_next() {
    let world = World::new().await;
    world.enqueue("j", "q", "").await;
    world.enqueue("next", "q", "").await;
    world.take("e").await;
    world.send(&["DEL rq:job:j"]).await;
    assert_eq!(world.take("e").await.job, JobId::new("next"));
    assert_eq!(world.ask::<Vec<String>>("ZRANGE rq:wip:q 0 -1").await, ["next:e"]);
    assert_eq!(world.ask::<Vec<String>>("SMEMBERS rq:worker:w1:executions").await, ["next:e"]);
}

#[tokio::test]
async fn a_start_without_a_worker_record_works_and_leaves_nothing_for_ever() {
    let world = World::new().await;
    world.enqueue("j", "q", "").await;
    let started = world.take("e").await;
    assert_eq!(world.worker_field("state").await.as_deref(), Some("busy"));
    assert!(0 < world.ask::<i64>("TTL rq:worker:w1").await);
    assert_eq!(world.finish(&success(&started)).await, rq::Finished::Finished);
    assert!(0 < world.ask::<i64>("TTL rq:worker:w1").await);
}

#[tokio::test]
async fn a_time_to_live_stands_still_while_a_job_runs() {
    let world = World::new().await;
    world.enqueue("j", "q", "ttl 1000").await;
    world.send(&["EXPIRE rq:job:j 1000"]).await;
    let started = world.take("e").await;
    assert!(started.ttl_left.unwrap() <= Duration::from_secs(1000));
    assert!(Duration::ZERO < started.ttl_left.unwrap());
    assert_eq!(world.ask::<i64>("PTTL rq:job:j").await, -1);
}

#[tokio::test]
async fn finding_nothing_keeps_an_idle_worker_alive_and_makes_none() {
    let world = World::new().await;
    assert!(matches!(world.start(&request("e", &["q"])).await, StartReply::Empty));
    assert!(world.dump().await.keys().is_empty());
    world.client.register(&birth(), at(0)).await.unwrap();
    world.send(&["EXPIRE rq:worker:w1 3", "HSET rq:worker:w1 state busy"]).await;
    assert!(matches!(world.start(&request("e", &["q"])).await, StartReply::Empty));
    assert!(400 < world.ask::<i64>("TTL rq:worker:w1").await);
    assert_eq!(world.worker_field("state").await.as_deref(), Some("idle"));
    assert_eq!(world.worker_field("last_heartbeat").await, Some(at(10).text()));
}

#[tokio::test]
async fn ids_and_fields_are_bytes() {
    let world = World::new().await;
    let (key, id): (&[u8], &[u8]) = (b"rq:job:\xff\x00\"", b"\xff\x00\"");
    let fields: [&[u8]; 8] =
        [b"HSET", key, b"data", b"\x80\x00\xfe", b"status", b"queued", b"worker_name", b"\xc3\x28"];
    world.ask_bytes::<Value>(&fields).await;
    world.ask_bytes::<Value>(&[b"RPUSH", b"rq:queue:q", id]).await;
    let started = world.take("e").await;
    assert_eq!(started.job.as_bytes(), id);
    assert_eq!(started.hash.get("data"), Some(b"\x80\x00\xfe".as_slice()));
    let again = world.take("e").await;
    assert_eq!(again.hash.get("worker_name"), Some(b"\xc3\x28".as_slice()));
    world.client.release(&started.worker, &again, at(20)).await.unwrap();
    let name: Vec<u8> = world.ask_bytes(&[b"HGET", key, b"worker_name"]).await;
    assert_eq!(name, b"\xc3\x28");
    let started = world.take("e2").await;
    assert_eq!(world.finish(&success(&started)).await, rq::Finished::Finished);
    assert_eq!(world.ask::<Vec<Vec<u8>>>("ZRANGE rq:finished:q 0 -1").await, [id]);
}

#[tokio::test]
async fn another_prefix_is_kept_in_every_key() {
    let world = World::with_prefix("{app}:rq").await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world
        .send(&[
            "HSET {app}:rq:job:j data x origin q retries_left 1 retry_intervals [5]",
            "HSET {app}:rq:job:k data x origin q group_id g",
            "HSET {app}:rq:job:child data x origin q status deferred",
            "SADD {app}:rq:job:k:dependents child",
            "SADD {app}:rq:group:g k",
            "RPUSH {app}:rq:queue:q j k",
        ])
        .await;
    let first = world.take("e1").await;
    world.client.job_heartbeat(&birth(), &first, Duration::from_secs(90), at(12)).await.unwrap();
    world.finish(&crate::common::failure(&first)).await;
    let second = world.take("e2").await;
    world.finish(&success(&second)).await;
    let third = world.take("e3").await;
    assert_eq!(third.job, JobId::new("child"));
    world.client.release(&third.worker, &third, at(20)).await.unwrap();
    let dump = world.dump().await;
    assert!(dump.keys().iter().all(|key| key.starts_with("{app}:rq:")), "{dump}");
    assert!(dump.keys().contains(&"{app}:rq:scheduled:q"), "{dump}");
    assert_eq!(world.client.queue_length(&third.queue).await.unwrap(), 1);
}
