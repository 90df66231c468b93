//! Whatever separates jobs from each other, the promises are the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import contextvars, os, random, signal, subprocess, sys, threading, time
from .version import VERSION

LEFT = []
SEEN = contextvars.ContextVar("SEEN", default="unset")

def version():
    return VERSION

def pid():
    return os.getpid()

def parent():
    return os.getppid()

def fail(text):
    raise ValueError(text)

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def leave():
    sys.exit(3)

def wait_for(path, begun):
    open(begun, "w").close()
    while not os.path.exists(path):
        time.sleep(0.002)
    return VERSION

def swallow():
    try:
        time.sleep(600)
    except BaseException:
        return os.getpid()

def change_everything():
    os.chdir("/")
    os.environ["LEFT"] = "behind"
    os.environ.pop("HOME", None)
    sys.path.insert(0, "/nowhere")
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    signal.setitimer(signal.ITIMER_PROF, 0.05)
    SEEN.set("set")
    random.seed(1)
    sys.stdout = open(os.devnull, "w")
    return os.getpid()

def what_is_left():
    default = [signal.getsignal(number) == signal.SIG_DFL for number in (signal.SIGTERM, signal.SIGUSR1)]
    state = [os.getcwd(), os.environ.get("LEFT"), os.environ.get("HOME"), "/nowhere" in sys.path, default,
             signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ()), SEEN.get(),
             sys.stdout is sys.__stdout__]
    spent = time.process_time()
    while time.process_time() < spent + 0.1:
        pass  # a timer that was left would end this process
    value = random.random()
    random.seed(1)
    return [state, value == random.random()]

def leave_thread():
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return os.getpid()

def leave_child():
    LEFT.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE))  # ends with this process
    return os.getpid()

def grow():
    LEFT.append(b"x" * 150_000_000)
    return os.getpid()

def late():
    from .later import VALUE
    return VALUE
"#;

fn project() -> Context {
    let context = Context::with_tasks(TASKS);
    context.write("app/version.py", "VERSION = 'v0'\n");
    context
}

fn value(context: &Context, call: &str) -> Value {
    let end = context.eval(&format!("run({call})"));
    assert_eq!(end[0], "finished", "{call}: {end}");
    end[1].clone()
}

fn pid(context: &Context) -> Value {
    value(context, "'app.tasks.pid'")
}

/// A worker whose code is loaded and whose jobs teach it nothing more.
fn worker(context: &Context, args: &[&str]) -> Worker {
    context.worker(&[&["--import", "app.tasks"], args].concat())
}

fn reusing(context: &Context, args: &[&str]) -> Worker {
    worker(context, &[&["--isolation", "reuse"], args].concat())
}

fn a_save_reaches_the_next_job(isolation: &str, saves: u32) {
    let context = project();
    let worker = worker(&context, &["--isolation", isolation, "--reload"]);
    for n in 1..=saves {
        context.write("app/version.py", &format!("VERSION = 'v{n:03}'\n"));
        assert_eq!(value(&context, "'app.tasks.version'"), json!(format!("v{n:03}")));
        assert_eq!(value(&context, "'app.tasks.version'"), json!(format!("v{n:03}")));
    }
    worker.stop();
}

fn broken_code_is_never_served(isolation: &str) {
    let context = project();
    let worker = worker(&context, &["--isolation", isolation, "--reload"]);
    for (n, broken) in ["VERSION = (\n", "import nowhere\n"].into_iter().enumerate() {
        let good = value(&context, "'app.tasks.version'");
        context.write("app/version.py", broken);
        worker.wait_for_times("serves on", n + 1);
        for _ in 0..2 {
            assert_eq!(value(&context, "'app.tasks.version'"), good, "{}", worker.output());
        }
        context.write("app/version.py", &format!("VERSION = 'mended{n}'\n"));
        assert_eq!(value(&context, "'app.tasks.version'"), json!(format!("mended{n}")));
    }
    worker.stop();
}

fn every_end_is_recorded_and_the_next_job_runs(isolation: &str) {
    let context = project();
    let worker = worker(&context, &["--isolation", isolation]);
    for (call, end) in [
        ("'app.tasks.fail', 'boom'", "ValueError: boom"),
        ("'app.tasks.leave'", "SystemExit: 3"),
        ("'app.tasks.kill'", "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9);"),
        (
            "'time.sleep', 600, job_timeout=1",
            "rq.timeouts.JobTimeoutException: Task exceeded maximum timeout value (1 seconds)",
        ),
    ] {
        assert_eq!(context.eval(&format!("run({call})")), json!(["failed", end]));
        assert_eq!(value(&context, "'app.tasks.version'"), json!("v0"), "{}", worker.output());
    }
    let output = worker.stop();
    assert!(output.contains("4 finished, 4 failed"), "{output}");
}

