//! Jobs that take descriptors, processes or a disk away from under themselves: they fail or not, and nothing
//! hangs.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import os, socket, subprocess, sys, time
from rq import get_current_job

KEPT = []

def add(a, b):
    return a + b

def close_all():
    get_current_job().connection.close()
    os.closerange(3, 4096)
    time.sleep(600)

def close_all_and_return():
    os.closerange(3, 4096)
    return "done"

def take_their_place():
    os.closerange(3, 4096)
    KEPT.extend(socket.socketpair() for _ in range(16))
    return "done"

def close_stdout():
    sys.stdout.close()
    sys.stderr.close()
    return "done"

def close_standard_descriptors():
    for fd in (0, 1, 2):
        os.close(fd)
    return "done"

def daemonize():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            get_current_job().connection.rpush("daemon", os.getpid())
            time.sleep(600)
        os._exit(0)
    os.wait()
    return "done"

def die_with_heirs(status):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()  # has all descriptors of the job, and lives on
            get_current_job().connection.rpush("daemon", os.getpid())
            time.sleep(600)
    connection = get_current_job().connection
    while connection.llen("daemon") < 3:
        time.sleep(0.002)
    os._exit(status)

def fork_many():
    children = [subprocess.Popen(["true"]) for _ in range(100)]
    return sum(child.wait() for child in children)

def print_much(megabytes):
    line = "x" * 99 + "\n"
    for _ in range(megabytes):
        sys.stdout.write(line * 10_000)
        sys.stderr.write(line * 486)
    return megabytes

def fill(path):
    with open(path, "wb") as file:
        while True:
            file.write(bytes(65536))

def learn():
    from . import later
    return later.VALUE
"#;

fn project() -> Context {
    let context = Context::with_tasks(TASKS);
    context.write("app/later.py", "VALUE = 3\n");
    context
}

fn run(context: &Context, call: &str) -> Value {
    context.eval(&format!("run({call})"))
}

/// Ends what jobs left behind on purpose.
fn end_daemons(context: &Context, count: u32) {
    context.wait_until(&format!("r.llen('daemon') == {count}"));
    context.eval("[__import__('os').kill(int(p), 9) for p in r.lrange('daemon', 0, -1)]");
    context.eval("r.delete('daemon')");
}

const HUNG_UP: &str = "it has closed descriptors that it had not opened, among them the one on which the end of the job is told";

#[test]
fn a_job_that_closes_all_descriptors_fails_and_says_so() {
    let context = project();
    for isolation in ["fork", "reuse", "spawn"] {
        let worker = context.worker(&["--isolation", isolation, "--import", "app.tasks"]);
        for call in [
            "'app.tasks.close_all'",
            "'app.tasks.close_all_and_return'",
            "'app.tasks.take_their_place'",
        ] {
            let end = run(&context, call);
            assert_eq!(end[0], "failed", "{end}");
            assert!(end[1].as_str().unwrap().ends_with(HUNG_UP), "{isolation}, {call}: {end}");
            assert_eq!(run(&context, "'app.tasks.add', 1, 2"), json!(["finished", 3]));
        }
        let output = worker.stop();
        assert!(
            !output.contains("another is loading"),
            "the generation was not to blame: {output}"
        );
    }
}

#[test]
fn a_job_may_close_what_it_prints_to() {
    let context = project();
    for isolation in ["fork", "reuse", "spawn"] {
        let worker = context.worker(&["--isolation", isolation]);
        for call in ["'app.tasks.close_stdout'", "'app.tasks.close_standard_descriptors'"] {
            assert_eq!(run(&context, call), json!(["finished", "done"]), "{isolation}");
            assert_eq!(
                run(&context, "'app.tasks.print_much', 1"),
                json!(["finished", 1]),
                "{isolation}"
            );
        }
        worker.stop();
    }
}

#[test]
fn a_job_may_leave_a_daemon() {
    let context = project();
    for isolation in ["fork", "reuse", "spawn"] {
        let worker = context.worker(&["--isolation", isolation]);
        assert_eq!(run(&context, "'app.tasks.daemonize'"), json!(["finished", "done"]));
        assert_eq!(run(&context, "'app.tasks.add', 1, 2"), json!(["finished", 3]));
        end_daemons(&context, 1);
        worker.stop();
    }
}

#[test]
fn what_a_dead_job_leaves_behind_holds_nothing_up() {
    let context = project();
    for isolation in ["fork", "reuse", "spawn"] {
        let worker = context.worker(&["--isolation", isolation]);
        let text = "Work-horse terminated unexpectedly; waitpid returned 768;";
        assert_eq!(run(&context, "'app.tasks.die_with_heirs', 3"), json!(["failed", text]));
        assert_eq!(run(&context, "'app.tasks.fork_many'"), json!(["finished", 0]));
        end_daemons(&context, 3); // they would keep its output open
        worker.stop();
    }
}

#[test]
fn what_a_job_prints_is_nowhere_in_memory() {
    let context = project();
    let mut command = context.freshq();
    command.args(["worker", "--url", &context.redis.url(), "--quiet"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut worker = command.spawn().expect("it starts");
    assert_eq!(run(&context, "'app.tasks.add', 1, 2"), json!(["finished", 3]));
    let path = format!("/proc/{}/status", worker.id());
    let peak = || {
        let status = fs_err::read_to_string(&path).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        line.split_whitespace().next().expect("a number").parse::<u64>().expect("a number")
    };
    let before = peak();
    assert_eq!(run(&context, "'app.tasks.print_much', 2000"), json!(["finished", 2000]));
    let after = peak();
    worker.kill().ok();
    worker.wait().ok();
    assert!(after < before + 20_000, "it took {} kB more", after - before);
}

/// A worker whose project and cache are on a small disk of its own; none where that cannot be made.
fn on_a_small_disk(context: &Context) -> Option<Worker> {
    let made =
        Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return None;
    }
    let cache = context.cache().display().to_string();
    let script = "mount -t tmpfs -o size=8m none \"$1\" && shift && exec \"$@\"";
    let prepared = ["--mount", "sh", "-c", script, "sh", &cache];
    let mut command = context.freshq_through("unshare", prepared);
    command.args(["worker", "--url", &context.redis.url()]);
    Some(Worker::start(command))
}

#[test]
fn a_full_disk_fails_the_job_that_fills_it_and_no_other() {
    let context = project();
    let Some(worker) = on_a_small_disk(&context) else {
        return println!("not tested: no file system can be mounted here");
    };
    worker.wait_for("  ready ");
    let fill = format!("'app.tasks.fill', '{}'", context.cache().join("filled").display());
    let end = run(&context, &fill);
    assert_eq!(end, json!(["failed", "OSError: [Errno 28] No space left on device"]));
    assert_eq!(run(&context, "'app.tasks.add', 1, 2"), json!(["finished", 3]));
    // It has something to learn, which is kept in the cache.
    assert_eq!(run(&context, "'app.tasks.learn'"), json!(["finished", 3]));
    worker.stop();
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let context = project();
    let mut command = context.freshq();
    let full = || {
        fs_err::OpenOptions::new().write(true).open("/dev/full").expect("a device").into_parts().0
    };
    command.args(["worker", "--url", &context.redis.url()]);
    command.stdin(Stdio::null()).stdout(full()).stderr(full());
    let mut worker = command.spawn().expect("it starts");
    assert_eq!(run(&context, "'app.tasks.add', 1, 2"), json!(["finished", 3]));
    worker.kill().ok();
    worker.wait().ok();
}
