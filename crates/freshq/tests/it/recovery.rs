//! A supervisor that was killed is started again: what it left is taken up at once.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::context::{Context, Worker};
use crate::processes::wait_until;

const TASKS: &str = r#"
import os, time
from rq import get_current_job

def hang(begun):
    with open(begun, "a") as file:
        file.write(f"{os.getpid()} ")
    while not os.path.exists("go-on"):
        time.sleep(0.002)
    return "done"

def failed(job, connection, kind, value, traceback):
    connection.rpush("failed", f"{job.id} {kind.__name__}")
"#;

/// Has a worker begin a job, and kills its supervisor.
fn kill_with_job(context: &Context, args: &[&str], options: &str) -> Value {
    let worker = context.worker(args);
    let job = context.eval(&format!("enqueue('app.tasks.hang', 'begun', {options})"));
    wait_until("the job begins", || begun(context) == 1);
    kill(worker);
    job
}

fn kill(worker: Worker) {
    worker.signal(Signal::KILL);
    worker.reap();
}

/// How often the job has begun.
fn begun(context: &Context) -> usize {
    let pids = fs_err::read_to_string(context.path("begun")).unwrap_or_default();
    pids.matches(' ').count()
}

#[test]
fn the_job_of_a_killed_supervisor_fails_as_abandoned_as_soon_as_it_is_back() {
    let context = Context::with_tasks(TASKS);
    let args = ["--name", "w", "--with-scheduler"];
    let job = kill_with_job(&context, &args, "on_failure=Callback('app.tasks.failed')");
    let worker = context.worker(&args);
    context.wait_until(&format!("status({job}) == 'failed'"));
    let text = context.eval(&format!("job({job}).latest_result().exc_string[:58]"));
    assert_eq!(text, json!("Moved to FailedJobRegistry, due to AbandonedJobError, at 2"));
    let called = context.eval("[text(call) for call in r.lrange('failed', 0, -1)]");
    assert_eq!(called, json!([format!("{} AbandonedJobError", job.as_str().unwrap())]));
    assert_eq!(context.eval("r.keys('rq:execution*') + r.keys('rq:wip*')"), json!([]));
    assert_eq!(context.eval("[w.name for w in Worker.all(r)]"), json!(["w"]));
    // The scheduler is at work again, too: its predecessor's lock would last a minute.
    worker.wait_for("the scheduler's lock of default");
    let output = worker.stop();
    assert!(output.contains("worker w with job "), "{output}");
    assert_eq!(begun(&context), 1);
}

#[test]
fn a_job_with_retries_runs_again() {
    let context = Context::with_tasks(TASKS);
    let job = kill_with_job(&context, &[], "retry=Retry(max=1)");
    context.write("go-on", "");
    let worker = context.worker(&[]);
    assert_eq!(context.eval(&format!("end({job})")), json!(["finished", "done"]));
    assert_eq!(context.eval(&format!("job({job}).retries_left")), json!(0));
    assert_eq!(begun(&context), 2);
    worker.stop();
}

#[test]
fn nothing_is_taken_from_a_supervisor_that_runs() {
    let context = Context::with_tasks(TASKS);
    let first = context.worker(&["--name", "first"]);
    let job = context.eval("enqueue('app.tasks.hang', 'begun')");
    wait_until("the job begins", || begun(&context) == 1);
    // It looks at its start, and then with each maintenance.
    let second = context.worker(&["--name", "second", "--maintenance-interval", "1"]);
    context.wait_until("r.delete('rq:clean_groups') + 1 and r.incr('looked') > 20");
    context.write("go-on", "");
    assert_eq!(context.eval(&format!("end({job})")), json!(["finished", "done"]));
    assert_eq!(context.eval("sorted(w.name for w in Worker.all(r))"), json!(["first", "second"]));
    for output in [first.stop(), second.stop()] {
        assert!(!output.contains("taken up"), "{output}");
    }
}

#[test]
fn a_supervisor_of_another_machine_is_left_to_its_heartbeats() {
    let context = Context::with_tasks(TASKS);
    let job = kill_with_job(&context, &["--name", "w"], "");
    context.eval(
        "r.hset('rq:worker:w', 'freshq_run', text(r.hget('rq:worker:w', 'freshq_run')) + 'x')",
    );
    let worker = context.worker(&[]);
    assert_eq!(context.eval("run('builtins.len', 'four')"), json!(["finished", 4]));
    assert_eq!(context.eval(&format!("status({job})")), json!("started"));
    assert_eq!(context.eval("Worker.count(r)"), json!(2));
    worker.stop();
}
