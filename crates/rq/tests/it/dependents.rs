//! Jobs that wait for others: who is freed by an end, and to where.

use rq::{Finished, JobId, StartReply};

use crate::common::{World, failure, request, success};

#[tokio::test]
async fn a_dependent_is_queued_in_the_step_that_ends_its_parent() {
    let world = World::new().await;
    let parent = world.run("parent", "").await;
    world.defer("child", &["parent"], "").await;
    world.send(&["HDEL rq:job:child timeout enqueued_at"]).await;
    let before = world.dump().await;
    world.finish(&success(&parent)).await;
    let changed = world.dump().await.since(&before);
    let related = changed.without("rq:worker").without("rq:execution").without("rq:results");
    related.without("rq:job:parent hash").without("rq:job:parent").assert_is(
        "rq:deferred:q gone
         rq:finished:q zset, for ever
         - parent 1767323558
         rq:job:child hash, for ever
         - created_at: 2026-01-01T00:00:00.000000Z
         - data: call
         - description: f()
         - ended_at:
         - enqueued_at: 2026-01-02T03:04:18.500006Z
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
         rq:queue:q list, for ever
         - child
         rq:wip:q gone",
    );
    assert!(!world.dump().await.keys().contains(&"rq:job:parent:dependents"));
}

#[tokio::test]
async fn two_parents_have_both_to_finish() {
    let world = World::new().await;
    let mother = world.run("mother", "").await;
    let father = world.run("father", "").await;
    world.defer("child", &["mother", "father"], "").await;
    world.finish(&success(&mother)).await;
    assert_eq!(world.status("child").await.as_deref(), Some("deferred"));
    assert!(world.is_in("deferred", "child").await);
    assert_eq!(world.ask::<Vec<String>>("SMEMBERS rq:job:mother:dependents").await, ["child"]);
    world.finish(&success(&father)).await;
    assert_eq!(world.status("child").await.as_deref(), Some("queued"));
    assert!(!world.is_in("deferred", "child").await);
    assert_eq!(world.queue("q").await, ["child"]);
}

#[tokio::test]
async fn a_parent_that_fails_frees_only_who_allows_it() {
    let world = World::new().await;
    let parent = world.run("parent", "").await;
    world.defer("strict", &["parent"], "").await;
    world.defer("no", &["parent"], "allow_dependency_failures 0").await;
    world.defer("lenient", &["parent"], "allow_dependency_failures 1").await;
    assert_eq!(world.finish(&failure(&parent)).await, Finished::Failed);
    assert_eq!(world.queue("q").await, ["lenient"]);
    assert_eq!(world.status("strict").await.as_deref(), Some("deferred"));
    let left: Vec<String> = world.ask("ZRANGE rq:deferred:q 0 -1").await;
    assert_eq!(left, ["no", "strict"]);
    assert_eq!(world.ask::<i64>("SCARD rq:job:parent:dependents").await, 2);
    // The parent is run again and succeeds.
    world.send(&["RPUSH rq:queue:q parent", "LREM rq:queue:q 1 lenient"]).await;
    let parent = world.take("again").await;
    world.finish(&success(&parent)).await;
    let mut queue = world.queue("q").await;
    queue.sort();
    assert_eq!(queue, ["no", "strict"]);
}

#[tokio::test]
async fn the_other_parents_status_decides() {
    for (status, strict, lenient) in [
        ("finished", true, true),
        ("failed", false, true),
        ("canceled", false, false),
        ("stopped", false, false),
        ("queued", false, false),
        ("started", false, false),
    ] {
        let world = World::new().await;
        let parent = world.run("parent", "").await;
        world.job("other", "q", status, "").await;
        world.defer("strict", &["parent", "other"], "").await;
        world.defer("lenient", &["parent", "other"], "allow_dependency_failures 1").await;
        world.finish(&success(&parent)).await;
        let queue = world.queue("q").await;
        assert_eq!(queue.contains(&"strict".to_owned()), strict, "{status}");
        assert_eq!(queue.contains(&"lenient".to_owned()), lenient, "{status}");
    }
}

#[tokio::test]
async fn a_parent_that_is_gone_counts_as_met() {
    let world = World::new().await;
    let parent = world.run("parent", "").await;
    world.defer("child", &["parent", "deleted"], "").await;
    world.send(&["SET rq:job:odd x"]).await;
    world.defer("other", &["parent", "odd"], "").await;
    world.defer("third", &["parent"], "").await;
    world.send(&["DEL rq:job::third:dependencies", "SET rq:job::third:dependencies x"]).await;
    world.finish(&success(&parent)).await;
    let mut queue = world.queue("q").await;
    queue.sort();
    assert_eq!(queue, ["child", "other", "third"]);
}

