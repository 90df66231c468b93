//! What the user typed; the doc comment of each field is its help.

mod classes;
mod control;
mod file;
mod isolation;
mod limits;
mod logging;
mod origin;
mod pool;
mod python;
mod redis;
mod reload;
mod run;
mod shared;
mod trouble;
mod worker;

use std::ffi::OsString;

use clap::error::ContextValue;
use clap::{Args as ClapArgs, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::classes::{ClassArgs, WorkerClass};
pub(crate) use self::control::{ControlArgs, StatusArgs};
pub(crate) use self::isolation::IsolationArgs;
pub(crate) use self::limits::LimitsArgs;
pub(crate) use self::logging::LogArgs;
pub(crate) use self::origin::{Origin, Origins};
pub(crate) use self::pool::PoolArgs;
pub(crate) use self::python::PythonArgs;
pub(crate) use self::redis::RedisArgs;
pub(crate) use self::reload::{OnBroken, ReloadArgs, WatchMode};
pub(crate) use self::run::{Kind, Run};
pub(crate) use self::shared::SharedArgs;
pub(crate) use self::trouble::{OnLost, TroubleArgs};
pub(crate) use self::worker::{LifeArgs, WorkerArgs};
use crate::error::Error;
use crate::{command_line, env_vars};

/// The command that stands for one worker of a pool.
pub(crate) const STAND_IN: &str = "stand-in";

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
        let words: Vec<_> = command_line::take().into_iter().map(spelled_out).collect();
        let matches_in = |whole: &clap::Command| {
            whole
                .clone()
                .try_get_matches_from(&words)
                .unwrap_or_else(|error| discreet(error).exit())
        };
        let typed = matches_in(&whole);
        let Some((name, given)) = typed.subcommand() else { return Self::understood(&typed) };
        let here = std::env::current_dir()
            .map_err(|error| Error::Io { what: "find the current folder", error })?;
        let (whole, in_file) = file::apply(whole, name, given, &here)?;
        let matches = matches_in(&whole);
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

/// Whatever was typed where it makes no sense is shown, but no password of a URL.
fn discreet(mut error: clap::Error) -> clap::Error {
    let texts = error.context().filter_map(|(kind, value)| match value {
        ContextValue::String(text) => Some((kind, command_line::without_passwords(text)?)),
        _ => None,
    });
    for (kind, text) in texts.collect::<Vec<_>>() {
        error.insert(kind, ContextValue::String(text));
    }
    error
}

/// RQ has one option with two letters behind one dash, which elsewhere are two options.
fn spelled_out(word: OsString) -> OsString {
    match word.to_str().and_then(|word| word.strip_prefix("-ds")) {
        Some("") => "--dequeue-strategy".into(),
        Some(rest) if rest.starts_with('=') => format!("--dequeue-strategy{rest}").into(),
        _ => word,
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
    /// Run jobs with several workers, as `rq worker-pool` does; one that ends is replaced
    WorkerPool(Box<PoolArgs>),
    /// Show how the workers of this folder are: which code serves, what runs, what changed last
    Status(StatusArgs),
    /// Load the code anew, as it is on disk now, and wait until it serves or is broken
    Reload(ControlArgs),
    /// Have the generation before the newest run jobs again, at once; a second time: the newer one
    Rollback(ControlArgs),
    /// See it all in one command: a real application, real jobs, code that changes under them
    Demo(DemoArgs),
    /// Stand for one worker of a pool; a pool starts this by itself
    #[command(name = STAND_IN, hide = true)]
    StandIn {
        /// The worker, for people who look at processes
        worker: String,
    },
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
    fn only_the_whole_word_is_the_option_with_two_letters() {
        for (word, expected) in [
            ("-ds", "--dequeue-strategy"),
            ("-ds=random", "--dequeue-strategy=random"),
            ("-d", "-d"),
            ("-dsb", "-dsb"),
            ("ds", "ds"),
        ] {
            assert_eq!(super::spelled_out(word.into()), expected);
        }
    }

    #[test]
    fn the_definition_is_sound() {
        super::Args::command().debug_assert();
    }
}
