//! How a stop climbs: pure.
//!
//! Running < Warm < Cold < Abort. A phase never goes back. Rules of RQ: a repeat within a
//! second of the first signal is the same request (a terminal and a process manager both
//! send one); a later one kills the jobs. A third ends the supervisor at once.

use std::time::Duration;

use crate::clock::Moment;

/// A second signal sooner than this after the first is a repeat of it (as RQ).
pub const REPEAT_WITHIN: Duration = Duration::from_secs(1);

/// How far a stop has gone; later ones include the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Jobs are taken.
    Running,
    /// No new jobs; running ones finish.
    Warm,
    /// Running jobs are killed and recorded.
    Cold,
    /// Nothing is waited for.
    Abort,
}

/// The stop, as far as it has gone.
#[derive(Debug)]
pub struct Shutdown {
    phase: Phase,
    climbed_at: Option<Moment>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { phase: Phase::Running, climbed_at: None }
    }
}

impl Shutdown {
    /// How far it has gone.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Goes at least this far, whatever was asked for.
    pub fn climb_to(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
    }

    /// A stop was asked for, by a signal; returns the new phase if that changed anything.
    pub fn request(&mut self, now: Moment) -> Option<Phase> {
        let repeat = self.climbed_at.is_some_and(|at| now.since(at) < REPEAT_WITHIN);
        if repeat {
            return None;
        }
        let next = match self.phase {
            Phase::Running => Phase::Warm,
            Phase::Warm => Phase::Cold,
            Phase::Cold => Phase::Abort,
            Phase::Abort => return None,
        };
        self.phase = next;
        self.climbed_at = Some(now);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn three_requests_climb_and_a_fourth_changes_nothing() {
        let mut shutdown = Shutdown::default();
        assert_eq!(shutdown.request(at(0)), Some(Phase::Warm));
        assert_eq!(shutdown.request(at(2_000)), Some(Phase::Cold));
        assert_eq!(shutdown.request(at(4_000)), Some(Phase::Abort));
        assert_eq!(shutdown.request(at(6_000)), None);
        assert_eq!(shutdown.phase(), Phase::Abort);
    }

    #[test]
    fn a_repeat_within_a_second_is_the_same_request() {
        let mut shutdown = Shutdown::default();
        shutdown.request(at(0));
        assert_eq!(shutdown.request(at(999)), None);
        assert_eq!(shutdown.phase(), Phase::Warm);
        assert_eq!(shutdown.request(at(1_000)), Some(Phase::Cold));
    }

    /// Invariant 6: whatever comes when, the phase only climbs, one step at a time.
    #[test]
    fn phases_only_climb() {
        for gap in [1, 300, 999, 1_000, 1_001, 5_000] {
            let mut shutdown = Shutdown::default();
            let mut before = shutdown.phase();
            for step in 0..20 {
                shutdown.request(at(step * gap));
                let after = shutdown.phase();
                assert!(before <= after && after as u8 - before as u8 <= 1);
                before = after;
            }
        }
    }
}
