//! RQ's options about the life of a worker.

use serde_json::json;

use crate::context::{Context, Worker};

fn context() -> Context {
    let context = Context::new();
    context.write("app/__init__.py", "");
    context.write(
        "app/tasks.py",
        "from rq import get_current_job\n\
         def note(text):\n    get_current_job().connection.rpush('notes', text)\n\
         def suspend():\n    get_current_job().connection.set('rq:suspended', 1)\n",
    );
    context
}

fn ends_well(worker: Worker) -> String {
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    output
}

#[test]
fn an_idle_worker_ends_when_it_was_idle_for_too_long() {
    let context = context();
    context.eval("enqueue('app.tasks.note', 'a')");
    let output = ends_well(context.unready_worker(&["--max-idle-time", "1"]));
    assert!(output.contains("there was no job for too long: 1 finished"), "{output}");
    assert_eq!(context.eval("Worker.count(r)"), json!(0));
}

#[test]
fn queues_are_taken_from_in_the_order_of_the_strategy() {
    let context = context();
    for (arguments, expected) in [
        (&["-ds", "round_robin"][..], "abcabc"),
        (&["-ds=default"], "aabbcc"),
        (&["--dequeue-strategy=random"], ""),
    ] {
        context
            .eval("[enqueue('app.tasks.note', q, queue_name=q) for q in 'abc' for _ in range(2)]");
        ends_well(context.unready_worker(&[&["--burst", "a", "b", "c"], arguments].concat()));
        let noted =
            context.eval("[b''.join(r.lrange('notes', 0, -1)).decode(), r.delete('notes')][0]");
        if expected.is_empty() {
            assert_eq!(noted.as_str().expect("text").len(), 6);
        } else {
            assert_eq!(noted, json!(expected));
        }
    }
    let (status, output) = context.unready_worker(&["-ds", "wrong"]).end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("`default`, `random` or `round_robin`"), "{output}");
}

#[test]
fn the_process_id_stands_in_the_file_while_the_worker_runs() {
    let context = context();
    let path = context.path("worker.pid");
    let worker = context.worker(&["--pid", "worker.pid"]);
    assert_eq!(fs_err::read_to_string(&path).unwrap(), worker.pid().to_string());
    worker.stop();
    assert!(!path.exists());
    let (status, output) = context.unready_worker(&["--pid", "no/such/folder/worker.pid"]).end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("the process id cannot be written (--pid)"), "{output}");
}

#[test]
fn while_suspended_no_job_is_taken() {
    let context = context();
    let worker = context.worker(&["--name", "w1"]);
    // Also none by a worker that was idle before.
    context.eval("r.set('rq:suspended', 1)");
    let id = context.eval("enqueue('app.tasks.note', 'a')");
    context.wait_until("r.hget('rq:worker:w1', 'state') == b'suspended'");
    assert_eq!(context.eval(&format!("status({id})")), json!("queued"));
    context.eval("r.delete('rq:suspended')");
    context.wait_until(&format!("status({id}) == 'finished'"));
    context.wait_until("r.hget('rq:worker:w1', 'state') == b'idle'");
    worker.stop();
}

#[test]
fn a_burst_that_is_suspended_ends() {
    let context = context();
    context.eval("enqueue('app.tasks.suspend')");
    context.eval("enqueue('app.tasks.note', 'a')");
    let output = ends_well(context.unready_worker(&["--burst"]));
    assert!(output.contains("the queues are suspended: 1 finished"), "{output}");
    assert_eq!(context.eval("queue().count"), json!(1));
    let (status, output) = context.unready_worker(&["--burst"]).end();
    assert_eq!(status.code(), Some(1), "{output}");
}

#[test]
fn a_worker_whose_record_has_vanished_writes_it_again() {
    let context = context();
    let worker = context.worker(&["--name", "w1", "--worker-ttl", "16", "a", "b"]);
    context.eval("r.flushdb()");
    context.wait_until("[w.name for w in Worker.all(r)] == ['w1']");
    assert_eq!(
        context.eval("[w.queue_names() for w in Worker.all(r, queue=queue('b'))]"),
        json!([["a", "b"]])
    );
    worker.stop();
}
