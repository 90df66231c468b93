//! Changes that wait until version control is done with the files: pure.
//!
//! While a lock is held, a checkout may be half done: one generation of it would be one too many, and
//! perhaps broken. A lock that is held for [`LOCK_WAIT_MAX`] while nothing changes was left behind, and
//! counts no more until it has been away.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Moment;
use crate::watch::Change;

/// How long changes wait for a lock when no more come.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long they wait for it at all.
const LOCK_WAIT_TOTAL_MAX: Duration = Duration::from_mins(2);
/// Between two looks whether a lock is still held.
const LOCK_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What becomes of the changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There are none, or they wait.
    Nothing,
    /// The lock is gone: what happened until then is to be found out first.
    LookAgain,
    /// They are complete.
    Take(BTreeMap<PathBuf, Change>),
    /// They have waited for too long.
    TakeAnyway(BTreeMap<PathBuf, Change>),
}

/// Changes that wait.
#[derive(Debug, Default)]
pub(super) struct Settling {
    held: BTreeMap<PathBuf, Change>,
    /// Since when they wait for the lock, and when the last of them came.
    since: Option<(Moment, Moment)>,
    /// More came since the lock was looked at.
    more: bool,
    /// The lock was held for too long, and has not been away since.
    distrusted: bool,
    /// A look at the disk is on its way, without which they are not known to be complete.
    looking: bool,
}

impl Settling {
    /// Changes were found, after those before.
    pub(super) fn add(&mut self, changes: BTreeMap<PathBuf, Change>) {
        self.more |= !changes.is_empty();
        for (path, change) in changes {
            match (self.held.remove(&path), change) {
                (Some(Change::Created), Change::Removed) => continue,
                (Some(Change::Created), Change::Written) => self.held.insert(path, Change::Created),
                (Some(Change::Removed), Change::Created) => self.held.insert(path, Change::Written),
                _ => self.held.insert(path, change),
            };
        }
    }

    /// Whether changes wait.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether it matters if the lock is held.
    pub(super) fn depends_on_lock(&self) -> bool {
        self.holds() || self.distrusted
    }

    /// When to look at the lock again.
    pub(super) fn next_deadline(&self, now: Moment) -> Option<Moment> {
        self.since.filter(|_| self.holds()).map(|_| now + LOCK_LOOK_INTERVAL)
    }

    /// A look at the disk begins on which the changes depend.
    pub(super) fn wait_for_look(&mut self) {
        self.looking = true;
    }

    /// Whether such a look has not ended.
    pub(super) fn waits_for_look(&self) -> bool {
        self.looking
    }

    /// A look at the disk has ended.
    pub(super) fn looked(&mut self) {
        self.looking = false;
    }

