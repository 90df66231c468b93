//! What maintenance finds and what it makes of it, step by step.

use std::time::Duration;

use rq::{Abandoned, Finished, GaveUp, OnFailure, QueueName, WorkerName};

use crate::common::{World, at, birth, failure, inflated, success};

fn q() -> QueueName {
    QueueName::new("q")
}

/// Abandoned executions of queue `q` at second 10; there is one piece of them.
async fn abandoned(world: &World) -> Vec<Abandoned> {
    let expired = world.client.expired_executions(&q(), 0, at(10)).await.unwrap();
    assert!(!expired.more);
    expired.abandoned
}

/// Gives up all of them, at second 10.
async fn give_up(world: &World) -> Vec<GaveUp> {
    let mut all = Vec::new();
    for one in abandoned(world).await {
        all.extend(world.client.abandon(&one, OnFailure::Retry, at(10)).await.unwrap());
    }
    all
}

async fn give_up_stuck(world: &World, seconds: i64) -> Vec<GaveUp> {
    world.client.give_up_stuck(&q(), &WorkerName::new("w1"), at(seconds)).await.unwrap()
}

/// Adds to a registry of queue `q`, with the score of so many seconds.
async fn add(world: &World, registry: &str, seconds: i64, member: &str) {
    let score = at(seconds).seconds();
    world.send(&[&format!("ZADD rq:{registry}:q {score} {member}")]).await;
}

/// A job that a worker of RQ 3 began and did not end; it counted as alive until second 5.
async fn leave(world: &World, id: &str, fields: &str) {
    world.job(id, "q", "started", fields).await;
    add(world, "wip", 5, &format!("{id}:e-{id}")).await;
    let until = at(65).seconds();
    world.send(&[&format!("ZADD rq:executions:{id} {until} e-{id}")]).await;
}

#[tokio::test]
async fn entries_of_ended_jobs_go_when_their_time_is_over() {
    let world = World::new().await;
    for registry in ["finished", "failed", "deferred", "scheduled", "canceled"] {
        add(&world, registry, 9, "over").await;
        add(&world, registry, 10, "just-over").await;
        add(&world, registry, 11, "kept").await;
    }
    world.send(&["ZADD rq:finished:q +inf for-ever", "ZADD rq:failed:q -1 for-ever"]).await;
    let before = world.dump().await;
    world.client.drop_expired(&q(), at(10)).await.unwrap();
    world.dump().await.since(&before).assert_is(&format!(
        "rq:failed:q zset, for ever
         - for-ever -1
         - kept {score}
         rq:finished:q zset, for ever
         - for-ever inf
         - kept {score}",
        score = at(11).seconds()
    ));
}

#[tokio::test]
async fn large_registries_go_in_pieces() {
    let world = World::new().await;
    let members: Vec<String> = (0..2500).map(|n| format!("1 job-{n}")).collect();
    world.send(&[&format!("ZADD rq:finished:q {}", members.join(" "))]).await;
    let members: Vec<String> = (0..250).map(|n| format!("1 gone-{n}:e")).collect();
    world.send(&[&format!("ZADD rq:wip:q {}", members.join(" "))]).await;
    world.client.drop_expired(&q(), at(10)).await.unwrap();
    for pieces in [true, true, false] {
        let expired = world.client.expired_executions(&q(), 0, at(10)).await.unwrap();
        assert_eq!((expired.more, expired.abandoned.len()), (pieces, 0));
    }
    assert!(world.dump().await.keys().is_empty());
}

