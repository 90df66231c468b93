//! The heartbeats of a job that was taken, beside whatever it waits for: the job's answer never
//! waits for Redis, and a heartbeat that Redis does not take is held until it does.

use std::pin::Pin;
use std::time::Duration;

use rq::{Started, WorkerBirth};

use super::Shared;
use crate::clock;
use crate::event::Event;
use crate::shutdown::Phase;

/// The heartbeats of one job. At most one is held: it says the time at which it is written.
pub(super) struct Pulse<'a> {
    shared: &'a Shared,
    birth: &'a WorkerBirth,
    job: &'a Started,
    held: Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>,
}

impl<'a> Pulse<'a> {
    /// None on its way yet.
    pub(super) fn new(shared: &'a Shared, birth: &'a WorkerBirth, job: &'a Started) -> Self {
        Self { shared, birth, job, held: None }
    }

    /// Sends one that keeps the execution alive for `ttl`, unless one is on its way still.
    pub(super) fn beat(&mut self, ttl: Duration) {
        let (shared, birth, job) = (self.shared, self.birth, self.job);
        self.held.get_or_insert_with(|| {
            Box::pin(async move {
                let beat = || shared.client.job_heartbeat(birth, job, ttl, clock::wall());
                let what = "store the heartbeat of a job";
                let found = shared.outage.insist(&shared.orders, Phase::Cold, what, beat).await;
                if found.is_some_and(|found| found.registered_again) {
                    shared.report(&Event::Registered { worker: birth.name.clone() });
                }
            })
        });
    }

    /// Brings what is held on its way; waits for ever when nothing is. Safe to cancel.
    pub(super) async fn carried(&mut self) {
        match &mut self.held {
            Some(beat) => beat.await,
            None => std::future::pending().await,
        }
        self.held = None;
    }
}