    /// What becomes of the changes, if the lock is `locked` now.
    pub(super) fn judge(&mut self, locked: bool, now: Moment) -> Verdict {
        self.distrusted &= locked;
        if self.held.is_empty() {
            self.since = None;
            return Verdict::Nothing;
        }
        if self.looking {
            return Verdict::Nothing;
        }
        if !locked && self.since.take().is_some() {
            return Verdict::LookAgain;
        }
        if !locked || self.distrusted {
            return Verdict::Take(std::mem::take(&mut self.held));
        }
        let (since, last) = self.since.get_or_insert((now, now));
        if std::mem::take(&mut self.more) {
            *last = now;
        }
        if now.since(*last) < LOCK_WAIT_MAX && now.since(*since) < LOCK_WAIT_TOTAL_MAX {
            return Verdict::Nothing;
        }
        self.distrusted = true;
        self.since = None;
        Verdict::TakeAnyway(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use embedded::testing::fuzz;

    use super::*;
    use crate::fuzz_tests::steps;

    fn change(name: &str) -> BTreeMap<PathBuf, Change> {
        BTreeMap::from([(name.into(), Change::Written)])
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn without_a_lock_nothing_waits() {
        let mut settling = Settling::default();
        assert_eq!(settling.judge(true, at(1)), Verdict::Nothing);
        settling.add(change("a"));
        assert_eq!(settling.judge(false, at(1)), Verdict::Take(change("a")));
        assert!(!settling.holds() && settling.next_deadline(at(1)).is_none());
    }

    #[test]
    fn changes_wait_for_the_lock_and_then_for_one_more_look() {
        let mut settling = Settling::default();
        settling.add(change("a"));
        assert_eq!(settling.judge(true, at(1)), Verdict::Nothing);
        assert!(settling.holds() && settling.next_deadline(at(1)).is_some());
        settling.add(change("b"));
        assert_eq!(settling.judge(false, at(9)), Verdict::LookAgain);
        settling.wait_for_look();
        assert_eq!(settling.judge(false, at(9)), Verdict::Nothing);
        assert!(settling.next_deadline(at(9)).is_none());
        settling.looked();
        let both = change("a").into_iter().chain(change("b")).collect();
        assert_eq!(settling.judge(false, at(9)), Verdict::Take(both));
    }

    #[test]
    fn a_lock_that_was_left_behind_counts_once() {
        let mut settling = Settling::default();
        settling.add(change("a"));
        assert_eq!(settling.judge(true, at(1)), Verdict::Nothing);
        assert_eq!(settling.judge(true, at(10)), Verdict::Nothing);
        assert_eq!(settling.judge(true, at(11)), Verdict::TakeAnyway(change("a")));
        settling.add(change("b"));
        assert_eq!(settling.judge(true, at(12)), Verdict::Take(change("b")));
        assert_eq!(settling.judge(false, at(13)), Verdict::Nothing);
        settling.add(change("c"));
        assert_eq!(settling.judge(true, at(14)), Verdict::Nothing, "another lock counts again");
    }

    #[test]
    fn a_lock_is_waited_for_as_long_as_something_happens() {
        let mut settling = Settling::default();
        for second in 1..120 {
            settling.add(change("a"));
            assert_eq!(settling.judge(true, at(second)), Verdict::Nothing);
        }
        settling.add(change("a"));
        assert_eq!(
            settling.judge(true, at(121)),
            Verdict::TakeAnyway(change("a")),
            "but not for ever"
        );
    }

    #[test]
    fn changes_of_one_file_are_one() {
        use Change::{Created, Removed, Written};
        for (first, second, both) in [
            (Created, Written, Some(Created)),
            (Created, Removed, None),
            (Removed, Created, Some(Written)),
            (Written, Removed, Some(Removed)),
        ] {
            let mut settling = Settling::default();
            settling.add(BTreeMap::from([("a".into(), first)]));
            settling.add(BTreeMap::from([("a".into(), second)]));
            assert_eq!(settling.held.get(&PathBuf::from("a")).copied(), both);
        }
    }

    #[test]
    fn whatever_happens_changes_are_taken_once_and_not_forgotten() {
        fuzz(&steps(), |input| {
            let (mut settling, mut seconds) = (Settling::default(), 0);
            let mut added = BTreeMap::new();
            for byte in input {
                seconds += u64::from(byte / 8) % 4;
                let now = at(seconds);
                match byte % 8 {
                    0..3 => {
                        let name = (byte / 32).to_string();
                        settling.add(change(&name));
                        added.append(&mut change(&name));
                    }
                    3 => settling.wait_for_look(),
                    4 => settling.looked(),
                    locked => match settling.judge(locked < 7, now) {
                        Verdict::Take(taken) => assert_eq!(taken, std::mem::take(&mut added)),
                        Verdict::TakeAnyway(taken) => {
                            assert_eq!(taken, std::mem::take(&mut added));
                            assert!(locked < 7);
                        }
                        Verdict::LookAgain => assert_eq!(locked, 7),
                        Verdict::Nothing => {
                            let waits = settling.next_deadline(now).is_some();
                            assert!(added.is_empty() || settling.waits_for_look() || waits);
                        }
                    },
                }
                assert_eq!(settling.holds(), !added.is_empty());
            }
            settling.looked();
            let last = [settling.judge(false, at(seconds)), settling.judge(false, at(seconds))];
            assert!(added.is_empty() || last.contains(&Verdict::Take(added)));
        });
    }
}
