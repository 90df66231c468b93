//! The connection is cut at each kind of place in the bytes of a request and of its answer, and the
//! request sent again until it is answered: what is in Redis then is what one request leaves.

use std::time::Duration;

use embedded::testing::{Proxy, Way};
use rq::{Client, FinishReply, Finished, JobId, StartReply, WorkerState};

use crate::common::{Dump, World, at, birth, failure, options, request, success, taken};

/// How often a request may fail after one cut.
const TRIES_MAX: u32 = 5;
/// At most so many places of a request or an answer are cut at.
const PLACES_MAX: usize = 40;

/// A world, and a client behind a network that can be cut.
struct Behind {
    world: World,
    proxy: Proxy,
    client: Client,
}

impl Behind {
    async fn new() -> Self {
        let world = World::new().await;
        let proxy = Proxy::to(world.server.port());
        let client = Client::connect(options(&proxy.url())).await.unwrap();
        Self { world, proxy, client }
    }

    /// As it was before anything happened, but that the server knows the scripts.
    async fn again(&self) {
        self.world.send(&["FLUSHALL"]).await;
    }
}

/// Sends a request until it is answered.
async fn insist<T>(request: impl AsyncFn() -> Result<T, rq::Error>) -> T {
    for _ in 0..TRIES_MAX {
        match request().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_outage(), "{error}"),
        }
    }
    panic!("no answer after {TRIES_MAX} tries");
}

/// Carries `act` out once without a cut, and then once for each place. `prepare` makes the world that it
/// meets; `check` looks at what came of it.
async fn at_each_place<P, T>(
    prepare: impl AsyncFn(&Behind) -> P,
    act: impl AsyncFn(&Behind, &P) -> T,
    check: impl Fn(&T),
) {
    let behind = Behind::new().await;
    // The server learns the script, and a connection is there.
    let prepared = prepare(&behind).await;
    act(&behind, &prepared).await;
    let (expected, lengths) = uncut(&behind, &prepare, &act, &check).await;
    for (way, length) in [Way::Up, Way::Down].into_iter().zip(lengths) {
        for place in (0..length).step_by(length.div_ceil(PLACES_MAX)).chain([length - 1]) {
            behind.again().await;
            let prepared = prepare(&behind).await;
            behind.proxy.cut_after(way, place);
            let answer = act(&behind, &prepared).await;
            assert!(!behind.proxy.will_cut(), "{way:?} {place} of {length}: nothing was cut");
            check(&answer);
            let found = behind.world.dump().await;
            assert!(found == expected, "{way:?} {place} of {length}:\n{}", found.since(&expected));
        }
    }
}

/// What a request leaves that is not cut, and how many bytes went up and down for it.
async fn uncut<P, T>(
    behind: &Behind,
    prepare: &impl AsyncFn(&Behind) -> P,
    act: &impl AsyncFn(&Behind, &P) -> T,
    check: &impl Fn(&T),
) -> (Dump, [usize; 2]) {
    behind.again().await;
    let prepared = prepare(behind).await;
    let passed = || [Way::Up, Way::Down].map(|way| behind.proxy.passed(way));
    let before = passed();
    check(&act(behind, &prepared).await);
    let after = passed();
    (behind.world.dump().await, [after[0] - before[0], after[1] - before[1]])
}

#[tokio::test]
async fn a_start_that_is_cut_anywhere_is_one_start() {
    at_each_place(
        async |behind| {
            behind.world.client.register(&birth(), at(0)).await.unwrap();
            behind.world.enqueue("j", "q", "").await;
            behind.world.enqueue("next", "q", "").await;
        },
        async |behind, ()| insist(async || behind.client.start(&request("e", &["q"])).await).await,
        |reply| match reply {
            StartReply::Job(started) => assert_eq!(started.job, JobId::new("j")),
            other => panic!("{other:?}"),
        },
    )
    .await;
}

#[tokio::test]
async fn an_end_and_a_start_that_are_cut_anywhere_are_one_of_each() {
    for finish in [success, failure] {
        at_each_place(
            async |behind| {
                behind.world.client.register(&birth(), at(0)).await.unwrap();
                let started = behind.world.run("j", "").await;
                behind.world.defer("waits", &["j"], "allow_dependency_failures 1").await;
                behind.world.enqueue("next", "q", "").await;
                started
            },
            async |behind, started| {
                let next = request("e2", &["q"]);
                let finish = finish(started);
                insist(async || behind.client.finish(&finish, Some(&next)).await).await
            },
            |FinishReply { how, next }| {
                assert_ne!(*how, Finished::Gone);
                assert_eq!(taken(next.clone().unwrap()).job, JobId::new("next"));
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_retry_that_is_cut_anywhere_is_one_retry() {
    at_each_place(
        async |behind| {
            behind.world.client.register(&birth(), at(0)).await.unwrap();
            behind.world.run("j", "retries_left 3").await
        },
        async |behind, started| {
            let finish = failure(started);
            insist(async || behind.client.finish(&finish, None).await).await
        },
        |FinishReply { how, .. }| {
            assert!(matches!(how, Finished::Retried { left: 2 } | Finished::Already), "{how:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_release_that_is_cut_anywhere_is_one_release() {
    at_each_place(
        async |behind| {
            behind.world.client.register(&birth(), at(0)).await.unwrap();
            behind.world.run("j", "").await
        },
        async |behind, started| {
            insist(async || behind.client.release(&started.worker, started, at(20)).await).await
        },
        |_| {},
    )
    .await;
}

#[tokio::test]
async fn heartbeats_births_and_deaths_that_are_cut_anywhere_leave_one_record() {
    at_each_place(
        async |behind| {
            behind.world.client.register(&birth(), at(0)).await.unwrap();
            behind.world.run("j", "").await
        },
        async |behind, started| {
            let ttl = Duration::from_mins(2);
            insist(async || behind.client.job_heartbeat(&birth(), started, ttl, at(20)).await).await
        },
        |beat| assert!(!beat.job_gone),
    )
    .await;
    at_each_place(
        async |_| {},
        async |behind, ()| {
            insist(async || behind.client.heartbeat(&birth(), WorkerState::Idle, at(9)).await).await
        },
        |_| {},
    )
    .await;
    at_each_place(
        async |_| {},
        async |behind, ()| {
            insist(async || match behind.client.register(&birth(), at(0)).await {
                Err(rq::RegisterError::Redis(error)) => Err(error),
                Err(taken) => panic!("{taken}"),
                Ok(()) => Ok(()),
            })
            .await;
        },
        |()| {},
    )
    .await;
    at_each_place(
        async |behind| behind.world.client.register(&birth(), at(0)).await.unwrap(),
        async |behind, ()| insist(async || behind.client.death(&birth(), at(9)).await).await,
        |()| {},
    )
    .await;
}
