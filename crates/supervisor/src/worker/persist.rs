//! Asking Redis until it answers.
//!
//! `start` and `finish` are idempotent, so a request whose answer was lost is simply sent
//! again. An outage is said once when it begins and once when it ends, whoever notices.

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
        Self { since: Arc::default(), reporter }
    }

    fn began(&self, error: &rq::Error) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_none() {
            *since = Some(Moment::now());
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
    /// [`REFUSALS_MAX`] times (which was said), or a stop has become cold during an outage.
    pub async fn insist<T, F: Future<Output = Result<T, rq::Error>>>(
        &self,
        orders: &watch::Receiver<Orders>,
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
            if Phase::Cold <= orders.borrow().phase {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A stop that turns cold must not wait for the pause.
                () = reached(orders, Phase::Cold) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
