//! Asking Redis until it answers.
//!
//! `start` and `finish` are idempotent, so a request whose answer was lost is simply sent
//! again. An outage is said once when it begins and once when it ends, whoever notices: it ends when
//! no request is left that Redis does not answer. Whoever is answered first wakes the others.
//!
//! What is held meanwhile has its limit in the slots: each asks for one thing at a time, and takes no
//! next job before the end of the last one is recorded.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::{Orders, reached};
use crate::clock::Moment;
use crate::event::{Event, Reporter};
use crate::shutdown::Phase;

/// First pause after a failed request; doubles up to [`PAUSE_MAX`].
pub const PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two attempts: how late it may be noticed that Redis is back.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long an answer is still waited for, and asked for again, once a stop has made it needless.
pub const LAST_ANSWER_MAX: Duration = Duration::from_secs(1);
/// How often a request that Redis itself refuses is sent before it is given up.
pub const REFUSALS_MAX: u32 = 25;

/// The state of the connection, shared by all slots.
#[derive(Clone)]
pub struct Outage {
    state: Arc<Mutex<State>>,
    /// Wakes requests that wait for their next attempt.
    answered: Arc<Notify>,
    /// How many there have been.
    count: Arc<AtomicU64>,
    reporter: Reporter,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Moment>,
    /// Requests that Redis does not answer.
    unanswered: usize,
}

/// A request that Redis does not answer, until it is answered or given up.
struct Unanswered<'a>(&'a Outage);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.with_state(|state| state.unanswered -= 1);
    }
}

impl std::fmt::Debug for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outage").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Outage {
    /// No outage yet.
    pub fn new(reporter: Reporter) -> Self {
        Self { state: Arc::default(), answered: Arc::default(), count: Arc::default(), reporter }
    }

    /// How many outages there have been; after one, records may have vanished.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// For how long Redis has not answered; none if it does.
    pub fn lasts(&self) -> Option<Duration> {
        self.with_state(|state| state.since).map(|since| Moment::now().since(since))
    }

    fn with_state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn began(&self, error: &rq::Error) -> Unanswered<'_> {
        self.with_state(|state| {
            state.unanswered += 1;
            if state.since.is_none() {
                state.since = Some(Moment::now());
                self.count.fetch_add(1, Ordering::Relaxed);
                (self.reporter)(&Event::RedisLost { error: error.to_string() });
            }
        });
        Unanswered(self)
    }

    /// A request was answered, perhaps one that had not been.
    fn ended(&self, unanswered: Option<Unanswered<'_>>) {
        if unanswered.is_some() {
            drop(unanswered);
            self.answered.notify_waiters();
        }
        self.with_state(|state| {
            if state.unanswered == 0
                && let Some(began) = state.since.take()
            {
                (self.reporter)(&Event::RedisBack { after: Moment::now().since(began) });
            }
        });
    }

    /// Sends a request until it is answered. None: it was given up, because Redis refused it
    /// [`REFUSALS_MAX`] times (which was said), or a stop has reached `give_up_at` and then
    /// [`LAST_ANSWER_MAX`] has passed. A request that is given up may still be carried out.
    pub async fn insist<T, F: Future<Output = Result<T, rq::Error>>>(
        &self,
        orders: &watch::Receiver<Orders>,
        give_up_at: Phase,
        what: &str,
        request: impl Fn() -> F,
    ) -> Option<T> {
        let mut pause = PAUSE;
        let mut refusals = 0;
        let mut unanswered = None;
        let mut over = pin!(async {
            reached(orders, give_up_at).await;
            tokio::time::sleep(LAST_ANSWER_MAX).await;
        });
        loop {
            // From before the request on, so that no answer to another is missed.
            let answered = self.answered.notified();
            let answer = tokio::select! {
                biased;
                answer = request() => answer,
                // Redis may hang, which is noticed late.
                () = &mut over => return None,
            };
            match answer {
                Ok(answer) => {
                    self.ended(unanswered);
                    return Some(answer);
                }
                Err(error) if error.is_outage() => {
                    unanswered = unanswered.or_else(|| Some(self.began(&error)));
                }
                Err(error) => {
                    refusals += 1;
                    if self.refused(what, &error, refusals) {
                        return None;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = answered, if unanswered.is_some() => {}
                // A stop must not wait for the pause.
                () = &mut over => return None,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Says the first and the last refusal; returns whether this is the last.
    fn refused(&self, what: &str, error: &rq::Error, refusals: u32) -> bool {
        let is_last = refusals == REFUSALS_MAX;
        let then = if is_last { "it is given up" } else { "it is tried again" };
        if refusals == 1 || is_last {
            let text = format!("Redis refused to {what}: {error}; {then}");
            (self.reporter)(&Event::Warning(text));
        }
        is_last
    }
}
