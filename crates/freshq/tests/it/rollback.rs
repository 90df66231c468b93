//! Back to the generation before: because somebody asks, because the newer one crashes, or for one job
//! that new code does not know.

use serde_json::json;

use crate::context::{Context, Worker};
use crate::processes::{children, kill, wait_until};
use crate::versioned::{finished, project, run};

fn worker(context: &Context, args: &[&str]) -> Worker {
    context.worker(&[&["--reload", "--import", "app.tasks"], args].concat())
}

/// Runs `freshq rollback`: its exit code, and all that it printed.
fn rollback(context: &Context) -> (i32, String) {
    let output = context.freshq().arg("rollback").output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("it ends by itself"), text.into_owned())
}

#[test]
fn rolling_back_is_instant_and_twice_leads_to_the_newer_again() {
    for isolation in ["fork", "reuse", "spawn"] {
        let context = project();
        let worker = worker(&context, &["--isolation", isolation]);
        let (code, text) = rollback(&context);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("there is no generation to go back to"), "{text}");
        assert_eq!(run(&context), finished("v0"));
        context.write("app/version.py", "VERSION = 'v1'\n");
        assert_eq!(run(&context), finished("v1"));
        for (back, from, to) in [("v0", 2, 1), ("v1", 1, 2), ("v0", 2, 1)] {
            let (code, text) = rollback(&context);
            assert_eq!(code, 0, "{text}");
            assert!(text.contains(&format!("from generation {from} to {to}")), "{text}");
            assert_eq!(text.contains("jobs run older code"), to < from, "{text}");
            assert_eq!(run(&context), finished(back), "{}", worker.output());
        }
        context.write("app/version.py", "VERSION = 'v2'\n");
        assert_eq!(run(&context), finished("v2"));
        let output = worker.stop();
        assert_eq!(output.matches("  serving ").count(), 3, "nothing was loaded again:\n{output}");
    }
}

#[test]
fn a_save_that_brings_the_old_code_back_after_a_rollback_needs_no_reload() {
    let context = project();
    let worker = worker(&context, &["--verbose"]);
    context.write("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(run(&context), finished("v1"));
    assert_eq!(rollback(&context).0, 0);
    context.write("app/version.py", "VERSION = 'v0'\n");
    assert_eq!(run(&context), finished("v0"));
    worker.wait_for("version.py: same code");
    context.write("app/version.py", "VERSION = 'v2'\n");
    assert_eq!(run(&context), finished("v2"));
    worker.stop();
}

#[test]
fn a_rollback_ends_the_wait_for_code_that_is_loading() {
    let context = project();
    let worker = worker(&context, &[]);
    context.write("app/version.py", "open('stuck', 'w').close()\nwhile True:\n    pass\n");
    let id = context.eval("enqueue('app.tasks.version')");
    wait_until("the import begins", || context.path("stuck").exists());
    let (code, text) = rollback(&context);
    assert_eq!(code, 0, "{text}");
    assert_eq!(context.eval(&format!("end({id})")), finished("v0"));
    worker.stop();
}

#[test]
fn a_rollback_lets_held_jobs_run() {
    let context = project();
    let worker = worker(&context, &["--on-broken", "hold"]);
    context.write("app/version.py", "VERSION = (\n");
    let id = context.eval("enqueue('app.tasks.version')");
    worker.wait_for("jobs wait until it is mended");
    assert_eq!(rollback(&context).0, 0);
    assert_eq!(context.eval(&format!("end({id})")), finished("v0"));
    worker.stop();
}

#[test]
fn one_that_crashes_right_after_a_save_is_gone_back_from_by_itself() {
    let context = project();
    let worker = worker(&context, &[]);
    context.write("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(run(&context), finished("v1"));
    let base = children(worker.pid())[0];
    // The one before sleeps beside it.
    let generations = children(base);
    assert_eq!(generations.len(), 2, "{}", worker.output());
    kill(generations[1]);
    worker.wait_for("generation 2 ended (signal 9 SIGKILL); generation 1 serves");
    worker.wait_for("from generation 2 to 1: it ended soon after the change");
    assert_eq!(run(&context), finished("v0"));
    context.write("app/version.py", "VERSION = 'v2'\n");
    assert_eq!(run(&context), finished("v2"));
    worker.stop();
}

const OLD_TASKS: &str = "
from .version import VERSION

class Money:
    def __init__(self, amount):
        self.amount = amount

def version():
    return VERSION

def old(value=0):
    return ['old', VERSION, value]

def pay(money):
    return ['paid', VERSION, money.amount]

def failed(job, connection, kind, error, traceback):
    open('failed', 'a').write(kind.__name__ + ' ')
";

/// The generation in a job's record.
fn generation(context: &Context, job: &serde_json::Value) -> serde_json::Value {
    context.eval(&format!("text(r.hget('rq:job:' + {job}, 'generation'))"))
}

#[test]
fn a_job_that_new_code_does_not_know_runs_on_the_old_while_that_lives() {
    for isolation in ["fork", "reuse", "spawn"] {
        let context = project();
        context.write("app/tasks.py", OLD_TASKS);
        context.eval("__import__('sys').path.insert(0, '.')");
        let worker = worker(&context, &["--isolation", isolation]);
        context.eval("globals().update(money=__import__('app.tasks', fromlist=['x']).Money(7))");
        assert_eq!(run(&context), finished("v0"));
        let new =
            OLD_TASKS.replace("def old(", "def renamed(").replace("class Money", "class Cash");
        context.write("app/tasks.py", &new);
        let failure = "on_failure=Callback('app.tasks.failed')";
        let id = context.eval(&format!("enqueue('app.tasks.old', 5, {failure})"));
        let end = context.eval(&format!("end({id})"));
        assert_eq!(end, json!(["finished", ["old", "v0", 5]]), "{}", worker.output());
        assert_eq!(generation(&context, &id), json!("1"));
        worker.wait_for("is unknown to generation 2: ");
        // What it is called with cannot be unpickled.
        let end = context.eval(&format!("run('app.tasks.pay', money, {failure})"));
        assert_eq!(end, json!(["finished", ["paid", "v0", 7]]), "{}", worker.output());
        assert!(!context.path("failed").exists(), "nothing of them ran on the new code");
        // The new code serves all others.
        let id = context.eval("enqueue('app.tasks.renamed')");
        assert_eq!(context.eval(&format!("end({id})")), json!(["finished", ["old", "v0", 0]]));
        assert_eq!(generation(&context, &id), json!("2"));
        worker.stop();
    }
}

#[test]
fn a_job_that_nobody_knows_fails_once_and_on_the_newest_code() {
    let context = project();
    context.write("app/tasks.py", OLD_TASKS);
    let worker = worker(&context, &[]);
    context.write("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(run(&context), finished("v1"));
    let id = context.eval("enqueue('app.tasks.nobody', on_failure=Callback('app.tasks.failed'))");
    let end = context.eval(&format!("end({id})"));
    assert_eq!(end[0], json!("failed"), "{end}");
    assert!(end[1].as_str().unwrap().contains("nobody"), "{end}");
    assert_eq!(generation(&context, &id), json!("2"));
    let failed = fs_err::read_to_string(context.path("failed")).unwrap();
    assert_eq!(failed.split_whitespace().count(), 1, "{failed}");
    let output = worker.stop();
    assert!(output.contains("is unknown to generation 2"), "{output}");
    assert!(output.contains("is unknown to generation 1"), "{output}");
}
