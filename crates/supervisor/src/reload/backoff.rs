//! Pauses before what keeps dying is started again: pure.
//!
//! The first death is answered at once; then the pauses double, and after a number of deaths in a
//! row there is no further attempt until something changes.

use std::time::Duration;

use crate::clock::Moment;

/// First pause; doubles up to [`RETRY_PAUSE_MAX`].
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_mins(1);
/// What lived this long counts as sound: the next death is the first of its row.
pub const SOUND_AFTER: Duration = Duration::from_mins(2);
/// Pauses are up to one part in so many longer, so that workers that died together do not all
/// start together.
const JITTER: u32 = 4;

/// When the next attempt is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Now.
    AtOnce,
    /// Then.
    At(Moment),
    /// Never, unless something changes.
    Never,
}

/// Counts deaths in a row.
#[derive(Debug)]
pub struct Backoff {
    restarts_max: u32,
    deaths: u32,
}

impl Backoff {
    /// Allows so many restarts in a row.
    pub fn new(restarts_max: u32) -> Self {
        Self { restarts_max, deaths: 0 }
    }

    /// Something changed: begins a new row.
    pub fn reset(&mut self) {
        self.deaths = 0;
    }

    /// How many died in a row.
    pub fn deaths(&self) -> u32 {
        self.deaths
    }

    /// One has died at `now` that had `lived` so long; tells when to try again.
    pub fn died(&mut self, now: Moment, lived: Duration) -> Attempt {
        if SOUND_AFTER <= lived {
            self.reset();
        }
        self.deaths += 1;
        if self.restarts_max < self.deaths {
            return Attempt::Never;
        }
        // The second death waits for the first pause.
        let Some(doublings) = self.deaths.checked_sub(2) else { return Attempt::AtOnce };
        let pause = (RETRY_PAUSE * 2_u32.saturating_pow(doublings.min(16))).min(RETRY_PAUSE_MAX);
        Attempt::At(now + pause + jitter(pause, now))
    }
}

/// The microseconds of a moment are as good as random.
fn jitter(pause: Duration, now: Moment) -> Duration {
    let random = (now.nanos() / 1_000 % 1_000) as u32;
    pause / JITTER * random / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    #[test]
    fn pauses_double_and_end_for_good_until_something_changes() {
        let mut backoff = Backoff::new(10);
        let mut pauses = Vec::new();
        loop {
            match backoff.died(at(0), Duration::ZERO) {
                Attempt::AtOnce => pauses.push(0),
                Attempt::At(due) => pauses.push(due.since(at(0)).as_secs()),
                Attempt::Never => break,
            }
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.died(at(0), Duration::ZERO), Attempt::Never);
        backoff.reset();
        assert_eq!(backoff.died(at(0), Duration::ZERO), Attempt::AtOnce);
    }

    #[test]
    fn what_lived_for_long_begins_a_new_row() {
        let mut backoff = Backoff::new(1);
        assert_eq!(backoff.died(at(0), Duration::ZERO), Attempt::AtOnce);
        assert_eq!(backoff.died(at(0), SOUND_AFTER), Attempt::AtOnce);
        assert_eq!(backoff.died(at(0), Duration::ZERO), Attempt::Never);
    }

    #[test]
    fn a_pause_is_never_shorter_and_at_most_a_quarter_longer() {
        for micros in 0..1_000 {
            let mut backoff = Backoff::new(10);
            let now = at(micros * 1_000);
            backoff.died(now, Duration::ZERO);
            let Attempt::At(due) = backoff.died(now, Duration::ZERO) else { panic!() };
            let pause = due.since(now);
            assert!(RETRY_PAUSE <= pause && pause <= RETRY_PAUSE * 5 / 4, "{pause:?}");
        }
    }
}
