//! `freshq status`, `freshq reload` and `freshq rollback`: they ask running workers at their control sockets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use embedded::cache::{project_mark, socket_folders};
use supervisor::control::status::Status;
use supervisor::control::{Answer, Request, socket};
use supervisor::event::Event;
use supervisor::reload::machine::RollBackCause;

use crate::args::{ControlArgs, StatusArgs};
use crate::console::{Console, Level, LogStyle, Logging, Printer, status_page};
use crate::error::Error;
use crate::exit;

/// How long a worker may take to say how it is.
const STATUS_MAX: Duration = Duration::from_secs(5);
/// How long a reload is waited for: a base may have to be started before, and may take its time.
const RELOAD_MAX: Duration = Duration::from_mins(10);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Runs `freshq status`.
pub(crate) fn status(args: &StatusArgs) -> Result<u8, Error> {
    let here = current_folder()?;
    let mut statuses: Vec<Status> = Vec::new();
    let code = ask_all(&args.which, &here, Request::Status, |answer, _| match answer {
        Answer::Status(status) => {
            statuses.push(*status);
            Ok(exit::OK)
        }
        other => Err(unexpected(other)),
    })?;
    let out = Printer::stdout();
    if args.json {
        let text = serde_json::to_string_pretty(&statuses);
        out.line(&text.map_err(|error| Error::Control(error.to_string()))?);
    } else {
        status_page::print(&statuses, &here, &out);
    }
    Ok(code)
}

/// Runs `freshq reload`.
pub(crate) fn reload(args: &ControlArgs) -> Result<u8, Error> {
    change(args, Request::Reload)
}

/// Runs `freshq rollback`.
pub(crate) fn rollback(args: &ControlArgs) -> Result<u8, Error> {
    change(args, Request::Rollback)
}

/// Has workers run other code, and prints what came of it.
fn change(args: &ControlArgs, request: Request) -> Result<u8, Error> {
    let here = current_folder()?;
    let console = Console::new(
        Logging { style: LogStyle::Columns, threshold: Level::Info, describes_jobs: true },
        here.clone(),
    );
    ask_all(args, &here, request, |answer, pid| {
        let (event, code) = match answer {
            Answer::Serving(serving) => (Event::GenerationServing(*serving), exit::OK),
            Answer::Canary { canary, jobs, serving } => {
                (Event::CanaryBegun { canary: *canary, jobs, serving }, exit::OK)
            }
            Answer::RolledBack { from, to } => {
                (Event::RolledBack { from, to, cause: RollBackCause::Requested }, exit::OK)
            }
            Answer::Broken(broken) => (Event::GenerationBroken(*broken), exit::BROKEN),
            other => return Err(unexpected(other)),
        };
        if let Some(pid) = pid {
            Printer::stdout().line(&format!("pid {pid}"));
        }
        console.print(&event);
        Ok(code)
    })
}

fn current_folder() -> Result<PathBuf, Error> {
    std::env::current_dir().map_err(|error| Error::Io { what: "find the current folder", error })
}

/// Asks all workers that are meant at once, and takes their answers one after the other; `take` is
/// also given the process if there are several. Returns the worst exit code.
fn ask_all(
    args: &ControlArgs,
    here: &Path,
    request: Request,
    mut take: impl FnMut(Answer, Option<u32>) -> Result<u8, Error>,
) -> Result<u8, Error> {
    let project = (!args.all && args.pid.is_none()).then(|| project_mark(here));
    let folders = socket_folders();
    let found = folders.iter().flat_map(|folder| socket::find(folder, project.as_deref()));
    let mut meant: Vec<_> = found
        .filter_map(|path| Some((socket::pid_of(&path)?, path)))
        .filter(|(pid, _)| args.pid.is_none_or(|wanted| *pid == wanted))
        .collect();
    meant.sort();
    if meant.is_empty() {
        return Err(Error::NoneRuns { folder: here.to_path_buf(), pid: args.pid, all: args.all });
    }
    let several = 1 < meant.len();
    let asked: Vec<_> =
        meant.into_iter().map(|(pid, path)| (pid, Conversation::begin(&path, request))).collect();
    let mut worst = exit::OK;
    for (pid, begun) in asked {
        let result = begun.and_then(Conversation::answer).map_err(|why| (pid, why));
        match result {
            Ok(answer) => worst = worst.max(take(answer, several.then_some(pid))?),
            Err((pid, why)) => {
                Printer::stderr().error(&Error::Control(format!("worker process {pid}: {why}")));
                worst = worst.max(exit::FAILURE);
            }
        }
    }
    Ok(worst)
}

fn unexpected(answer: Answer) -> Error {
    Error::Control(match answer {
        Answer::Error(why) => why,
        other => format!("it answered something else than was asked: {other:?}"),
    })
}

/// A question that was asked.
struct Conversation {
    stream: UnixStream,
    limit: Duration,
}

impl Conversation {
    fn begin(path: &Path, request: Request) -> Result<Self, String> {
        let limit = match request {
            Request::Status | Request::Rollback => STATUS_MAX,
            Request::Reload => RELOAD_MAX,
        };
        let begun = || {
            let mut stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(STATUS_MAX))?;
            stream.set_read_timeout(Some(limit))?;
            let line = serde_json::to_string(&request)?;
            stream.write_all(format!("{line}\n").as_bytes())?;
            Ok(Self { stream, limit })
        };
        begun().map_err(|error: std::io::Error| format!("it cannot be asked: {error}"))
    }

    fn answer(self) -> Result<Answer, String> {
        let mut line = String::new();
        let mut answers = BufReader::new(self.stream.take(ANSWER_BYTES_MAX));
        match answers.read_line(&mut line) {
            Ok(0) => Err("it has ended".to_owned()),
            Ok(_) => serde_json::from_str(&line).map_err(|error| {
                format!("its answer cannot be read, is it another version? {error}")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Err(format!("no answer came within {} s", self.limit.as_secs()))
            }
            Err(error) => Err(format!("its answer cannot be read: {error}")),
        }
    }
}
