//! Asking Redis until it answers.
//!
//! `start` and `finish` are idempotent, so a request whose answer was lost is simply sent
//! again. An outage is said once when it begins and once when it ends, whoever notices.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{Orders, reached};
use crate::clock::Moment;
use crate::event::{Event, Reporter};
use crate::shutdown::Phase;

/// First pause after a failed request; doubles up to [`PAUSE_MAX`].
pub const PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two attempts (as RQ).
pub const PAUSE_MAX: Duration = Duration::from_mins(1);
/// How often a request that Redis itself refuses is sent before it is given up.
pub const REFUSALS_MAX: u32 = 10;

/// The state of the connection, shared by all slots.
#[derive(Clone)]
pub struct Outage {
    since: Arc<Mutex<Option<Moment>>>,
    /// How many there have been.
    count: Arc<AtomicU64>,
    reporter: Reporter,
}

impl std::fmt::Debug for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outage").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Outage {
    /// No outage yet.
    pub fn new(reporter: Reporter) -> Self {
        Self { since: Arc::default(), count: Arc::default(), reporter }
    }

    /// How many outages there have been; after one, records may have vanished.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// For how long Redis has not answered; none if it does.
    pub fn lasts(&self) -> Option<Duration> {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| Moment::now().since(since))
    }

    fn began(&self, error: &rq::Error) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_none() {
            *since = Some(Moment::now());
            self.count.fetch_add(1, Ordering::Relaxed);
            (self.reporter)(&Event::RedisLost { error: error.to_string() });
        }
    }

    fn ended(&self) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(began) = since.take() {
            (self.reporter)(&Event::RedisBack { after: Moment::now().since(began) });
        }
    }

    /// Sends a request until it is answered. None: it was given up, because Redis refused it
    /// [`REFUSALS_MAX`] times (which was said), or a stop has reached `give_up_at` meanwhile.
    pub async fn insist<T, F: Future<Output = Result<T, rq::Error>>>(
        &self,
        orders: &watch::Receiver<Orders>,
        give_up_at: Phase,
        what: &str,
        request: impl Fn() -> F,
    ) -> Option<T> {
        let mut pause = PAUSE;
        let mut refusals = 0;
        loop {
            match request().await {
                Ok(answer) => {
                    self.ended();
                    return Some(answer);
                }
                Err(error) if error.is_connection() => self.began(&error),
                Err(error) => {
                    refusals += 1;
                    let text = format!("Redis refused to {what}: {error}");
                    (self.reporter)(&Event::Warning(text));
                    if refusals == REFUSALS_MAX {
                        return None;
                    }
                }
            }
            if give_up_at <= orders.borrow().phase {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A stop must not wait for the pause.
                () = reached(orders, give_up_at) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
