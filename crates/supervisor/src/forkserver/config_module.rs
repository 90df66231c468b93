//! The configuration module: Python, so Python executes it, in a process of its own.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use super::interpreter::Interpreter;

const SCRIPT: &str = include_str!("../../python/read_config.py");
/// How long a module may take to be imported, in seconds.
const IMPORT_SECONDS_MAX: u32 = 60;
/// The signal that ends it then.
const SIGALRM: i32 = 14;

/// The module is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the configuration module {module:?} cannot be read: {reason}")]
pub struct ConfigError {
    /// Its name.
    pub module: String,
    /// The last line of its traceback, or what else happened.
    pub reason: String,
}

/// Imports the module as RQ does, and returns its settings; `path` is appended to `sys.path`.
pub fn read(
    interpreter: &Interpreter,
    module: &str,
    path: &[PathBuf],
) -> Result<Map<String, Value>, ConfigError> {
    let failed = |reason: String| ConfigError { module: module.to_owned(), reason };
    let output = Command::new(&interpreter.executable)
        .args(["-c", SCRIPT, module, &IMPORT_SECONDS_MAX.to_string()])
        .args(path)
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
