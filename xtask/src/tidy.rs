//! The rules of `STYLE.md` that a tool can check.
//!
//! Each rule is one function from a file to its problems, with its reason in the message.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest file without its tests.
const FILE_LINES_MAX: usize = 600;
/// Longest line.
const LINE_CHARS_MAX: usize = 110;

/// A broken rule.
#[derive(Debug)]
pub struct Problem {
    path: PathBuf,
    line: usize,
    rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.rule)
    }
}

struct Source {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

/// Checks every source file below `root`.
pub fn check(root: &Path) -> Vec<Problem> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "examples"] {
        collect(root, &root.join(folder), &mut files);
    }
    let rules =
        [size, width, module_header, pure_machines, layers, no_switched_off_tests, leftovers];
    files.iter().flat_map(|file| rules.iter().flat_map(move |rule| rule(file))).collect()
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<Source>) {
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target" && name != "__pycache__") {
                collect(root, &path, files);
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "py" || extension == "lua")
            && let Ok(text) = fs_err::read_to_string(&path)
        {
            let path = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
            files.push(Source { path, text });
        }
    }
}

impl Source {
    fn problem(&self, line: usize, rule: impl Into<String>) -> Problem {
        Problem { path: self.path.clone(), line, rule: rule.into() }
    }

    /// The lines before the tests at the end of the file, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().take_while(|line| *line != "#[cfg(test)]");
        lines.enumerate().map(|(index, line)| (index + 1, line))
    }

    fn named(&self, pattern: &str) -> bool {
        self.path.to_string_lossy().contains(pattern)
    }

    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Lines of code that contain one of `words`, each with the reason.
    fn forbid(&self, words: &[&str], reason: &str) -> Vec<Problem> {
        self.code()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .filter_map(|(number, line)| {
                let word = words.iter().find(|word| line.contains(**word))?;
                Some(self.problem(number, format!("`{word}`: {reason}")))
            })
            .collect()
    }
}

fn size(file: &Source) -> Vec<Problem> {
    let lines = file.code().count();
    if lines <= FILE_LINES_MAX || file.named("tests") {
        return Vec::new();
    }
    vec![file.problem(
        1,
        format!("{lines} lines; split it, one idea per file (at most {FILE_LINES_MAX})"),
    )]
}

fn width(file: &Source) -> Vec<Problem> {
    // Texts and tables for people are not broken.
    let may_be_long =
        |line: &str| line.contains('"') || line.contains("://") || line.contains("//! |");
    file.text
        .lines()
        .enumerate()
        .filter(|(_, line)| LINE_CHARS_MAX < line.chars().count() && !may_be_long(line))
        .map(|(index, _)| {
            file.problem(index + 1, format!("longer than {LINE_CHARS_MAX} characters"))
        })
        .collect()
}

fn module_header(file: &Source) -> Vec<Problem> {
    if !file.is_rust() || file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![file.problem(1, "begins without `//!`: say what this is for, and what it is not")]
}

fn pure_machines(file: &Source) -> Vec<Problem> {
    if !file.path.ends_with("machine.rs") && !file.path.ends_with("shutdown.rs") {
        return Vec::new();
    }
    let words = ["tokio::", "redis::", "std::process", "fs_err", "Moment::now", "wall()"];
    file.forbid(&words, "a machine decides from what it is given; it does no IO and reads no clock")
}

fn layers(file: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    if file.named("crates/rq/src") {
        let words = ["std::process::Command", "supervisor::", "freshq::"];
        problems.extend(
            file.forbid(&words, "`rq` knows Redis, no processes and none of the crates above it"),
        );
    }
    if file.named("crates/supervisor/src") && !file.named("tests") {
        let words = ["redis::", "\"rq:", "println!", "clap::", "std::env::var"];
        problems.extend(
            file.forbid(&words, "`supervisor` spells no Redis key, prints nothing, knows no flags"),
        );
        if !file.path.ends_with("clock.rs") {
            let words = ["SystemTime::now", "Instant::now", "clock_gettime"];
            problems.extend(file.forbid(&words, "only clock.rs reads time"));
        }
    }
    if file.named("crates/freshq/src") && !file.path.ends_with("env_vars.rs") {
        problems.extend(
            file.forbid(
                &["std::env::var", "env::var_os"],
                "only env_vars.rs reads the environment",
            ),
        );
    }
    problems
}

fn no_switched_off_tests(file: &Source) -> Vec<Problem> {
    if !file.named("/tests/") || !file.is_rust() {
        return Vec::new();
    }
    // Put together, so that a search for such marks does not find the rule.
    let marks = [["#[ig", "nore"].concat(), ["#[should", "_panic"].concat()];
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    file.forbid(&marks, "a test runs, and says what it expects")
}

fn leftovers(file: &Source) -> Vec<Problem> {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    file.text
        .lines()
        .enumerate()
        .filter(|(_, line)| marks.iter().any(|mark| line.contains(mark.as_str())))
        .map(|(index, _)| file.problem(index + 1, "finish it, or write an issue"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> usize {
        let file = Source { path: path.into(), text: text.to_owned() };
        [size, width, module_header, pure_machines, layers, no_switched_off_tests, leftovers]
            .iter()
            .map(|rule| rule(&file).len())
            .sum()
    }

    #[test]
    fn each_rule_can_fail() {
        assert_eq!(problems("crates/rq/src/a.rs", "//! Good.\n"), 0);
        assert_eq!(problems("crates/rq/src/a.rs", "fn a() {}\n"), 1);
        assert_eq!(problems("crates/rq/src/a.rs", "//! A.\nuse std::process::Command;\n"), 1);
        assert_eq!(
            problems("crates/supervisor/src/reload/machine.rs", "//! A.\nuse tokio::time;\n"),
            1
        );
        assert_eq!(problems("crates/supervisor/src/a.rs", "//! A.\nlet t = Instant::now();\n"), 1);
        assert_eq!(problems("crates/freshq/src/a.rs", "//! A.\nstd::env::var(\"X\");\n"), 1);
        assert_eq!(
            problems("crates/rq/src/a.rs", &format!("//! A.\n{}", "x\n".repeat(FILE_LINES_MAX))),
            1
        );
        assert_eq!(problems("crates/rq/src/a.rs", &format!("//! A.\n{}\n", "x".repeat(200))), 1);
        let off = format!("//! A.\n{}]\n", ["#[ig", "nore"].concat());
        assert_eq!(problems("crates/rq/tests/a.rs", &off), 1);
    }
}
