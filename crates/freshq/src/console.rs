//! The front end in the terminal and in `docker logs`: one calm line for what happens.
//!
//! Columns: time, what, about what, details. Coloured only on a terminal; without colour
//! every line says the same.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use jiff::ZonedDateTime;
use rq::{QueueName, WorkerName};
use supervisor::event::{Broken, Event, Failure, JobEnd, Serving};
use supervisor::shutdown::Phase;

use crate::env_vars;
use crate::error::Error;

/// Width of the column that says what happened.
const VERB_WIDTH: usize = 9;
/// Width of the column that names the job.
const JOB_WIDTH: usize = 44;
/// Files that are named in one line; the rest is counted.
const FILES_MAX: usize = 3;
/// Last lines of a traceback that are shown without `-v`.
const TRACEBACK_LINES: usize = 4;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Only what is wrong.
    Quiet,
    /// What happens.
    Normal,
    /// And why.
    Verbose,
}

#[derive(Clone, Copy)]
enum Colour {
    Plain,
    Dim,
    Green,
    Yellow,
    Red,
    Cyan,
}

/// Writes lines to one stream.
pub(crate) struct Printer {
    stream: Mutex<Box<dyn io::Write + Send>>,
    coloured: bool,
}

impl Printer {
    pub(crate) fn stdout() -> Self {
        Self::new(Box::new(io::stdout()), io::stdout().is_terminal())
    }

    pub(crate) fn stderr() -> Self {
        Self::new(Box::new(io::stderr()), io::stderr().is_terminal())
    }

    fn new(stream: Box<dyn io::Write + Send>, terminal: bool) -> Self {
        let coloured = terminal && env_vars::get(env_vars::NO_COLOR).is_none();
        Self { stream: Mutex::new(stream), coloured }
    }

    /// Prints a line as it is.
    pub(crate) fn line(&self, text: &str) {
        if let Ok(mut stream) = self.stream.lock() {
            // A reader that has gone away is no reason to stop working.
            stream.write_all(format!("{text}\n").as_bytes()).and_then(|()| stream.flush()).ok();
        }
    }

    /// Prints what went wrong and what to do about it.
    pub(crate) fn error(&self, error: &Error) {
        self.line(&format!("{} {error}", self.paint(Colour::Red, "error:")));
        if let Some(help) = error.help() {
            self.line(&format!("{}  {help}", self.paint(Colour::Cyan, "help:")));
        }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Plain => return text.to_owned(),
            Colour::Dim => "2",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Red => "31",
            Colour::Cyan => "36",
        };
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Prints events.
pub(crate) struct Console {
    printer: Printer,
    verbosity: Verbosity,
    /// Paths below this folder are shown without it.
    here: PathBuf,
}

impl Console {
    pub(crate) fn new(verbosity: Verbosity, here: PathBuf) -> Self {
        Self { printer: Printer::stdout(), verbosity, here }
    }

    /// The first line.
    pub(crate) fn title(&self) {
        if Verbosity::Normal <= self.verbosity {
            self.printer.line(&format!("freshq {}", env!("CARGO_PKG_VERSION")));
        }
    }

