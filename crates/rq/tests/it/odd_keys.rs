//! One key after the other is somebody's mistake of another type: a step is carried out all the same or
//! refused as a whole, and can be made up for once the key is what it was.

use std::time::Duration;

use rq::Error;

use crate::common::{World, at, birth, code, failure, request, success};

/// Where a key waits while another stands in its place.
const ASIDE: &str = "aside";

/// Carries `act` out once for each key that it reads, writes or might, with that key odd.
async fn with_each_key_odd<P>(
    prepare: impl AsyncFn(&World) -> P,
    act: impl AsyncFn(&World, &P) -> Result<(), Error>,
) {
    let world = World::new().await;
    let prepared = prepare(&world).await;
    let mut keys: Vec<String> = world.ask("KEYS *").await;
    act(&world, &prepared).await.unwrap();
    let expected = world.dump().await;
    keys.extend(world.ask::<Vec<String>>("KEYS *").await);
    keys.sort();
    keys.dedup();
    for key in keys {
        world.send(&["FLUSHALL"]).await;
        let prepared = prepare(&world).await;
        let was_there: bool = world.ask(&format!("EXISTS {key}")).await;
        if was_there {
            world.send(&[&format!("RENAME {key} {ASIDE}")]).await;
        }
        world.send(&[&format!("SET {key} odd")]).await;
        let before = world.dump().await;
        let Err(error) = act(&world, &prepared).await else { continue };
        assert!(!error.is_outage(), "{key}: {error}");
        let found = world.dump().await;
        assert!(found == before, "{key}: {error}\n{}", found.since(&before));
        world.send(&[&format!("DEL {key}")]).await;
        if was_there {
            world.send(&[&format!("RENAME {ASIDE} {key}")]).await;
        }
        act(&world, &prepared).await.unwrap();
        let found = world.dump().await;
        assert!(found == expected, "{key}:\n{}", found.since(&expected));
    }
}

/// What a job is part of that can be.
const FIELDS: &str = "ttl 100 group_id g rate_limit_key k rate_limit_concurrency 1";

async fn prepared(world: &World, fields: &str) -> rq::Started {
    world.client.register(&birth(), at(0)).await.unwrap();
    world.send(&["SADD rq:group:g j", "SADD rq:rl-keys k", "HSET rq:rl:k concurrency 1"]).await;
    world.send(&["ZADD rq:rl:k:allowed 1 j", "ZADD rq:rl:k:rate_limited 2 limited"]).await;
    world.job("limited", "q", "rate_limited", "rate_limit_key k rate_limit_concurrency 1").await;
    let started = world.run("j", &format!("{FIELDS} {fields}")).await;
    world.defer("waits", &["j"], "allow_dependency_failures 1").await;
    world.enqueue("next", "q", "").await;
    started
}

#[tokio::test]
async fn a_start() {
    with_each_key_odd(
        async |world| {
            world.client.register(&birth(), at(0)).await.unwrap();
            world.enqueue("j", "q", FIELDS).await;
        },
        async |world, ()| world.client.start(&request("e", &["q", "other"])).await.map(drop),
    )
    .await;
}

#[tokio::test]
async fn an_end() {
    for fields in [
        "",
        "result_ttl 0",
        "failure_ttl 0",
        "repeats_left 2",
        "repeats_left 2 repeat_intervals [60]",
    ] {
        for finish in [success, failure] {
            with_each_key_odd(
                async |world| prepared(world, fields).await,
                async |world, started| {
                    let next = request("e2", &["q"]);
                    world.client.finish(&finish(started), Some(&next)).await.map(drop)
                },
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_retry() {
    for fields in ["retries_left 2", "retries_left 2 retry_intervals [60]"] {
        with_each_key_odd(
            async |world| prepared(world, fields).await,
            async |world, started| world.client.finish(&failure(started), None).await.map(drop),
        )
        .await;
    }
}

#[tokio::test]
async fn a_release() {
    with_each_key_odd(
        async |world| prepared(world, "").await,
        async |world, started| {
            world.client.release(&started.worker, started, at(20)).await.map(drop)
        },
    )
    .await;
}

#[tokio::test]
async fn a_begin() {
    with_each_key_odd(
        async |world| prepared(world, "").await,
        async |world, started| world.client.begin(started, code(8), at(20)).await,
    )
    .await;
}

#[tokio::test]
async fn a_heartbeat() {
    with_each_key_odd(
        async |world| prepared(world, "").await,
        async |world, started| {
            let ttl = Duration::from_mins(2);
            world.client.job_heartbeat(&birth(), started, ttl, at(20)).await.map(drop)
        },
    )
    .await;
}

#[tokio::test]
async fn a_death() {
    with_each_key_odd(
        async |world| prepared(world, "").await,
        async |world, _| world.client.death(&birth(), at(20)).await,
    )
    .await;
}
