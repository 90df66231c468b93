//! Commands that clients publish: RQ's client sends them, the worker obeys or ignores them.

use serde_json::{Value, json};

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import os, subprocess, time

def add(a, b=0):
    return a + b

def wait_for(path, begun):
    open(begun, "w").close()
    while not os.path.exists(path):
        time.sleep(0.002)
    return "done"

def with_child(begun):
    child = subprocess.Popen(["sleep", "1000"])
    with open(begun + ".new", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename(begun + ".new", begun)
    time.sleep(1000)

def stopped(job, connection):
    connection.rpush("called", f"stopped {job.id} {job.worker_name} {job.get_status().value}")
    connection.rpush("called", f"{job.started_at is not None} {job.args} {os.getpid() == os.getpgrp()}")

def failed(job, connection, kind, value, traceback):
    connection.rpush("called", f"failed {value}")

def bad_callback(*args):
    raise RuntimeError("the callback raised")

def slow_callback(*args):
    time.sleep(1000)
"#;

/// Enqueues a job that runs until it is stopped, or until a file `go` is there; waits for its begin.
fn running(context: &Context, options: &str) -> String {
    fs_err::remove_file(context.path("begun")).ok();
    let (go, begun) = (quoted(context, "go"), quoted(context, "begun"));
    let id = context.eval(&format!("enqueue('app.tasks.wait_for', {go}, {begun}, {options})"));
    context.wait_until(&format!("__import__('os').path.exists({begun})"));
    id.as_str().expect("an id").to_owned()
}

/// A path in the project, as Python writes it.
fn quoted(context: &Context, name: &str) -> String {
    format!("'{}'", context.path(name).display())
}

fn send(context: &Context, worker: &str, command: &str) {
    context.eval(&format!("command.send_command(r, '{worker}', {command})"));
}

fn last_text(context: &Context, id: &str) -> Value {
    context.eval(&format!("job('{id}').latest_result().exc_string"))
}

fn assert_works(context: &Context, worker: &Worker) {
    assert_eq!(
        context.eval("run('app.tasks.add', 2)"),
        json!(["finished", 2]),
        "{}",
        worker.output()
    );
}

#[test]
fn a_stopped_job_ends_as_stopped_and_is_not_retried() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--name", "w1"]);
    let options = "on_stopped='app.tasks.stopped', on_failure='app.tasks.failed', retry=Retry(3)";
    let id = running(&context, options);
    context.eval(&format!("command.send_stop_job_command(r, '{id}')"));
    context.wait_until(&format!("status('{id}') == 'stopped'"));
    assert_eq!(last_text(&context, &id), json!("Job stopped by user, work-horse terminated."));
    assert_eq!(
        context.eval(&format!("'{id}' in FailedJobRegistry(queue=queue()).get_job_ids()")),
        json!(true)
    );
    assert_eq!(
        context.eval("[line.decode() for line in r.lrange('called', 0, -1)]"),
        json!([
            format!("stopped {id} w1 started"),
            format!("True ({}, {}) True", quoted(&context, "go"), quoted(&context, "begun")),
        ])
    );
    assert_eq!(context.eval("queue().count"), json!(0));
    assert_works(&context, &worker);
    let output = worker.stop();
    assert!(output.contains("stopped by user"), "{output}");
}

#[test]
fn children_of_a_stopped_job_end_with_it() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&[]);
    let begun = quoted(&context, "begun");
    let id = context.eval(&format!("enqueue('app.tasks.with_child', {begun})"));
    context.wait_until(&format!("__import__('os').path.exists({begun})"));
    context.eval(&format!("command.send_stop_job_command(r, {id})"));
    context.wait_until(&format!("status({id}) == 'stopped'"));
    for pid in fs_err::read_to_string(context.path("begun")).unwrap().split(' ') {
        context.wait_until(&format!("not __import__('os').path.exists('/proc/{pid}/exe')"));
    }
    worker.stop();
}

#[test]
fn a_stopped_callback_that_fails_changes_nothing() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&[]);
    for (options, said) in [
        ("on_stopped='app.tasks.bad_callback'", "RuntimeError: the callback raised"),
        ("on_stopped='app.tasks.missing'", "Invalid attribute name: missing"),
        (
            "on_stopped=__import__('rq').Callback('app.tasks.slow_callback', timeout=1)",
            "Task exceeded maximum timeout value (1 seconds)",
        ),
    ] {
        let id = running(&context, options);
        context.eval(&format!("command.send_stop_job_command(r, '{id}')"));
        context.wait_until(&format!("status('{id}') == 'stopped'"));
        worker.wait_for(said);
    }
    assert_works(&context, &worker);
    worker.stop();
}

#[test]
fn a_killed_horse_is_a_failure_and_an_idle_worker_has_none() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--name", "w1", "--verbose"]);
    let id = running(&context, "on_failure='app.tasks.failed'");
    send(&context, "w1", "'kill-horse'");
    context.wait_until(&format!("status('{id}') == 'failed'"));
    let text = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); \
                a command asked for its process to be killed\nIt was killed by SIGKILL after ";
    let stored = last_text(&context, &id);
    assert!(stored.as_str().is_some_and(|stored| stored.starts_with(text)), "{stored}");
    context.wait_until("r.hget('rq:worker:w1', 'state') == b'idle'");
    send(&context, "w1", "'kill-horse'");
    worker.wait_for("kill horse command ignored");
    assert_works(&context, &worker);
    assert_eq!(context.eval("r.exists('called')"), json!(0));
    worker.stop();
}

