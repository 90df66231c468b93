//! Limits hold: memory, time, and what reused processes may leave behind.

use serde_json::{Value, json};

use crate::context::{Context, Worker};
use crate::processes::wait_until;

const TASKS: &str = r#"
import itertools, os, signal, subprocess, sys, threading, time
from rq import get_current_job

LEFT = []
MB = 1024 * 1024

def begun(*pids):
    get_current_job().connection.rpush("begun", os.getpid(), *pids)

def pid():
    return os.getpid()

def take(megabytes):
    held = bytearray(megabytes * MB)
    for at in range(0, len(held), 4096):
        held[at] = 1
    return held

def grow(megabytes):
    LEFT.append(take(megabytes))
    return os.getpid()

def take_and_stay(megabytes):
    held = take(megabytes)
    begun()
    time.sleep(600)

def take_in_child(megabytes, session):
    code = f"held = bytearray({megabytes} * 2**20)\nfor at in range(0, len(held), 4096): held[at] = 1\nimport time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=session)
    begun(child.pid)
    child.wait()

def take_for_a_moment(megabytes, path):
    held = take(megabytes)
    begun()
    while not os.path.exists(path):
        time.sleep(0.005)
    return len(held) // MB

def read_shared():
    from . import big
    return sum(big.DATA[:: 4096])

def never_return():
    begun()
    sum(itertools.repeat(0))  # looks for no signal

def block_the_alarm():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    begun(child.pid)
    while True:
        time.sleep(600)

def swallow_the_alarm():
    begun()
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

def leave_thread():
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return os.getpid()

def leave_child():
    LEFT.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE))
    return os.getpid()

def leave_descriptors(count):
    LEFT.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(count))
    return os.getpid()

def close_stdout():
    sys.stdout.close()
    return os.getpid()
"#;

fn project() -> Context {
    let context = Context::with_tasks(TASKS);
    context.write(
        "app/big.py",
        "DATA = bytearray(120 * 2**20)\nfor at in range(0, len(DATA), 4096): DATA[at] = 1\n",
    );
    context
}

fn value(context: &Context, call: &str) -> Value {
    let end = context.eval(&format!("run({call})"));
    assert_eq!(end[0], "finished", "{call}: {end}");
    end[1].clone()
}

/// Runs a job that fails, and waits until none of its processes is left; returns why it failed.
fn failure(context: &Context, call: &str) -> String {
    context.eval("r.delete('begun')");
    let end = context.eval(&format!("run({call})"));
    assert_eq!(end[0], "failed", "{call}: {end}");
    wait_until("no process of the job is left", || {
        context.eval("[p for p in map(int, r.lrange('begun', 0, -1)) if alive(p)]") == json!([])
    });
    end[1].as_str().expect("a text").to_owned()
}

const KILLED: &str = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); ";

#[test]
fn a_job_that_takes_too_much_memory_fails_and_says_so() {
    let context = project();
    for isolation in ["fork", "reuse", "spawn"] {
        let args = ["--max-job-memory", "100", "--on-lost", "requeue", "--isolation", isolation];
        let worker = context.worker(&args);
        assert!(value(&context, "'app.tasks.pid'").is_i64());
        let why = failure(&context, "'app.tasks.take_and_stay', 150");
        assert!(why.starts_with(&format!("{KILLED}it took 1")), "{why}");
        assert!(why.ends_with(" MB of memory, and may take 100 MB (--max-job-memory)"), "{why}");
        assert!(value(&context, "'app.tasks.pid'").is_i64());
        worker.stop();
    }
}

#[test]
fn what_a_job_has_started_counts_and_is_killed_with_it() {
    let context = project();
    let worker = context.worker(&["--max-job-memory", "100"]);
    for session in ["False", "True"] {
        let why = failure(&context, &format!("'app.tasks.take_in_child', 150, {session}"));
        assert!(why.contains("--max-job-memory"), "{why}");
    }
    worker.stop();
}

