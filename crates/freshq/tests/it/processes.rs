//! Processes of the chain die, and nothing is lost or left behind.

use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::context::PATIENCE;
use crate::worker::context;

pub(crate) fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs_err::read_to_string(path).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().expect("a pid")).collect()
}

/// Processes below `pid`, the nearest first.
pub(crate) fn descendants(pid: i32) -> Vec<i32> {
    let mut found = children(pid);
    let mut at = 0;
    while at < found.len() {
        found.extend(children(found[at]));
        at += 1;
    }
    found
}

pub(crate) fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it lives");
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// A process that has ended, or is a zombie that somebody else has to reap.
pub(crate) fn is_gone(pid: i32) -> bool {
    let stat = fs_err::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

#[test]
fn nothing_outlives_a_supervisor_that_is_killed() {
    let context = context();
    let worker = context.worker(&[]);
    let (gate, begun) = (context.path("never"), context.path("begun"));
    context.eval(&format!(
        "enqueue('app.tasks.wait_for', '{}', '{}')",
        gate.display(),
        begun.display()
    ));
    wait_until("the job begins", || begun.exists());
    let below = descendants(worker.pid());
    assert!(3 <= below.len(), "base, generation, horse: {below:?}");
    kill(worker.pid());
    for pid in below {
        wait_until(&format!("process {pid} outlived the supervisor"), || is_gone(pid));
    }
}

#[test]
fn a_generation_and_a_base_that_are_killed_are_replaced_and_the_running_job_ends_well() {
    let context = context();
    let worker = context.worker(&["--num-workers", "2"]);
    assert_eq!(context.eval("run('app.tasks.add', 1)"), json!(["finished", 1]));
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    let id = context.eval(&format!(
        "enqueue('app.tasks.wait_for', '{}', '{}')",
        gate.display(),
        begun.display()
    ));
    wait_until("the job begins", || begun.exists());
    // The base is the only child; a generation is a child of it.
    let base = descendants(worker.pid())[0];
    worker.wait_for("generation 2");
    wait_until("the first generation retires", || children(base).len() == 1);
    let generation = children(base)[0];
    kill(generation);
    worker.wait_for("ended (signal 9 SIGKILL)");
    assert_eq!(context.eval("run('app.tasks.add', 2)"), json!(["finished", 2]));
    kill(descendants(worker.pid()).into_iter().find(|pid| *pid == base).unwrap());
    worker.wait_for("the base ended; another is started");
    assert_eq!(context.eval("run('app.tasks.add', 3)"), json!(["finished", 3]));
    assert_eq!(context.eval(&format!("status({id})")), json!("started"));
    fs_err::write(gate, "").unwrap();
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", "done"]));
    worker.stop();
}

/// Whether a process may ask for huge pages here: `MADV_COLLAPSE` came with Linux 6.1.
fn huge_pages_can_be_had() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut parts = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let enabled = fs_err::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    (6, 1) <= version && enabled.is_ok_and(|enabled| !enabled.contains("[never]"))
}

#[test]
fn a_base_has_its_libraries_in_huge_pages() {
    if !huge_pages_can_be_had() {
        return println!("not tested: this kernel has no huge pages to give");
    }
    let context = context();
    let worker = context.worker(&[]);
    worker.wait_for("ready");
    let base = descendants(worker.pid())[0];
    let memory = fs_err::read_to_string(format!("/proc/{base}/smaps_rollup")).unwrap();
    let huge = memory.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    let kib: u64 = huge.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(0 < kib, "{memory}");
    worker.stop();
}

#[test]
fn nothing_is_left_after_a_stop() {
    let context = context();
    let worker = context.worker(&[]);
    context.eval("run('app.tasks.add', 1)");
    let below = descendants(worker.pid());
    worker.stop();
    for pid in below {
        assert!(is_gone(pid), "process {pid} is left");
    }
}

#[test]
fn a_worker_without_redis_says_so_and_can_be_stopped() {
    let context = context();
    let worker = context.worker(&[]);
    context.eval("run('app.tasks.add', 1)");
    context.eval("r.shutdown(nosave=True)");
    worker.wait_for("  redis      lost");
    worker.stop();
}
