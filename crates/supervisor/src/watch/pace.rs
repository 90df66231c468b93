//! How often to poll, and what a job can be promised: pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Part of one core's time that polling may take: 1 %.
const SHARE_OF_A_CORE: u32 = 100;
/// What a look at all files may cost for each job to wait for one of its own.
pub const BARRIER_COST_MAX: Duration = Duration::from_secs(1);
/// The cheapest of so many looks counts: the others were disturbed.
const LOOKS: usize = 8;

/// What looks have cost, and what follows.
#[derive(Debug)]
pub struct Pace {
    asked: Duration,
    costs: VecDeque<Duration>,
}

impl Pace {
    /// The user wants a look this often.
    pub fn new(asked: Duration) -> Self {
        Self { asked, costs: VecDeque::with_capacity(LOOKS) }
    }

    /// A look has taken so long.
    pub fn note(&mut self, cost: Duration) {
        if self.costs.len() == LOOKS {
            self.costs.pop_front();
        }
        self.costs.push_back(cost);
    }

    /// What a look costs.
    pub fn cost(&self) -> Duration {
        self.costs.iter().min().copied().unwrap_or_default()
    }

    /// Time from the end of a look to the next.
    pub fn interval(&self) -> Duration {
        self.asked.max(self.cost() * SHARE_OF_A_CORE)
    }

    /// Whether looks take so long that there are fewer than the user wants.
    pub fn is_slowed(&self) -> bool {
        self.asked < self.interval()
    }

    /// Whether each job waits for a look that begins after it was taken. If not, this is how old a save
    /// can be that it does not see.
    pub fn misses(&self) -> Option<Duration> {
        let cost = self.cost();
        // A look sees what was saved before it began.
        (BARRIER_COST_MAX < cost).then(|| self.interval() + cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(costs: &[u32]) -> Pace {
        let mut pace = Pace::new(500 * MS);
        for cost in costs {
            pace.note(*cost * MS);
        }
        pace
    }

    #[test]
    fn a_cheap_look_is_had_as_often_as_asked() {
        for costs in [&[][..], &[1, 2], &[5, 5]] {
            let pace = pace(costs);
            assert_eq!((pace.interval(), pace.is_slowed()), (500 * MS, false));
            assert_eq!(pace.misses(), None);
        }
    }

    #[test]
    fn a_dear_look_is_had_less_often() {
        let pace = pace(&[30, 20, 40]);
        assert_eq!((pace.interval(), pace.is_slowed()), (2_000 * MS, true));
        assert_eq!(pace.misses(), None, "a job waits for it all the same");
    }

    #[test]
    fn a_very_dear_look_makes_no_job_wait() {
        let pace = pace(&[2_000]);
        assert_eq!(pace.misses(), Some(202_000 * MS));
    }

    #[test]
    fn a_look_that_was_disturbed_does_not_count() {
        let mut pace = pace(&[9_000, 1]);
        assert_eq!(pace.cost(), MS);
        for _ in 0..LOOKS {
            pace.note(4_000 * MS);
        }
        assert!(pace.misses().is_some(), "but it counts if all are");
    }
}