    /// Prints one event, if it is to be said.
    pub(crate) fn print(&self, event: &Event) {
        match event {
            Event::Decided { topic, choice, why } => self.decided(topic, choice, why),
            Event::Listening { workers, queues } => self.listening(workers, queues),
            Event::JobBegun { job, description, queue, generation, .. } => self.say(
                Colour::Dim,
                "job",
                &format!(
                    "{}  {queue}, generation {generation}",
                    self.job(description, &job.to_string())
                ),
            ),
            Event::JobEnded { job, description, how, took, .. } => {
                self.job_ended(&self.job(description, &job.to_string()), how, *took);
            }
            Event::JobReleased { job, why } => {
                self.say(Colour::Yellow, "released", &format!("{job} is back in its queue: {why}"));
            }
            Event::ChangeSeen { files } => {
                self.say(Colour::Cyan, "changed", &self.files(files.iter()));
            }
            Event::GenerationServing(serving) => self.serving(serving),
            Event::GenerationBroken(broken) => self.broken(broken),
            Event::GenerationDied { generation, status, pause } => {
                let how = status.map_or(String::new(), |raw| format!(" ({})", status_text(raw)));
                let then = pause.map_or("another is loading".to_owned(), |pause| {
                    format!("the next attempt is in {}", millis(pause))
                });
                self.shout("died", &format!("generation {generation} ended{how}; {then}"));
            }
            Event::BaseReady { libraries, took } if 0 < *libraries => self.say(
                Colour::Dim,
                "base",
                &format!("{libraries} library modules imported in {}", millis(*took)),
            ),
            Event::BaseReady { .. } => {}
            Event::RedisLost { error } => {
                self.shout("redis", &format!("lost: {error}; trying again until it is back"));
            }
            Event::RedisBack { after } => {
                self.shout("redis", &format!("back after {}", millis(*after)));
            }
            Event::Registered { worker } => {
                self.say(Colour::Yellow, "redis", &format!("worker {worker} registered again"));
            }
            Event::Suspended(true) => self.say(Colour::Yellow, "suspended", "until `rq resume`"),
            Event::Suspended(false) => self.say(Colour::Green, "resumed", ""),
            Event::Warning(text) => self.shout("warning", text),
            Event::Detail(text) => {
                if Verbosity::Verbose <= self.verbosity {
                    self.say(Colour::Dim, "", text);
                }
            }
            Event::Stopping { phase, running } => self.stopping(*phase, *running),
            Event::Stopped { finished, failed, why } => self.say(
                Colour::Plain,
                "stopped",
                &format!("{why}: {finished} finished, {failed} failed"),
            ),
        }
    }

    fn decided(&self, topic: &str, choice: &str, why: &str) {
        if Verbosity::Normal <= self.verbosity {
            let why = self.printer.paint(Colour::Dim, why);
            self.printer.line(format!("  {topic:<8} {choice:<34}  {why}").trim_end());
        }
    }

    fn listening(&self, workers: &[WorkerName], queues: &[QueueName]) {
        let names: Vec<_> = queues.iter().map(ToString::to_string).collect();
        let who = match workers {
            [worker] => format!("worker {worker}"),
            _ => format!("{} workers", workers.len()),
        };
        self.say(Colour::Green, "ready", &format!("{who} on {}", names.join(", ")));
    }

    fn broken(&self, broken: &Broken) {
        let at = broken
            .place
            .as_ref()
            .map_or(String::new(), |(file, line)| format!("{}:{line}: ", self.short(file)));
        let then = broken.serving.map_or("jobs wait until it is mended".to_owned(), |good| {
            format!("generation {good} serves on")
        });
        let (error, generation) = (&broken.error, broken.generation);
        self.shout("broken", &format!("{at}{error} (generation {generation}); {then}"));
        self.traceback(&broken.traceback);
    }

    fn serving(&self, serving: &Serving) {
        let Serving { generation, seen, forked, imported, verified, files, fingerprint, .. } =
            serving;
        let by_save = serving.cause.concerns_code();
        let what = if by_save {
            // How long the user waited, and what for.
            format!(
                "in {}: seen {}, forked {}, imported {}, verified {}",
                millis(serving.total),
                millis(*seen),
                millis(*forked),
                millis(*imported),
                millis(*verified),
            )
        } else {
            format!("imported in {}", millis(*imported))
        };
        let code = match files {
            0 => "nothing imported yet".to_owned(),
            1 => format!("1 file, code {fingerprint}"),
            _ => format!("{files} files, code {fingerprint}"),
        };
        let old = match serving.draining {
            0 => String::new(),
            1 => "; 1 job ends on older code".to_owned(),
            count => format!("; {count} jobs end on older code"),
        };
        let text = format!("generation {generation} {what}; {code}{old}");
        self.say(if by_save { Colour::Green } else { Colour::Dim }, "serving", &text);
    }

    fn job_ended(&self, job: &str, how: &JobEnd, took: Duration) {
        let took = millis(took);
        match how {
            JobEnd::Finished => self.say(Colour::Green, "done", &format!("{job}  {took}")),
            JobEnd::Failed(failure) => self.job_failed("failed", job, failure, ""),
            JobEnd::Retried { failure, left } => {
                let rest = format!("; will run again, {left} retries left");
                self.job_failed("retry", job, failure, &rest);
            }
            JobEnd::Stopped => {
                self.say(Colour::Yellow, "stopped", &format!("{job}  as asked, after {took}"));
            }
            JobEnd::Gone => {
                self.say(Colour::Yellow, "gone", &format!("{job}  deleted while it ran"));
            }
        }
    }

