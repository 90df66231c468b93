//! The only place in Rust that spells a Redis key; `scripts/keys.lua` is its twin for keys
//! that depend on what a script finds. The whole table is in the documentation of the crate.

use crate::error::ConnectError;
use crate::names::{QueueName, WorkerName};

/// Makes keys with RQ's prefix (`RQ_KEY_PREFIX`).
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys that begin with `prefix`; as RQ, only of characters that mean nothing in its templates.
    pub fn new(prefix: impl Into<String>) -> Result<Self, ConnectError> {
        let prefix = prefix.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:{}-".contains(c);
        if prefix.is_empty() || !prefix.chars().all(allowed) {
            return Err(ConnectError::KeyPrefix { prefix });
        }
        Ok(Self { prefix })
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The list of a queue.
    pub fn queue(&self, queue: &QueueName) -> String {
        format!("{}:queue:{queue}", self.prefix)
    }

    /// The record of a worker.
    pub fn worker(&self, worker: &WorkerName) -> String {
        format!("{}:worker:{worker}", self.prefix)
    }

    /// What the record of a worker begins with.
    pub fn worker_prefix(&self) -> String {
        format!("{}:worker:", self.prefix)
    }

    /// The keys of rate limits.
    pub fn rate_limits(&self) -> String {
        format!("{}:rl-keys", self.prefix)
    }

    /// What a registry (`wip`, `finished`, ...) lists of a queue.
    pub fn registry(&self, registry: &str, queue: &QueueName) -> String {
        format!("{}:{registry}:{queue}", self.prefix)
    }

    /// The keys of all workers.
    pub fn workers(&self) -> String {
        format!("{}:workers", self.prefix)
    }

    /// The keys of the workers of a queue.
    pub fn queue_workers(&self, queue: &QueueName) -> String {
        format!("{}:workers:{queue}", self.prefix)
    }

    /// The names of all groups.
    pub fn groups(&self) -> String {
        format!("{}:groups", self.prefix)
    }

    /// What the key of a group begins with.
    pub fn group_prefix(&self) -> String {
        format!("{}:group:", self.prefix)
    }

    /// What the key of a job begins with.
    pub fn job_prefix(&self) -> String {
        format!("{}:job:", self.prefix)
    }

    /// The lock under which one worker cleans the registries of a queue.
    pub fn registries_lock(&self, queue: &QueueName) -> String {
        format!("{}:clean_registries:{queue}", self.prefix)
    }

    /// The lock under which one worker cleans the groups.
    pub fn groups_lock(&self) -> String {
        format!("{}:clean_groups", self.prefix)
    }

    /// The lock under which one scheduler moves the jobs of a queue.
    pub fn scheduler_lock(&self, queue: &QueueName) -> String {
        format!("{}:scheduler-lock:{queue}", self.prefix)
    }

    /// The channel on which a worker takes commands.
    pub fn pubsub(&self, worker: &WorkerName) -> String {
        format!("{}:pubsub:{worker}", self.prefix)
    }

    /// Exists while workers are suspended.
    pub fn suspended(&self) -> String {
        format!("{}:suspended", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_what_rq_allows() {
        for prefix in ["rq", "{app}:rq", "a.b_c-D:9"] {
            assert_eq!(Keys::new(prefix).unwrap().suspended(), format!("{prefix}:suspended"));
        }
        for prefix in ["", "a b", "a%s", "ä", "a\n"] {
            assert!(matches!(Keys::new(prefix), Err(ConnectError::KeyPrefix { .. })), "{prefix}");
        }
    }
}
