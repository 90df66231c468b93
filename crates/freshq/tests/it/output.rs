//! What is printed is calm: aligned whatever clients write, and nothing twice.

use serde_json::json;

use crate::context::{Context, Worker};

/// Where texts begin.
const INDENT: &str = "                     ";

#[test]
fn what_a_client_wrote_neither_breaks_columns_nor_steers_the_terminal() {
    let context = Context::new();
    context.eval("enqueue('builtins.len', 'x', description='first\\nsecond \\x1b[31m red')");
    let (status, output) = context.unready_worker(&["--burst"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("default: first\n"), "{output}");
    assert!(output.contains(&format!("\n{INDENT}second \\u{{1b}}[31m red (")), "{output}");
    assert!(!output.contains('\x1b'), "{output}");
}

#[test]
fn a_traceback_leaves_no_blanks_at_the_ends_of_lines() {
    let context = Context::new();
    context.eval("enqueue('nowhere.work', job_id='j')");
    let (_, output) = context.unready_worker(&["--burst"]).end();
    assert!(output.contains("\n\n                     During handling of the above"), "{output}");
    assert!(output.lines().all(|line| line.trim_end() == line), "{output}");
}

#[test]
fn a_job_that_is_to_be_repeated_is_ok_too() {
    let context = Context::new();
    context
        .eval("enqueue('builtins.len', 'x', job_id='j', repeat=__import__('rq').Repeat(times=1))");
    let (_, output) = context.unready_worker(&["--burst"]).end();
    assert_eq!(output.matches("Job OK (j)").count(), 2, "{output}");
    assert!(output.contains("; job j scheduled to repeat (1 left)"), "{output}");
}

#[test]
fn what_cannot_begin_says_only_why() {
    let context = Context::new();
    let (status, output) = context.unready_worker(&["--job-class", "nowhere.Job"]).end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("error: --job-class nowhere.Job: "), "{output}");
    let worker = context.worker(&["--name", "w"]);
    let (status, taken) = context.unready_worker(&["--name", "w"]).end();
    assert_eq!(status.code(), Some(1), "{taken}");
    assert!(taken.contains("error: There exists an active worker named 'w' already"), "{taken}");
    for output in [output, taken] {
        assert!(!output.contains("  stopp"), "{output}");
    }
    worker.stop();
}

#[test]
fn details_do_not_come_between_what_was_decided() {
    let context = Context::new();
    let output = context.worker(&["-v"]).stop();
    let (code, socket) = (output.find("\n  code "), output.find("control socket"));
    assert!(code.is_some() && socket.is_some() && code < socket, "{output}");
}

#[test]
fn a_queue_from_which_nothing_can_be_taken_is_said() {
    let context = Context::new();
    context.eval("[r.set('rq:queue:text', 'x'), r.set('rq:wip:odd', 'x')]");
    context.eval("enqueue('builtins.len', 'x', queue_name='odd', job_id='j')");
    let worker = context.unready_worker(&["--burst", "text", "odd"]);
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    for (queue, key, wanted) in [("text", "rq:queue:text", "list"), ("odd", "rq:wip:odd", "zset")] {
        let said = format!(
            "no job of queue {queue} can run: in Redis the key {key} is a string, not a {wanted}"
        );
        assert_eq!(output.matches(&said).count(), 1, "{output}");
    }
    assert_eq!(context.eval("queue('odd').job_ids"), json!(["j"]));
}

#[test]
fn a_variable_is_true_or_false() {
    let context = Context::new();
    for name in ["FRESHQ_RELOAD", "RQ_WORKER_AUTORELOAD"] {
        for (value, code, text) in [
            ("maybe", 2, format!("{name} is \"maybe\", which is neither true nor false")),
            ("On", 0, name.to_owned()),
        ] {
            let mut command = context.freshq();
            command.args(["worker", "--burst", "--url", &context.redis.url()]).env(name, value);
            let (status, output) = Worker::start(command).end();
            assert_eq!(status.code(), Some(code), "{output}");
            assert!(output.contains(&text), "{output}");
        }
    }
}
