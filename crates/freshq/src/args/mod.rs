//! What the user typed; the doc comment of each field is its help.

mod classes;
mod file;
mod isolation;
mod logging;
mod origin;
mod python;
mod redis;
mod reload;
mod worker;

use clap::{Args as ClapArgs, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::classes::ClassArgs;
pub(crate) use self::isolation::IsolationArgs;
pub(crate) use self::logging::LogArgs;
pub(crate) use self::origin::{Origin, Origins};
pub(crate) use self::python::PythonArgs;
pub(crate) use self::redis::RedisArgs;
pub(crate) use self::reload::{OnBroken, ReloadArgs};
pub(crate) use self::worker::WorkerArgs;
use crate::env_vars;
use crate::error::Error;

/// A background worker for RQ that runs the newest code, never loses a job, and is fast.
#[derive(Debug, Parser)]
#[command(name = "freshq", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Where the values of the command's options come from.
    #[arg(skip)]
    pub(crate) origins: Origins,
}

impl Args {
    /// What the command line, the environment and the file in the current folder say, in this
    /// order. A command line that makes no sense ends the process.
    pub(crate) fn of_process() -> Result<Self, Error> {
        let whole = without_empty_variables(Self::command());
        let typed = whole.clone().get_matches();
        let Some((name, given)) = typed.subcommand() else { return Self::understood(&typed) };
        let here = std::env::current_dir()
            .map_err(|error| Error::Io { what: "find the current folder", error })?;
        let (whole, in_file) = file::apply(whole, name, given, &here)?;
        let matches = whole.clone().get_matches();
        let mut args = Self::understood(&matches)?;
        if let Some((command, given)) =
            whole.find_subcommand(name).zip(matches.subcommand_matches(name))
        {
            args.origins = Origins::of(command, given, &in_file);
        }
        Ok(args)
    }

    fn understood(matches: &clap::ArgMatches) -> Result<Self, Error> {
        Self::from_arg_matches(matches).map_err(|error| Error::Usage(error.to_string()))
    }
}

/// An empty variable counts as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let is_empty =
            arg.get_env().is_some_and(|name| env_vars::get(&name.to_string_lossy()).is_none());
        if is_empty { arg.env(clap::builder::Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
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
