//! Inputs that nobody thought of: those of a corpus, and what random changes make of them.
//!
//! In the suite so many that it takes a moment; `cargo xtask fuzz` has them made for as long as it is
//! told. An input that fails is written to a file, to become part of the corpus; the seed is printed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use fs_err as fs;

use super::say;
use crate::cache::hash8;

/// How long inputs are made for, in seconds; without it a fixed number is made.
const SECONDS: &str = "FRESHQ_FUZZ_SECONDS";
/// What they are made from.
const SEED: &str = "FRESHQ_FUZZ_SEED";
/// Inputs that the suite has time for.
const INPUTS: u64 = 2000;
/// Longest input that is made.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// Most changes to one input.
const CHANGES_MAX: usize = 6;
/// What takes longer than this for one input hangs.
const INPUT_MAX: Duration = Duration::from_mins(1);

/// Inputs that the guard has not seen yet.
const WATCHED_MAX: usize = 64;

/// What parsers are likely to stumble over.
const WORDS: &[&[u8]] = &[
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"null",
    b"true",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b",",
    b":",
    b"=",
    b"\n",
    b"\0",
    b"\xff",
    b"\xc3",
    b"://",
    b"@",
    b"?",
    b"#",
    b"/",
    b"%00",
    b"%",
    b"[[[[[[[[",
    b"{\"a\":",
    b"\x78\x9c",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\0\0\0\x20",
    b"\x01\0\0\0",
];

/// Gives a target every input of a folder, then changed ones.
///
/// # Panics
///
/// If the target does. If it hangs, the process is aborted. Either way a file has the input.
pub fn fuzz(corpus: &Path, target: impl Fn(&[u8])) {
    let inputs = read(corpus);
    let name = corpus.file_name().expect("a folder").to_string_lossy().into_owned();
    let seed = number(SEED).unwrap_or(0x5eed);
    let end = number(SECONDS).map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (begun, watched) = sync_channel(WATCHED_MAX);
    let guard = std::thread::spawn({
        let name = name.clone();
        move || guard(&name, seed, &watched)
    });
    let run = Run { name: &name, seed, begun, target };
    for input in &inputs {
        run.attempt(input);
    }
    let (mut dice, mut made) = (Dice(seed.max(1)), 0);
    while end.map_or(made < INPUTS, |end| Instant::now() < end) {
        run.attempt(&changed(&inputs, &mut dice));
        made += 1;
    }
    drop(run);
    guard.join().expect("it only waits");
    if end.is_some() {
        say(&format!("fuzz {name}: {made} inputs from {} and {SEED}={seed}", inputs.len()));
    }
}

struct Run<'a, Target> {
    name: &'a str,
    seed: u64,
    begun: SyncSender<Vec<u8>>,
    target: Target,
}

impl<Target: Fn(&[u8])> Run<'_, Target> {
    fn attempt(&self, input: &[u8]) {
        self.begun.send(input.to_vec()).expect("the guard lives");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.target)(input))) {
            failed(self.name, self.seed, input, "panics");
            resume_unwind(panic);
        }
    }
}

/// Ends everything if an input is followed by no other for too long.
fn guard(name: &str, seed: u64, begun: &Receiver<Vec<u8>>) {
    let mut current = Vec::new();
    loop {
        match begun.recv_timeout(INPUT_MAX) {
            Ok(input) => current = input,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                failed(name, seed, &current, "hangs");
                std::process::abort();
            }
        }
    }
}

fn failed(name: &str, seed: u64, input: &[u8], how: &str) {
    let file = std::env::temp_dir().join(format!("freshq-fuzz-{name}-{}", hash8(input)));
    fs::write(&file, input).expect("the input can be kept");
    say(&format!("fuzz {name}: {} {how}; {SEED}={seed}", file.display()));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// The files of a corpus, always in the same order.
fn read(corpus: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(corpus).expect("the corpus is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", corpus.display());
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

/// One of the inputs, changed in some places.
fn changed(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.choose(inputs).clone();
    for _ in 0..=dice.below(CHANGES_MAX) {
        let at = dice.below(input.len() + 1);
        let end = at + dice.below((input.len() - at).min(32) + 1);
        match dice.below(6) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 if at < input.len() => input[at] = dice.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => drop(input.splice(at..at, input[at..end].to_vec())),
            4 => {
                let other = dice.choose(inputs);
                let from = dice.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                // In place of what is there, or between.
                let until = if dice.below(2) == 0 { end } else { at };
                drop(input.splice(at..until, dice.choose(WORDS).iter().copied()));
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

/// Numbers that look random and are the same for the same seed: Marsaglia's xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn corpus() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "{\"command\": \"shutdown\"}").unwrap();
        fs::write(folder.path().join("b"), "0123456789").unwrap();
        folder
    }

    #[test]
    fn the_inputs_are_those_of_the_corpus_and_many_others() {
        let (folder, seen) = (corpus(), RefCell::new(Vec::new()));
        fuzz(folder.path(), |input| seen.borrow_mut().push(input.to_vec()));
        let mut seen = seen.into_inner();
        assert_eq!(seen[1], b"0123456789");
        seen.sort();
        seen.dedup();
        assert!(INPUTS / 2 < seen.len() as u64, "{}", seen.len());
    }

    #[test]
    fn an_input_that_fails_is_kept() {
        let folder = corpus();
        let fails = || fuzz(folder.path(), |input| assert!(!input.contains(&b'x')));
        fs::write(folder.path().join("c"), "x").unwrap();
        assert!(catch_unwind(AssertUnwindSafe(fails)).is_err());
        let name = folder.path().file_name().unwrap().to_string_lossy();
        let kept = format!("freshq-fuzz-{name}-{}", hash8(b"x"));
        let kept = std::env::temp_dir().join(kept);
        assert_eq!(fs::read(&kept).unwrap(), b"x");
        fs::remove_file(kept).unwrap();
    }
}
