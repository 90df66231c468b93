//! The command line of freshq: parse, resolve, dispatch.
//!
//! * `args/` is what the user typed, `settings.rs` what follows from it (and from the
//!   environment), `commands/` acts on that and never sees a flag.
//! * An error becomes a message and an exit code here, and nowhere else.
//! * Front ends (`console/`) read events; they decide nothing.

mod args;
mod command_line;
mod commands;
mod console;
mod embedded_redis;
mod env_vars;
mod error;
pub mod exit;
mod pid_file;
mod python;
#[cfg(test)]
mod reference;
mod settings;
mod told;

use std::process::ExitCode;

use crate::args::{Args, Command};
use crate::console::Printer;

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let result = Args::of_process().and_then(|args| match args.command {
        Command::Worker(worker) => commands::worker::run(&worker.run(), &args.origins),
        Command::WorkerPool(pool) => commands::worker::run(&pool.run(), &args.origins),
        Command::Status(status) => commands::control::status(&status),
        Command::Reload(reload) => commands::control::reload(&reload),
        Command::Rollback(rollback) => commands::control::rollback(&rollback),
        Command::Demo(demo) => commands::demo::run_command(&demo),
        Command::StandIn { .. } => commands::stand_in::run(),
        Command::Url => commands::url::run(),
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            Printer::stderr().error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
