//! Jobs run, and leave in Redis what RQ's worker would leave.

use rustix::process::Signal;
use serde_json::json;

use crate::context::Context;

const TASKS: &str = r#"
import os, sys, time
from rq import get_current_job

def add(a, b=0):
    return a + b

def boom(text="boom"):
    raise ValueError(text)

def environment():
    job = get_current_job()
    return [os.environ["RQ_WORKER_ID"], os.environ["RQ_JOB_ID"] == job.id, job.get_status().value,
            job.worker_name, os.getpid() == os.getpgrp(), "LD_BIND_NOW" in os.environ]

def lazy():
    there = "decimal" in sys.modules
    import decimal
    return there

def progress():
    job = get_current_job()
    job.meta["done"] = 3
    job.save_meta()

def leave(code):
    os._exit(code)

def quit():
    sys.exit(7)

def kill(signal):
    os.kill(os.getpid(), signal)

def unserializable():
    return lambda: 1

async def coroutine(x):
    return x + 1

def note(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\n").encode())
    os.close(fd)

def wait_for(path, begun):
    open(begun, "w").close()
    while not os.path.exists(path):
        time.sleep(0.002)
    return "done"

def succeeded(job, connection, result):
    connection.set("succeeded", f"{result} {job.get_status(refresh=False).value}")

def failed(job, connection, kind, value, traceback):
    connection.set("failed", f"{kind.__name__} {value}")

def bad_callback(*args):
    raise RuntimeError("the callback raised")
"#;

pub(crate) fn context() -> Context {
    Context::with_tasks(TASKS)
}

#[test]
fn a_job_finishes_and_leaves_what_rq_leaves() {
    let context = context();
    let worker = context.worker(&["--name", "w1"]);
    assert_eq!(context.eval("run('app.tasks.add', 2, b=3)"), json!(["finished", 5]));
    assert_eq!(context.eval("run('app.tasks.add', 2)"), json!(["finished", 2]));
    let known = context.eval(
        "[(w.name, str(w.get_state()), w.queue_names(), w.successful_job_count) for w in Worker.all(r)]",
    );
    assert_eq!(known, json!([["w1", "idle", ["default"], 2]]));
    let info = std::process::Command::new(embedded::testing::python())
        .args(["-m", "rq.cli", "info", "--url", &context.redis.url()])
        .output()
        .unwrap();
    let info = String::from_utf8_lossy(&info.stdout).into_owned();
    assert!(info.contains("w1") && info.contains("1 workers"), "{info}");
    assert_eq!(context.eval("len(FinishedJobRegistry(queue=queue()))"), json!(2));
    assert_eq!(context.eval("len(StartedJobRegistry(queue=queue()))"), json!(0));
    worker.stop();
    assert_eq!(
        context.eval("[Worker.count(r), r.hexists('rq:worker:w1', 'death')]"),
        json!([0, true])
    );
}

#[test]
fn every_kind_of_failure_is_recorded_and_the_worker_goes_on() {
    let context = context();
    let worker = context.worker(&[]);
    let died = |status: &str| {
        json!(["failed", format!("Work-horse terminated unexpectedly; waitpid returned {status};")])
    };
    for (call, expected) in [
        ("'app.tasks.boom', 'häßlich 💥'", json!(["failed", "ValueError: häßlich 💥"])),
        ("'app.tasks.quit'", json!(["failed", "SystemExit: 7"])),
        ("'app.tasks.kill', 9", died("9 (signal 9)")),
        ("'app.tasks.leave', 3", died("768")),
        ("'app.tasks.leave', 0", died("0")),
        ("'app.tasks.missing'", json!(["failed", "ValueError: Invalid attribute name: missing"])),
        (
            "'nowhere.function'",
            json!(["failed", "ValueError: Invalid attribute name: nowhere.function"]),
        ),
        ("'app.tasks.unserializable'", json!(["finished", "Unserializable return value"])),
        ("'app.tasks.coroutine', 4", json!(["finished", 5])),
    ] {
        assert_eq!(context.eval(&format!("run({call})")), expected, "{call}\n{}", worker.output());
    }
    assert_eq!(context.eval("len(FailedJobRegistry(queue=queue()))"), json!(7));
    worker.stop();
}

#[test]
fn a_job_sees_what_a_job_of_rq_sees() {
    let context = context();
    let worker = context.worker(&["--name", "w1"]);
    assert_eq!(
        context.eval("run('app.tasks.environment')"),
        json!(["finished", ["w1", true, "started", "w1", true, false]])
    );
    let id = context.eval("enqueue('app.tasks.progress', meta={'who': 'me'})");
    context.eval(&format!("end({id})"));
    assert_eq!(context.eval(&format!("job({id}).get_meta()")), json!({"who": "me", "done": 3}));
    worker.stop();
}

#[test]
fn a_library_that_jobs_import_inside_a_function_comes_into_the_base() {
    let context = context();
    let worker = context.worker(&[]);
    assert_eq!(context.eval("run('app.tasks.lazy')"), json!(["finished", false]));
    worker.wait_for("generation 2");
    context.wait_until("run('app.tasks.lazy') == ['finished', True]");
    let output = worker.stop();
    assert!(output.contains("library modules imported"), "{output}");
}

/// A short time to live makes the heartbeats frequent, a long monitoring interval does not make them rare.
#[test]
fn an_idle_worker_stays_alive_by_its_time_to_live() {
    let context = context();
    let args = ["--name", "w1", "--worker-ttl", "10", "--job-monitoring-interval", "3600"];
    let worker = context.worker(&args);
    worker.wait_for("ready");
    let last = "r.hget('rq:worker:w1', 'last_heartbeat').decode()";
    // Looking for a first job may write one of them, not three.
    for _ in 0..3 {
        let before = context.eval(last);
        context.wait_until(&format!("{last} != {before}"));
    }
    worker.stop();
}

#[test]
fn a_job_that_takes_too_long_fails_with_rqs_exception() {
    let context = context();
    let worker = context.worker(&[]);
    let end = context.eval("run('time.sleep', 600, job_timeout=1)");
    let text = "rq.timeouts.JobTimeoutException: Task exceeded maximum timeout value (1 seconds)";
    assert_eq!(end, json!(["failed", text]));
    worker.stop();
}

#[test]
fn callbacks_run_in_rqs_order() {
    let context = context();
    let worker = context.worker(&[]);
    context.eval("run('app.tasks.add', 1, on_success='app.tasks.succeeded')");
    assert_eq!(context.eval("text(r.get('succeeded'))"), json!("1 finished"));
    context.eval("run('app.tasks.boom', on_failure='app.tasks.failed')");
    assert_eq!(context.eval("text(r.get('failed'))"), json!("ValueError boom"));
    let end = context.eval(
        "run('app.tasks.add', 1, on_success='app.tasks.bad_callback', on_failure='app.tasks.failed')",
    );
    assert_eq!(end, json!(["failed", "RuntimeError: the callback raised"]));
    assert_eq!(context.eval("text(r.get('failed'))"), json!("RuntimeError the callback raised"));
    worker.stop();
}

#[test]
fn queues_are_served_in_order_and_a_burst_ends_when_they_are_empty() {
    let context = context();
    let order = context.path("order");
    for (queue, text) in [("low", "3"), ("high", "1"), ("low", "4"), ("high", "2")] {
        let path = order.display();
        context
            .eval(&format!("enqueue('app.tasks.note', '{path}', '{text}', queue_name='{queue}')"));
    }
    let (status, output) = context.unready_worker(&["--burst", "high", "low"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(fs_err::read_to_string(order).unwrap(), "1\n2\n3\n4\n");
    assert!(output.contains("4 finished, 0 failed"), "{output}");
}

#[test]
fn retries_and_dependents_take_their_course() {
    let context = context();
    let first = context.eval("enqueue('app.tasks.boom', retry=Retry(max=2))");
    let parent = context.eval("enqueue('app.tasks.add', 1)");
    let child = context.eval(&format!("enqueue('app.tasks.add', 2, depends_on=[{parent}])"));
    let (status, output) = context.unready_worker(&["--burst"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval(&format!("end({first})")), json!(["failed", "ValueError: boom"]));
    assert_eq!(output.matches("  retry  ").count(), 2, "{output}");
    assert_eq!(context.eval(&format!("end({child})")), json!(["finished", 2]));
}

#[test]
fn what_makes_no_sense_fails_loudly_and_is_not_run() {
    let context = context();
    let note = context.path("ran");
    let path = note.display();
    let odd = context.eval(&format!("enqueue('app.tasks.note', '{path}', 'x')"));
    context.eval(&format!("r.hset('rq:job:' + {odd}, 'timeout', 'soon')"));
    let good = context.eval("enqueue('app.tasks.add', 1)");
    let (status, output) = context.unready_worker(&["--burst"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    let failed = |id: &serde_json::Value| {
        context.eval(&format!(
            "[text(r.hget('rq:job:' + {id}, 'status')), {id} in FailedJobRegistry(queue=queue())]"
        ))
    };
    assert_eq!(failed(&odd), json!(["failed", true]));
    assert_eq!(context.eval(&format!("end({good})")), json!(["finished", 1]));
    assert!(output.contains("timeout is \"soon\""), "{output}");
    assert!(!note.exists(), "it may not run");
}

#[test]
fn undecodable_data_fails_the_job_alone() {
    let context = context();
    let bad = context.eval("enqueue('app.tasks.add', 1)");
    context.eval(&format!("r.hset('rq:job:' + {bad}, 'data', b'\\x80garbage')"));
    let good = context.eval("enqueue('app.tasks.add', 1)");
    let (status, output) = context.unready_worker(&["--burst"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval(&format!("status({bad})")), json!("failed"));
    assert_eq!(context.eval(&format!("end({good})")), json!(["finished", 1]));
}

#[test]
fn a_thousand_jobs_on_two_slots_end_exactly_once_each() {
    let context = context();
    let note = context.path("note");
    let path = note.display();
    context.eval(&format!(
        "len(queue().enqueue_many([Queue.prepare_data('app.tasks.note', ('{path}', str(i))) for i in range(1000)]))"
    ));
    let (status, output) =
        context.unready_worker(&["--burst", "--num-workers", "2", "--quiet"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    let mut seen: Vec<u32> =
        fs_err::read_to_string(note).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    assert_eq!(context.eval("len(FinishedJobRegistry(queue=queue()))"), json!(1000));
}

#[test]
fn a_warm_stop_lets_the_job_finish_and_takes_no_other() {
    let context = context();
    let worker = context.worker(&["--name", "w1"]);
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    let running = context.eval(&format!(
        "enqueue('app.tasks.wait_for', '{}', '{}')",
        gate.display(),
        begun.display()
    ));
    let waiting = context.eval("enqueue('app.tasks.add', 1)");
    worker.wait_for("  job ");
    worker.signal(Signal::TERM);
    worker.wait_for("warm shutdown: 1 job is running");
    context.wait_until("r.hexists('rq:worker:w1', 'shutdown_requested_date')");
    fs_err::write(gate, "").unwrap();
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval(&format!("end({running})")), json!(["finished", "done"]));
    assert_eq!(context.eval(&format!("status({waiting})")), json!("queued"));
    assert_eq!(context.eval("queue().count"), json!(1));
}

#[test]
fn a_cold_stop_kills_the_job_and_records_it() {
    let context = context();
    let worker = context.worker(&[]);
    let (gate, begun) = (context.path("never"), context.path("begun"));
    let id = context.eval(&format!(
        "enqueue('app.tasks.wait_for', '{}', '{}')",
        gate.display(),
        begun.display()
    ));
    worker.wait_for("  job ");
    worker.signal(Signal::INT);
    worker.wait_for("warm shutdown");
    // RQ takes a second signal within a second for a repeat of the first.
    std::thread::sleep(supervisor::shutdown::REPEAT_WITHIN);
    worker.signal(Signal::INT);
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("cold shutdown"), "{output}");
    let text = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); ";
    let why = "the worker was told to stop without waiting for its jobs";
    assert_eq!(context.eval(&format!("end({id})")), json!(["failed", format!("{text}{why}")]));
}

#[test]
fn a_worker_ends_after_its_most_jobs() {
    let context = context();
    for n in 0..3 {
        context.eval(&format!("enqueue('app.tasks.add', {n})"));
    }
    let (status, output) = context.unready_worker(&["--max-jobs", "2"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval("queue().count"), json!(1));
}

#[test]
fn suspended_workers_take_nothing() {
    let context = context();
    let worker = context.worker(&[]);
    context.eval("r.set('rq:suspended', 1)");
    let id = context.eval("enqueue('app.tasks.add', 1)");
    worker.wait_for("suspended");
    assert_eq!(context.eval(&format!("status({id})")), json!("queued"));
    context.eval("r.delete('rq:suspended')");
    worker.wait_for("resumed");
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", 1]));
    worker.stop();
}
