//! `freshq worker-pool`: several workers, each with a process that can be signalled.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import os, time

def add(a, b=0):
    return a + b

def wait_for(path, begun=None):
    if begun:
        open(begun, "w").close()
    while not os.path.exists(path):
        time.sleep(0.002)
    return "done"
"#;

fn pool(context: &Context, args: &[&str]) -> Worker {
    let mut command = context.freshq();
    command.args(["worker-pool", "--url", &context.redis.url()]).args(args);
    Worker::start(command)
}

/// Enqueues a job that runs until there is a file `go`; waits for its begin. Its id, the name of its
/// worker, and the process of that.
fn running(context: &Context) -> (String, String, i32) {
    let [go, begun] = ["go", "begun"].map(|name| context.path(name).display().to_string());
    fs_err::remove_file(&begun).ok();
    let id = context.eval(&format!("enqueue('app.tasks.wait_for', '{go}', '{begun}')"));
    context.wait_until(&format!("__import__('os').path.exists('{begun}')"));
    let name = context.eval(&format!("job({id}).worker_name"));
    let pid = context.eval(&format!("int(r.hget('rq:worker:' + {name}, 'pid'))"));
    let text = |value: serde_json::Value| value.as_str().expect("text").to_owned();
    (text(id), text(name), i32::try_from(pid.as_i64().expect("a number")).expect("a pid"))
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("it lives");
}

#[test]
fn a_burst_is_shared_by_all_workers_and_ends() {
    let context = Context::with_tasks(TASKS);
    // Each holds a worker until both run.
    let go = context.path("go").display().to_string();
    for _ in 0..2 {
        context.eval(&format!("enqueue('app.tasks.wait_for', '{go}')"));
    }
    context.eval(
        "queue().enqueue_at(__import__('datetime').datetime(2020, 1, 1), 'app.tasks.add', 1).id",
    );
    let pool = pool(&context, &["-n", "2", "--burst"]);
    context.wait_until("len(StartedJobRegistry(queue=queue())) == 2");
    let pids = "{int(pid) for pid in [r.hget(key, 'pid') for key in r.smembers('rq:workers')]}";
    assert_eq!(context.eval(&format!("len({pids} | {{{}}})", pool.pid())), json!(3));
    fs_err::write(&go, "").unwrap();
    let (status, output) = pool.end();
    assert_eq!(status.code(), Some(0), "{output}");
    // The pool has a scheduler: the third was due.
    assert_eq!(context.eval("len(FinishedJobRegistry(queue=queue()))"), json!(3));
    assert!(!output.contains("replaced"), "{output}");
}

#[test]
fn a_worker_whose_process_is_killed_fails_its_job_and_is_replaced() {
    let context = Context::with_tasks(TASKS);
    let pool = pool(&context, &["--num-workers", "2"]);
    pool.wait_for("ready");
    let (id, name, pid) = running(&context);
    signal(pid, Signal::KILL);
    context.wait_until(&format!("status('{id}') == 'failed'"));
    context.wait_until(&format!(
        "len([w for w in Worker.all(r) if w.name != '{name}' and w.pid != {pid}]) == 2"
    ));
    pool.wait_for(&format!("worker {name} by "));
    assert_eq!(context.eval("run('app.tasks.add', 2)"), json!(["finished", 2]));
    let pids = context.eval("[w.pid for w in Worker.all(r)]");
    pool.stop();
    for pid in pids.as_array().expect("a list") {
        context.wait_until(&format!("not __import__('os').path.exists('/proc/{pid}/exe')"));
    }
}

#[test]
fn a_worker_whose_process_is_told_to_stop_finishes_its_job_and_is_replaced() {
    let context = Context::with_tasks(TASKS);
    let pool = pool(&context, &["-n", "1"]);
    pool.wait_for("ready");
    let (id, name, pid) = running(&context);
    signal(pid, Signal::TERM);
    pool.wait_for("by a signal");
    fs_err::write(context.path("go"), "").unwrap();
    context.wait_until(&format!("status('{id}') == 'finished'"));
    context.wait_until(&format!("[w.name != '{name}' for w in Worker.all(r)] == [True]"));
    assert_eq!(context.eval("run('app.tasks.add', 2)"), json!(["finished", 2]));
    pool.stop();
}

#[test]
fn a_pool_stops_warmly_at_the_first_signal_and_coldly_at_a_later_one() {
    let context = Context::with_tasks(TASKS);
    let warm = pool(&context, &["-n", "2"]);
    warm.wait_for("ready");
    let (id, ..) = running(&context);
    warm.signal(Signal::INT);
    warm.wait_for("warm shutdown");
    fs_err::write(context.path("go"), "").unwrap();
    let (status, output) = warm.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval(&format!("status('{id}')")), json!("finished"));

    fs_err::remove_file(context.path("go")).unwrap();
    let cold = pool(&context, &["-n", "2"]);
    cold.wait_for("ready");
    let (id, ..) = running(&context);
    // A repeat within a second is the same request: so it is sent until it is not.
    while context.eval(&format!("status('{id}')")) != json!("failed") {
        cold.signal(Signal::TERM);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let (_, output) = cold.end();
    assert!(output.contains("cold shutdown"), "{output}");
}

#[test]
fn a_pool_waits_while_it_is_suspended() {
    let context = Context::with_tasks(TASKS);
    context.eval("r.set('rq:suspended', 1)");
    let id = context.eval("enqueue('app.tasks.add', 2)");
    let pool = pool(&context, &["-n", "2"]);
    context
        .wait_until("[r.hget(k, 'state') for k in r.smembers('rq:workers')] == [b'suspended'] * 2");
    assert_eq!(context.eval(&format!("status({id})")), json!("queued"));
    context.eval("r.delete('rq:suspended')");
    context.wait_until(&format!("status({id}) == 'finished'"));
    pool.stop();
}
