//! `cargo xtask COMMAND`: chores that cargo itself has no word for.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command for developers")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: cargo xtask tidy | reference | prove [SAVES] | prove-watch [SAVES] | bench [harness arguments]
       cargo xtask crash-test [--faults N] [--jobs N] [--seed N] [--peer rq | --embedded]
       cargo xtask crash-test --stops N [--seed N]
       cargo xtask fuzz [SECONDS] [SEED]";

/// How often `prove` saves code in each of its tests.
const PROOF_SAVES: &str = "10000";
/// How often `prove-watch` saves a file and asks the watcher.
const WATCH_SAVES: &str = "1000000";
/// How long `fuzz` makes inputs for each target.
const FUZZ_SECONDS: &str = "60";
/// The tests that do, by package: which of its tests are built, and the names of those that are run.
const FUZZ_TARGETS: &[(&str, &[&str], &[&str])] = &[
    ("rq", &["--lib"], &["fuzz_tests::"]),
    ("supervisor", &["--lib"], &["fuzz_tests::", "::whatever_happens"]),
    ("freshq", &["--lib"], &["fuzz_tests::"]),
    ("freshq", &["--test", "it"], &["fuzz::"]),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match args.next().as_deref() {
        Some("tidy") => tidy(&root),
        Some("reference") => reference(&root),
        Some("prove") => prove(&root, &args.next().unwrap_or_else(|| PROOF_SAVES.to_owned())),
        Some("prove-watch") => {
            prove_watch(&root, &args.next().unwrap_or_else(|| WATCH_SAVES.to_owned()))
        }
        Some("crash-test") => crash_test(&root, args),
        Some("fuzz") => fuzz(&root, args),
        Some("bench") => bench(&root, args.collect()),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn tidy(root: &Path) -> ExitCode {
    let problems = xtask::tidy::check(root);
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Has the test that compares `docs/reference` with the declarations write it.
fn reference(root: &Path) -> ExitCode {
    let status = Command::new("cargo")
        .args(["test", "--quiet", "-p", "freshq", "--lib", "reference"])
        .env("FRESHQ_WRITE_REFERENCE", "1")
        .current_dir(root)
        .status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the tests of the promise of fresh code with many more saves than the suite has time for.
fn prove(root: &Path, saves: &str) -> ExitCode {
    let status = Command::new("cargo")
        .args(["test", "-p", "freshq", "--test", "it", "freshness", "--", "--nocapture"])
        .args(["--test-threads", "1"])
        .env("FRESHQ_PROOF_SAVES", saves)
        .current_dir(root)
        .status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Saves a file in every way, and asks the watcher at once, far more often than the tests do.
fn prove_watch(root: &Path, saves: &str) -> ExitCode {
    let status = Command::new("cargo")
        .args(["test", "-p", "supervisor", "--lib", "watch::tests::native::barrier::many_saves"])
        .args(["--", "--nocapture"])
        .env("WATCH_SAVES", saves)
        .current_dir(root)
        .status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the crash test with many more faults and jobs than the suite has time for; with `--peer rq` the
/// same is done to RQ's own workers, and shown beside it; with `--embedded` only the test that kills freshq's
/// own Redis too is run. With `--stops` workers are stopped instead.
fn crash_test(root: &Path, mut args: impl Iterator<Item = String>) -> ExitCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut told = BTreeMap::from([
        ("FRESHQ_CRASH_FAULTS", "1000".to_owned()),
        ("FRESHQ_CRASH_JOBS", "100000".to_owned()),
        ("FRESHQ_CRASH_SEED", now.subsec_nanos().to_string()),
    ]);
    let mut tests: &[&str] = &["crash::whatever", "crash::with_requeue"];
    while let Some(option) = args.next() {
        if option == "--embedded" {
            tests = &["crash::embedded"];
            continue;
        }
        let name = match option.as_str() {
            "--faults" => "FRESHQ_CRASH_FAULTS",
            "--jobs" => "FRESHQ_CRASH_JOBS",
            "--seed" => "FRESHQ_CRASH_SEED",
            "--peer" => "FRESHQ_CRASH_PEER",
            "--stops" => {
                tests = &["stops::"];
                "FRESHQ_CRASH_STOPS"
            }
            _ => "",
        };
        let Some(value) = args.next().filter(|_| !name.is_empty()) else {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        };
        told.insert(name, value);
    }
    let status = Command::new("cargo")
        .args(["test", "-p", "freshq", "--test", "it", "--", "--nocapture", "--test-threads", "1"])
        .args(tests)
        .envs(told)
        .current_dir(root)
        .status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Has every fuzz target made inputs for so long, where the suite takes a moment.
fn fuzz(root: &Path, mut args: impl Iterator<Item = String>) -> ExitCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = args.next().unwrap_or_else(|| FUZZ_SECONDS.to_owned());
    let seed = args.next().unwrap_or_else(|| now.subsec_nanos().to_string());
    let well = FUZZ_TARGETS.iter().all(|(package, built, names)| {
        let status = Command::new("cargo")
            .args(["test", "--package", package])
            .args(*built)
            .args(["--", "--nocapture"])
            .args(*names)
            .env("FRESHQ_FUZZ_SECONDS", &seconds)
            .env("FRESHQ_FUZZ_SEED", &seed)
            .current_dir(root)
            .status();
        status.is_ok_and(|status| status.success())
    });
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the harness in `bench/` against the release binary; `bench/README.md` says what it measures.
fn bench(root: &Path, args: Vec<String>) -> ExitCode {
    let status = Command::new(root.join("bench/run.sh")).args(args).status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench/run.sh cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}