#[tokio::test]
async fn who_was_canceled_or_deleted_is_not_freed() {
    let world = World::new().await;
    let parent = world.run("parent", "").await;
    world.defer("canceled", &["parent"], "").await;
    world
        .send(&[
            "HSET rq:job:canceled status canceled",
            "SADD rq:job:parent:dependents deleted odd",
        ])
        .await;
    world.send(&["SET rq:job:odd x"]).await;
    world.finish(&success(&parent)).await;
    assert!(world.queue("q").await.is_empty());
    assert_eq!(world.status("canceled").await.as_deref(), Some("canceled"));
    assert!(!world.dump().await.keys().contains(&"rq:job:deleted"));
}

#[tokio::test]
async fn a_dependent_goes_where_it_wants() {
    let world = World::new().await;
    let parent = world.run("parent", "").await;
    for queue in ["q", "other"] {
        world.enqueue(&format!("waits-{queue}"), queue, "").await;
    }
    world.defer("front", &["parent"], "enqueue_at_front 1").await;
    world.defer("elsewhere", &["parent"], "origin other ttl 1000").await;
    world.send(&["ZREM rq:deferred:q elsewhere", "ZADD rq:deferred:other 1 elsewhere"]).await;
    world.finish(&success(&parent)).await;
    assert_eq!(world.queue("q").await, ["front", "waits-q"]);
    assert_eq!(world.queue("other").await, ["waits-other", "elsewhere"]);
    let dump = world.dump().await;
    assert!(!dump.keys().contains(&"rq:deferred:other"), "{dump}");
    assert!(dump.to_string().contains("rq:job:elsewhere hash, 17 min"), "{dump}");
    assert!(dump.to_string().contains("rq:job::elsewhere:dependencies set, 17 min"), "{dump}");
}

#[tokio::test]
async fn a_crowd_is_freed_in_batches_and_nobody_is_lost() {
    let world = World::new().await;
    let parent = world.run("parent", "").await;
    for n in 0..2500 {
        world.defer(&format!("child{n}"), &["parent"], "").await;
    }
    world.finish(&success(&parent)).await;
    assert_eq!(world.queue("q").await.len(), 1000);
    assert_eq!(world.ask::<i64>("ZCARD rq:ready:q").await, 1500);
    assert_eq!(world.ask::<i64>("EXISTS rq:deferred:q rq:job:parent:dependents").await, 0);
    let mut seen = std::collections::BTreeSet::new();
    while let StartReply::Job(started) =
        world.start(&request(&seen.len().to_string(), &["q"])).await
    {
        assert_eq!(started.hash.text("status").as_deref(), Some("queued"));
        assert!(seen.insert(started.job.to_string()), "{} was taken twice", started.job);
        world.finish(&success(&started)).await;
    }
    assert_eq!(seen.len(), 2500);
    assert_eq!(world.ask::<i64>("EXISTS rq:ready:q").await, 0);
}

#[tokio::test]
async fn what_a_worker_of_rq_left_ready_is_taken() {
    let world = World::new().await;
    for id in ["left", "odd", "canceled"] {
        world.job(id, "q", "ready_to_enqueue", "").await;
    }
    world.send(&["ZADD rq:ready:q 1 left 2 odd 3 canceled 4 deleted", "SET rq:job:odd x"]).await;
    world.send(&["HSET rq:job:canceled status canceled"]).await;
    let started = world.take("e").await;
    assert_eq!(started.job, JobId::new("left"));
    assert!(matches!(world.start(&request("e2", &["q"])).await, StartReply::Empty));
    assert_eq!(world.ask::<i64>("EXISTS rq:ready:q").await, 0);
    assert_eq!(world.status("canceled").await.as_deref(), Some("canceled"));
}

#[tokio::test]
async fn a_dependent_whose_queue_has_another_type_stays_deferred() {
    let world = World::new().await;
    let parent = world.run("parent", "").await;
    world.defer("child", &["parent"], "origin odd").await;
    world.defer("fine", &["parent"], "").await;
    world.send(&["SET rq:queue:odd mine"]).await;
    assert_eq!(world.finish(&success(&parent)).await, Finished::Finished);
    assert_eq!(world.queue("q").await, ["fine"]);
    assert_eq!(world.status("child").await.as_deref(), Some("deferred"));
    assert_eq!(world.ask::<Vec<String>>("SMEMBERS rq:job:parent:dependents").await, ["child"]);
}

#[tokio::test]
async fn a_parent_that_is_not_kept_frees_its_dependents_too() {
    let world = World::new().await;
    let parent = world.run("parent", "result_ttl 0").await;
    world.defer("child", &["parent"], "").await;
    world.finish(&success(&parent)).await;
    assert_eq!(world.queue("q").await, ["child"]);
    assert!(!world.dump().await.keys().iter().any(|key| key.starts_with("rq:job:parent")));
}
