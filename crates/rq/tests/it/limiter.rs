//! Rate limits: who holds a slot, who waits, and what each end of a job does to both.

use rq::{Ending, Finish, Finished, JobId, Started};

use crate::common::{World, at, ended, failure, request, success, taken};

const LIMIT: &str = "rate_limit_key api rate_limit_concurrency 1";

/// Enqueues jobs of one limit as RQ's client does: the first has the slot, the others wait.
async fn limited(world: &World, ids: &[&str], fields: &str) {
    world.send(&["SADD rq:rl-keys api", "HSET rq:rl:api concurrency 1"]).await;
    for (n, id) in ids.iter().enumerate() {
        if n == 0 {
            world.enqueue(id, "q", &format!("{LIMIT} {fields}")).await;
            world.send(&[&format!("ZADD rq:rl:api:allowed 1 {id}")]).await;
        } else {
            wait_for_slot(world, id, n, fields).await;
        }
    }
}

async fn wait_for_slot(world: &World, id: &str, score: usize, fields: &str) {
    world.job(id, "q", "rate_limited", &format!("{LIMIT} {fields}")).await;
    world.send(&[&format!("ZADD rq:rl:api:rate_limited {score} {id}")]).await;
}

async fn slots(world: &World) -> Vec<String> {
    world.ask("ZRANGE rq:rl:api:allowed 0 -1").await
}

async fn waiting(world: &World) -> Vec<String> {
    world.ask("ZRANGE rq:rl:api:rate_limited 0 -1").await
}

