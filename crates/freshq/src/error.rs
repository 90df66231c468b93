//! What can go wrong before or instead of working: what happened, to what, and what to do.

use std::path::{Path, PathBuf};

use embedded::redis::{FindError, StartError as RedisStartError};
use rq::{ConnectError, RegisterError};
use supervisor::StartError;
use supervisor::forkserver::config_module::ConfigError;
use supervisor::forkserver::interpreter::InterpreterError;
use supervisor::worker::strategy::UnknownStrategy;

use crate::commands::demo::DemoError;
use crate::exit;

/// An error that ends the command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the queues are suspended; `rq resume` lets workers start again")]
    Suspended,
    #[error(transparent)]
    Register(RegisterError),
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{name} in the configuration module has to be {expected}")]
    Setting { name: &'static str, expected: &'static str },
    #[error("{0} is the address of a Redis and not the name of a queue")]
    UrlAsQueue(String),
    #[error(transparent)]
    Strategy(#[from] UnknownStrategy),
    #[error("the process id cannot be written (--pid): {0}")]
    PidFile(std::io::Error),
    #[error("{0}")]
    ProjectFile(String),
    #[error("{0}")]
    Python(String),
    #[error("{0}")]
    Hook(String),
    #[error("the folder {} cannot be used: {reason}", path.display())]
    Folder { path: PathBuf, reason: String },
    #[error("reloading would watch {}, which is too much; name your code's folder with --watch", path.display())]
    WatchesTooMuch { path: PathBuf },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the code is broken and no job may run; mend it and start again")]
    Broken,
    #[error("what runs your code died again and again; see above, and --max-restarts")]
    RestartsUsedUp,
    #[error("{0}")]
    EmbeddedFind(#[from] FindError),
    #[error("{0}")]
    EmbeddedStart(#[from] RedisStartError),
    #[error("{name} died again and again, and the worker ends with it; its log is in {}", folder.display())]
    EmbeddedEnded { name: String, folder: PathBuf },
    #[error("no embedded Redis runs for {}; start one with `freshq worker -u embedded`", .0.display())]
    NoEmbedded(PathBuf),
    #[error("{}", none_runs(folder, *pid, *all))]
    NoneRuns { folder: PathBuf, pid: Option<u32>, all: bool },
    #[error("{0}")]
    Control(String),
    #[error("cannot {what}: {error}")]
    Io { what: &'static str, error: std::io::Error },
    #[error(transparent)]
    Demo(#[from] DemoError),
}

impl Error {
    /// The documented exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Interpreter(_) | Self::Python(_) => exit::PYTHON,
            Self::Folder { .. }
            | Self::WatchesTooMuch { .. }
            | Self::Start(StartError::Watch(_)) => exit::WATCH,
            Self::Usage(_)
            | Self::UrlAsQueue(_)
            | Self::ProjectFile(_)
            | Self::Start(StartError::Glob(_)) => exit::USAGE,
            Self::Broken => exit::BROKEN,
            Self::RestartsUsedUp => exit::RESTARTS,
            Self::EmbeddedFind(_) | Self::EmbeddedStart(_) | Self::EmbeddedEnded { .. } => {
                exit::EMBEDDED
            }
            Self::NoneRuns { .. } => exit::NONE_RUNS,
            Self::Connect(_)
            | Self::Control(_)
            | Self::Config(_)
            | Self::Setting { .. }
            | Self::Strategy(_)
            | Self::PidFile(_)
            | Self::Suspended
            | Self::Register(_)
            | Self::Hook(_)
            | Self::Start(StartError::Io { .. })
            | Self::NoEmbedded(_)
            | Self::Io { .. }
            | Self::Demo(_) => exit::FAILURE,
        }
    }

    /// What to do about it, where that is not plain from the message.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            Self::Connect(ConnectError::Unreachable { .. }) => Some(
                "is Redis running, and is the URL right (-u, REDIS_URL; rediss:// for TLS)? \
                 `-u embedded` starts a private one",
            ),
            Self::UrlAsQueue(_) => {
                Some("give it with -u, or in RQ_REDIS_URL; queues come by themselves")
            }
            Self::Register(_) => Some("without a name (-n) it gets a random one"),
            Self::Interpreter(_) => Some(
                "install rq into one of them (`python -m pip install rq`), or name another with --python",
            ),
            Self::NoneRuns { all: false, pid: None, .. } => {
                Some("start one with `freshq worker`; `--all` looks in all folders")
            }
            _ => None,
        }
    }
}

fn none_runs(folder: &Path, pid: Option<u32>, all: bool) -> String {
    match pid {
        Some(pid) => format!("no freshq worker of yours has the process id {pid}"),
        None if all => "no freshq worker of yours runs".to_owned(),
        None => format!("no freshq worker of yours was started in {}", folder.display()),
    }
}