#[test]
fn what_is_shared_with_the_loaded_code_does_not_count() {
    let context = project();
    let args =
        ["--import", "app.big", "--import", "app.tasks", "--reload", "--max-job-memory", "100"];
    let worker = context.worker(&[&args[..], &["--num-workers", "2"]].concat());
    assert!(value(&context, "'app.tasks.read_shared'").is_i64());
    // Nor does it when the generation ends from which the job was forked.
    let gate = context.path("gate");
    context.eval(&format!(
        "enqueue('app.tasks.take_for_a_moment', 30, '{}', job_id='job')",
        gate.display()
    ));
    context.wait_until("r.exists('begun') == 1");
    let parent =
        "open(f'/proc/{int(r.lindex(\"begun\", 0))}/stat').read().rpartition(')')[2].split()[1]";
    let generation = context.eval(parent);
    let text = format!("{TASKS}\nVERSION = 2\n");
    for more in ["", "\nVERSION = 3\n"] {
        // The one before the newest stays, for a rollback.
        context.replace("app/tasks.py", &format!("{text}{more}"));
        assert!(value(&context, "'app.tasks.read_shared'").is_i64());
    }
    context.wait_until(&format!("{parent} != {generation}"));
    // Longer than looks are apart, several times.
    for _ in 0..20 {
        assert!(value(&context, "'app.tasks.read_shared'").is_i64());
        std::thread::sleep(supervisor::worker::memory::LOOK_INTERVAL);
    }
    fs_err::write(gate, "").unwrap();
    assert_eq!(context.eval("end('job')"), json!(["finished", 30]));
    worker.stop();
}

#[test]
fn memory_that_is_shared_does_not_make_a_reused_horse_too_big() {
    let context = project();
    let imports = ["--import", "app.big", "--import", "app.tasks"];
    let worker =
        context.worker(&[&imports[..], &["--isolation", "reuse", "--max-memory", "100"]].concat());
    let first = value(&context, "'app.tasks.pid'");
    assert!(value(&context, "'app.tasks.read_shared'").is_i64());
    assert_eq!(value(&context, "'app.tasks.grow', 30"), first);
    assert_eq!(value(&context, "'app.tasks.grow', 100"), first);
    assert_ne!(value(&context, "'app.tasks.pid'"), first);
    worker.wait_for(" MB of memory, and may have 100 MB (--max-memory)");
    worker.stop();
}

#[test]
fn code_that_never_returns_is_killed_after_a_grace() {
    let context = project();
    let worker = context.worker(&["--timeout-grace", "1"]);
    let why =
        "it went on for 1 s after its timeout, in code that no exception reaches or that caught it";
    for task in ["never_return", "block_the_alarm", "swallow_the_alarm"] {
        let said = failure(&context, &format!("'app.tasks.{task}', job_timeout=1"));
        assert_eq!(said, format!("{KILLED}{why}"), "{task}");
    }
    worker.stop();
}

fn reusing(context: &Context) -> Worker {
    context.worker(&["--import", "app.tasks", "--isolation", "reuse"])
}

#[test]
fn what_reused_horses_leave_behind_is_said_when_they_are_replaced() {
    let context = project();
    let worker = reusing(&context);
    for (call, said) in [
        ("'app.tasks.leave_thread'", "it left 1 thread behind"),
        ("'app.tasks.leave_child'", "it left a child process behind"),
        ("'app.tasks.leave_descriptors', 100", "its jobs left more than 64 descriptors open"),
        ("'app.tasks.close_stdout'", "it closed a standard stream"),
    ] {
        let before = value(&context, "'app.tasks.pid'");
        assert_eq!(value(&context, call), before);
        worker.wait_for(said);
        assert_ne!(value(&context, "'app.tasks.pid'"), before, "{call}");
    }
    let output = worker.stop();
    assert_eq!(output.matches("another process takes over after job").count(), 4, "{output}");
}

#[test]
fn descriptors_that_are_left_a_few_at_a_time_are_noticed() {
    let context = project();
    let worker = reusing(&context);
    let first = value(&context, "'app.tasks.leave_descriptors', 20");
    let mut jobs = 1;
    while value(&context, "'app.tasks.leave_descriptors', 20") == first {
        jobs += 1;
        assert!(jobs < 10, "they are not noticed");
    }
    assert_eq!(jobs, 4);
    worker.wait_for("descriptors open");
    worker.stop();
}

#[test]
fn a_warm_up_that_takes_too_long_is_given_up() {
    let context = project();
    context.write("app/warm.py", "def fill():\n    pass\n");
    let args = ["--reload", "--load-timeout", "3", "--warmup", "app.warm:fill"];
    let worker = context.worker(&args);
    context.replace("app/warm.py", "import time\n\ndef fill():\n    time.sleep(600)\n");
    assert!(value(&context, "'app.tasks.pid'").is_i64());
    worker.wait_for("took longer than 3 s");
    worker.stop();
}
