//! The configuration module, or a Django project's settings: Python, so Python executes it, in a
//! process of its own.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rq::QueueName;
use serde_json::{Map, Value, json};

use super::interpreter::Interpreter;

const SCRIPT: &str = include_str!("../../python/read_config.py");
/// How long a module may take to be imported, in seconds.
const IMPORT_SECONDS_MAX: u32 = 60;
/// The signal that ends it then.
const SIGALRM: i32 = 14;

/// What is read.
#[derive(Clone, Copy, Debug)]
pub enum Module<'a> {
    /// A configuration module.
    Config(&'a str),
    /// The settings module of a Django project, and the queues that it is asked about.
    Django(&'a str, &'a [QueueName]),
}

impl Module<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Config(name) | Self::Django(name, _) => name,
        }
    }
}

impl fmt::Display for Module<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(name) => write!(f, "configuration module {name}"),
            Self::Django(name, _) => write!(f, "Django settings {name}"),
        }
    }
}

/// The module is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the {module} cannot be read: {reason}")]
pub struct ConfigError {
    /// What it is, with its name.
    pub module: String,
    /// The last line of its traceback, or what else happened.
    pub reason: String,
}

/// Imports the module as RQ or django-rq does, and returns its settings in RQ's names; `path` is
/// appended to `sys.path`.
pub fn read(
    interpreter: &Interpreter,
    module: Module<'_>,
    path: &[PathBuf],
) -> Result<Map<String, Value>, ConfigError> {
    let failed = |reason: String| ConfigError { module: module.to_string(), reason };
    let queues = match module {
        Module::Config(_) => None,
        Module::Django(_, queues) => Some(queues.iter().map(QueueName::as_str).collect::<Vec<_>>()),
    };
    let asked = json!({
        "module": module.name(),
        "django": queues.is_some(),
        "queues": queues,
        "seconds": IMPORT_SECONDS_MAX,
        "path": path,
    });
    let output = Command::new(&interpreter.executable)
        .args(["-c", SCRIPT, &asked.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.signal() == Some(SIGALRM) {
        return Err(failed(format!("its import takes longer than {IMPORT_SECONDS_MAX} s")));
    }
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.trim_end().lines().last().map(str::to_owned);
        return Err(failed(last.unwrap_or_else(|| format!("Python ended ({})", output.status))));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}
