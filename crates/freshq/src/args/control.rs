//! The options of the commands that talk to running workers.

use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(crate) struct ControlArgs {
    /// All workers of this user, not only those that were started in this folder
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Only the worker with this process id
    #[arg(short, long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) which: ControlArgs,

    /// Print JSON, for tools: a list with one object for each worker process
    #[arg(long)]
    pub(crate) json: bool,
}
