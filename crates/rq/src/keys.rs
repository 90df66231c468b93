//! The only place in Rust that spells a Redis key; `scripts/keys.lua` is its twin for keys
//! that depend on what a script finds. The whole table is in the documentation of the crate.

use crate::names::{QueueName, WorkerName};

/// Makes keys with RQ's prefix (`RQ_KEY_PREFIX`).
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys that begin with `prefix`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
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

    /// The keys of rate limits.
    pub fn rate_limits(&self) -> String {
        format!("{}:rl-keys", self.prefix)
    }

    /// The lock under which one scheduler moves the jobs of a queue.
    pub fn scheduler_lock(&self, queue: &QueueName) -> String {
        format!("{}:scheduler-lock:{queue}", self.prefix)
    }

    /// Exists while workers are suspended.
    pub fn suspended(&self) -> String {
        format!("{}:suspended", self.prefix)
    }
}
