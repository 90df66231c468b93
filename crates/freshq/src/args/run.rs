//! What `freshq worker` and `freshq worker-pool` come down to: one supervisor with some slots.

use std::path::Path;

use super::{LifeArgs, PoolArgs, SharedArgs, WorkerArgs};

/// A command that runs workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) shared: &'a SharedArgs,
    pub(crate) life: &'a LifeArgs,
    pub(crate) kind: Kind<'a>,
    /// How many workers.
    pub(crate) count: u16,
}

/// Which of the two it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind<'a> {
    Worker { name: Option<&'a String>, pid: Option<&'a Path> },
    Pool,
}

impl Run<'_> {
    /// The name that was given.
    pub(crate) fn name(&self) -> Option<&String> {
        match self.kind {
            Kind::Worker { name, .. } => name,
            Kind::Pool => None,
        }
    }

    /// Where the process id is to be written.
    pub(crate) fn pid(&self) -> Option<&Path> {
        match self.kind {
            Kind::Worker { pid, .. } => pid,
            Kind::Pool => None,
        }
    }
}

impl WorkerArgs {
    pub(crate) fn run(&self) -> Run<'_> {
        let kind = Kind::Worker { name: self.name.as_ref(), pid: self.pid.as_deref() };
        Run { shared: &self.shared, life: &self.life, kind, count: self.num_workers }
    }
}

impl PoolArgs {
    pub(crate) fn run(&self) -> Run<'_> {
        Run { shared: &self.shared, life: &self.life, kind: Kind::Pool, count: self.num_workers }
    }
}
