//! A base that dies is replaced, as generations are: at once, then after pauses, and not for ever.

use super::Supervisor;
use crate::clock::Moment;
use crate::reload::backoff::{Attempt, Backoff};

/// The deaths of bases.
#[derive(Debug)]
pub(super) struct BaseDeaths {
    backoff: Backoff,
    /// Since when the newest is ready, if it lives.
    ready: Option<Moment>,
    next: Next,
}

/// What follows the last death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another was started.
    Started,
    /// Another is started then.
    At(Moment),
    /// None, until the code changes.
    Nothing,
}

impl BaseDeaths {
    pub(super) fn new(restarts_max: u32) -> Self {
        Self { backoff: Backoff::new(restarts_max), ready: None, next: Next::Started }
    }

    /// One has imported its libraries.
    pub(super) fn is_ready(&mut self) {
        self.ready = Some(Moment::now());
    }

    /// When another is started.
    pub(super) fn restart_at(&self) -> Option<Moment> {
        match self.next {
            Next::At(at) => Some(at),
            Next::Started | Next::Nothing => None,
        }
    }

    /// One is started.
    pub(super) fn starts(&mut self) {
        self.next = Next::Started;
    }

    fn died(&mut self, now: Moment) -> Attempt {
        let lived = self.ready.take().map(|ready| now.since(ready)).unwrap_or_default();
        let attempt = self.backoff.died(now, lived);
        self.next = match attempt {
            Attempt::AtOnce => Next::Started,
            Attempt::At(at) => Next::At(at),
            Attempt::Never => Next::Nothing,
        };
        attempt
    }
}

impl Supervisor {
    /// The base that generations would be forked from has died.
    pub(super) fn base_died(&mut self) {
        let now = Moment::now();
        match self.base_deaths.died(now) {
            Attempt::AtOnce => {
                self.warn("the base ended; another is started".to_owned());
                self.start_base();
            }
            Attempt::At(at) => {
                let pause = at.since(now).as_secs_f64();
                self.warn(format!("the base ended again; the next attempt is in {pause:.1} s"));
            }
            Attempt::Never => {
                let deaths = self.base_deaths.backoff.deaths();
                self.give_up("base", deaths);
            }
        }
    }

    /// Starts the base that waits for its time.
    pub(super) fn restart_base(&mut self, now: Moment) {
        if self.base_deaths.restart_at().is_some_and(|at| at <= now) {
            self.start_base();
        }
    }

    /// A change of the code, or of what is installed, begins another row.
    pub(super) fn forgive_bases(&mut self) {
        self.base_deaths.backoff.reset();
        if self.base_deaths.next != Next::Started {
            self.start_base();
        }
    }
}
