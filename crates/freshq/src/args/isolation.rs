//! How jobs are separated from each other.

use clap::{Args as ClapArgs, ValueEnum};
use supervisor::settings::{self, ReuseLimits};

use super::classes::WorkerClass;
use super::limits::BYTES_PER_MB;
use super::{Origin, Origins};
use crate::env_vars;
use crate::error::Error;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Isolation")]
pub(crate) struct IsolationArgs {
    /// How jobs are separated: `fork`, a process for each; `reuse`, one for many, as RQ's
    /// `SimpleWorker`; `spawn`, an interpreter for each that imports everything itself [default: fork]
    #[arg(long, env = "FRESHQ_ISOLATION", value_enum)]
    isolation: Option<Isolation>,

    /// With `reuse`: a process runs no more than this many jobs (also `MAX_JOBS_BEFORE_RESTART`)
    #[arg(long, value_name = "N", env = "FRESHQ_MAX_JOBS_PER_HORSE",
          value_parser = clap::value_parser!(u64).range(1..))]
    max_jobs_per_horse: Option<u64>,

    /// With `reuse`: a process that has more memory after a job, without what it shares with the
    /// loaded code, runs no other (also `WORKER_MAX_MEMORY_MB`)
    #[arg(long, value_name = "MB", env = "FRESHQ_MAX_MEMORY",
          value_parser = clap::value_parser!(u64).range(1..=u64::MAX / BYTES_PER_MB))]
    max_memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    Fork,
    Reuse,
    Spawn,
}

impl IsolationArgs {
    /// What was asked for, by an option or by RQ's class of workers; the limits mean nothing where each
    /// job has a process of its own.
    pub(crate) fn isolation(
        &self,
        class: &WorkerClass,
        origins: &Origins,
    ) -> Result<settings::Isolation, Error> {
        // The variables of hand-made scripts go before the file, as all variables.
        let limit = |field, given: Option<u64>, variable| match given {
            Some(most) if Origin::File < origins.get(field) => Ok(Some(most)),
            _ if env_vars::get(variable).is_none() => Ok(given),
            _ => env_vars::limit(variable),
        };
        let max_jobs = limit(
            "max_jobs_per_horse",
            self.max_jobs_per_horse,
            env_vars::MAX_JOBS_BEFORE_RESTART,
        )?;
        let max_memory = limit("max_memory", self.max_memory, env_vars::WORKER_MAX_MEMORY_MB)?;
        let max_memory = max_memory.map(|mb| mb.saturating_mul(BYTES_PER_MB));
        let asked = match (self.isolation, class) {
            (None, WorkerClass::Spawn) => Isolation::Spawn,
            (None, WorkerClass::Simple) => Isolation::Reuse,
            (asked, _) => asked.unwrap_or(Isolation::Fork),
        };
        Ok(match asked {
            Isolation::Fork => settings::Isolation::Fork,
            Isolation::Spawn => settings::Isolation::Spawn,
            Isolation::Reuse => settings::Isolation::Reuse(ReuseLimits { max_jobs, max_memory }),
        })
    }
}
