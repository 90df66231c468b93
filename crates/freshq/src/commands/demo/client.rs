//! The real rq client, in a Python process that lives as long as the demo (`client.py`).

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use serde_json::{Value, json};

use super::DemoError;
use super::worker::forget_settings;
use crate::env_vars;

const PROGRAM: &str = include_str!("client.py");
/// How often a wait looks whether it still makes sense.
const CHECK_MS: u64 = 50;

/// The running client. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Client {
    child: Child,
    requests: Option<ChildStdin>,
    events: Receiver<Value>,
    /// What went wrong in it is written here.
    log: PathBuf,
}

impl Client {
    /// Starts it, with its files in `folder`.
    pub(super) fn start(python: &Path, folder: &Path, url: &str) -> io::Result<Self> {
        // A file and not `-c`, so that tracebacks show lines.
        let program = folder.join("client.py");
        fs::write(&program, PROGRAM)?;
        let log = folder.join("client.log");
        let errors = fs::File::create(&log)?.into_parts().0;
        let mut command = Command::new(python);
        forget_settings(&mut command);
        let mut child = command
            .arg("-I")
            .arg(&program)
            .env(env_vars::RQ_REDIS_URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()?;
        let requests = child.stdin.take();
        let (sender, events) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let event = serde_json::from_str(&line).unwrap_or(Value::Null);
                    if sender.send(event).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { child, requests, events, log })
    }

    /// Asks for something; the answers come from [`next`](Self::next).
    pub(super) fn ask(&mut self, what: &str, arguments: &[(&str, Value)]) -> Result<(), DemoError> {
        let mut request = json!({ "do": what });
        for (name, value) in arguments {
            request[*name] = value.clone();
        }
        let written = match &mut self.requests {
            Some(requests) => writeln!(requests, "{request}").and_then(|()| requests.flush()),
            None => Ok(()),
        };
        written.map_err(|_| self.ended())
    }

    /// The next event. `check` is asked again and again whether waiting still makes sense.
    pub(super) fn next(
        &mut self,
        what: &'static str,
        limit: Duration,
        check: &mut dyn FnMut() -> Result<(), DemoError>,
    ) -> Result<Value, DemoError> {
        let deadline = Instant::now() + limit;
        loop {
            match self.events.recv_timeout(Duration::from_millis(CHECK_MS)) {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) => check()?,
            }
            if deadline <= Instant::now() {
                return Err(DemoError::TooLate { what, seconds: limit.as_secs() });
            }
        }
    }

    fn ended(&self) -> DemoError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let said = log.trim().lines().next_back().unwrap_or("it said nothing").to_owned();
        DemoError::ClientEnded { said }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It ends at the end of its input, unless it is waiting for a job.
        drop(self.requests.take());
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
