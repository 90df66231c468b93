//! The options that limit how long and how much.

use std::time::Duration;

use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitsArgs {
    /// Seconds that a stop waits for running jobs; then they get SIGTERM, 3 s later SIGKILL
    /// [default: as long as they take]
    #[arg(long, value_name = "SECONDS", env = "FRESHQ_STOP_TIMEOUT")]
    stop_timeout: Option<u32>,

    /// Seconds after its own timeout until a job is killed that does not return to Python
    #[arg(long, value_name = "SECONDS", env = "FRESHQ_TIMEOUT_GRACE",
          default_value_t = supervisor::settings::TIMEOUT_GRACE.as_secs() as u32)]
    timeout_grace: u32,

    /// A job is killed when it and what it has started take more memory than this, without what is
    /// shared with the loaded code [default: no limit]
    #[arg(long, value_name = "MB", env = "FRESHQ_MAX_JOB_MEMORY",
          value_parser = clap::value_parser!(u64).range(1..=u64::MAX / BYTES_PER_MB))]
    max_job_memory: Option<u64>,
}

pub(super) const BYTES_PER_MB: u64 = 1024 * 1024;

impl LimitsArgs {
    pub(crate) fn stop_timeout(&self) -> Option<Duration> {
        self.stop_timeout.map(|seconds| Duration::from_secs(seconds.into()))
    }

    pub(crate) fn max_job_memory(&self) -> Option<u64> {
        self.max_job_memory.map(|mb| mb * BYTES_PER_MB)
    }

    pub(crate) fn timeout_grace(&self) -> Duration {
        Duration::from_secs(self.timeout_grace.into())
    }
}
