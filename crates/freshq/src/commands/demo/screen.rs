//! What the demo writes: calm, aligned lines, and a block of lines that is written over in place.
//!
//! The scenes write here, and the thread that reads what the worker prints; both through one lock,
//! so that a line of the worker never lands in the middle of the block. Without a terminal nothing
//! is coloured and nothing is written over.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between the left edge and everything below a heading.
const INDENT: &str = "  ";
/// Where the text of a fact begins, after its topic.
const TOPIC_WIDTH: usize = 10;
/// Lines of the worker begin with it.
const GUTTER: &str = "  │ ";
/// Long lines of the worker go on here, below what they say.
const WORKER_HANG: usize = 11;

/// The few colours that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Dim,
    Bold,
    Green,
    Red,
}

/// Where and how to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: bool,
    /// On a terminal: lines can be written over.
    pub(super) in_place: bool,
    pub(super) width: usize,
}

/// The demo's output.
pub(super) struct Screen {
    state: Mutex<State>,
    look: Look,
}

struct State {
    out: Box<dyn Write + Send>,
    /// The block that is written over, as it stands below everything else.
    live: Vec<String>,
}

impl Screen {
    pub(super) fn new(out: Box<dyn Write + Send>, look: Look) -> Self {
        Self { state: Mutex::new(State { out, live: Vec::new() }), look }
    }

    pub(super) fn width(&self) -> usize {
        self.look.width
    }

    /// Whether lines are written over, so that a later one can show progress.
    pub(super) fn in_place(&self) -> bool {
        self.look.in_place
    }

    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Dim => "2",
            Colour::Bold => "1",
            Colour::Green => "32",
            Colour::Red => "31",
        };
        if self.look.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// An empty line.
    pub(super) fn gap(&self) {
        self.print(&[String::new()]);
    }

    pub(super) fn heading(&self, text: &str) {
        self.print(&[String::new(), self.paint(Colour::Bold, text), String::new()]);
    }

    /// A line below a heading.
    pub(super) fn line(&self, text: &str) {
        self.print(&[format!("{INDENT}{text}").trim_end().to_owned()]);
    }

    /// What something is, and at the right edge how long it took.
    pub(super) fn fact(&self, topic: &str, text: &str, took: Option<Duration>) {
        self.line(&self.fact_text(topic, text, took));
    }

    fn fact_text(&self, topic: &str, text: &str, took: Option<Duration>) -> String {
        let topic = self.paint(Colour::Dim, &format!("{topic:<TOPIC_WIDTH$}"));
        let Some(took) = took.map(duration_text) else {
            return format!("{topic}{text}");
        };
        let free = self.look.width.saturating_sub(INDENT.len() + TOPIC_WIDTH + took.len() + 2);
        format!("{topic}{text:<free$}  {}", self.paint(Colour::Dim, &took))
    }

    /// A fact in as many lines as it takes.
    pub(super) fn note(&self, topic: &str, text: &str) {
        let room = self.look.width.saturating_sub(INDENT.len() + TOPIC_WIDTH);
        for (number, line) in wrap(text, room, 0).iter().enumerate() {
            self.fact(if number == 0 { topic } else { "" }, line, None);
        }
    }

    /// A fact that is written over by the next one.
    pub(super) fn passing_fact(&self, topic: &str, text: &str) {
        let room = self.look.width.saturating_sub(INDENT.len() + TOPIC_WIDTH);
        self.live(&[self.fact_text(topic, &clip(text, room), None)]);
    }

    /// Something that the worker printed, in short lines.
    pub(super) fn worker(&self, text: &str) {
        let room = self.look.width.saturating_sub(GUTTER.chars().count());
        let lines = wrap(&closer(text), room, WORKER_HANG);
        let paint = |line: String| self.paint(Colour::Dim, &format!("{GUTTER}{line}"));
        self.print(&lines.into_iter().map(paint).collect::<Vec<_>>());
    }

    /// Writes the block anew. It has no effect without a terminal.
    pub(super) fn live(&self, lines: &[String]) {
        if self.look.in_place {
            let block = lines.iter().map(|line| format!("{INDENT}{line}")).collect();
            self.write(&[], Some(block));
        }
    }

    /// Leaves the block as it stands; what comes next goes below it.
    pub(super) fn settle(&self) {
        self.lock().live.clear();
    }

    /// Takes the block away.
    pub(super) fn clear(&self) {
        self.write(&[], Some(Vec::new()));
    }

    fn print(&self, lines: &[String]) {
        self.write(lines, None);
    }

    /// Writes lines where the block begins, and the block, or a new one, below them.
    fn write(&self, lines: &[String], block: Option<Vec<String>>) {
        let mut state = self.lock();
        if lines.is_empty() && block.as_ref() == Some(&state.live) {
            return;
        }
        let mut text = String::new();
        if !state.live.is_empty() {
            // To the first line of the block, and clear from there.
            write!(text, "\x1b[{}F\x1b[J", state.live.len()).ok();
        }
        if let Some(block) = block {
            state.live = block;
        }
        for line in lines.iter().chain(&state.live) {
            text += line;
            text.push('\n');
        }
        // Somebody who reads no more (`| head`) is no reason to stop halfway.
        state.out.write_all(text.as_bytes()).and_then(|()| state.out.flush()).ok();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A duration as people say it.
pub(super) fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    if milliseconds < 999.5 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", milliseconds / 1000.0)
    }
}

