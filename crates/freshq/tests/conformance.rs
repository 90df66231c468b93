//! The worker as its users see it: several hundred checks from outside, in `conformance/`.
//!
//! They are written in Python, with the real client, and RQ's own worker passes all of them but
//! those that only freshq promises. `conformance/run.py` runs them against any worker.

use std::path::Path;
use std::process::Command;

use embedded::testing::{self, TestRedis};

/// Shards that run at the same time, each with a Redis server of its own.
const SHARDS: usize = 4;
/// Checks of what freshq does not do yet. They have to fail; whoever makes one pass takes it off.
const NOT_YET: &[&str] = &[];

#[test]
fn freshq_passes_the_checks() {
    let cache = tempfile::tempdir().expect("a folder");
    let servers: Vec<TestRedis> = (0..SHARDS).map(|_| testing::redis()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let freshq = env!("CARGO_BIN_EXE_freshq");
    let mut command = Command::new(testing::python());
    command.arg(folder.join("run.py"));
    command.args(["--worker", &format!("{freshq} worker")]);
    command.args(["--pool", &format!("{freshq} worker-pool")]);
    command.args(["--not-yet", &NOT_YET.join(",")]);
    for server in &servers {
        command.args(["--url", &server.url()]);
    }
    command.env("FRESHQ_CACHE_DIR", cache.path()).env("FRESHQ_PYTHON", testing::python());
    let output = command.output().expect("the checks start");
    let lines = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let problems: Vec<&str> = lines
        .lines()
        .filter(|line| !line.starts_with("ok ") && !line.starts_with("not yet"))
        .collect();
    assert!(output.status.success(), "{}\n{errors}", problems.join("\n"));
    // A run of nothing would find nothing.
    assert!(lines.lines().filter(|line| line.starts_with("ok ")).count() > 100, "{lines}");
}