/// Begins a job that waits; returns its id and the file that ends it.
fn begin_waiting(context: &Context, worker: &Worker) -> (Value, PathBuf) {
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    let id = context.eval(&format!(
        "enqueue('app.tasks.wait_for', '{}', '{}')",
        gate.display(),
        begun.display()
    ));
    worker.wait_for("  job ");
    context.wait_until(&format!("__import__('os').path.exists('{}')", begun.display()));
    (id, gate)
}

fn open(gate: &Path) {
    fs_err::write(gate, "").expect("the folder is there");
}

fn a_running_job_ends_on_its_code(isolation: &str) {
    let context = project();
    let worker = worker(&context, &["--isolation", isolation, "--reload", "--num-workers", "2"]);
    let (old, gate) = begin_waiting(&context, &worker);
    context.write("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(value(&context, "'app.tasks.version'"), json!("v1"));
    open(&gate);
    assert_eq!(context.eval(&format!("end({old})")), json!(["finished", "v0"]));
    for _ in 0..4 {
        assert_eq!(value(&context, "'app.tasks.version'"), json!("v1"), "no slot keeps old code");
    }
    worker.stop();
}

fn stops_are_warm_then_cold(isolation: &str) {
    let context = project();
    let args = ["--isolation", isolation];
    let warm = worker(&context, &args);
    pid(&context);
    let (id, gate) = begin_waiting(&context, &warm);
    warm.signal(Signal::TERM);
    warm.wait_for("warm shutdown: 1 job is running");
    open(&gate);
    let (status, output) = warm.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", "v0"]));

    for file in [gate, context.path("begun")] {
        fs_err::remove_file(file).expect("it is there");
    }
    let cold = worker(&context, &args);
    pid(&context);
    let (id, _) = begin_waiting(&context, &cold);
    cold.signal(Signal::INT);
    cold.wait_for("warm shutdown");
    // RQ takes a second signal within a second for a repeat of the first.
    std::thread::sleep(supervisor::shutdown::REPEAT_WITHIN);
    cold.signal(Signal::INT);
    let (status, output) = cold.end();
    assert_eq!(status.code(), Some(0), "{output}");
    let text = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); ";
    let why = "the worker was told to stop without waiting for its jobs";
    assert_eq!(context.eval(&format!("end({id})")), json!(["failed", format!("{text}{why}")]));
}

#[test]
fn reuse_a_save_reaches_the_next_job() {
    a_save_reaches_the_next_job("reuse", 100);
}

#[test]
fn reuse_broken_code_is_never_served() {
    broken_code_is_never_served("reuse");
}

#[test]
fn reuse_every_end_is_recorded() {
    every_end_is_recorded_and_the_next_job_runs("reuse");
}

#[test]
fn reuse_a_running_job_ends_on_its_code() {
    a_running_job_ends_on_its_code("reuse");
}

#[test]
fn reuse_stops_are_warm_then_cold() {
    stops_are_warm_then_cold("reuse");
}

#[test]
fn a_horse_is_reused_until_its_code_is_old() {
    let context = project();
    let worker = reusing(&context, &["--reload"]);
    let first = pid(&context);
    for _ in 0..20 {
        assert_eq!(pid(&context), first);
    }
    assert_eq!(context.eval("run('app.tasks.fail', 'x')[0]"), json!("failed"));
    assert_eq!(pid(&context), first, "an exception of the job harms nothing");
    context.write("app/version.py", "VERSION = 'v1'\n");
    assert_ne!(pid(&context), first);
    worker.stop();
}

#[test]
fn what_a_job_changed_is_put_back() {
    let context = project();
    let worker = reusing(&context, &[]);
    let before = value(&context, "'app.tasks.what_is_left'");
    assert_eq!(before[1], json!(false));
    let horse = value(&context, "'app.tasks.change_everything'");
    assert_eq!(horse, pid(&context), "it is the same process");
    assert_eq!(value(&context, "'app.tasks.what_is_left'"), before);
    worker.stop();
}

#[test]
fn a_horse_that_cannot_be_mended_is_not_reused() {
    let context = project();
    let worker = reusing(&context, &[]);
    for call in [
        "'app.tasks.leave_thread'",
        "'app.tasks.leave_child'",
        "'app.tasks.swallow', job_timeout=1",
    ] {
        let horse = value(&context, call);
        assert_ne!(pid(&context), horse, "{call}");
    }
    worker.stop();
}

#[test]
fn a_job_that_comes_at_once_does_not_meet_what_the_one_before_left() {
    let context = project();
    // They are there before the worker, so each is handed over while the horse is being mended.
    let ids = context.eval("[enqueue('app.tasks.' + f) for f in ('leave_thread', 'grow') * 10]");
    let worker = reusing(&context, &["--max-memory", "100"]);
    let ends = context.eval(&format!("[end(id) for id in {ids}]"));
    let pids: BTreeSet<i64> =
        ends.as_array().into_iter().flatten().filter_map(|end| end[1].as_i64()).collect();
    assert_eq!(pids.len(), 20, "{ends:?} {}", worker.output());
    worker.stop();
}