/// A text of at most so many characters.
pub(super) fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A line of columns with less space between them, behind the first.
fn closer(text: &str) -> String {
    let head = text.char_indices().nth(WORKER_HANG).map_or(text.len(), |(place, _)| place);
    let (head, tail) = text.split_at(head);
    if tail.starts_with(' ') {
        return text.to_owned();
    }
    let cells = tail.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    head.to_owned() + &cells.collect::<Vec<_>>().join("  ")
}

/// Breaks a line between words; what follows hangs at a column of its own.
fn wrap(text: &str, width: usize, hang: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text.trim_end().to_owned();
    while width < rest.chars().count() {
        let limit = rest.char_indices().nth(width).map_or(rest.len(), |(place, _)| place);
        let indent = rest.len() - rest.trim_start().len();
        // Not within the indentation: that would never end.
        let Some(place) = rest[..limit].rfind(' ').filter(|place| indent.max(hang) < *place) else {
            break;
        };
        let tail = rest.split_off(place);
        lines.push(rest);
        rest = format!("{:hang$}{}", "", tail.trim_start());
    }
    lines.push(rest);
    lines
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Screen").field("look", &self.look).finish_non_exhaustive()
    }
}

/// How wide the terminal is; `None` if there is none.
pub(super) fn terminal_width() -> Option<usize> {
    let output = std::process::Command::new("stty")
        .arg("size")
        .stdin(std::process::Stdio::inherit())
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    let columns = String::from_utf8(output.stdout).ok()?.split_whitespace().nth(1)?.parse().ok()?;
    // A terminal without a size says 0.
    Some(columns).filter(|columns| 0 < *columns)
}

/// The demo's own standard output.
pub(super) fn standard(look: Look) -> Screen {
    Screen::new(Box::new(io::stdout()), look)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Collects what is written.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(terminal: bool, act: impl FnOnce(&Screen)) -> String {
        let paper = Paper::default();
        let look = Look { colour: terminal, in_place: terminal, width: 40 };
        act(&Screen::new(Box::new(paper.clone()), look));
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn facts_are_aligned_and_say_how_long_they_took() {
        let text = written(false, |screen| {
            screen.fact("redis", "Redis 7.0.15", Some(Duration::from_millis(12)));
            screen.fact("worker", "ready", None);
        });
        assert_eq!(text, "  redis     Redis 7.0.15           12 ms\n  worker    ready\n");
    }

    #[test]
    fn a_line_of_the_worker_goes_above_the_block() {
        let text = written(true, |screen| {
            screen.live(&["1/2".to_owned(), "1/3".to_owned()]);
            screen.worker("job done");
            screen.live(&["2/2".to_owned()]);
            screen.settle();
            screen.line("end");
        });
        let expected = "  1/2\n  1/3\n\
            \x1b[2F\x1b[J\x1b[2m  │ job done\x1b[0m\n  1/2\n  1/3\n\
            \x1b[2F\x1b[J  2/2\n  end\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn without_a_terminal_there_is_no_block() {
        let text = written(false, |screen| {
            screen.live(&["1/2".to_owned()]);
            screen.worker("job done");
            screen.clear();
        });
        assert_eq!(text, "  │ job done\n");
    }

    #[test]
    fn long_lines_of_the_worker_hang() {
        assert_eq!(
            wrap("serving    generation 2: seen in time", 30, 11),
            ["serving    generation 2: seen", "           in time"]
        );
        assert_eq!(wrap("/a/path/that/cannot/be/broken", 10, 4), ["/a/path/that/cannot/be/broken"]);
    }

    #[test]
    fn columns_of_the_worker_move_closer() {
        let text = written(false, |screen| {
            screen.worker("done       one        12 ms");
            screen.worker("done       another                   12 ms");
            screen.worker("             File in an indented line of code  12");
        });
        let expected = "  │ done       one  12 ms\n  │ done       another  12 ms\n  \
            │              File in an indented\n  │            line of code  12\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration_text(Duration::from_micros(42_400)), "42 ms");
        assert_eq!(duration_text(Duration::from_millis(1240)), "1.2 s");
    }
}
