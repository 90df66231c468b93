//! A request whose answer did not come is sent again over a new connection; the old one may still be
//! under way, and arrives when the worker has gone on. Then it changes nothing.

use std::time::Duration;

use rq::{Finish, Finished, StartReply, StartRequest, Started};

use crate::common::{World, at, birth, failure, request, success, taken};

/// As a slot numbers what it asks for.
fn start(number: u64) -> StartRequest {
    StartRequest { number, ..request(&format!("e{number}"), &["q"]) }
}

fn end(number: u64, finish: Finish<'_>) -> Finish<'_> {
    Finish { number, ..finish }
}

async fn take(world: &World, number: u64) -> Started {
    taken(world.start(&start(number)).await)
}

/// A registered worker and two jobs.
async fn world() -> World {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("first", "q", "retries_left 3").await;
    world.enqueue("second", "q", "").await;
    world
}

#[tokio::test]
async fn a_start_that_comes_late_takes_no_job() {
    let world = world().await;
    let first = take(&world, 1).await;
    world.finish(&end(2, success(&first))).await;
    let before = world.dump().await;
    assert!(matches!(world.start(&start(1)).await, StartReply::Empty));
    assert_eq!(world.dump().await, before);
    assert_eq!(world.queue("q").await, ["second"]);
}

#[tokio::test]
async fn a_start_that_comes_after_another_found_nothing_takes_no_job() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    assert!(matches!(world.start(&start(2)).await, StartReply::Empty));
    world.enqueue("j", "q", "").await;
    assert!(matches!(world.start(&start(1)).await, StartReply::Empty));
    assert_eq!(world.queue("q").await, ["j"]);
    take(&world, 3).await;
}

#[tokio::test]
async fn a_start_that_comes_after_the_death_takes_no_job() {
    let world = world().await;
    world.client.death(&birth(), at(20)).await.unwrap();
    assert!(matches!(world.start(&start(1)).await, StartReply::Empty));
    assert_eq!(world.queue("q").await, ["first", "second"]);
}

#[tokio::test]
async fn an_end_that_comes_late_does_not_end_the_next_attempt() {
    let world = world().await;
    let first = take(&world, 1).await;
    assert_eq!(world.finish(&end(2, failure(&first))).await, Finished::Retried { left: 2 });
    let second = take(&world, 3).await;
    world.finish(&end(4, success(&second))).await;
    let again = take(&world, 5).await;
    assert_eq!(again.job, first.job);
    let before = world.dump().await;
    assert_eq!(world.finish(&end(2, failure(&first))).await, Finished::Already);
    assert_eq!(world.dump().await, before);
    assert_eq!(world.finish(&end(6, success(&again))).await, Finished::Finished);
}

#[tokio::test]
async fn a_heartbeat_that_comes_late_brings_nothing_back() {
    let world = world().await;
    let first = take(&world, 1).await;
    world.finish(&end(2, success(&first))).await;
    let before = world.dump().await;
    let ttl = Duration::from_mins(2);
    world.client.job_heartbeat(&birth(), &first, ttl, at(20)).await.unwrap();
    assert_eq!(world.dump().await, before);
}
