//! `HerokuWorker`: a dyno that ends sends SIGTERM to every process, and the job is told in time.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import os, signal, subprocess, time
from rq import get_current_job
from rq.exceptions import ShutDownImminentException
from rq.worker import HerokuWorker

HerokuWorker.imminent_shutdown_delay = 1

def wait():
    job = get_current_job()
    job.connection.set("begun", os.getpid())
    time.sleep(600)

def wait_for(key):
    job = get_current_job()
    job.connection.set("begun", os.getpid())
    while not job.connection.exists(key):  # blpop ends where redis-py's own limit does
        time.sleep(0.002)
    return "in time"

def clean_up():
    job = get_current_job()
    try:
        job.connection.set("begun", os.getpid())
        time.sleep(600)
    except ShutDownImminentException as error:
        return [str(error), sorted(error.extra_info)]

def with_child():
    child = subprocess.Popen(["sleep", "600"])
    get_current_job().connection.set("begun", os.getpid())
    return child.wait() == -signal.SIGRTMIN

def add(a, b):
    return a + b

class Mine(HerokuWorker):
    imminent_shutdown_delay = 0

    def perform_job(self, job, queue, *args):
        self.connection.rpush("notes", f"{job.id} here")
        return super().perform_job(job, queue, *args)
"#;

const HEROKU: &[&str] = &["-w", "rq.worker.HerokuWorker"];
const RAISED: &str =
    "rq.exceptions.ShutDownImminentException: shut down imminent (signal: SIGALRM)";

/// The traceback from RQ's handler on; where it interrupts the job is a matter of time.
const HANDLERS_FRAME: &str =
    "(job('job').latest_result().exc_string or '').partition('request_force_stop_sigrtmin')[2]";

/// Enqueues a job and waits until it runs; the id of its process is then at `begun`.
fn begin(context: &Context, job: &str) {
    context.eval("r.delete('begun', 'go')");
    context.eval(&format!("enqueue({job}, job_id='job')"));
    context.wait_until("r.exists('begun') == 1");
}

/// Sends a signal, of Python's name, to the process of the job.
fn signal_horse(context: &Context, signal: &str) {
    context.eval(&format!(
        "__import__('os').kill(int(r.get('begun')), __import__('signal').{signal})"
    ));
}

/// As a dyno does that ends: to all processes.
fn end_dyno(context: &Context, worker: Worker) -> String {
    signal_horse(context, "SIGTERM");
    worker.stop()
}

/// The end of a dyno with both workers, each in a world of its own: both leave the same of the job.
fn same(job: &str, args: &[&str]) -> Value {
    let see = |start: fn(&Context, &[&str]) -> Worker| {
        let context = Context::with_tasks(TASKS);
        let worker = start(&context, args);
        begin(&context, job);
        let output = end_dyno(&context, worker);
        let (end, text) = (context.eval("end('job')"), context.eval(HANDLERS_FRAME));
        (json!([end, text]), output)
    };
    let (rq, _) = see(Context::rqs_worker);
    let (freshq, output) = see(Context::worker);
    assert_eq!(freshq, rq, "freshq at the left, rq at the right\n{output}");
    rq
}

#[test]
fn a_job_is_interrupted_some_time_after_the_stop() {
    let seen = same("'app.tasks.wait'", HEROKU);
    assert_eq!(seen[0], json!(["failed", RAISED]));
    assert!(seen[1].as_str().unwrap().contains("raise ShutDownImminentException"), "{seen}");
}

#[test]
fn a_job_may_catch_the_interruption_and_return() {
    let seen = same("'app.tasks.clean_up'", HEROKU);
    assert_eq!(seen[0][0], "finished");
    assert_eq!(seen[0][1][0], "shut down imminent (signal: SIGALRM)");
}

#[test]
fn what_a_job_has_started_is_signalled_with_it() {
    assert_eq!(same("'app.tasks.with_child'", HEROKU)[0], json!(["finished", true]));
}

#[test]
fn a_subclass_has_a_delay_of_its_own() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["-w", "app.tasks.Mine"]);
    begin(&context, "'app.tasks.wait'");
    end_dyno(&context, worker);
    let text = RAISED.replace("SIGALRM", "SIGRTMIN");
    assert_eq!(context.eval("end('job')"), json!(["failed", text]));
    assert_eq!(context.eval("r.lrange('notes', 0, -1) == [b'job here']"), json!(true));
}

#[test]
fn a_job_that_ends_in_time_has_finished() {
    let context = Context::with_tasks(TASKS);
    context.replace("app/tasks.py", &TASKS.replace("delay = 1", "delay = 600"));
    for isolation in ["fork", "reuse", "spawn"] {
        let worker = context.worker(&[HEROKU, &["--isolation", isolation]].concat());
        begin(&context, "'app.tasks.wait_for', 'go'");
        signal_horse(&context, "SIGTERM");
        worker.signal(Signal::TERM);
        worker.wait_for("raising ShutDownImminentException in 600 seconds");
        context.eval("r.set('go', 1)");
        let (status, output) = worker.end();
        assert_eq!(status.code(), Some(0), "{output}");
        assert_eq!(context.eval("end('job')"), json!(["finished", "in time"]), "{output}");
    }
}

#[test]
fn anybody_may_send_the_signal() {
    let context = Context::with_tasks(TASKS);
    for isolation in ["fork", "reuse"] {
        let worker = context.worker(&[HEROKU, &["--isolation", isolation]].concat());
        begin(&context, "'app.tasks.wait'");
        signal_horse(&context, "SIGRTMIN");
        assert_eq!(context.eval("end('job')"), json!(["failed", RAISED]), "{isolation}");
        assert_eq!(context.eval("run('app.tasks.add', 1, 2)"), json!(["finished", 3]));
        worker.stop();
    }
}

#[test]
fn a_job_whose_generation_is_gone_is_told_too() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&[HEROKU, &["--reload", "--num-workers", "2"]].concat());
    begin(&context, "'app.tasks.wait'");
    let parent = "open(f'/proc/{int(r.get(\"begun\"))}/stat').read().rpartition(')')[2].split()[1]";
    let generation = context.eval(parent);
    context.replace("app/tasks.py", &TASKS.replace("a + b", "a - b"));
    assert_eq!(context.eval("run('app.tasks.add', 1, 2)"), json!(["finished", -1]));
    context.wait_until(&format!("{parent} != '{}'", generation.as_str().unwrap()));
    end_dyno(&context, worker);
    assert_eq!(context.eval("end('job')"), json!(["failed", RAISED]));
}

#[test]
fn the_workers_of_a_pool_are_such_workers_too() {
    let context = Context::with_tasks(TASKS);
    let mut command = context.freshq();
    command.args(["worker-pool", "-n", "2", "--url", &context.redis.url()]).args(HEROKU);
    let pool = Worker::start(command);
    begin(&context, "'app.tasks.wait'");
    end_dyno(&context, pool);
    assert_eq!(context.eval("end('job')"), json!(["failed", RAISED]));
}

#[test]
fn the_jobs_of_a_plain_worker_are_left_alone() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&[]);
    begin(&context, "'app.tasks.wait_for', 'go'");
    worker.signal(Signal::TERM);
    context.wait_until("any(w.shutdown_requested_date for w in Worker.all(connection=r))");
    context.eval("r.set('go', 1)");
    assert_eq!(context.eval("end('job')"), json!(["finished", "in time"]));
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
}
