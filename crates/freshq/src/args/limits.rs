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
}

impl LimitsArgs {
    pub(crate) fn stop_timeout(&self) -> Option<Duration> {
        self.stop_timeout.map(|seconds| Duration::from_secs(seconds.into()))
    }

    pub(crate) fn timeout_grace(&self) -> Duration {
        Duration::from_secs(self.timeout_grace.into())
    }
}
