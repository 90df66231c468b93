//! What a fork copies: nothing that must differ between two jobs, and nothing that is none of theirs.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use embedded::testing;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::beside::rq_burst;
use crate::context::{Context, PATIENCE, Worker};
use crate::processes::{children, wait_until};
use crate::versioned;

const TASKS: &str = r#"
import gc, os, random, secrets, ssl, subprocess, sys, tempfile, uuid
try:
    import numpy
except ImportError:
    numpy = None

def draw():
    one = uuid.uuid1()
    values = {
        "random": random.random(), "tempfile": next(tempfile._get_candidate_names()),
        "ssl": ssl.RAND_bytes(8).hex(), "secrets": secrets.token_hex(8), "uuid1": one.hex, "uuid4": uuid.uuid4().hex,
    }
    if numpy:
        values["numpy"] = float(numpy.random.random())
    return [os.getpid(), one.clock_seq, values]

def seeded_draw():
    try:
        return draw()
    finally:
        seed()

def seed():
    random.seed(1)
    if numpy:
        numpy.random.seed(1)

def other_generator():
    return [type(numpy.random.get_bit_generator()).__name__, float(numpy.random.random())]

def descriptors():
    listed = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            listed[fd] = os.readlink(f"/proc/self/fd/{fd}").partition("[")[0]
        except OSError:
            pass  # that of the listing
    return listed

def of_child():
    script = "import sys; sys.path.insert(0, '.'); from tasks import descriptors; print(*descriptors())"
    return subprocess.run([sys.executable, "-c", script], close_fds=False, stdout=subprocess.PIPE, text=True,
                          check=True).stdout.split()

def signals():
    names = ("SigBlk", "SigIgn", "SigCgt")
    child = subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE, text=True, check=True).stdout
    own = open("/proc/self/status").read()
    # Without those that the C library keeps to itself, beyond 31.
    return [[int(line.split()[1], 16) & 0x7fffffff for line in text.splitlines() if line.startswith(names)]
            for text in (own, child)]

def frozen():
    return gc.get_freeze_count()

# All that has a state has one before the fork.
draw()
seed()
"#;

fn project(context: &Context, args: &[&str]) -> Worker {
    context.write("tasks.py", TASKS);
    context.worker(&[&["--import", "tasks"], args].concat())
}

fn value(context: &Context, call: &str) -> Value {
    let end = context.eval(&format!("run({call})"));
    assert_eq!(end[0], "finished", "{call}: {end}");
    end[1].clone()
}

/// The name of each value that two of the jobs share.
fn shared(drawn: &[Value]) -> Vec<String> {
    let names = drawn[0][2].as_object().expect("values").keys();
    let all_differ = |name: &String| {
        let values: BTreeSet<_> = drawn.iter().map(|job| job[2][name].to_string()).collect();
        values.len() == drawn.len()
    };
    names.filter(|name| !all_differ(name)).cloned().collect()
}

fn processes(drawn: &[Value]) -> usize {
    drawn.iter().map(|job| job[0].to_string()).collect::<BTreeSet<_>>().len()
}

#[test]
fn horses_of_one_generation_draw_different_numbers() {
    let context = Context::with_numpy();
    let worker = project(&context, &[]);
    let drawn: Vec<_> = (0..4).map(|_| value(&context, "'tasks.draw'")).collect();
    assert_eq!(processes(&drawn), 4);
    assert_eq!(drawn[0][2].as_object().map(serde_json::Map::len), Some(7), "numpy is there");
    assert_eq!(shared(&drawn), Vec::<String>::new(), "{drawn:?}");
    // The time of two may be the same, so the sequence must not be. It has 14 bits: one of four may agree.
    let sequences: BTreeSet<_> = drawn.iter().map(|job| job[1].to_string()).collect();
    assert!(1 < sequences.len(), "{drawn:?}");
    worker.stop();
}

#[test]
fn jobs_of_one_horse_draw_different_numbers_whatever_one_seeds() {
    let context = Context::with_numpy();
    let worker = project(&context, &["--isolation", "reuse"]);
    let drawn: Vec<_> = (0..4).map(|_| value(&context, "'tasks.seeded_draw'")).collect();
    assert_eq!(processes(&drawn), 1);
    assert_eq!(shared(&drawn), Vec::<String>::new(), "{drawn:?}");
    worker.stop();
}

#[test]
fn another_generator_of_numpy_is_renewed_too() {
    let context = Context::with_numpy();
    let other = "numpy.random.set_bit_generator(numpy.random.PCG64(1))\n";
    context.write("tasks.py", &format!("{TASKS}{other}"));
    let worker = context.worker(&["--import", "tasks"]);
    let drawn: Vec<_> = (0..2).map(|_| value(&context, "'tasks.other_generator'")).collect();
    assert_eq!(drawn[0][0], json!("PCG64"));
    assert_eq!(drawn[1][0], json!("PCG64"));
    assert_ne!(drawn[0][1], drawn[1][1]);
    worker.stop();
}

#[test]
fn numpy_survives_the_fork_of_the_base() {
    let context = Context::with_numpy();
    context.write("tasks.py", TASKS);
    let worker = context.worker(&["--reload", "--preload", "numpy"]);
    worker.wait_for("1 library modules imported");
    let loaded = value(&context, "'tasks.draw'");
    assert!(loaded[2]["numpy"].is_f64(), "{loaded}");
    let output = worker.stop();
    assert!(!output.contains("warning"), "{output}");
}