#[test]
fn a_kill_that_an_idle_worker_gets_does_not_reach_its_next_job() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--name", "w1"]);
    for _ in 0..100 {
        // It is idle when it waits for the queue.
        context.wait_until("r.info('clients')['blocked_clients'] == 1");
        let end = "(command.send_kill_horse_command(r, 'w1'), run('builtins.abs', -1))[1]";
        assert_eq!(context.eval(end), json!(["finished", 1]), "{}", worker.output());
    }
    worker.stop();
}

#[test]
fn only_the_job_or_execution_that_is_named_is_stopped() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--name", "w1"]);
    let id = running(&context, "");
    send(&context, "w1", "'stop-job', job_id='other'");
    send(&context, "w1", &format!("'stop-execution', job_id='{id}', execution_id='other'"));
    worker.wait_for("Not working on job other, command ignored.");
    worker.wait_for("Not working on execution other, command ignored.");
    assert_eq!(context.eval(&format!("status('{id}')")), json!("started"));
    context.eval(&format!(
        "command.send_stop_execution_command(r, '{id}', job('{id}').get_executions()[0].id)"
    ));
    context.wait_until(&format!("status('{id}') == 'stopped'"));
    worker.stop();
}

#[test]
fn messages_that_make_no_sense_are_said_and_ignored() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--name", "w1"]);
    let id = running(&context, "");
    let messages = [
        "'shutdown'",
        "''",
        r#"'"shutdown"'"#,
        "'[]'",
        "'{}'",
        r#"'{"command": 7}'"#,
        r#"'{"command": "no-such-command"}'"#,
        r#"'{"command": "stop-job"}'"#,
        r#"'{"command": "stop-job", "job_id": 1}'"#,
        r#"'{"command": "stop-execution", "job_id": "j"}'"#,
        r#"b'{"command": "shut\xff"}'"#,
        r"b'\xff\xfe\x00'",
        "'[' * 100000",
    ];
    for message in messages {
        context.eval(&format!("r.publish('rq:pubsub:w1', {message})"));
    }
    worker.wait_for_times("a command to worker w1 is ignored", messages.len());
    assert_eq!(context.eval(&format!("status('{id}')")), json!("started"));
    context.eval(&format!("command.send_stop_job_command(r, '{id}')"));
    context.wait_until(&format!("status('{id}') == 'stopped'"));
    worker.stop();
}

#[test]
fn a_shutdown_lets_the_job_finish_and_a_second_one_does_not() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--name", "w1"]);
    let id = running(&context, "");
    context.eval("command.send_shutdown_command(r, 'w1')");
    context.wait_until("r.hexists('rq:worker:w1', 'shutdown_requested_date')");
    fs_err::write(context.path("go"), "").unwrap();
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval(&format!("status('{id}')")), json!("finished"));

    fs_err::remove_file(context.path("go")).unwrap();
    let worker = context.worker(&["--name", "w1"]);
    let id = running(&context, "");
    // As with signals, a repeat within a second is the same request: so it is sent until it is not.
    context.wait_until(&format!(
        "(command.send_shutdown_command(r, 'w1'), status('{id}') == 'failed')[1]"
    ));
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[test]
fn a_shutdown_is_for_one_of_several_workers() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--name", "w", "--num-workers", "2"]);
    context.eval("command.send_shutdown_command(r, 'w-1')");
    context.wait_until("[w.name for w in Worker.all(r)] == ['w-2']");
    assert_works(&context, &worker);
    context.eval("command.send_shutdown_command(r, 'w-2')");
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[test]
fn commands_come_through_again_after_the_connection_was_lost() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--name", "w1"]);
    let numsub = "r.pubsub_numsub('rq:pubsub:w1') == [(b'rq:pubsub:w1', 1)]";
    assert_eq!(context.eval(numsub), json!(true));
    assert_eq!(context.eval("r.client_kill_filter(_type='pubsub')"), json!(1));
    context.wait_until(numsub);
    let id = running(&context, "");
    context.eval(&format!("command.send_stop_job_command(r, '{id}')"));
    context.wait_until(&format!("status('{id}') == 'stopped'"));
    assert_works(&context, &worker);
    worker.stop();
}

#[test]
fn a_job_that_waits_for_new_code_is_stopped_without_running() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--name", "w1", "--reload", "--import", "app.tasks"]);
    let (go, ran) = (quoted(&context, "go"), quoted(&context, "ran"));
    context.write(
        "app/tasks.py",
        &format!(
            "import os, time\nwhile not os.path.exists({go}):\n    time.sleep(0.002)\n\
             def run():\n    open({ran}, 'w').close()\n"
        ),
    );
    let id = context.eval("enqueue('app.tasks.run')");
    context.wait_until(&format!("status({id}) == 'started'"));
    context.eval(&format!("command.send_stop_job_command(r, {id})"));
    // Before the code that it waits for is there.
    context.wait_until(&format!("status({id}) == 'stopped'"));
    fs_err::write(context.path("go"), "").unwrap();
    worker.wait_for("generation 2");
    worker.stop();
    assert!(!context.path("ran").exists());
}
