//! Everything that runs during the demo, set up and taken down in order.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use embedded::cache::{cache_folder, create_private, temporary_folder};
use embedded::python::{self, DEMO_PACKAGES, Step};
use embedded::redis::{Options, RedisServer, find_server};
use fs_err as fs;
use serde_json::Value;

use super::client::Client;
use super::interrupt::Interrupt;
use super::screen::Screen;
use super::worker::{self, Worker};
use super::{DemoError, example};
use crate::env_vars;

/// From the start of the worker until it listens; its first start imports nothing heavy.
const READY_SECONDS_MAX: u64 = 60;

/// All that runs. The fields are dropped in this order: first who asks, then who works, then where
/// the jobs are.
#[derive(Debug)]
pub(super) struct Stage {
    client: Client,
    pub(super) worker: Worker,
    redis: RedisServer,
    pub(super) folders: Folders,
    pub(super) python: PathBuf,
    pub(super) screen: Arc<Screen>,
    interrupt: Interrupt,
}

/// Where the demo's files are.
#[derive(Debug)]
pub(super) struct Folders {
    /// The copy of the application; the worker's current folder.
    pub(super) application: PathBuf,
    /// Everything else, removed at the end.
    scratch: PathBuf,
    /// Held while this demo uses the usual folder for the application. Never read.
    _lock: File,
    /// The copy stays, for the user to play with the next time.
    pub(super) keep: bool,
}

impl Stage {
    /// Prepares and starts everything, and says what.
    pub(super) fn set_up(screen: &Arc<Screen>, interrupt: Interrupt) -> Result<Self, DemoError> {
        let python = prepare_python(screen, &interrupt)?;
        let folders = Folders::make()?;
        example::copy_to(&folders.application)?;
        let redis = start_redis(screen, &python, &folders.scratch)?;
        screen.fact("project", &home_text(&folders.application), None);
        let command = format!("freshq {}", worker::ARGUMENTS.join(" "));
        screen.fact("worker", &command, None);
        screen.gap();
        let client = Client::start(&python, &folders.scratch, redis.url())?;
        let worker = Worker::start(&python, &folders.application, redis.url(), screen)?;
        let screen = screen.clone();
        let mut stage = Self { client, worker, redis, folders, python, screen, interrupt };
        stage.ask("ready", &[])?;
        stage.next("the worker's start", READY_SECONDS_MAX)?;
        stage.worker.hear_out();
        Ok(stage)
    }

    /// Asks the client for something.
    pub(super) fn ask(&mut self, what: &str, arguments: &[(&str, Value)]) -> Result<(), DemoError> {
        self.client.ask(what, arguments)
    }

    /// The client's next event.
    pub(super) fn next(&mut self, what: &'static str, seconds: u64) -> Result<Value, DemoError> {
        let (worker, interrupt) = (&mut self.worker, &self.interrupt);
        let mut check =
            || if interrupt.is_noted() { Err(DemoError::Interrupted) } else { worker.check() };
        self.client.next(what, Duration::from_secs(seconds), &mut check)
    }

    /// Fails if the worker has ended or the user wants the demo to.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        if self.interrupt.is_noted() {
            return Err(DemoError::Interrupted);
        }
        self.worker.check()
    }

    pub(super) fn redis_url(&self) -> &str {
        self.redis.url()
    }

    /// Stops everything in order. Fails if the worker did not end well.
    pub(super) fn take_down(self) -> Result<(), DemoError> {
        let Self { client, mut worker, redis, folders, .. } = self;
        drop(client);
        let status = worker.stop()?;
        redis.stop()?;
        drop(folders);
        if status.success() { Ok(()) } else { Err(DemoError::WorkerEndedBadly { status }) }
    }
}

impl Folders {
    fn make() -> io::Result<Self> {
        let usual = cache_folder().join("demo");
        create_private(&usual)?;
        let lock = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(usual.join("lock"))?
            .into_parts()
            .0;
        let scratch = temporary_folder()?;
        // Always the same folder, because freshq remembers for each project what its jobs import;
        // if another demo is using it, one of our own.
        let application = if lock.try_lock().is_ok() { usual } else { scratch.clone() };
        let application = application.join("app");
        if application.symlink_metadata().is_ok() {
            fs::remove_dir_all(&application)?;
        }
        Ok(Self { application, scratch, _lock: lock, keep: false })
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        if !self.keep {
            fs::remove_dir_all(&self.application).ok();
        }
        fs::remove_dir_all(&self.scratch).ok();
    }
}

fn prepare_python(screen: &Screen, interrupt: &Interrupt) -> Result<PathBuf, DemoError> {
    let began = Instant::now();
    let folder = cache_folder().join("demo");
    let prepared = python::prepare(&folder, DEMO_PACKAGES, &mut |step| match step {
        Step::Waiting => screen.line("another freshq is preparing the Python environment; waiting"),
        Step::Creating { python, version } => {
            let base = format!("{} ({version})", home_text(python));
            screen.note("prepare", &format!("a Python environment, once, from {base}"));
        }
        Step::LeftOut { package, why } => {
            screen.note("prepare", &format!("without {package}: {why}"));
        }
        Step::Installing { line } if screen.in_place() => screen.passing_fact("", line),
        // Without a terminal only what was asked for, not what that needs in turn.
        Step::Installing { line } => {
            let package = line.strip_prefix("Collecting ");
            if package.is_some_and(|package| DEMO_PACKAGES.contains(&package)) {
                screen.fact("", line, None);
            }
        }
        _ => {}
    });
    screen.clear();
    let python = match prepared {
        Ok(environment) => environment.python,
        Err(_) if interrupt.is_noted() => return Err(DemoError::Interrupted),
        Err(error) => return Err(error.into()),
    };
    if interrupt.is_noted() {
        return Err(DemoError::Interrupted);
    }
    let version = "import sys; print('%d.%d.%d' % sys.version_info[:3])";
    let output = Command::new(&python).args(["-I", "-S", "-c", version]).output()?;
    let version = String::from_utf8_lossy(&output.stdout);
    let packages = DEMO_PACKAGES.iter().filter(|name| !name.starts_with("redis"));
    let packages = packages.map(|name| name.replace("==", " ")).collect::<Vec<_>>().join(", ");
    let text = format!("Python {} with {packages}", version.trim());
    screen.fact("python", &text, Some(began.elapsed()));
    Ok(python)
}

fn start_redis(screen: &Screen, python: &Path, scratch: &Path) -> Result<RedisServer, DemoError> {
    let began = Instant::now();
    let binary = find_server(Some(python))?;
    let folder = scratch.join("redis");
    let redis = RedisServer::start(&binary, &folder, Options { append_only: true })?;
    let text = format!("{} {}, private, on port {}", binary.kind, binary.version, redis.port());
    screen.fact("redis", &text, Some(began.elapsed()));
    Ok(redis)
}

/// A path as people write it.
pub(super) fn home_text(path: &Path) -> String {
    let home =
        env_vars::get(env_vars::HOME).map(PathBuf::from).filter(|home| 1 < home.as_os_str().len());
    match home.and_then(|home| path.strip_prefix(home).ok().map(Path::to_path_buf)) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}
