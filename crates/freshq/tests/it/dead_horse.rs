//! A horse dies: the failure of its job begins with RQ's text and tells what is known beyond that.

use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import ctypes, faulthandler, os, signal, subprocess, sys, time
from rq import get_current_job

def add(a, b):
    return a + b

def say(text):
    print(text, file=sys.stderr)

def say_and_leave(text, code):
    print(text, file=sys.stderr)
    os._exit(code)

def crash():
    ctypes.string_at(0)

def abort_in_native_code():
    ctypes.CDLL(None).dprintf(2, b"heap corrupted\nabout here")
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    faulthandler.disable()
    os.abort()

def take_and_die(megabytes):
    kept = bytearray(os.urandom(1024) * 1024 * megabytes)
    os.kill(os.getpid(), signal.SIGKILL)

def take(megabytes):
    kept = [os.urandom(1024 * 1024) for _ in range(megabytes)]
    time.sleep(600)

def say_much_and_leave(lines):
    for line in range(lines):
        sys.stderr.write(f"line {line} of many\n")
    os._exit(1)

def leave_a_child():
    code = "import sys, time\nwhile True: print('the child is here', file=sys.stderr, flush=True); time.sleep(0.01)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    get_current_job().connection.rpush("child", child.pid)
    os._exit(3)

def look():
    with open("/dev/stderr", "w") as again:
        again.write("opened again\n")
    return sys.stderr.isatty()
"#;

/// As RQ writes it.
const DIED: &str = "Work-horse terminated unexpectedly; waitpid returned";

fn project() -> Context {
    let context = Context::new();
    context.write("app/__init__.py", "");
    context.write("app/tasks.py", TASKS);
    context
}

/// Runs a job whose process dies; returns all that is stored of it.
fn text_of(context: &Context, call: &str) -> String {
    context.eval("r.delete('rq:job:j', 'rq:results:j')");
    let end = context.eval(&format!("run({call}, job_id='j')"));
    assert_eq!(end[0], "failed", "{call}: {end}");
    context.eval("text_of('j')").as_str().expect("a text").to_owned()
}

/// How often a line was printed.
fn times(output: &str, line: &str) -> usize {
    output.lines().filter(|printed| *printed == line).count()
}

/// The parts of it: RQ's line, how it ended, and what follows.
fn parts(text: &str) -> (&str, &str, Vec<&str>) {
    let mut lines = text.lines();
    (lines.next().expect("RQ's text"), lines.next().expect("how it ended"), lines.collect())
}

#[test]
fn a_job_that_ends_its_process_has_an_exit_code_and_last_lines() {
    let context = project();
    for isolation in ["fork", "reuse", "spawn"] {
        let worker = context.worker(&["--isolation", isolation]);
        let text = text_of(&context, "'app.tasks.say_and_leave', 'häßlich\\n  💥', 7");
        let (rqs, how, more) = parts(&text);
        assert_eq!(rqs, format!("{DIED} 1792; "), "{isolation}");
        assert!(how.starts_with("It ended with exit code 7 after "), "{isolation}: {text}");
        assert!(how.contains("; peak resident memory ") && how.ends_with(" MiB."), "{text}");
        assert_eq!(more, ["Last lines of its stderr:", "  häßlich", "    💥"], "{isolation}");
        let output = worker.stop();
        assert!(
            output.contains(&format!("{DIED} 1792: ended with exit code 7; peak ")),
            "{output}"
        );
        assert_eq!(times(&output, "häßlich"), 1, "{output}");
    }
}

#[test]
fn a_crash_in_native_code_has_its_traceback() {
    let context = project();
    for isolation in ["fork", "reuse", "spawn"] {
        let worker = context.worker(&["--isolation", isolation]);
        let text = text_of(&context, "'app.tasks.crash'");
        assert!(
            text.starts_with(DIED) && text.contains("(signal 11); \nIt was killed by SIGSEGV"),
            "{text}"
        );
        assert!(
            text.contains("\n  Fatal Python error: Segmentation fault\n"),
            "{isolation}: {text}"
        );
        assert!(text.contains("tasks.py\", line "), "{isolation}: {text}");
        let text = text_of(&context, "'app.tasks.abort_in_native_code'");
        assert!(text.contains("It was killed by SIGABRT"), "{text}");
        assert!(text.ends_with("stderr:\n  heap corrupted\n  about here"), "{isolation}: {text}");
        worker.stop();
    }
}

#[test]
fn the_memory_of_a_process_that_was_killed_is_told() {
    let context = project();
    for isolation in ["fork", "reuse", "spawn"] {
        let worker = context.worker(&["--isolation", isolation]);
        let text = text_of(&context, "'app.tasks.take_and_die', 100");
        let (rqs, how, more) = parts(&text);
        assert_eq!(rqs, format!("{DIED} 9 (signal 9); "));
        assert!(how.starts_with("It was killed by SIGKILL after "), "{text}");
        let peak = how.strip_suffix(" MiB.").and_then(|how| how.rsplit(' ').next());
        let peak: u64 = peak.and_then(|peak| peak.parse().ok()).expect("a number");
        assert!((100..1000).contains(&peak), "{isolation}: {text}");
        assert!(more.is_empty(), "{isolation}: {text}");
        worker.stop();
    }
}