#[tokio::test]
async fn an_abandoned_job_has_failed_as_with_rq() {
    let world = World::new().await;
    leave(&world, "j", "").await;
    world.defer("waits", &["j"], "").await;
    world.defer("goes-on", &["j"], "allow_dependency_failures 1").await;
    let before = world.dump().await;
    let gave_up = give_up(&world).await;
    assert_eq!(gave_up.len(), 1);
    assert_eq!(gave_up[0].how, Finished::Failed);
    assert_eq!(gave_up[0].hash.get("status"), Some(b"started".as_slice()));
    let text =
        "Moved to FailedJobRegistry, due to AbandonedJobError, at 2026-01-02 03:04:15.000006+00:00";
    assert_eq!(gave_up[0].text, text);
    assert_eq!(inflated(&world.result("j").await["exc_string"]), text);
    world.dump().await.since(&before).without("rq:results:").assert_is(
        "rq:deferred:q zset, for ever
         - waits 1
         rq:executions:j gone
         rq:failed:q zset, for ever
         - j 1798859055
         rq:job:goes-on hash, for ever
         - allow_dependency_failures: 1
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
         - worker_name:
         rq:job:j hash, 525600 min
         - created_at: 2026-01-01T00:00:00.000000Z
         - data: call
         - description: f()
         - ended_at:
         - enqueued_at: 2026-01-01T00:00:00.000000Z
         - failure_callback_name:
         - group_id:
         - last_heartbeat:
         - origin: q
         - started_at:
         - status: failed
         - stopped_callback_name:
         - success_callback_name:
         - timeout: 180
         - worker_name:
         rq:job:j:dependents set, 525600 min
         - waits
         rq:queue:q list, for ever
         - goes-on
         rq:wip:q gone",
    );
    let result = world.result("j").await;
    let names: Vec<_> = result.keys().map(String::as_str).collect();
    assert_eq!(names, ["exc_string", "type", "worker_name"]);
    assert_eq!((result["type"].as_str(), result["worker_name"].as_str()), ("2", ""));
    // Once more finds nothing.
    let after = world.dump().await;
    assert!(give_up(&world).await.is_empty());
    assert_eq!(world.dump().await, after);
}

#[tokio::test]
async fn an_abandoned_job_is_retried_and_nobody_counts_it() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    leave(&world, "now", "retries_left 1").await;
    leave(&world, "later", "retries_left 2 retry_intervals [30]").await;
    world.enqueue("waits", "q", "").await;
    let worker = world.worker_field("failed_job_count").await;
    let mut ends: Vec<_> = give_up(&world).await.into_iter().map(|one| one.how).collect();
    ends.sort_by_key(|end| format!("{end:?}"));
    let due = at(40).seconds();
    assert_eq!(
        ends,
        [Finished::Retried { left: 0 }, Finished::RetryScheduled { left: 1, at: due }]
    );
    assert_eq!(world.queue("q").await, ["waits", "now"]);
    assert_eq!(world.score("scheduled", "later").await, Some(due.to_string()));
    assert_eq!(world.status("later").await.as_deref(), Some("scheduled"));
    assert_eq!(world.field("now", "retries_left").await.as_deref(), Some("0"));
    assert_eq!(world.worker_field("failed_job_count").await, worker);
    assert!(world.result("now").await.is_empty());
}

#[tokio::test]
async fn the_time_to_live_of_failures_counts_for_abandoned_jobs() {
    let world = World::new().await;
    leave(&world, "unkept", "failure_ttl 0").await;
    leave(&world, "kept", "failure_ttl -1").await;
    leave(&world, "short", "failure_ttl 100").await;
    assert_eq!(give_up(&world).await.len(), 3);
    assert_eq!(world.status("unkept").await, None);
    assert_eq!(world.score("failed", "kept").await.as_deref(), Some("-1"));
    for (key, ttl) in [("rq:job:kept", -1), ("rq:job:short", 100), ("rq:results:short", 100)] {
        assert_eq!(world.ask::<i64>(&format!("TTL {key}")).await, ttl, "{key}");
    }
}

