//! What is killed while freshq starts is started again, after pauses and not for ever.

use std::process::Command;

use serde_json::json;

use crate::context::{Context, Worker};

/// Kills this Python when it starts, so many times: `VICTIM` is in what it was started with.
const SITE: &str = "
import os, sys
if os.environ['VICTIM'] in ' '.join(sys.orig_argv):
    with open('started', 'a') as file:
        file.write('.')
    if os.path.getsize('started') <= int(os.environ['KILLS']):
        os.kill(os.getpid(), int(os.environ['SIGNAL']))
";
/// In the arguments of each.
const PROBE: &str = "find_spec";
const BASE: &str = "start_base.py";

fn project() -> Context {
    let context = Context::new();
    context.write("site/sitecustomize.py", SITE);
    context
}

fn command(context: &Context, victim: &str, kills: u32, signal: u32) -> Command {
    let mut command = context.freshq();
    command
        .args(["worker", "--url", &context.redis.url()])
        .env("PYTHONPATH", context.path("site"))
        .envs([("VICTIM", victim.to_owned()), ("KILLS", kills.to_string())])
        .env("SIGNAL", signal.to_string());
    command
}

#[test]
fn what_was_killed_is_tried_again() {
    for (victim, said) in [(PROBE, "was killed while it was asked"), (BASE, "the base ended")] {
        let context = project();
        let worker = Worker::start(command(&context, victim, 2, 9));
        worker.wait_for("  ready ");
        assert_eq!(context.eval("run('builtins.abs', -3)"), json!(["finished", 3]));
        let output = worker.stop();
        assert_eq!(output.matches(said).count(), 2, "{output}");
    }
}

#[test]
fn what_is_killed_again_and_again_ends_the_worker() {
    for victim in [PROBE, BASE] {
        let context = project();
        let mut command = command(&context, victim, 99, 9);
        command.args(["--max-restarts", "1"]);
        let (status, output) = Worker::start(command).end();
        assert_eq!(status.code(), Some(8), "{output}");
        assert_eq!(fs_err::read_to_string(context.path("started")).expect("tries"), "..");
    }
}

#[test]
fn a_stop_is_heard_in_a_pause() {
    for (victim, said) in [(PROBE, "was killed while"), (BASE, "the base ended again")] {
        let context = project();
        let worker = Worker::start(command(&context, victim, 99, 9));
        worker.wait_for_times(said, if victim == PROBE { 2 } else { 1 });
        worker.stop();
    }
}

#[test]
fn what_cannot_run_says_so_at_once() {
    for (victim, said) in [(PROBE, "does not work"), (BASE, "ended while it started (signal 11")] {
        let context = project();
        let (status, output) = Worker::start(command(&context, victim, 1, 11)).end();
        assert_eq!(status.code(), Some(3), "{output}");
        assert!(output.contains(said), "{output}");
        assert_eq!(fs_err::read_to_string(context.path("started")).expect("one try"), ".");
    }
}
