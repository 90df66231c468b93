//! Redis hangs: it takes requests and answers none. A stop ends all the same, and a held result is kept if it
//! can be.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = "
import os, time

def hold(mark):
    open(mark, 'w').close()
    while not os.path.exists('go'):
        time.sleep(0.01)
    return 7
";

fn signal_redis(context: &Context, signal: Signal) {
    kill_process(Pid::from_raw(context.redis.pid()).expect("a pid"), signal).expect("it lives");
}

/// A worker with a job that runs, while Redis hangs.
fn hanging() -> (Context, Worker) {
    let context = Context::with_names("crash.py");
    context.write("tasks.py", TASKS);
    let worker = context.worker(&["--name", "w", "--stop-timeout", "1"]);
    context.eval("enqueue('tasks.hold', 'began', job_id='j')");
    context.wait_until("__import__('os').path.exists('began')");
    signal_redis(&context, Signal::STOP);
    (context, worker)
}

#[test]
fn a_stop_does_not_wait_for_a_redis_that_hangs_and_the_job_is_taken_up() {
    let (context, worker) = hanging();
    let output = worker.stop();
    // Such a Redis is given up for lost much later.
    assert!(!output.contains("lost: "), "{output}");
    assert_eq!(output.matches("the end of job j could not be recorded").count(), 1, "{output}");
    signal_redis(&context, Signal::CONT);
    let next = context.worker(&["--name", "w"]);
    context.wait_until("job('j').get_status().value in ('finished', 'failed')");
    // What the dead one has sent may have been carried out after all, but only once.
    assert_eq!(context.eval("r.xlen('rq:results:j')"), json!(1));
    assert_eq!(context.eval("r.zcard('rq:wip:default')"), json!(0));
    next.stop();
    assert_eq!(context.eval("left_in_redis()"), json!([]));
}

#[test]
fn an_idle_worker_stops_though_redis_hangs() {
    let context = Context::new();
    let worker = context.worker(&["--name", "w", "--stop-timeout", "1", "--with-scheduler"]);
    signal_redis(&context, Signal::STOP);
    let output = worker.stop();
    assert!(!output.contains("lost: "), "{output}");
    signal_redis(&context, Signal::CONT);
}