#[tokio::test]
async fn entries_that_nobody_left_behind_are_dropped() {
    let world = World::new().await;
    for status in ["queued", "finished", "failed", "canceled", "odd"] {
        world.job(status, "q", status, "").await;
        add(&world, "wip", 5, &format!("{status}:e")).await;
    }
    add(&world, "wip", 5, "gone:e").await;
    add(&world, "wip", 5, "\"\"").await;
    add(&world, "wip", 5, ":").await;
    world.send(&["SET rq:job:text odd"]).await;
    add(&world, "wip", 5, "text:e").await;
    // Its time is not over.
    leave(&world, "runs", "").await;
    add(&world, "wip", 11, "runs:e-runs").await;
    // An attempt was left behind, another runs.
    leave(&world, "again", "").await;
    add(&world, "wip", 11, "again:second").await;
    world.send(&["ZADD rq:executions:again 99 second"]).await;
    assert!(give_up(&world).await.is_empty());
    let left: Vec<String> = world.ask("ZRANGE rq:wip:q 0 -1").await;
    assert_eq!(left, ["again:second", "runs:e-runs"]);
    assert_eq!(world.status("again").await.as_deref(), Some("started"));
    assert_eq!(world.status("queued").await.as_deref(), Some("queued"));
}

#[tokio::test]
async fn what_older_workers_left_is_understood() {
    let world = World::new().await;
    // RQ 1.16: the id of the job alone, which may hold a colon, and no records of executions.
    for id in ["plain", "with:colon"] {
        world.job(id, "q", "started", "").await;
        add(&world, "wip", 5, id).await;
    }
    // RQ 2: an execution without `job_id` and `worker_name`.
    leave(&world, "two", "").await;
    world.send(&["HSET rq:execution:two:e-two id e-two created_at 1.5 last_heartbeat 1.5"]).await;
    assert_eq!(give_up(&world).await.len(), 3);
    for id in ["plain", "with:colon", "two"] {
        assert_eq!(world.status(id).await.as_deref(), Some("failed"), "{id}");
        assert!(world.is_in("failed", id).await, "{id}");
    }
    let keys = world.dump().await;
    assert!(keys.keys().iter().all(|key| !key.contains("execution") && !key.contains("wip")));
}

#[tokio::test]
async fn whoever_loses_a_race_writes_nothing() {
    let world = World::new().await;
    leave(&world, "j", "").await;
    let found = abandoned(&world).await;
    // `rq info` did the same meanwhile.
    assert_eq!(give_up(&world).await.len(), 1);
    let after = world.dump().await;
    assert!(world.client.abandon(&found[0], OnFailure::Retry, at(11)).await.unwrap().is_none());
    assert_eq!(world.dump().await, after);

    // The worker came back to life meanwhile.
    leave(&world, "alive", "").await;
    let found = abandoned(&world).await;
    add(&world, "wip", 50, "alive:e-alive").await;
    let after = world.dump().await;
    assert!(world.client.abandon(&found[0], OnFailure::Retry, at(11)).await.unwrap().is_none());
    assert_eq!(world.dump().await, after);

    // The job ended meanwhile.
    leave(&world, "ended", "").await;
    let found = abandoned(&world).await;
    world.send(&["HSET rq:job:ended status finished"]).await;
    assert!(world.client.abandon(&found[0], OnFailure::Retry, at(11)).await.unwrap().is_none());
    assert!(!world.is_in("wip", "ended:e-ended").await);
    assert_eq!(world.status("ended").await.as_deref(), Some("finished"));
}

#[tokio::test]
async fn a_job_that_ends_after_it_was_given_up_is_in_one_registry() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    for (id, how, registry) in
        [("good", Finished::Finished, "finished"), ("bad", Finished::Failed, "failed")]
    {
        let started = world.run(id, "").await;
        add(&world, "wip", 5, &format!("{id}:execution-of-{id}")).await;
        assert_eq!(give_up(&world).await.len(), 1);
        assert!(world.is_in("failed", id).await);
        let end = if id == "good" { success(&started) } else { failure(&started) };
        assert_eq!(world.finish(&end).await, how);
        assert_eq!(world.is_in("failed", id).await, registry == "failed");
        assert_eq!(world.is_in("finished", id).await, registry == "finished");
        assert_eq!(world.status(id).await.as_deref(), Some(registry));
    }
}

