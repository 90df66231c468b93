//! `freshq demo`: the whole point of freshq in one command, with real parts only.
//!
//! It prepares a Python environment, starts a private Redis, a worker with reloading and a real rq
//! client, and plays four scenes on a copy of the example application: jobs with progress and
//! results; an edit that the next job has; a broken save that stops nothing; the mended one. What
//! it shows is checked: if a job failed, ran the wrong code, or the worker ended, the demo fails
//! and says so.
//!
//! It uses the worker only from outside, as a user does: this program's own `worker` command as a
//! child. It must never leave anything running, whichever way it ends, except under `--keep` until
//! Ctrl-C.
//!
//! Read on in `scenes.rs` (what is shown), `stage.rs` (what runs), `example.rs` (what is edited).

mod client;
mod example;
mod interrupt;
mod scenes;
mod screen;
mod stage;
mod table;
mod worker;

use std::io::{self, IsTerminal as _};
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use embedded::python::PrepareError;
use embedded::redis::{FindError, StartError};

use self::interrupt::Interrupt;
use self::screen::{Colour, Look, Screen};
use self::stage::{Stage, home_text};
use crate::args::DemoArgs;
use crate::error::Error;
use crate::{env_vars, exit};

/// The output is made for this width, and never wider.
const WIDTH_MAX: usize = 90;
/// Below this the tables make no sense.
const WIDTH_MIN: usize = 60;
/// How often `--keep` looks whether it should end.
const KEEP_CHECK_MS: u64 = 100;

/// What the demo is asked to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DemoOptions {
    /// Leave the worker and Redis running at the end, until Ctrl-C.
    pub(crate) keep: bool,
    pub(crate) colour: bool,
    /// Lines may be written over, as on a terminal.
    pub(crate) in_place: bool,
    pub(crate) width: usize,
}

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Python(#[from] PrepareError),
    #[error(transparent)]
    RedisMissing(#[from] FindError),
    #[error(transparent)]
    Redis(#[from] StartError),
    #[error("the worker ended ({status}); its last words:\n    {said}")]
    WorkerEnded { status: ExitStatus, said: String },
    #[error("the worker did not stop well ({status})")]
    WorkerEndedBadly { status: ExitStatus },
    #[error("the rq client of the demo ended: {said}")]
    ClientEnded { said: String },
    #[error("{what} took longer than {seconds} s")]
    TooLate { what: &'static str, seconds: u64 },
    #[error("the job for `{job}` failed: {error}")]
    JobFailed { job: String, error: String },
    #[error("a job returned something else than it should: `{got}`, not `{expected}`")]
    Unexpected { expected: String, got: String },
    #[error("interrupted; everything that was started has been stopped")]
    Interrupted,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the command for this terminal.
pub(crate) fn run_command(args: &DemoArgs) -> Result<u8, Error> {
    let terminal = io::stdout().is_terminal();
    let width = if terminal { screen::terminal_width() } else { None };
    run(DemoOptions {
        keep: args.keep,
        colour: terminal && env_vars::get(env_vars::NO_COLOR).is_none(),
        in_place: terminal,
        width: width.unwrap_or(WIDTH_MAX),
    })?;
    Ok(exit::OK)
}

/// Plays the demo.
pub(crate) fn run(options: DemoOptions) -> Result<(), DemoError> {
    let width = options.width.clamp(WIDTH_MIN, WIDTH_MAX) - 1;
    let look = Look { colour: options.colour, in_place: options.in_place, width };
    let screen = Arc::new(screen::standard(look));
    let interrupt = Interrupt::watch()?;
    let title = screen.paint(Colour::Bold, "freshq demo");
    screen.line(&format!("{title}  court documents become jobs, and the code changes under them"));
    screen.gap();
    let mut stage = Stage::set_up(&screen, interrupt)?;
    scenes::play(&mut stage)?;
    if options.keep {
        keep(&mut stage)?;
    }
    screen.gap();
    stage.take_down()?;
    screen.fact("stopped", "the worker and Redis, in this order", None);
    Ok(())
}

/// Says what there is to play with, and waits until the user has had enough.
fn keep(stage: &mut Stage) -> Result<(), DemoError> {
    stage.folders.keep = true;
    let screen: &Screen = &stage.screen;
    let python = home_text(&stage.python);
    let rq = home_text(&stage.python.with_file_name("rq"));
    screen.heading("Yours until Ctrl-C");
    screen.fact("folder", &home_text(&stage.folders.application), None);
    screen.fact("redis", stage.redis_url(), None);
    screen.gap();
    screen.line("In another terminal:");
    screen.gap();
    screen.line(&format!("  cd {}", home_text(&stage.folders.application)));
    screen.line(&format!("  export REDIS_URL={}", stage.redis_url()));
    screen.line("  export RQ_REDIS_URL=$REDIS_URL");
    screen.gap();
    screen.line("Three things to try:");
    screen.gap();
    screen.line("1. Edit a rule in casestrainer/citations.py, save it, and run jobs:");
    screen.line(&format!("     {python} -m casestrainer.enqueue"));
    screen.line("2. Save something broken, and run them again; then mend it.");
    screen.line("3. See the worker as RQ sees it:");
    screen.line(&format!("     {rq} info"));
    screen.gap();
    loop {
        match stage.check() {
            Ok(()) => thread::sleep(Duration::from_millis(KEEP_CHECK_MS)),
            Err(DemoError::Interrupted) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