    fn job_failed(&self, verb: &str, job: &str, failure: &Failure, rest: &str) {
        let place = failure
            .place
            .as_ref()
            .map_or(String::new(), |place| format!(" at {}", self.short(Path::new(place))));
        self.shout(verb, &format!("{job}  {}{place}{rest}", failure.summary));
        if Verbosity::Verbose <= self.verbosity {
            self.indented(failure.traceback.lines());
        }
    }

    fn stopping(&self, phase: Phase, running: usize) {
        let jobs = match running {
            1 => "1 job is running".to_owned(),
            n => format!("{n} jobs are running"),
        };
        let text = match phase {
            Phase::Running => return,
            Phase::Warm if running == 0 => "warm shutdown: nothing is running".to_owned(),
            Phase::Warm => {
                format!("warm shutdown: {jobs}, no new ones are taken; a second signal kills")
            }
            Phase::Cold => format!("cold shutdown: {jobs} and will be killed"),
            Phase::Abort => "ended at once".to_owned(),
        };
        self.say(Colour::Yellow, "stopping", &text);
    }

    fn traceback(&self, traceback: &str) {
        let lines: Vec<_> = traceback.trim_end().lines().collect();
        let shown =
            if Verbosity::Verbose <= self.verbosity { lines.len() } else { TRACEBACK_LINES };
        self.indented(lines[lines.len().saturating_sub(shown)..].iter().copied());
    }

    fn indented<'a>(&self, lines: impl Iterator<Item = &'a str>) {
        for line in lines {
            self.printer.line(&format!("{:21}{}", "", self.printer.paint(Colour::Dim, line)));
        }
    }

    fn job(&self, description: &str, id: &str) -> String {
        let id: String = id.chars().take(8).collect();
        let mut text =
            if description.is_empty() { "(no description)" } else { description }.to_owned();
        if JOB_WIDTH < text.chars().count() {
            text = text.chars().take(JOB_WIDTH - 1).chain(['…']).collect();
        }
        format!("{} {text:<JOB_WIDTH$}", self.printer.paint(Colour::Dim, &format!("{id:<8}")))
    }

    fn files<'a>(&self, files: impl ExactSizeIterator<Item = &'a PathBuf>) -> String {
        let count = files.len();
        let shown: Vec<_> = files.take(FILES_MAX).map(|file| self.short(file)).collect();
        let rest = count.saturating_sub(FILES_MAX);
        if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
    }

    fn short(&self, path: &Path) -> String {
        path.strip_prefix(&self.here).unwrap_or(path).display().to_string()
    }

    fn say(&self, colour: Colour, verb: &str, text: &str) {
        if Verbosity::Normal <= self.verbosity {
            self.print_line(colour, verb, text);
        }
    }

    fn shout(&self, verb: &str, text: &str) {
        self.print_line(Colour::Red, verb, text);
    }

    fn print_line(&self, colour: Colour, verb: &str, text: &str) {
        let time =
            self.printer.paint(Colour::Dim, &ZonedDateTime::now().strftime("%H:%M:%S").to_string());
        let verb = self.printer.paint(colour, &format!("{verb:<VERB_WIDTH$}"));
        self.printer.line(format!("{time}  {verb}  {text}").trim_end());
    }
}

/// A duration as people say it.
fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    match millis {
        _ if millis < 9.95 => format!("{millis:.1} ms"),
        _ if millis < 999.5 => format!("{millis:.0} ms"),
        _ if millis < 60_000.0 => format!("{:.1} s", millis / 1000.0),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

fn status_text(raw: i32) -> String {
    match raw & 0x7f {
        0 => format!("exit code {}", (raw >> 8) & 0xff),
        signal => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (micros, expected) in [
            (420, "0.4 ms"),
            (9_960, "10 ms"),
            (31_400, "31 ms"),
            (1_240_000, "1.2 s"),
            (75_000_000, "1 min 15 s"),
        ] {
            assert_eq!(millis(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn a_wait_status_reads_well() {
        assert_eq!(status_text(3 << 8), "exit code 3");
        assert_eq!(status_text(139), "signal 11");
    }
}
