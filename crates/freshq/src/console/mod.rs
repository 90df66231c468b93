//! The front end in the terminal and in `docker logs`. It reads events and decides nothing.
//!
//! * `columns.rs`: freshq's own layout, the default.
//! * `generations.rs`: what of it is about generations.
//! * `rq_words.rs`: RQ's words, part of that layout, and all of it under `--log-style rq`.
//! * `log_format.rs`: formats of Python's `logging`, as RQ's options take them.
//! * `status_page.rs`: what `freshq status` shows.
//! * `printer.rs`: lines on a stream. Errors go to standard error, the rest to standard output, as
//!   RQ's do.

mod columns;
#[cfg(test)]
mod fuzz_tests;
mod generations;
pub(crate) mod log_format;
mod printer;
mod rq_words;
pub(crate) mod status_page;

use std::path::PathBuf;

use jiff::ZonedDateTime;
use supervisor::event::Event;

use self::columns::{Columns, Record};
use self::log_format::{LogFormat, Said};
use self::printer::Colour;
pub(crate) use self::printer::Printer;

/// Width of the column that says what happened.
const VERB_WIDTH: usize = 9;
/// Where the text begins: after time and verb.
const TEXT_AT: usize = 21;

/// How much something matters; also the least that is printed. As in Python's `logging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warning,
    Error,
    /// Above everything that is said.
    Critical,
}

impl Level {
    /// Python's name or number for a level.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let number = match text.to_ascii_uppercase().as_str() {
            "DEBUG" => 10,
            "INFO" => 20,
            "WARNING" | "WARN" => 30,
            "ERROR" => 40,
            "CRITICAL" | "FATAL" => 50,
            _ => text.parse::<u32>().map_err(|_| {
                "it is one of DEBUG, INFO, WARNING, ERROR, CRITICAL, or a number".to_owned()
            })?,
        };
        Ok(match number {
            0..=10 => Self::Debug,
            11..=20 => Self::Info,
            21..=30 => Self::Warning,
            31..=40 => Self::Error,
            _ => Self::Critical,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// Python's number for it.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Debug => 10,
            Self::Info => 20,
            Self::Warning => 30,
            Self::Error => 40,
            Self::Critical => 50,
        }
    }
}

/// How lines look.
#[derive(Clone, Debug)]
pub(crate) enum LogStyle {
    /// In columns.
    Columns,
    /// As RQ's worker writes them.
    Rq(LogFormat),
}

/// What is said, and how.
#[derive(Clone, Debug)]
pub(crate) struct Logging {
    pub(crate) style: LogStyle,
    /// The least that is printed.
    pub(crate) threshold: Level,
    /// Whether the call of a job is shown; it may hold what is secret.
    pub(crate) describes_jobs: bool,
}

/// Prints events.
pub(crate) struct Console {
    logging: Logging,
    columns: Columns,
    out: Printer,
    err: Printer,
}

impl Console {
    pub(crate) fn new(logging: Logging, here: PathBuf) -> Self {
        let columns =
            Columns { here, threshold: logging.threshold, describes_jobs: logging.describes_jobs };
        Self { logging, columns, out: Printer::stdout(), err: Printer::stderr() }
    }

    /// The first line.
    pub(crate) fn title(&self) {
        let title = format!("freshq {}", env!("CARGO_PKG_VERSION"));
        match &self.logging.style {
            LogStyle::Columns if self.logging.threshold <= Level::Info => self.out.line(&title),
            LogStyle::Columns => {}
            LogStyle::Rq(format) => self.formatted(format, Level::Info, &title),
        }
    }

    /// Prints one event, if it is to be said.
    pub(crate) fn print(&self, event: &Event) {
        match &self.logging.style {
            LogStyle::Columns => self.print_columns(event),
            LogStyle::Rq(format) => self.print_rq(event, format),
        }
    }

    fn print_columns(&self, event: &Event) {
        if let Event::Decided { topic, choice, why } = event {
            if self.logging.threshold <= Level::Info {
                let why = self.out.paint(Colour::Dim, why);
                self.out.line(format!("  {topic:<8} {choice:<34}  {why}").trim_end());
            }
            return;
        }
        let Some(record) = self.columns.record(event) else { return };
        let Record { level, colour, verb, text, more } = record;
        if level < self.logging.threshold {
            return;
        }
        let printer = self.printer(level);
        let time =
            printer.paint(Colour::Dim, &ZonedDateTime::now().strftime("%H:%M:%S").to_string());
        let verb = printer.paint(colour, &format!("{verb:<VERB_WIDTH$}"));
        let text = harmless(&text);
        let mut text = text.split('\n');
        let first = format!("{time}  {verb}  {}", text.next().unwrap_or_default());
        let more = more.iter().map(|line| printer.paint(Colour::Dim, line));
        let below = text.map(str::to_owned).chain(more);
        let below = below.map(|line| format!("{:TEXT_AT$}{line}", ""));
        let lines = std::iter::once(first).chain(below).map(|line| line.trim_end().to_owned());
        // In one piece, so that nothing comes between.
        printer.line(&lines.collect::<Vec<_>>().join("\n"));
    }

    fn print_rq(&self, event: &Event, format: &LogFormat) {
        if let Some(lines) = rq_words::lines(event, self.logging.describes_jobs) {
            for (level, text) in lines {
                self.formatted(format, level, &text);
            }
            return;
        }
        let Some(Record { level, verb, text, more, .. }) = self.columns.record(event) else {
            return;
        };
        let text = std::iter::once(format!("freshq {verb}: {text}")).chain(more);
        self.formatted(format, level, &text.collect::<Vec<_>>().join("\n"));
    }

    fn formatted(&self, format: &LogFormat, level: Level, text: &str) {
        if self.logging.threshold <= level {
            let said = Said { level, message: text, now: &ZonedDateTime::now() };
            self.printer(level).line(&format.line(&said));
        }
    }

    fn printer(&self, level: Level) -> &Printer {
        if level < Level::Error { &self.out } else { &self.err }
    }
}

/// A text without what would move the cursor or colour the rest: ids and descriptions of jobs are
/// their clients'. Line breaks stay, and what is behind them goes below the first line.
fn harmless(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        _ if c.is_control() => c.escape_default().to_string(),
        _ => c.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_the_terminal_is_shown_instead() {
        assert_eq!(harmless("a\x1b[31m b\rc\td\ne"), "a\\u{1b}[31m b\\rc\td\ne");
        assert_eq!(harmless("ünï→☃"), "ünï→☃");
    }

    #[test]
    fn levels_are_those_of_python() {
        for (text, expected) in [
            ("debug", Level::Debug),
            ("INFO", Level::Info),
            ("30", Level::Warning),
            ("35", Level::Error),
            ("fatal", Level::Critical),
        ] {
            assert_eq!(Level::parse(text), Ok(expected), "{text}");
        }
        assert!(Level::parse("loud").is_err());
    }
}
