//! A stop with a limit: `--stop-timeout`, and freshq as the first process of a container.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::context::{Context, Worker};
use crate::processes::{self, children, wait_until};

const TASKS: &str = r#"
import os, signal, subprocess, time
from rq import get_current_job

def begun(*pids):
    get_current_job().connection.rpush("begun", os.getpid(), *pids)

def sleep():
    begun()
    time.sleep(600)

def clean_up():
    def handler(*_):
        raise KeyboardInterrupt("told to end")
    signal.signal(signal.SIGTERM, handler)
    try:
        begun()
        time.sleep(600)
    except KeyboardInterrupt as error:
        return str(error)

def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its child ignores it too
    child = subprocess.Popen(["sleep", "600"])
    begun(child.pid)
    while True:
        time.sleep(600)

def leaves_stubborn_child():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    begun(child.pid)
    time.sleep(600)

def orphan():
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.05)
            os._exit(0)
        os._exit(0)
    os.wait()

def add(a, b):
    return a + b
"#;

const OVERDUE: &str = "the worker was told to stop and waited 0 s for the job (--stop-timeout)";

/// Enqueues a job and waits until it has begun.
fn begin(context: &Context, job: &str) {
    context.eval(&format!("enqueue({job}, job_id='job')"));
    context.wait_until("r.exists('begun') == 1");
}

fn is_gone(context: &Context) -> bool {
    context.eval("[p for p in map(int, r.lrange('begun', 0, -1)) if alive(p)]") == json!([])
}

/// Stops a worker that waits for no job; returns what it printed.
fn stop(context: &Context, worker: Worker) -> String {
    let output = worker.stop();
    wait_until("no process of the job is left", || is_gone(context));
    assert_eq!(context.eval("len(StartedJobRegistry(queue=queue()))"), json!(0), "{output}");
    assert_eq!(context.eval("Worker.all(connection=r) + r.keys('rq:execution:*')"), json!([]));
    output
}

fn failed(text: &str) -> Value {
    json!(["failed", text])
}

#[test]
fn a_job_that_takes_too_long_is_told_to_end() {
    let context = Context::with_tasks(TASKS);
    for isolation in ["fork", "reuse", "spawn"] {
        context.eval("r.flushall()");
        let worker = context.worker(&["--stop-timeout", "0", "--isolation", isolation]);
        begin(&context, "'app.tasks.sleep'");
        let output = stop(&context, worker);
        assert!(output.contains("warm shutdown takes too long: 1 job is running"), "{output}");
        let text = "Work-horse terminated unexpectedly; waitpid returned 15 (signal 15); ";
        assert_eq!(context.eval("end('job')"), failed(&format!("{text}{OVERDUE}")), "{isolation}");
    }
}

#[test]
fn a_job_that_listens_may_clean_up_and_return() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--stop-timeout", "0"]);
    begin(&context, "'app.tasks.clean_up'");
    stop(&context, worker);
    assert_eq!(context.eval("end('job')"), json!(["finished", "told to end"]));
}

#[test]
fn a_job_that_does_not_listen_is_killed_with_all_it_has_started() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--stop-timeout", "0"]);
    begin(&context, "'app.tasks.stubborn'");
    let output = stop(&context, worker);
    assert!(output.contains("cold shutdown: 1 job is running"), "{output}");
    let text = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); ";
    assert_eq!(context.eval("end('job')"), failed(&format!("{text}{OVERDUE}")));
}

#[test]
fn what_a_job_leaves_behind_that_was_told_to_end_is_killed() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--stop-timeout", "0"]);
    begin(&context, "'app.tasks.leaves_stubborn_child'");
    let output = stop(&context, worker);
    assert!(!output.contains("cold shutdown"), "{output}");
}

#[test]
fn a_job_with_retries_left_is_queued_again() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--stop-timeout", "0"]);
    begin(&context, "'app.tasks.sleep', retry=Retry(max=2)");
    stop(&context, worker);
    assert_eq!(
        context.eval("[queue().job_ids, status('job'), job('job').retries_left]"),
        json!([["job"], "queued", 1])
    );
}

#[test]
fn a_job_that_ends_in_time_has_finished() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--stop-timeout", "600"]);
    context.eval("enqueue('app.tasks.add', 1, 2, job_id='job')");
    let output = stop(&context, worker);
    assert!(!output.contains("takes too long"), "{output}");
}

#[test]
fn one_worker_of_a_pool_that_is_told_to_shut_down_has_the_same_limit() {
    let context = Context::with_tasks(TASKS);
    let mut command = context.freshq();
    command.args(["worker-pool", "-n", "2", "--stop-timeout", "0", "--url", &context.redis.url()]);
    let pool = Worker::start(command);
    begin(&context, "'app.tasks.sleep'");
    context.eval("command.send_shutdown_command(r, job('job').worker_name)");
    let text = "Work-horse terminated unexpectedly; waitpid returned 15 (signal 15); ";
    assert_eq!(context.eval("end('job')"), failed(&format!("{text}{OVERDUE}")));
    pool.wait_for("by a command");
    assert_eq!(context.eval("run('app.tasks.add', 1, 2)"), json!(["finished", 3]));
    stop(&context, pool);
}

#[test]
fn the_whole_pool_has_the_limit_too() {
    let context = Context::with_tasks(TASKS);
    let mut command = context.freshq();
    command.args(["worker-pool", "-n", "2", "--stop-timeout", "0", "--url", &context.redis.url()]);
    let pool = Worker::start(command);
    begin(&context, "'app.tasks.sleep'");
    stop(&context, pool);
    assert_eq!(context.eval("status('job')"), json!("failed"));
}

