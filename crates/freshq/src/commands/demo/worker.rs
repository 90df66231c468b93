//! The worker, as a user would start it: this same program, `worker --reload`.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::DemoError;
use super::screen::Screen;
use crate::env_vars;

/// How it is started, except for what is different on each machine.
pub(super) const ARGUMENTS: &[&str] = &["worker", "--reload", "--watch", "casestrainer", "default"];

/// A warm stop waits for the running job; the jobs here take less than a second.
const STOP_SECONDS_MAX: u64 = 20;
/// Between two looks whether it has ended.
const LOOK_AGAIN_MS: u64 = 5;
/// When it has printed nothing for so long, it has said what there is to say.
const QUIET_MS: u64 = 60;
/// However much it says, the scene goes on.
const HEAR_OUT_MS_MAX: u64 = 600;
/// Length of a job's id, and of the part that is shown.
const ID_WIDTH: usize = 36;
const SHORT_ID_WIDTH: usize = 8;
/// The time of day and two spaces, at the beginning of its lines.
const TIME_WIDTH: usize = 10;
/// Its last lines, for the message when it ends unasked.
const QUOTED_LINES_MAX: usize = 8;
/// Of what it printed, this much is kept.
const KEPT_LINES_MAX: usize = 10_000;

/// The running worker. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    /// What it printed so far. The thread that reads it writes here.
    printed: Arc<Mutex<Vec<String>>>,
    /// Disconnected when there is no more to read.
    reading: Receiver<()>,
}

impl Worker {
    pub(super) fn start(
        python: &Path,
        folder: &Path,
        url: &str,
        screen: &Arc<Screen>,
    ) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(ARGUMENTS).arg("--python").arg(python).current_dir(folder);
        forget_settings(&mut command);
        // Not an option: the list of processes would show the password.
        command.env(env_vars::RQ_REDIS_URL, url);
        // A group of its own: Ctrl-C is for the demo, which then stops everything in order.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn()?;
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (alive, reading) = channel();
        let (screen, lines, folder) = (screen.clone(), printed.clone(), folder.to_owned());
        thread::spawn(move || {
            read(reader, &folder, &screen, &lines);
            drop(alive);
        });
        Ok(Self { child, printed, reading })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        // Its last words may still be on their way.
        self.reading.recv_timeout(Duration::from_millis(500)).ok();
        let lines = self.printed_lines();
        let last = &lines[lines.len().saturating_sub(QUOTED_LINES_MAX)..];
        Err(DemoError::WorkerEnded { status, said: last.join("\n    ") })
    }

    /// How many lines it has printed, to tell what came later.
    pub(super) fn printed_count(&self) -> usize {
        self.printed_lines().len()
    }

    /// The first line after so many in which a text occurs.
    pub(super) fn printed_since(&self, count: usize, text: &str) -> Option<String> {
        self.printed_lines().into_iter().skip(count).find(|line| line.contains(text))
    }

    /// Waits until it has said what it has to say about what just happened: its lines come through
    /// a pipe, and a little later than the results of jobs.
    pub(super) fn hear_out(&self) {
        let began = Instant::now();
        let mut count = self.printed_count();
        let mut since = began;
        while began.elapsed() < Duration::from_millis(HEAR_OUT_MS_MAX)
            && since.elapsed() < Duration::from_millis(QUIET_MS)
        {
            thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
            let now = self.printed_count();
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
    }

    /// Asks it to end, as `kill` would, and insists after a while.
    pub(super) fn stop(&mut self) -> io::Result<ExitStatus> {
        let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) else {
            return self.child.wait();
        };
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(STOP_SECONDS_MAX);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                self.reading.recv_timeout(Duration::from_millis(500)).ok();
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
        }
        kill_process_group(pid, Signal::KILL)?;
        self.child.wait()
    }

    fn printed_lines(&self) -> Vec<String> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop().ok();
    }
}

/// Takes the user's own settings out of a child's environment: they are not meant for the demo.
pub(super) fn forget_settings(command: &mut Command) {
    for name in env_vars::names() {
        let theirs = ["FRESHQ_", "RQ_", "PYTHONPATH"].iter().any(|start| name.starts_with(start));
        if theirs && name != env_vars::FRESHQ_CACHE_DIR {
            command.env_remove(name);
        }
    }
}

fn read(reader: io::PipeReader, folder: &Path, screen: &Screen, printed: &Mutex<Vec<String>>) {
    for line in BufReader::new(reader).split(b'\n') {
        let Ok(line) = line else {
            return;
        };
        let line = String::from_utf8_lossy(&line).into_owned();
        screen.worker(&shorter(&line, folder));
        let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
        if printed.len() < KEPT_LINES_MAX {
            printed.push(line);
        }
    }
}

/// A line of the worker without what matters little here: the time of day, and where the project
/// is.
fn shorter(line: &str, folder: &Path) -> String {
    let time = |text: &str| {
        text.trim().is_empty() || text.trim_end().split(':').all(|part| part.parse::<u8>().is_ok())
    };
    let line = match line.split_at_checked(TIME_WIDTH) {
        Some((head, tail)) if time(head) => tail,
        _ => line,
    };
    let mut line = line.replace(&format!("{}/", folder.display()), "");
    if let Some(home) = env_vars::text(env_vars::HOME).filter(|home| 1 < home.len()) {
        line = line.replace(&format!("{home}/"), "~/");
    }
    with_short_ids(&line)
}

/// Ids of jobs are long; their beginning tells these few apart.
fn with_short_ids(line: &str) -> String {
    let parts = line.split('(').enumerate().map(|(index, part)| {
        let id = part.split_once(')').filter(|(id, _)| {
            index != 0
                && id.len() == ID_WIDTH
                && id.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
        });
        id.map_or(part.to_owned(), |(id, rest)| format!("{}){rest}", &id[..SHORT_ID_WIDTH]))
    });
    parts.collect::<Vec<_>>().join("(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_the_time_and_the_folder() {
        let check = |line, expected| assert_eq!(shorter(line, Path::new("/x/app")), expected);
        check("12:34:56  done       a", "done       a");
        check("  code     /x/app/casestrainer", "  code     casestrainer");
        check("                       File \"/x/app/tasks.py\"", "             File \"tasks.py\"");
        check("freshq 0.1.0", "freshq 0.1.0");
        check("short", "short");
        check(
            "12:34:56  done       q: Job OK (54eef9d4-54d6-4a56-a49e-42dee59bddd8)  1 ms",
            "done       q: Job OK (54eef9d4)  1 ms",
        );
        check("ééééééééé", "ééééééééé");
    }
}