/// The descriptors of a process that the test starts as it starts freshq: what comes from outside.
fn inherited(context: &Context) -> BTreeSet<String> {
    let list = "from tasks import descriptors; print(*descriptors())";
    let output = Command::new(testing::python())
        .args(["-c", list])
        .current_dir(context.project.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().map(str::to_owned).collect()
}

/// What else a process has open, by kind.
fn open_in(pid: i32, inherited: &BTreeSet<String>) -> Vec<String> {
    let mut kinds: Vec<_> = fs_err::read_dir(format!("/proc/{pid}/fd"))
        .expect("it lives")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs_err::read_link(entry.path()).ok()?.display().to_string();
            let foreign = inherited.contains(entry.file_name().to_str()?);
            (!foreign).then(|| target.split(":[").next().unwrap_or_default().to_owned())
        })
        .collect();
    kinds.sort();
    kinds
}

/// Waits until that is all; a process that forks has what it hands on open for a moment.
fn wait_for_only(pid: i32, inherited: &BTreeSet<String>, expected: &[&str]) {
    let until = Instant::now() + PATIENCE;
    while open_in(pid, inherited) != expected {
        assert!(Instant::now() < until, "{pid}: {:?}", open_in(pid, inherited));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn parent(pid: i32) -> i32 {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let rest = stat.rsplit(") ").next().expect("a state");
    rest.split(' ').nth(1).expect("a parent").parse().expect("a pid")
}

#[test]
fn nothing_inherits_descriptors_that_are_none_of_its() {
    let context = Context::new();
    for (isolation, more) in [("fork", 2), ("reuse", 3), ("spawn", 2)] {
        let worker = project(&context, &["--isolation", isolation, "--num-workers", "3"]);
        let inherited = inherited(&context);
        let listed = value(&context, "'tasks.descriptors'");
        let own: Vec<_> = listed
            .as_object()
            .expect("descriptors")
            .iter()
            .filter(|(fd, _)| !inherited.contains(*fd))
            .map(|(_, kind)| kind.as_str().expect("a kind"))
            .collect();
        assert_eq!(own.len(), more, "{isolation}: {listed}");
        // A reused horse also remembers its folder.
        assert_eq!(own.iter().filter(|kind| **kind == "socket:").count(), 2, "{listed}");
        let child = value(&context, "'tasks.of_child'");
        let child: BTreeSet<_> = child
            .as_array()
            .expect("descriptors")
            .iter()
            .map(|fd| fd.as_str().expect("a number").to_owned())
            .collect();
        assert_eq!(child, inherited, "{isolation}");
        worker.stop();
    }
}

#[test]
fn base_and_generation_hold_their_link_their_life_line_and_nothing_of_each_other() {
    let context = Context::new();
    let worker = project(&context, &["--num-workers", "3"]);
    let inherited = inherited(&context);
    context.write("where.py", "import os\ndef generation():\n    return os.getppid()\n");
    let generation = value(&context, "'where.generation'");
    worker.wait_for("generation 2");
    // Learned: a generation that has it serves, forked from the same base.
    assert_ne!(value(&context, "'where.generation'"), generation);
    let generation = value(&context, "'where.generation'").as_i64().expect("a pid") as i32;
    wait_for_only(generation, &inherited, &["socket", "socket"]);
    let base = parent(generation);
    assert_eq!(parent(base), worker.pid());
    wait_for_only(base, &inherited, &["anon_inode", "socket", "socket"]);
    worker.stop();
}

#[test]
fn signals_are_handled_as_in_a_horse_of_rq() {
    let context = Context::new();
    context.write("tasks.py", TASKS);
    let rqs = context.eval("enqueue('tasks.signals')");
    rq_burst(&context, &[]);
    let rqs = context.eval(&format!("end({rqs})"));
    assert_eq!(rqs[0], "finished", "{rqs}");
    let mut rqs = rqs[1].clone();
    // A crash of ours prints where it was; what a job starts is as with RQ.
    let caught = rqs[0][2].as_u64().expect("a set of signals");
    let crashes = [Signal::ILL, Signal::ABORT, Signal::BUS, Signal::FPE, Signal::SEGV];
    rqs[0][2] = crashes.iter().fold(caught, |set, signal| set | 1 << (signal.as_raw() - 1)).into();
    for isolation in ["fork", "reuse", "spawn"] {
        let worker = project(&context, &["--isolation", isolation]);
        let ours = value(&context, "'tasks.signals'");
        assert_eq!(ours, rqs, "{isolation}");
        worker.stop();
    }
}

#[test]
fn what_a_generation_has_loaded_is_frozen_for_the_collector() {
    let context = Context::new();
    let worker = project(&context, &[]);
    let frozen = value(&context, "'tasks.frozen'").as_u64().expect("a number");
    assert!(10_000 < frozen, "{frozen}");
    worker.stop();
}

#[test]
fn a_horse_that_has_not_begun_to_run_outlives_its_generation() {
    let slow = "
def wait():
    while not os.path.exists('go'):
        time.sleep(0.002)

os.register_at_fork(after_in_child=wait)
";
    let context = versioned::project_with(slow);
    let worker = context.worker(&["--reload", "--import", "app.tasks"]);
    let id = context.eval("enqueue('app.tasks.version')");
    worker.wait_for("  job ");
    // The third has its generation end, the second having it sleep.
    for n in 1..=3 {
        context.write("app/version.py", &format!("VERSION = 'v{n}'\n"));
        worker.wait_for(&format!("generation {} in", n + 1));
    }
    let base = children(worker.pid())[0];
    wait_until("the first generation ends", || children(base).len() == 2);
    context.write("go", "");
    assert_eq!(
        context.eval(&format!("end({id})")),
        versioned::finished("v0"),
        "{}",
        worker.output()
    );
    worker.stop();
}