#[test]
fn each_attempt_has_its_own_account() {
    let context = project();
    let worker = context.worker(&[]);
    let text = text_of(&context, "'app.tasks.say_and_leave', 'once', 7, retry=Retry(max=1)");
    assert_eq!(text.matches("  once").count(), 1, "{text}");
    let output = worker.stop();
    assert_eq!(times(&output, "once"), 2, "{output}");
}

#[test]
fn last_lines_of_a_reused_process_are_of_its_last_job() {
    let context = project();
    let worker = context.worker(&["--isolation", "reuse"]);
    for n in 0..20 {
        assert_eq!(context.eval("run('app.tasks.say', 'before')")[0], "finished");
        let text = text_of(&context, &format!("'app.tasks.say_and_leave', 'now {n}', 1"));
        assert!(text.ends_with(&format!("stderr:\n  now {n}")), "{text}");
    }
    let output = worker.stop();
    assert_eq!(times(&output, "before"), 20, "{output}");
}

#[test]
fn what_is_kept_has_a_limit_and_what_is_passed_on_has_none() {
    let context = project();
    let worker = context.worker(&[]);
    let text = text_of(&context, "'app.tasks.say_much_and_leave', 20000");
    let (_, _, more) = parts(&text);
    assert_eq!(more.len(), 21, "{text}");
    assert_eq!(more.last(), Some(&"  line 19999 of many"));
    let output = worker.stop();
    let said: Vec<_> = output.lines().filter(|line| line.ends_with(" of many")).collect();
    let expected: Vec<_> = (0..20000).map(|line| format!("line {line} of many")).collect();
    assert!(said == expected, "{} lines", said.len());
}

#[test]
fn what_a_child_goes_on_to_write_is_passed_on() {
    let context = project();
    for isolation in ["fork", "reuse", "spawn"] {
        context.eval("r.delete('child')");
        let worker = context.worker(&["--isolation", isolation]);
        let text = text_of(&context, "'app.tasks.leave_a_child'");
        assert!(text.contains("It ended with exit code 3"), "{text}");
        let seen = worker.output().matches("the child is here").count();
        worker.wait_for_times("the child is here", seen + 3);
        assert_eq!(context.eval("run('app.tasks.add', 1, 2)"), json!(["finished", 3]));
        // It outlives its worker, which does not wait for it, and ends when it writes again.
        let output = worker.stop();
        assert!(output.contains("1 finished, 1 failed"), "{output}");
        context.wait_until("not alive(int(r.lindex('child', 0)))");
    }
}

/// What shows progress looks at what it writes to.
#[test]
fn a_terminal_is_left_to_jobs() {
    let context = project();
    let worker = |terminal: bool| {
        let on_terminal = ["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"];
        let mut command = if terminal {
            context.freshq_through(context.python(), on_terminal)
        } else {
            context.freshq()
        };
        command.args(["worker", "--burst", "--url", &context.redis.url()]);
        Worker::start(command)
    };
    for terminal in [false, true] {
        context.eval("enqueue('app.tasks.look', job_id='look')");
        context.eval("enqueue('app.tasks.say_and_leave', 'to be seen', 7, job_id='j')");
        let (status, output) = worker(terminal).end();
        assert_eq!(status.code(), Some(0), "{output}");
        assert!(output.contains("opened again") && output.contains("to be seen"), "{output}");
        assert_eq!(context.eval("end('look')"), json!(["finished", terminal]));
        let text = context.eval("text_of('j')");
        let text = text.as_str().expect("a text");
        assert!(text.contains("It ended with exit code 7"), "{text}");
        assert_eq!(text.contains("  to be seen"), !terminal, "{text}");
        context.eval("r.flushall()");
    }
}

/// A memory cgroup with a limit, as containers have one. It is removed with its last process.
struct Cgroup(std::path::PathBuf);

impl Cgroup {
    /// One below the root that has this limit; none where it cannot be made.
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("freshq-test-{}", std::process::id());
        for (root, limit) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let folder = std::path::Path::new(root).join(&name);
            if fs_err::create_dir(&folder).is_err() {
                continue;
            }
            let made = Self(folder);
            if made.0.join(limit).exists()
                && fs_err::write(made.0.join(limit), bytes.to_string()).is_ok()
            {
                return Some(made);
            }
        }
        None
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs_err::remove_dir(&self.0).ok();
    }
}

#[test]
fn the_kernels_out_of_memory_killer_is_named() {
    let Some(cgroup) = Cgroup::new(200 * 1024 * 1024) else {
        return println!("not tested: no memory cgroup can be made here");
    };
    let context = project();
    let members = cgroup.0.join("cgroup.procs").display().to_string();
    let joining = ["-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh", &members];
    let mut command = context.freshq_through("sh", joining);
    command.args(["worker", "--url", &context.redis.url()]);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    let said = "out-of-memory killer was at work in this container (memory.max 200 MiB)";
    let text = text_of(&context, "'app.tasks.take', 400");
    assert!(
        text.starts_with(&format!("{DIED} 9 (signal 9); \nIt was killed by SIGKILL after ")),
        "{text}"
    );
    assert!(text.contains(&format!("\nThe kernel's {said}.")), "{text}");
    // Somebody else's kill is not its work.
    let text = text_of(&context, "'app.tasks.take_and_die', 1");
    assert!(!text.contains("out-of-memory"), "{text}");
    let output = worker.stop();
    assert!(output.contains(&format!("; the kernel's {said}")), "{output}");
}
