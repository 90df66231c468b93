//! How often to poll, and what a job can be promised: pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Part of one core's time that polling may take: 1 %.
const SHARE_OF_A_CORE: u32 = 100;
/// Part of the time that may be spent waiting for what is asked: a tenth. Who answers slowly has others
/// to serve.
const SHARE_OF_TIME: u32 = 10;
/// What a look at all files may take for each job to wait for one of its own.
pub const BARRIER_COST_MAX: Duration = Duration::from_secs(1);
/// The cheapest of so many looks counts: the others were disturbed.
const LOOKS: usize = 8;

/// What a look at all files costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// How long it took.
    pub took: Duration,
    /// How much of that a core was busy with it.
    pub cpu: Duration,
}

/// What looks have cost, and what follows.
#[derive(Debug)]
pub struct Pace {
    asked: Duration,
    costs: VecDeque<Cost>,
}

impl Pace {
    /// The user wants a look this often.
    pub fn new(asked: Duration) -> Self {
        Self { asked, costs: VecDeque::with_capacity(LOOKS) }
    }

    /// How often the user wants a look.
    pub fn asked(&self) -> Duration {
        self.asked
    }

    /// A look has cost so much.
    pub fn note(&mut self, cost: Cost) {
        if self.costs.len() == LOOKS {
            self.costs.pop_front();
        }
        self.costs.push_back(cost);
    }

    /// How long a look takes.
    pub fn took(&self) -> Duration {
        self.costs.iter().map(|cost| cost.took).min().unwrap_or_default()
    }

    fn cpu(&self) -> Duration {
        self.costs.iter().map(|cost| cost.cpu).min().unwrap_or_default()
    }

    /// Time from the end of a look to the next.
    pub fn interval(&self) -> Duration {
        self.asked.max(self.cpu() * SHARE_OF_A_CORE).max(self.took() * SHARE_OF_TIME)
    }

    /// Whether looks cost so much that there are fewer than the user wants.
    pub fn is_slowed(&self) -> bool {
        self.asked < self.interval()
    }

    /// Whether each job waits for a look that begins after it was taken. If not, this is how old a save
    /// can be that it does not see.
    pub fn misses(&self) -> Option<Duration> {
        let took = self.took();
        // A look sees what was saved before it began.
        (BARRIER_COST_MAX < took).then(|| self.interval() + took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn cost(cpu: u32, took: u32) -> Cost {
        Cost { took: took * MS, cpu: cpu * MS }
    }

    fn pace(costs: &[Cost]) -> Pace {
        let mut pace = Pace::new(500 * MS);
        for cost in costs {
            pace.note(*cost);
        }
        pace
    }

    #[test]
    fn a_cheap_look_is_had_as_often_as_asked() {
        for costs in [&[][..], &[cost(1, 1), cost(2, 2)], &[cost(5, 50), cost(5, 50)]] {
            let pace = pace(costs);
            assert_eq!((pace.interval(), pace.is_slowed()), (500 * MS, false));
            assert_eq!(pace.misses(), None);
        }
    }

    #[test]
    fn a_dear_look_is_had_less_often() {
        let busy = pace(&[cost(30, 30), cost(20, 90), cost(40, 40)]);
        assert_eq!((busy.interval(), busy.is_slowed()), (2_000 * MS, true));
        assert_eq!(busy.misses(), None, "a job waits for it all the same");
        let slow = pace(&[cost(1, 400)]);
        assert_eq!((slow.interval(), slow.misses()), (4_000 * MS, None));
    }

    #[test]
    fn a_very_dear_look_makes_no_job_wait() {
        let pace = pace(&[cost(100, 2_000)]);
        assert_eq!(pace.misses(), Some(22_000 * MS));
    }

    #[test]
    fn a_look_that_was_disturbed_does_not_count() {
        let mut pace = pace(&[cost(1, 9_000), cost(1, 1)]);
        assert_eq!(pace.took(), MS);
        for _ in 0..LOOKS {
            pace.note(cost(1, 4_000));
        }
        assert!(pace.misses().is_some(), "but it counts if all are");
    }
}
