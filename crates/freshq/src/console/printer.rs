//! Lines on a stream, coloured only on a terminal.

use std::io::{self, IsTerminal as _};
use std::sync::Mutex;

use crate::env_vars;
use crate::error::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
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

    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
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
