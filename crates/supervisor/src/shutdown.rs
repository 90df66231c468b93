//! How a stop climbs: pure.
//!
//! Running < Warm < Overdue < Cold < Abort. A phase never goes back. Rules of RQ: a repeat within a
//! second of the first signal is the same request (a terminal and a process manager both
//! send one); a later one kills the jobs. A third ends the supervisor at once. A warm stop that
//! has a limit climbs by itself when that is over, as far as to cold; signals count as before.

use std::time::Duration;

use crate::clock::Moment;

/// A second signal sooner than this after the first is a repeat of it (as RQ).
pub const REPEAT_WITHIN: Duration = Duration::from_secs(1);
/// How long a job that was told to end may take before its processes are killed.
pub const JOB_END_GRACE: Duration = Duration::from_secs(3);

/// How far a stop has gone; later ones include the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Jobs are taken.
    Running,
    /// No new jobs; running ones finish.
    Warm,
    /// Running jobs take too long and are told to end.
    Overdue,
    /// Running jobs are killed and recorded.
    Cold,
    /// Nothing is waited for.
    Abort,
}

/// The stop, as far as it has gone.
#[derive(Debug)]
pub struct Shutdown {
    /// How long it may be warm.
    warm_max: Option<Duration>,
    phase: Phase,
    /// The furthest that was asked for.
    asked: Phase,
    asked_at: Option<Moment>,
    /// When it climbs by itself.
    due: Option<Moment>,
}

impl Shutdown {
    /// No stop yet; a warm one may last so long.
    pub fn new(warm_max: Option<Duration>) -> Self {
        let running = Phase::Running;
        Self { warm_max, phase: running, asked: running, asked_at: None, due: None }
    }

    /// How far it has gone.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Goes at least this far, whatever was asked for.
    pub fn climb_to(&mut self, phase: Phase, now: Moment) {
        self.asked = self.asked.max(phase);
        self.reach(phase, now);
    }

    /// A stop was asked for, by a signal; returns the new phase if that changed anything.
    pub fn request(&mut self, now: Moment) -> Option<Phase> {
        let repeat = self.asked_at.is_some_and(|at| now.since(at) < REPEAT_WITHIN);
        if repeat {
            return None;
        }
        self.asked = match self.asked {
            Phase::Running => Phase::Warm,
            Phase::Warm | Phase::Overdue => Phase::Cold,
            Phase::Cold => Phase::Abort,
            Phase::Abort => return None,
        };
        self.asked_at = Some(now);
        self.reach(self.asked, now)
    }

    /// When to call [`Self::tick`] next.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.due
    }

    /// Climbs if that is due; returns the new phase.
    pub fn tick(&mut self, now: Moment) -> Option<Phase> {
        self.due.filter(|due| *due <= now)?;
        let next = if self.phase < Phase::Overdue { Phase::Overdue } else { Phase::Cold };
        self.reach(next, now)
    }

    fn reach(&mut self, phase: Phase, now: Moment) -> Option<Phase> {
        if phase <= self.phase {
            return None;
        }
        self.phase = phase;
        self.due = match phase {
            Phase::Warm => self.warm_max.map(|most| now + most),
            Phase::Overdue => Some(now + JOB_END_GRACE),
            Phase::Running | Phase::Cold | Phase::Abort => None,
        };
        Some(phase)
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
        let mut shutdown = Shutdown::new(None);
        assert_eq!(shutdown.request(at(0)), Some(Phase::Warm));
        assert_eq!(shutdown.next_deadline(), None);
        assert_eq!(shutdown.request(at(2_000)), Some(Phase::Cold));
        assert_eq!(shutdown.request(at(4_000)), Some(Phase::Abort));
        assert_eq!(shutdown.request(at(6_000)), None);
        assert_eq!(shutdown.phase(), Phase::Abort);
    }

    #[test]
    fn a_repeat_within_a_second_is_the_same_request() {
        let mut shutdown = Shutdown::new(None);
        shutdown.request(at(0));
        assert_eq!(shutdown.request(at(999)), None);
        assert_eq!(shutdown.phase(), Phase::Warm);
        assert_eq!(shutdown.request(at(1_000)), Some(Phase::Cold));
    }

    #[test]
    fn a_warm_stop_with_a_limit_climbs_by_itself() {
        let mut shutdown = Shutdown::new(Some(Duration::from_secs(5)));
        assert_eq!(shutdown.next_deadline(), None);
        shutdown.request(at(1_000));
        assert_eq!(shutdown.tick(at(5_999)), None);
        assert_eq!(shutdown.next_deadline(), Some(at(6_000)));
        assert_eq!(shutdown.tick(at(6_000)), Some(Phase::Overdue));
        assert_eq!(shutdown.next_deadline(), Some(at(6_000) + JOB_END_GRACE));
        assert_eq!(shutdown.tick(at(6_000) + JOB_END_GRACE), Some(Phase::Cold));
        assert_eq!((shutdown.next_deadline(), shutdown.tick(at(99_000))), (None, None));
    }

    /// Somebody who wants the jobs killed does not know that they just were.
    #[test]
    fn a_second_signal_never_ends_at_once_what_has_become_cold_by_itself() {
        let mut shutdown = Shutdown::new(Some(Duration::ZERO));
        shutdown.request(at(0));
        shutdown.tick(at(0));
        shutdown.tick(at(10_000));
        assert_eq!(shutdown.request(at(10_001)), None);
        assert_eq!(shutdown.phase(), Phase::Cold);
        assert_eq!(shutdown.request(at(12_000)), Some(Phase::Abort));
    }

    /// Invariant 6: whatever comes when, the phase only climbs, and signals one step at a time.
    #[test]
    fn phases_only_climb() {
        for warm_max in [None, Some(Duration::ZERO), Some(Duration::from_secs(2))] {
            for gap in [1, 300, 999, 1_000, 1_001, 5_000] {
                let mut shutdown = Shutdown::new(warm_max);
                let mut before = shutdown.phase();
                for step in 0..20 {
                    let asked = shutdown.request(at(step * gap));
                    assert!(before < Phase::Warm || asked != Some(Phase::Warm));
                    assert!(Phase::Cold <= before || asked != Some(Phase::Abort));
                    shutdown.tick(at(step * gap));
                    assert!(before <= shutdown.phase());
                    before = shutdown.phase();
                }
            }
        }
    }
}
