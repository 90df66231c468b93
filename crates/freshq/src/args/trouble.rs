//! The options about code that does not come up, or does not stay up.

use clap::{Args as ClapArgs, ValueEnum};

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Trouble")]
pub(crate) struct TroubleArgs {
    /// Seconds that importing your modules may take; then the code counts as broken
    #[arg(
        long,
        value_name = "SECONDS",
        env = "FRESHQ_LOAD_TIMEOUT",
        default_value_t = supervisor::settings::GENERATION_LOAD_MAX.as_secs() as u32,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) load_timeout: u32,

    /// A job whose process died with it, killed by a signal or together with the worker: `fail` as with RQ,
    /// which runs it again if it has retries, or `requeue` at the front of its queue, at most three times
    #[arg(long, env = "FRESHQ_ON_LOST", value_enum, default_value_t = OnLost::Fail)]
    pub(crate) on_lost: OnLost,

    /// Restarts in a row of a process that runs your code and dies, with pauses from 1 s to 60 s;
    /// then the next save is waited for, or the worker ends
    #[arg(long, value_name = "N", env = "FRESHQ_MAX_RESTARTS", default_value_t = 10)]
    pub(crate) max_restarts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLost {
    Fail,
    Requeue,
}