#[tokio::test]
async fn an_abandoned_job_frees_its_slot() {
    let world = World::new().await;
    leave(&world, "a", "rate_limit_key k rate_limit_concurrency 1").await;
    world.job("b", "q", "rate_limited", "rate_limit_key k rate_limit_concurrency 1").await;
    world
        .send(&[
            "SADD rq:rl-keys k",
            "HSET rq:rl:k concurrency 1",
            "ZADD rq:rl:k:allowed 1 a",
            "ZADD rq:rl:k:rate_limited 2 b",
        ])
        .await;
    assert_eq!(give_up(&world).await.len(), 1);
    assert_eq!(world.queue("q").await, ["b"]);
}

#[tokio::test]
async fn a_registry_that_is_none_refuses_and_changes_nothing() {
    let world = World::new().await;
    leave(&world, "j", "").await;
    world.send(&["SET rq:failed:q odd"]).await;
    let before = world.dump().await;
    let found = abandoned(&world).await;
    let error = world.client.abandon(&found[0], OnFailure::Retry, at(10)).await.unwrap_err();
    assert!(error.to_string().contains("rq:failed:q"), "{error}");
    assert_eq!(world.dump().await, before);
    world.send(&["DEL rq:wip:q", "SET rq:wip:q odd"]).await;
    assert!(abandoned(&world).await.is_empty());
    assert!(world.client.abandon(&found[0], OnFailure::Retry, at(10)).await.unwrap().is_none());
    world.client.drop_expired(&q(), at(10)).await.unwrap();
}

#[tokio::test]
async fn a_stuck_job_fails_a_minute_after_it_was_first_seen() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.job("j", "q", "queued", "").await;
    world.send(&["RPUSH rq:queue:q:intermediate j"]).await;
    assert!(give_up_stuck(&world, 10).await.is_empty());
    let first_seen = "rq:queue:q:intermediate:first_seen:j";
    assert_eq!(world.ask::<String>(&format!("GET {first_seen}")).await, at(10).float());
    assert_eq!(world.ask::<i64>(&format!("TTL {first_seen}")).await, 86400);
    assert!(give_up_stuck(&world, 70).await.is_empty());
    let gave_up = give_up_stuck(&world, 71).await;
    assert_eq!(gave_up[0].how, Finished::Failed);
    let result = world.result("j").await;
    assert_eq!(inflated(&result["exc_string"]), "Job was stuck in intermediate queue.");
    assert_eq!(result["worker_name"], "w1");
    assert_eq!(world.status("j").await.as_deref(), Some("failed"));
    assert!(world.is_in("failed", "j").await);
    assert_eq!(world.worker_field("failed_job_count").await.as_deref(), Some("1"));
    let keys = world.dump().await;
    assert!(keys.keys().iter().all(|key| !key.contains("intermediate")), "{keys}");
}

#[tokio::test]
async fn only_stuck_jobs_are_touched() {
    let world = World::new().await;
    let long_ago = at(-100).float();
    for (id, status) in [
        ("runs", "queued"),
        ("runs-with-rq-1", "queued"),
        ("ended", "finished"),
        ("waits", "scheduled"),
        ("poison", "no-status-of-rq"),
        ("retried", "queued"),
    ] {
        world.job(id, "q", status, if id == "retried" { "retries_left 1" } else { "" }).await;
        world
            .send(&[
                &format!("RPUSH rq:queue:q:intermediate {id}"),
                &format!("SET rq:queue:q:intermediate:first_seen:{id} {long_ago}"),
            ])
            .await;
    }
    world.job("odd-note", "q", "queued", "").await;
    world
        .send(&[
            "RPUSH rq:queue:q:intermediate gone odd-note",
            "SET rq:queue:q:intermediate:first_seen:odd-note soon",
        ])
        .await;
    add(&world, "wip", 60, "runs:e").await;
    add(&world, "wip", 60, "runs-with-rq-1").await;
    let gave_up = give_up_stuck(&world, 10).await;
    let ends: Vec<_> = gave_up.iter().map(|one| (one.job.to_string(), one.how)).collect();
    assert_eq!(
        ends,
        [
            ("poison".to_owned(), Finished::Failed),
            ("retried".to_owned(), Finished::Retried { left: 0 })
        ]
    );
    let left: Vec<String> = world.ask("LRANGE rq:queue:q:intermediate 0 -1").await;
    assert_eq!(left, ["runs", "runs-with-rq-1", "odd-note"]);
    assert_eq!(world.status("waits").await.as_deref(), Some("scheduled"));
    assert_eq!(world.status("ended").await.as_deref(), Some("finished"));
    assert_eq!(world.queue("q").await, ["retried"]);

    world.send(&["DEL rq:queue:q:intermediate", "SET rq:queue:q:intermediate odd"]).await;
    assert!(give_up_stuck(&world, 20).await.is_empty());
}

