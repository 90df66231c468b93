//! Making the environment and filling it: what venv and pip are told, and what their complaints
//! mean.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::slice;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::base::Base;
use super::{PrepareError, Step};

/// Making a virtual environment takes a few seconds; on a machine under load a few more.
const VENV_SECONDS_MAX: u64 = 300;
/// Fetching and installing everything, on a slow line.
const PIP_SECONDS_MAX: u64 = 1800;
/// How often pip tries again to reach the index. Its own default waits for minutes without a
/// network.
const PIP_RETRIES_MAX: &str = "2";
/// How many of the last lines a message of ours quotes.
const QUOTED_LINES_MAX: usize = 6;
/// How many lines are kept, to find out what went wrong.
const KEPT_LINES_MAX: usize = 200;

/// What pip says when it cannot reach the index, in its own words and those of the libraries below
/// it.
const NETWORK_SIGNS: &[&str] = &[
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "SSLError",
    "Max retries exceeded",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "Connection refused",
];

/// Settings of the user's pip that would put packages elsewhere than into the environment.
const MISLEADING_VARIABLES: &[&str] = &["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER"];

pub(super) fn create_venv(base: &Base, folder: &Path) -> Result<(), PrepareError> {
    let mut command = Command::new(&base.python);
    command.args(["-I", "-m", "venv"]).arg(folder);
    let (status, lines) = run(command, Duration::from_secs(VENV_SECONDS_MAX), &mut |_| {})?;
    if status.is_some_and(|status| status.success()) {
        return Ok(());
    }
    if lines.iter().any(|line| line.contains("ensurepip")) {
        let module = "ensurepip".to_owned();
        let (python, version) = (base.python.clone(), base.version.clone());
        return Err(PrepareError::NoVenv { python, version, module });
    }
    Err(PrepareError::Venv { python: base.python.clone(), output: quote(&lines) })
}

pub(super) fn install(
    python: &Path,
    base: &Base,
    packages: &[&str],
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<(), PrepareError> {
    if packages.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(python);
    // -u: so that its lines arrive when they are said.
    command.args(["-I", "-u", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]);
    command.args(["--progress-bar", "off", "--no-warn-script-location", "--prefer-binary"]);
    if std::env::var_os("PIP_RETRIES").is_none() {
        command.args(["--retries", PIP_RETRIES_MAX]);
    }
    command.args(packages);
    for variable in MISLEADING_VARIABLES {
        command.env_remove(variable);
    }
    let mut tell = |line: &str| progress(Step::Installing { line });
    let (status, lines) = run(command, Duration::from_secs(PIP_SECONDS_MAX), &mut tell)?;
    match status {
        Some(status) if status.success() => Ok(()),
        _ => Err(explain(&lines, packages, &base.version)),
    }
}

/// Finds out from what pip said why it failed.
fn explain(lines: &[String], packages: &[&str], version: &str) -> PrepareError {
    let (output, version, packages) = (quote(lines), version.to_owned(), packages.join(", "));
    let any =
        |signs: &[&str]| lines.iter().any(|line| signs.iter().any(|sign| line.contains(sign)));
    // First: a package that could not be fetched is also said to have no versions.
    let is_sign = |line: &&String| NETWORK_SIGNS.iter().any(|sign| line.contains(sign));
    if let Some(cause) = lines.iter().rfind(is_sign) {
        return PrepareError::NoNetwork { packages, output: quote(slice::from_ref(cause)) };
    }
    let missing = "No matching distribution found for ";
    if let Some(package) = lines.iter().find_map(|line| Some(line.split_once(missing)?.1)) {
        return PrepareError::NoPackage { package: package.trim().to_owned(), version, output };
    }
    if any(&["Failed building wheel", "Failed to build", "subprocess-exited-with-error"]) {
        return PrepareError::NoCompiler { version, output };
    }
    PrepareError::Pip { packages, output }
}

/// The last lines, indented; those that begin with ERROR if there are any.
fn quote(lines: &[String]) -> String {
    let errors: Vec<&String> = lines.iter().filter(|line| line.starts_with("ERROR")).collect();
    let lines = if errors.is_empty() { lines.iter().collect() } else { errors };
    let quoted = lines.iter().skip(lines.len().saturating_sub(QUOTED_LINES_MAX));
    quoted.map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Runs a command to its end and hands out what it prints, line by line.
///
/// Answers with its status, or `None` if it took longer than `limit` and was killed.
fn run(
    mut command: Command,
    limit: Duration,
    on_line: &mut dyn FnMut(&str),
) -> io::Result<(Option<ExitStatus>, Vec<String>)> {
    let deadline = Instant::now() + limit;
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // It holds the writing end, and the reader would never see the end.
    drop(command);
    let lines = read_lines(reader);
    let mut kept: Vec<String> = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                on_line(&line);
                if kept.len() == KEPT_LINES_MAX {
                    kept.remove(0);
                }
                kept.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                kept.push(format!("stopped, since it took longer than {} s", limit.as_secs()));
                return Ok((stop(child)?, kept));
            }
        }
    }
    Ok((Some(child.wait()?), kept))
}

fn read_lines(reader: io::PipeReader) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|size| 0 < size) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if !text.is_empty() && sender.send(text).is_err() {
                break;
            }
            line.clear();
        }
    });
    receiver
}

fn stop(mut child: Child) -> io::Result<Option<ExitStatus>> {
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: &str) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let text = explain(&lines, &["rq==3.0.0"], "3.13.0").to_string();
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains(&lines[0]), "{text}");
    }

    #[test]
    fn complaints_of_pip_are_understood() {
        let none = "ERROR: No matching distribution found for rq==3.0.0";
        check(&["WARNING: Retrying after NewConnectionError", none], "pip cannot reach");
        check(&[none], "pip found no package rq==3.0.0 for Python 3.13.0");
        check(&["ERROR: Failed building wheel for lxml"], "pip could not build a package");
        check(&["No space left on device"], "pip could not install rq==3.0.0; it said:");
    }

    #[test]
    fn a_new_python_is_named_as_a_cause() {
        let none = ["ERROR: No matching distribution found for lxml".to_owned()];
        assert!(explain(&none, &["lxml"], "3.13.0").to_string().contains("from 3.10 to 3.12"));
        assert!(!explain(&none, &["lxml"], "3.12.0").to_string().contains("from 3.10 to 3.12"));
    }

    #[test]
    fn a_command_that_hangs_is_stopped() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; exec sleep 1000"]);
        let (status, lines) = run(command, Duration::from_millis(100), &mut |_| {}).unwrap();
        assert!(status.is_none());
        assert!(lines.last().unwrap().starts_with("stopped"), "{lines:?}");
    }
}
