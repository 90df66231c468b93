//! The options that `freshq worker` and `freshq worker-pool` share.

use clap::Args as ClapArgs;

use super::{IsolationArgs, LimitsArgs, LogArgs, PythonArgs, RedisArgs, ReloadArgs, TroubleArgs};

#[derive(Debug, ClapArgs)]
pub(crate) struct SharedArgs {
    /// Queues to work on, in order of priority [default: default]
    pub(crate) queues: Vec<String>,

    /// End when the queues are empty
    #[arg(short, long)]
    pub(crate) burst: bool,

    #[command(flatten)]
    pub(crate) redis: RedisArgs,

    #[command(flatten)]
    pub(crate) python: PythonArgs,

    #[command(flatten)]
    pub(crate) isolation: IsolationArgs,

    #[command(flatten)]
    pub(crate) limits: LimitsArgs,

    #[command(flatten)]
    pub(crate) reload: ReloadArgs,

    #[command(flatten)]
    pub(crate) trouble: TroubleArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}