#[tokio::test]
async fn dependents_that_were_left_ready_are_queued() {
    let world = World::new().await;
    world.job("ready", "q", "ready_to_enqueue", "").await;
    world.job("other", "q", "finished", "").await;
    let gone: Vec<String> = (0..1500).map(|n| format!("0 gone-{n}")).collect();
    world
        .send(&[&format!("ZADD rq:ready:q {}", gone.join(" ")), "ZADD rq:ready:q 2 ready 3 other"])
        .await;
    world.client.enqueue_ready(&q(), at(10)).await.unwrap();
    assert_eq!(world.queue("q").await, ["ready"]);
    assert_eq!(world.status("other").await.as_deref(), Some("finished"));
    assert!(!world.dump().await.keys().contains(&"rq:ready:q"));
}

#[tokio::test]
async fn dead_workers_are_forgotten() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let dead: Vec<String> = (0..1500).map(|n| format!("rq:worker:dead-{n}")).collect();
    for set in ["rq:workers", "rq:workers:q"] {
        world.send(&[&format!("SADD {set} {}", dead.join(" "))]).await;
    }
    world.client.forget_dead_workers(&q()).await.unwrap();
    for set in ["rq:workers", "rq:workers:q"] {
        let left: Vec<String> = world.ask(&format!("SMEMBERS {set}")).await;
        assert_eq!(left, ["rq:worker:w1"], "{set}");
    }
    world.send(&["DEL rq:workers", "SET rq:workers odd", "SADD rq:workers:q rq:worker:dead"]).await;
    world.client.forget_dead_workers(&q()).await.unwrap();
    let left: Vec<String> = world.ask("SMEMBERS rq:workers:q").await;
    assert_eq!(left, ["rq:worker:w1"]);
}

#[tokio::test]
async fn groups_lose_what_is_gone() {
    let world = World::new().await;
    world.job("here", "q", "finished", "").await;
    world
        .send(&[
            "SADD rq:groups some none vanished",
            "SADD rq:group:some here gone",
            "SADD rq:group:none gone",
        ])
        .await;
    world.client.clean_groups().await.unwrap();
    let groups: Vec<String> = world.ask("SMEMBERS rq:groups").await;
    let members: Vec<String> = world.ask("SMEMBERS rq:group:some").await;
    assert_eq!((groups, members), (vec!["some".to_owned()], vec!["here".to_owned()]));
    world.send(&["DEL rq:job:here"]).await;
    world.client.clean_groups().await.unwrap();
    assert!(world.dump().await.keys().is_empty());
}

#[tokio::test]
async fn locks_are_rqs_and_one_worker_has_them() {
    let world = World::new().await;
    assert!(world.client.lock_registries(&q(), "").await.unwrap());
    assert!(!world.client.lock_registries(&q(), "run").await.unwrap());
    assert!(world.client.lock_groups(Duration::from_mins(10)).await.unwrap());
    assert!(!world.client.lock_groups(Duration::from_mins(10)).await.unwrap());
    world.dump().await.assert_is(
        "rq:clean_groups string, 10 min
         - 1
         rq:clean_registries:q string, 15 min
         - 1",
    );
    assert_eq!(world.ask::<i64>("TTL rq:clean_registries:q").await, 899);
    assert_eq!(world.ask::<i64>("TTL rq:clean_groups").await, 599);
    world.client.unlock_registries(&q()).await.unwrap();
    world.send(&["DEL rq:clean_groups"]).await;
    assert!(world.client.lock_groups(Duration::from_secs(1)).await.unwrap());
    assert_eq!(world.dump().await.keys(), ["rq:clean_groups"]);
}