#[test]
fn a_horse_that_imported_new_user_code_is_not_reused() {
    let context = project();
    context.write("app/later.py", "VALUE = 'l0'\n");
    let worker = reusing(&context, &["--reload"]);
    for n in 0..10 {
        context.write("app/later.py", &format!("VALUE = 'l{n}'\n"));
        assert_eq!(value(&context, "'app.tasks.late'"), json!(format!("l{n}")));
    }
    worker.stop();
}

#[test]
fn a_horse_runs_no_more_jobs_than_it_may() {
    let context = project();
    let worker = reusing(&context, &["--max-jobs-per-horse", "3"]);
    let pids: Vec<Value> = (0..9).map(|_| pid(&context)).collect();
    for three in pids.chunks(3) {
        assert!(three.iter().all(|pid| *pid == three[0]), "{pids:?}");
    }
    assert!(pids[0] != pids[3] && pids[3] != pids[6], "{pids:?}");
    worker.stop();
}

#[test]
fn a_horse_that_has_grown_too_big_runs_no_other_job() {
    let context = project();
    let worker = reusing(&context, &["--max-memory", "100"]);
    let small = pid(&context);
    assert_eq!(pid(&context), small);
    let big = value(&context, "'app.tasks.grow'");
    assert_eq!(big, small);
    assert_ne!(pid(&context), big);
    worker.stop();
}

#[test]
fn limits_of_hand_made_scripts_are_understood() {
    let context = project();
    // The file goes after the environment.
    context.write("pyproject.toml", "[tool.freshq]\nmax-jobs-per-horse = 1\nmax-memory = 1\n");
    let mut command = context.freshq();
    command
        .args(["worker", "--url", &context.redis.url(), "--import", "app.tasks"])
        .env("FRESHQ_ISOLATION", "reuse")
        .env("WORKER_MAX_MEMORY_MB", "0")
        .env("MAX_JOBS_BEFORE_RESTART", "2");
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    let pids: Vec<Value> = (0..3).map(|_| pid(&context)).collect();
    assert!(pids[0] == pids[1] && pids[1] != pids[2], "{pids:?}");
    worker.stop();
}

#[test]
fn spawn_a_save_reaches_the_next_job() {
    a_save_reaches_the_next_job("spawn", 8);
}

#[test]
fn spawn_broken_code_is_never_served() {
    broken_code_is_never_served("spawn");
}

#[test]
fn spawn_every_end_is_recorded() {
    every_end_is_recorded_and_the_next_job_runs("spawn");
}

#[test]
fn spawn_a_running_job_ends_on_its_code() {
    a_running_job_ends_on_its_code("spawn");
}

#[test]
fn spawn_stops_are_warm_then_cold() {
    stops_are_warm_then_cold("spawn");
}

#[test]
fn each_job_has_an_interpreter_that_was_never_forked() {
    let context = project();
    let worker = worker(&context, &["--isolation", "spawn"]);
    let pids = [pid(&context), pid(&context)];
    assert_ne!(pids[0], pids[1]);
    assert_eq!(value(&context, "'app.tasks.parent'"), json!(worker.pid()));
    worker.stop();
}

#[test]
fn interpreters_of_a_generation_have_its_code_whatever_is_on_disk() {
    let context = project();
    let worker = worker(&context, &["--isolation", "spawn"]);
    context.write("app/version.py", "VERSION = 'v1'\n");
    for _ in 0..4 {
        assert_eq!(value(&context, "'app.tasks.version'"), json!("v0"), "nothing is reloaded");
    }
    fs_err::remove_file(context.path("app/version.py")).unwrap();
    for _ in 0..4 {
        assert_eq!(value(&context, "'app.tasks.version'"), json!("v0"));
    }
    worker.stop();
}

#[test]
fn an_interpreter_that_dies_while_it_loads_is_replaced() {
    let context = project();
    let dies = context.path("dies");
    let code = format!(
        "import os\nif os.path.exists({dies:?}):\n    os.remove({dies:?})\n    os._exit(1)\nVERSION = 'v0'\n"
    );
    context.write("app/version.py", &code);
    let worker = worker(&context, &["--isolation", "spawn"]);
    for _ in 0..3 {
        fs_err::write(&dies, "").unwrap();
        for _ in 0..3 {
            assert_eq!(value(&context, "'app.tasks.version'"), json!("v0"), "{}", worker.output());
        }
        assert!(!dies.exists());
    }
    worker.stop();
}

#[test]
fn threads_that_an_import_leaves_do_not_matter_without_forks() {
    let context = project();
    let code = "import threading, time\nVERSION = 'v0'\nthread = threading.Thread(target=time.sleep, args=(600,), daemon=True)\nthread.start()\n";
    context.write("app/version.py", code);
    context.write(
        "app/alive.py",
        "from .version import thread\n\ndef is_alive():\n    return thread.is_alive()\n",
    );
    let worker = worker(&context, &["--isolation", "spawn", "--import", "app.alive"]);
    assert_eq!(value(&context, "'app.alive.is_alive'"), json!(true));
    let output = worker.stop();
    assert!(!output.contains("may deadlock"), "{output}");
}
