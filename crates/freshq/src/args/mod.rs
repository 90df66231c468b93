//! What the user typed; the doc comment of each field is its help.

mod classes;
mod logging;
mod python;
mod redis;
mod reload;
mod worker;

use clap::{Args as ClapArgs, Parser, Subcommand};

pub(crate) use self::classes::ClassArgs;
pub(crate) use self::logging::LogArgs;
pub(crate) use self::python::PythonArgs;
pub(crate) use self::redis::RedisArgs;
pub(crate) use self::reload::{OnBroken, ReloadArgs};
pub(crate) use self::worker::WorkerArgs;

/// A background worker for RQ that runs the newest code, never loses a job, and is fast.
#[derive(Debug, Parser)]
#[command(name = "freshq", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run jobs, as `rq worker` does
    Worker(Box<WorkerArgs>),
    /// See it all in one command: a real application, real jobs, code that changes under them
    Demo(DemoArgs),
    /// Print the URL of the embedded Redis of this project (`-u embedded`), if it runs
    Url,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Leave everything running at the end, to play with
    #[arg(long)]
    pub(crate) keep: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        super::Args::command().debug_assert();
    }
}
