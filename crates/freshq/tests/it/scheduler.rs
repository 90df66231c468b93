//! Jobs for later, through the real client: `enqueue_in`, `enqueue_at`, retries with an interval.

use rustix::process::Signal;
use serde_json::json;

use crate::context::Context;

const TASKS: &str = r#"
import time
from rq import get_current_job

def add(a, b=0):
    return a + b

def fails_once():
    if get_current_job().retries_left:
        raise ValueError("not yet")
    return "at last"

def hold(path, begun):
    open(begun, "w").close()
    import os
    while not os.path.exists(path):
        time.sleep(0.002)
"#;

/// A job that was due long ago.
const OVERDUE: &str =
    "queue().enqueue_at(datetime(2020, 1, 1, tzinfo=timezone.utc), 'app.tasks.add', 1).id";

fn id(value: &serde_json::Value) -> &str {
    value.as_str().expect("an id")
}

#[test]
fn scheduled_jobs_run_when_they_are_due() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--with-scheduler"]);
    let soon = context.eval("queue().enqueue_in(timedelta(seconds=1), 'app.tasks.add', 1).id");
    let overdue = context.eval(OVERDUE);
    let later = context.eval("queue().enqueue_in(timedelta(hours=1), 'app.tasks.add', 3).id");
    let retried = context.eval("enqueue('app.tasks.fails_once', retry=Retry(max=1, interval=1))");
    assert_eq!(context.eval(&format!("end('{}')", id(&soon))), json!(["finished", 1]));
    assert_eq!(context.eval(&format!("end('{}')", id(&overdue))), json!(["finished", 1]));
    // Its first attempt leaves no result; until it has failed it is neither.
    assert_eq!(context.eval(&format!("end('{}')", id(&retried))), json!(["finished", "at last"]));
    assert_eq!(context.eval(&format!("status('{}')", id(&later))), json!("scheduled"));
    let on_time = format!("job('{}').started_at.timestamp() >= r.zscore('due', 'soon')", id(&soon));
    assert_eq!(
        context.eval(&format!(
            "r.zadd('due', {{'soon': int(job('{}').created_at.timestamp()) + 1}})",
            id(&soon)
        )),
        json!(1)
    );
    assert_eq!(context.eval(&on_time), json!(true));
    worker.stop();
}

#[test]
fn readers_find_the_scheduler_until_it_stops() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--with-scheduler", "low", "default"]);
    worker.wait_for("Acquired scheduler lock for low");
    worker.wait_for("Acquired scheduler lock for default");
    // Also by clients before RQ 2.10, which take the lock's value for a process id.
    assert_eq!(context.eval("queue('low').scheduler_pid"), json!(worker.pid()));
    let lock = context.eval("text(r.get('rq:scheduler-lock:low'))");
    assert!(id(&lock).parse::<u64>().is_ok(), "{lock}");
    let record = context.eval("{text(k): text(v) for k, v in r.hgetall('rq:scheduler:' + text(r.get('rq:scheduler-lock:low'))).items()}");
    assert_eq!(record["queues"], json!("default,low"));
    assert_eq!(record["name"], lock);

    // A job is running: the scheduler does not wait for it.
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    context.eval(&format!(
        "enqueue('app.tasks.hold', {:?}, {:?})",
        gate.display(),
        begun.display()
    ));
    context.wait_until(&format!("__import__('os').path.exists({:?})", begun.display()));
    worker.signal(Signal::TERM);
    context.wait_until("not r.keys('rq:scheduler*')");
    assert_eq!(context.eval("len(StartedJobRegistry(queue=queue()))"), json!(1));
    context.write("gate", "");
    worker.end();
}

#[test]
fn a_burst_runs_what_is_due_and_leaves_no_lock() {
    let context = Context::with_tasks(TASKS);
    let overdue = context.eval(OVERDUE);
    let (_, output) = context.unready_worker(&["--burst"]).end();
    assert_eq!(
        context.eval(&format!("status('{}')", id(&overdue))),
        json!("scheduled"),
        "{output}"
    );
    context.unready_worker(&["--burst", "-s"]).end();
    assert_eq!(context.eval(&format!("status('{}')", id(&overdue))), json!("finished"));
    assert_eq!(context.eval("r.keys('rq:scheduler*')"), json!([]));
}

#[test]
fn a_queue_that_another_scheduler_serves_is_left_to_it() {
    let context = Context::with_tasks(TASKS);
    context.eval("r.set('rq:scheduler-lock:default', 'someone', ex=600)");
    let overdue = context.eval(OVERDUE);
    let other = context.eval(
        "queue('other').enqueue_at(datetime(2020, 1, 1, tzinfo=timezone.utc), 'app.tasks.add', 2).id",
    );
    context.unready_worker(&["--burst", "-s", "default", "other"]).end();
    assert_eq!(context.eval(&format!("status('{}')", id(&other))), json!("finished"));
    assert_eq!(context.eval(&format!("status('{}')", id(&overdue))), json!("scheduled"));
    assert_eq!(context.eval("text(r.get('rq:scheduler-lock:default'))"), json!("someone"));
}

#[test]
fn a_scheduler_goes_on_after_redis_has_lost_everything() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--with-scheduler"]);
    worker.wait_for("Acquired scheduler lock for default");
    context.eval("[r.flushall(), r.client_kill_filter(_type='normal', skipme=True)]");
    worker.wait_for("the scheduler's lock for default had expired and was taken again");
    let overdue = context.eval(OVERDUE);
    assert_eq!(context.eval(&format!("end('{}')", id(&overdue))), json!(["finished", 1]));
    worker.stop();
    assert_eq!(context.eval("r.keys('rq:scheduler*')"), json!([]));
}
