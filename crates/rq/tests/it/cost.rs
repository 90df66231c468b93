//! What a job costs Redis, counted by Redis.

use std::collections::BTreeMap;

use rq::{StartReply, Started};

use crate::common::{World, at, birth, request, success};

/// Commands inside the script, for a job that ends well and the start of the next.
const COMMANDS_MAX: u64 = 32;
const JOBS: usize = 20;

/// How often each command was called.
async fn calls(world: &World) -> BTreeMap<String, u64> {
    let info: String = world.ask("INFO commandstats").await;
    let counted = info.lines().filter_map(|line| {
        let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), numbers.split(',').next()?.parse().ok()?))
    });
    counted.collect()
}

async fn run_to_the_end(world: &World, first: Started) {
    let mut running = first;
    for n in 0.. {
        let next = request(&format!("e{n}"), &["q"]);
        match world.client.finish(&success(&running), Some(&next)).await.unwrap().next {
            Some(StartReply::Job(job)) => running = *job,
            _ => return,
        }
    }
}

#[tokio::test]
async fn a_busy_worker_asks_once_for_each_job() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    // The script is known to the server before anything is counted.
    let first = world.run("warm", "").await;
    for n in 0..JOBS {
        world.enqueue(&format!("j{n}"), "q", "").await;
    }
    world.send(&["CONFIG RESETSTAT"]).await;
    run_to_the_end(&world, first).await;
    let calls = calls(&world).await;
    assert_eq!(calls["evalsha"], JOBS as u64 + 1, "{calls:?}");
    let inside: u64 = calls.values().sum::<u64>() - calls["evalsha"] - 1; // and our own CONFIG
    assert!(inside <= COMMANDS_MAX * (JOBS as u64 + 1), "{inside} {calls:?}");
    // A registry's type is looked at once, where it is to be written.
    assert!(calls["type"] <= JOBS as u64 + 5, "{calls:?}");
}
