//! Which Python: the first candidate that can import rq.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::reaper::was_killed;

/// Tells what must be known of an interpreter, without importing anything slow.
const PROBE: &str = r"
import importlib.metadata, importlib.util, json, os, sys
found = importlib.util.find_spec('rq') is not None
try: rq = importlib.metadata.version('rq') if found else None
except importlib.metadata.PackageNotFoundError: rq = 'unknown'
print(json.dumps({'executable': sys.executable, 'version': '%d.%d.%d' % sys.version_info[:3],
    'rq': rq, 'path': [os.path.abspath(p) for p in sys.path[1:] if p]}))
";
/// Oldest Python that the embedded Python side runs on.
const OLDEST: (u32, u32) = (3, 10);

/// A Python to try, and where it was found.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Path, or a name to look up on PATH.
    pub python: PathBuf,
    /// How people name the place: `VIRTUAL_ENV`, `--python`.
    pub found_by: String,
}

impl Interpreter {
    /// What is learned with one interpreter is of no use to another.
    pub fn identity(&self) -> String {
        format!("{} {} rq {}", self.executable.display(), self.version, self.rq_version)
    }
}

/// The interpreter that runs the jobs.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// Its executable.
    pub executable: PathBuf,
    /// `3.11.7`.
    pub version: String,
    /// Version of its `rq` package.
    pub rq_version: String,
    /// Its import path, absolute.
    pub import_path: Vec<PathBuf>,
    /// Where it was found.
    pub found_by: String,
}

/// No candidate can be used.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// None of them runs jobs; a line for each: what it is and what is wrong with it.
    #[error("no Python with the rq package was found:\n{}", .0.join("\n"))]
    Unusable(Vec<String>),
    /// One was killed while it was asked: a user did that, or the kernel that was short of memory.
    #[error("{} was killed while it was asked for its version", .0.display())]
    Killed(PathBuf),
}

#[derive(Deserialize)]
struct Probed {
    executable: PathBuf,
    version: String,
    rq: Option<String>,
    path: Vec<PathBuf>,
}

/// Probes the candidates in order; the first that can import rq wins. No other takes the place of one that
/// was killed.
pub fn find(candidates: &[Candidate]) -> Result<Interpreter, InterpreterError> {
    let mut tried = Vec::new();
    for candidate in candidates {
        match probe(&candidate.python) {
            Ok(probed) => match usable(&probed) {
                Ok(rq_version) => {
                    return Ok(Interpreter {
                        executable: probed.executable,
                        version: probed.version,
                        rq_version,
                        import_path: probed.path,
                        found_by: candidate.found_by.clone(),
                    });
                }
                Err(problem) => tried.push(line(candidate, &problem)),
            },
            Err(Failure::Killed) => return Err(InterpreterError::Killed(candidate.python.clone())),
            Err(Failure::Of(problem)) => tried.push(line(candidate, &problem)),
        }
    }
    Err(InterpreterError::Unusable(tried))
}

fn line(candidate: &Candidate, problem: &str) -> String {
    format!("  {} ({}): {problem}", candidate.python.display(), candidate.found_by)
}

/// Most characters that are shown of what a program that is no Python says.
const MESSAGE_CHARS_MAX: usize = 120;

fn usable(probed: &Probed) -> Result<String, String> {
    let mut parts = probed.version.split('.').map_while(|part| part.parse::<u32>().ok());
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version < OLDEST {
        return Err(format!(
            "is Python {}, {}.{} or newer is needed",
            probed.version, OLDEST.0, OLDEST.1
        ));
    }
    probed.rq.clone().ok_or_else(|| format!("Python {} has no rq package", probed.version))
}

/// Why one candidate is not told of.
enum Failure {
    /// It was killed, and may be sound.
    Killed,
    /// This is wrong with it.
    Of(String),
}

fn probe(python: &Path) -> Result<Probed, Failure> {
    let output = Command::new(python)
        .args(["-c", PROBE])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::Of(format!("cannot be run: {error}")))?;
    if was_killed(output.status.into_raw()) {
        return Err(Failure::Killed);
    }
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.trim_end().lines().last().unwrap_or("no message");
        let last: String = last.chars().take(MESSAGE_CHARS_MAX).collect();
        return Err(Failure::Of(format!("does not work ({}): {last}", output.status)));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|_| Failure::Of("is not a Python interpreter".to_owned()))
}