#[test]
fn a_cold_stop_says_so_and_heeds_retries() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&[]);
    begin(&context, "'app.tasks.stubborn'");
    context.eval("enqueue('app.tasks.add', 1, 2, job_id='next')");
    worker.signal(Signal::TERM);
    worker.wait_for("warm shutdown");
    // RQ takes a second signal within a second for a repeat of the first.
    std::thread::sleep(supervisor::shutdown::REPEAT_WITHIN);
    stop(&context, worker);
    let text = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); ";
    let why = "the worker was told to stop without waiting for its jobs";
    assert_eq!(context.eval("end('job')"), failed(&format!("{text}{why}")));
    assert_eq!(context.eval("queue().job_ids"), json!(["next"]));
    context.eval("r.flushall()");
    let worker = context.worker(&[]);
    begin(&context, "'app.tasks.stubborn', retry=Retry(max=2)");
    worker.signal(Signal::TERM);
    worker.wait_for("warm shutdown");
    std::thread::sleep(supervisor::shutdown::REPEAT_WITHIN);
    stop(&context, worker);
    assert_eq!(context.eval("[queue().job_ids, status('job')]"), json!([["job"], "queued"]));
}

#[test]
fn a_job_is_told_to_end_also_when_redis_does_not_answer() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--stop-timeout", "0"]);
    begin(&context, "'app.tasks.sleep'");
    let horse = context.eval("int(r.lindex('begun', 0))").as_i64().unwrap() as i32;
    let redis = context.eval("r.info()['process_id']").as_i64().unwrap() as i32;
    let redis = Pid::from_raw(redis).unwrap();
    kill_process(redis, Signal::STOP).unwrap();
    worker.signal(Signal::TERM);
    wait_until("the job has ended", || processes::is_gone(horse));
    kill_process(redis, Signal::CONT).unwrap();
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval("status('job')"), json!("failed"));
}

#[test]
fn a_third_signal_ends_at_once() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&[]);
    begin(&context, "'app.tasks.stubborn'");
    // A Redis that does not answer: the end of the job cannot be recorded.
    let redis = context.eval("r.info()['process_id']").as_i64().unwrap() as i32;
    let redis = Pid::from_raw(redis).unwrap();
    kill_process(redis, Signal::STOP).unwrap();
    for said in ["warm shutdown", "cold shutdown"] {
        worker.signal(Signal::TERM);
        worker.wait_for(said);
        std::thread::sleep(supervisor::shutdown::REPEAT_WITHIN);
    }
    worker.signal(Signal::TERM);
    let (status, output) = worker.end();
    kill_process(redis, Signal::CONT).unwrap();
    assert!(output.contains("ended at once"), "{output}");
    assert_eq!(status.code(), Some(7), "{output}");
    wait_until("no process of the job is left", || is_gone(&context));
}

/// The `freshq worker` that is the first process of a namespace; none where that cannot be made.
struct Contained {
    unshare: Worker,
    first: Pid,
}

impl Contained {
    fn start(context: &Context, args: &[&str]) -> Option<Self> {
        let made = Command::new("unshare").args(NAMESPACE).arg("true").status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        let mut command = context.freshq_through("unshare", NAMESPACE);
        command.args(["worker", "--url", &context.redis.url()]).args(args);
        let unshare = Worker::start(command);
        wait_until("unshare has forked", || children(unshare.pid()).len() == 1);
        let first = Pid::from_raw(children(unshare.pid())[0]).expect("a pid");
        Some(Self { unshare, first })
    }

    /// As a container's engine does it: to the first process alone.
    fn stop(self) -> String {
        kill_process(self.first, Signal::TERM).expect("it lives");
        let (status, output) = self.unshare.end();
        assert_eq!(status.code(), Some(0), "{output}");
        output
    }
}

const NO_NAMESPACE: &str = "not tested: no process namespace can be made here";
const NAMESPACE: [&str; 4] = ["--pid", "--fork", "--mount-proc", "--kill-child"];

#[test]
fn the_first_process_of_a_container_reaps_what_others_left_and_ends_in_time() {
    let context = Context::with_tasks(TASKS);
    let Some(worker) = Contained::start(&context, &["--stop-timeout", "0"]) else {
        return println!("{NO_NAMESPACE}");
    };
    worker.unshare.wait_for("  ready ");
    for _ in 0..5 {
        assert_eq!(context.eval("run('app.tasks.orphan')"), json!(["finished", null]));
    }
    let first = worker.first.as_raw_nonzero().get();
    wait_until("orphans are reaped", || children(first).len() == 1);
    begin(&context, "'app.tasks.sleep'");
    let output = worker.stop();
    assert!(output.contains("1 failed"), "{output}");
    assert_eq!(
        context.eval("[status('job'), len(StartedJobRegistry(queue=queue()))]"),
        json!(["failed", 0])
    );
}

/// The kernel gives the first process no signal that it does not listen to.
#[test]
fn the_first_process_of_a_container_hears_a_stop_while_it_starts() {
    let context = Context::with_tasks(TASKS);
    for wait in [0, 5, 20, 60, 120, 250, 400] {
        let Some(worker) = Contained::start(&context, &[]) else {
            return println!("{NO_NAMESPACE}");
        };
        worker.unshare.wait_for("freshq ");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        worker.stop();
    }
}
