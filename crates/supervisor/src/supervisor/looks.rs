//! Looks of the watcher that polls, and the jobs that wait for them: pure.
//!
//! A job waits for a look that began after it was taken. One look serves all that asked before it began.

use std::time::Duration;

use crate::clock::Moment;

/// How long jobs wait for a look; a file system that does not answer holds them no longer.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(10);

/// What a look has done at its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended<T> {
    /// Those who waited for it.
    pub(super) served: Vec<T>,
    /// It is one that was wanted.
    pub(super) wanted: bool,
}

/// Which look runs, and who waits for which.
#[derive(Debug)]
pub(super) struct Looks<T> {
    /// The look that runs, and since when.
    running: Option<Moment>,
    /// When the next is due.
    due: Moment,
    /// Served by the one that runs.
    served: Vec<T>,
    /// Served by the next.
    next: Vec<T>,
    /// Something else needs the next as soon as it can begin.
    wanted: bool,
    /// The one that runs was wanted.
    running_wanted: bool,
}

impl<T> Looks<T> {
    /// The first look is due at once.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            running: None,
            due: now,
            served: Vec::new(),
            next: Vec::new(),
            wanted: false,
            running_wanted: false,
        }
    }

    /// Somebody waits for a look that begins from now on. Given back if looks take too long.
    pub(super) fn wait(&mut self, who: T, now: Moment) -> Option<T> {
        if self.is_overdue(now) {
            return Some(who);
        }
        self.next.push(who);
        None
    }

    /// A look is wanted that begins from now on.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// The next look is due then, if not before.
    pub(super) fn hasten(&mut self, due: Moment) {
        self.due = self.due.min(due);
    }

    /// Whether a look is to begin now; it is taken for begun.
    pub(super) fn begin(&mut self, now: Moment) -> bool {
        let asked = self.wanted || !self.next.is_empty();
        if self.running.is_some() || (!asked && now < self.due) {
            return false;
        }
        self.running = Some(now);
        self.running_wanted = std::mem::take(&mut self.wanted);
        self.served = std::mem::take(&mut self.next);
        true
    }

    /// The look has ended, and the next is due at `due`.
    pub(super) fn end(&mut self, due: Moment) -> Ended<T> {
        self.running = None;
        self.due = due;
        Ended { served: std::mem::take(&mut self.served), wanted: self.running_wanted }
    }

    /// Those who have waited for too long, when a look does not end.
    pub(super) fn give_up(&mut self, now: Moment) -> Vec<T> {
        if !self.is_overdue(now) {
            return Vec::new();
        }
        self.take_waiting()
    }

    /// All who wait.
    pub(super) fn take_waiting(&mut self) -> Vec<T> {
        let mut waiting = std::mem::take(&mut self.served);
        waiting.append(&mut self.next);
        waiting
    }

    /// Whether the look that runs is waited for no longer.
    pub(super) fn is_overdue(&self, now: Moment) -> bool {
        self.running.is_some_and(|began| LOOK_MAX <= now.since(began))
    }

    /// When something is due: the next look, or the end of patience with the one that runs.
    pub(super) fn next_deadline(&self, now: Moment) -> Option<Moment> {
        match self.running {
            Some(_) if self.is_overdue(now) => None,
            Some(began) => Some(began + LOOK_MAX),
            None if self.wanted || !self.next.is_empty() => Some(now),
            None => Some(self.due),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use embedded::testing::fuzz;

    use super::*;
    use crate::fuzz_tests::steps;

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_look_serves_those_who_asked_before_it_began() {
        let mut looks = Looks::new(at(1));
        assert_eq!(looks.wait("a", at(0)), None);
        assert_eq!(looks.wait("b", at(0)), None);
        assert!(looks.begin(at(0)), "somebody waits");
        assert_eq!(looks.wait("c", at(0)), None);
        assert!(!looks.begin(at(0)), "one runs");
        assert_eq!(looks.end(at(9)), Ended { served: vec!["a", "b"], wanted: false });
        assert!(looks.begin(at(1)), "somebody waits");
        looks.want();
        assert_eq!(looks.end(at(9)).served, ["c"], "it began before another was wanted");
        assert!(looks.begin(at(8)), "wanted");
        assert_eq!(looks.end(at(9)), Ended { served: vec![], wanted: true });
        assert!(!looks.begin(at(8)), "not due");
        assert_eq!(looks.next_deadline(at(8)), Some(at(9)));
        assert!(looks.begin(at(9)), "due");
        looks.end(at(20));
        looks.hasten(at(15));
        looks.hasten(at(17));
        assert_eq!(looks.next_deadline(at(9)), Some(at(15)));
    }

    #[test]
    fn a_look_that_does_not_end_holds_nobody_for_ever() {
        let mut looks = Looks::new(at(0));
        assert_eq!(looks.wait("a", at(0)), None);
        assert!(looks.begin(at(0)));
        assert_eq!(looks.wait("b", at(1)), None);
        assert!(looks.give_up(at(9)).is_empty());
        assert_eq!(looks.next_deadline(at(9)), Some(at(10)));
        assert_eq!(looks.give_up(at(10)), ["a", "b"]);
        assert_eq!(looks.next_deadline(at(10)), None);
        assert_eq!(looks.wait("c", at(11)), Some("c"));
        assert!(looks.end(at(12)).served.is_empty());
        assert_eq!(looks.wait("d", at(12)), None, "it has ended after all");
    }

    #[test]
    fn whatever_happens_each_is_served_once_by_a_look_that_began_later() {
        fuzz(&steps(), |input| {
            let (mut looks, mut seconds) = (Looks::new(at(0)), 0);
            let (mut waiting, mut running) = (BTreeSet::new(), None);
            for (step, byte) in input.iter().enumerate() {
                seconds += u64::from(byte / 8) % 4;
                let now = at(seconds);
                match byte % 8 {
                    // Who waits is called by the step at which that began.
                    0 | 1 if looks.wait(step, now).is_none() => assert!(waiting.insert(step)),
                    2 => looks.want(),
                    3 | 4 if looks.begin(now) => assert_eq!(running.replace(step), None),
                    5 | 6 if running.is_some() => {
                        let ended = looks.end(at(seconds + 3));
                        let since = running.take();
                        for asked in ended.served {
                            assert!(Some(asked) < since && waiting.remove(&asked));
                        }
                    }
                    7 => {
                        for asked in looks.give_up(now) {
                            assert!(looks.is_overdue(now) && waiting.remove(&asked));
                        }
                    }
                    _ => {}
                }
                let is_seen_to = looks.next_deadline(now).is_some() || looks.is_overdue(now);
                assert!(waiting.is_empty() || is_seen_to);
            }
            assert_eq!(looks.take_waiting().into_iter().collect::<BTreeSet<_>>(), waiting);
        });
    }
}