#[tokio::test]
async fn each_end_lets_the_next_one_through() {
    let ends: [fn(&Started) -> Finish<'_>; 3] =
        [success, failure, |started| ended(started, Ending::Stopped)];
    for end in ends {
        let world = World::new().await;
        limited(&world, &["a", "b", "c"], "").await;
        let started = world.take("e").await;
        world.finish(&end(&started)).await;
        assert_eq!(slots(&world).await, ["b"]);
        assert_eq!(waiting(&world).await, ["c"]);
        assert_eq!(world.queue("q").await, ["b"]);
        assert_eq!(world.status("b").await.as_deref(), Some("queued"));
        assert_eq!(
            world.field("b", "enqueued_at").await.as_deref(),
            Some("2026-01-02T03:04:18.500006Z")
        );
        assert_eq!(
            world.ask::<String>("ZSCORE rq:rl:api:allowed b").await,
            at(13).seconds().to_string()
        );
    }
}

#[tokio::test]
async fn the_end_and_the_next_of_the_same_limit_are_one_step() {
    let world = World::new().await;
    limited(&world, &["a", "b"], "").await;
    let started = world.take("e").await;
    let next = request("e2", &["q"]);
    let reply = world.client.finish(&success(&started), Some(&next)).await.unwrap();
    assert_eq!(taken(reply.next.unwrap()).job, JobId::new("b"));
}

#[tokio::test]
async fn a_job_that_asks_for_it_goes_to_the_front() {
    let world = World::new().await;
    limited(&world, &["a"], "").await;
    wait_for_slot(&world, "b", 2, "enqueue_at_front 1").await;
    let started = world.take("e").await;
    world.enqueue("other", "q", "").await;
    world.finish(&success(&started)).await;
    assert_eq!(world.queue("q").await, ["b", "other"]);
}

#[tokio::test]
async fn a_retry_at_once_keeps_the_slot_and_a_later_one_frees_it() {
    let world = World::new().await;
    limited(&world, &["a", "b"], "retries_left 1").await;
    let started = world.take("e").await;
    assert_eq!(world.finish(&failure(&started)).await, Finished::Retried { left: 0 });
    assert_eq!(slots(&world).await, ["a"]);
    assert_eq!(waiting(&world).await, ["b"]);
    let world = World::new().await;
    limited(&world, &["a", "b"], "retries_left 1 retry_intervals [60]").await;
    let started = world.take("e").await;
    world.finish(&failure(&started)).await;
    assert_eq!(slots(&world).await, ["b"]);
    assert_eq!(world.status("a").await.as_deref(), Some("scheduled"));
}

#[tokio::test]
async fn a_job_that_was_deleted_while_it_ran_frees_its_slot() {
    let world = World::new().await;
    limited(&world, &["a", "b"], "").await;
    let started = world.take("e").await;
    world.send(&["DEL rq:job:a"]).await;
    assert_eq!(world.finish(&success(&started)).await, Finished::Gone);
    assert_eq!(slots(&world).await, ["b"]);
}

#[tokio::test]
async fn a_dependent_with_a_limit_waits_for_its_slot() {
    let world = World::new().await;
    limited(&world, &["a"], "").await;
    world.defer("child", &["a"], LIMIT).await;
    world
        .defer("other", &["a"], "rate_limit_key more rate_limit_concurrency 1 enqueue_at_front 1")
        .await;
    world.enqueue("plain", "q", "").await;
    let started = world.take("e").await;
    world.finish(&success(&started)).await;
    // The slot of the parent is free only after it.
    assert_eq!(slots(&world).await, ["child"]);
    assert_eq!(world.ask::<Vec<String>>("ZRANGE rq:rl:more:allowed 0 -1").await, ["other"]);
    assert_eq!(world.ask::<String>("HGET rq:rl:more concurrency").await, "1");
    assert_eq!(world.ask::<u64>("SCARD rq:rl-keys").await, 2);
    assert_eq!(world.queue("q").await, ["other", "plain", "child"]);
    assert!(!world.is_in("deferred", "child").await);
}

#[tokio::test]
async fn what_waits_without_being_able_to_run_is_passed_over() {
    let world = World::new().await;
    limited(&world, &["a"], "").await;
    world.send(&["ZADD rq:rl:api:rate_limited 1 gone"]).await;
    wait_for_slot(&world, "canceled", 2, "").await;
    world.send(&["HSET rq:job:canceled status canceled"]).await;
    wait_for_slot(&world, "unqueued", 3, "origin broken").await;
    world.send(&["SET rq:queue:broken mine"]).await;
    wait_for_slot(&world, "b", 4, "").await;
    let started = world.take("e").await;
    world.finish(&success(&started)).await;
    assert_eq!(slots(&world).await, ["b"]);
    assert_eq!(waiting(&world).await, ["unqueued"]);
}

#[tokio::test]
async fn a_limit_of_another_type_loses_no_job() {
    for key in ["rq:rl:api", "rq:rl:api:allowed", "rq:rl:api:rate_limited", "rq:rl-keys"] {
        let world = World::new().await;
        limited(&world, &["a"], "").await;
        world.defer("child", &["a"], LIMIT).await;
        let started = world.take("e").await;
        world.send(&[&format!("DEL {key}"), &format!("SET {key} mine")]).await;
        world.finish(&success(&started)).await;
        assert_eq!(world.status("child").await.as_deref(), Some("queued"), "{key}");
    }
}

#[tokio::test]
async fn slots_that_nobody_needs_are_freed_and_unused_limits_forgotten() {
    let world = World::new().await;
    world.send(&["SADD rq:rl-keys api", "HSET rq:rl:api concurrency 6"]).await;
    for (id, status) in
        [("q1", "queued"), ("r1", "started"), ("f1", "finished"), ("c1", "canceled")]
    {
        world.job(id, "q", status, LIMIT).await;
        world.send(&[&format!("ZADD rq:rl:api:allowed 1 {id}")]).await;
    }
    // Gone, and canceled while it runs.
    world.send(&["ZADD rq:rl:api:allowed 1 gone"]).await;
    world.send(&[&format!("ZADD rq:executions:c1 {} e", at(60).seconds())]).await;
    assert_eq!(world.client.mend_rate_limits(at(10)).await.unwrap(), 0);
    assert_eq!(slots(&world).await, ["c1", "q1", "r1"]);
    for n in 0..5 {
        wait_for_slot(&world, &format!("w{n}"), n, "").await;
    }
    assert_eq!(world.client.mend_rate_limits(at(10)).await.unwrap(), 3);
    assert_eq!(world.queue("q").await, ["w0", "w1", "w2"]);
    world.send(&["DEL rq:rl:api:allowed rq:rl:api:rate_limited"]).await;
    world.client.mend_rate_limits(at(10)).await.unwrap();
    assert_eq!(world.ask::<u64>("EXISTS rq:rl-keys rq:rl:api").await, 0);
}
