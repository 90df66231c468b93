//! In which order a slot looks into its queues: pure.

use std::fmt;
use std::str::FromStr;

use rq::QueueName;

/// What a job that was taken changes in the order of the queues (RQ's names).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Nothing: always the order given.
    #[default]
    Default,
    /// The queue that had it comes last, and those behind it first.
    RoundRobin,
    /// Everything, by chance.
    Random,
}

/// A strategy that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStrategy;

impl fmt::Display for UnknownStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the dequeue strategy can only be one of `default`, `random` or `round_robin`")
    }
}

impl std::error::Error for UnknownStrategy {}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        match name {
            "default" => Ok(Self::Default),
            "round_robin" => Ok(Self::RoundRobin),
            "random" => Ok(Self::Random),
            _ => Err(UnknownStrategy),
        }
    }
}

/// The queues of a slot, in the order in which it looks into them next.
#[derive(Debug)]
pub struct QueueOrder {
    strategy: Strategy,
    queues: Vec<QueueName>,
    /// State of the chance.
    seed: u64,
}

impl QueueOrder {
    /// The order given; `seed` is where chance begins.
    pub fn new(strategy: Strategy, queues: Vec<QueueName>, seed: u64) -> Self {
        Self { strategy, queues, seed }
    }

    /// The order.
    pub fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// A job was taken from this queue.
    pub fn taken_from(&mut self, queue: &QueueName) {
        match self.strategy {
            Strategy::Default => {}
            Strategy::RoundRobin => {
                if let Some(position) = self.queues.iter().position(|name| name == queue) {
                    self.queues.rotate_left(position + 1);
                }
            }
            Strategy::Random => {
                for last in (1..self.queues.len()).rev() {
                    let other = self.chance() % (last as u64 + 1);
                    self.queues.swap(last, other as usize);
                }
            }
        }
    }

    /// The next number of splitmix64.
    fn chance(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn order(strategy: Strategy) -> QueueOrder {
        QueueOrder::new(strategy, ["a", "b", "c"].map(QueueName::new).to_vec(), 7)
    }

    fn text(order: &QueueOrder) -> String {
        order.queues().iter().map(QueueName::as_str).collect()
    }

    #[test]
    fn round_robin_begins_behind_the_queue_that_had_a_job() {
        let mut order = order(Strategy::RoundRobin);
        for (queue, expected) in [("a", "bca"), ("c", "abc"), ("b", "cab"), ("b", "cab")] {
            order.taken_from(&QueueName::new(queue));
            assert_eq!(text(&order), expected);
        }
        order.taken_from(&QueueName::new("another"));
        assert_eq!(text(&order), "cab");
    }

    #[test]
    fn the_default_never_changes() {
        let mut order = order(Strategy::Default);
        order.taken_from(&QueueName::new("a"));
        assert_eq!(text(&order), "abc");
    }

    #[test]
    fn by_chance_each_order_comes_about_as_often() {
        let mut order = order(Strategy::Random);
        let mut seen = BTreeMap::new();
        for _ in 0..6_000 {
            order.taken_from(&QueueName::new("a"));
            *seen.entry(text(&order)).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|count| (800..1_200).contains(count)), "{seen:?}");
    }
}
