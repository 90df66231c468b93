//! The same jobs, run once by RQ's own worker and once by freshq, leave the same in Redis.
//!
//! `parity.py` enqueues them through the real client, with fixed ids, and dumps every key that is
//! left: type, fields, members. Times, process ids and the like are made equal there; whether a key
//! expires, and how far ahead it is scored, stays. What freshq does otherwise on purpose is listed
//! in [`intended`], each with its reason. Everything else must be equal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use embedded::testing;
use serde_json::{Map, Value, json};

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import os, re, time
from rq import get_current_job

def add(a, b=0):
    return a + b

def nothing():
    pass

def boom():
    raise ValueError("boom")

def unserializable():
    return lambda: 1

def progress():
    job = get_current_job()
    job.meta["done"] = 3
    job.save_meta()

def touch_meta():
    get_current_job().meta["tries"] += 1
    raise ValueError("once more")

def fails_once():
    if get_current_job().retries_left == 3:
        raise ValueError("not yet")
    return "at last"

def sleep():
    time.sleep(600)

def kill():
    os.kill(os.getpid(), 9)

def look():
    # What there is of a job while it runs; one line for each key, ids of executions made equal.
    r, seen = get_current_job().connection, []
    for key in sorted(key.decode() for pattern in ("rq:*running*", "rq:w*") for key in r.keys(pattern)):
        kind = r.type(key).decode()
        names = []
        if kind == "hash":
            ours = {b"generation", b"code_hash"}
            names = sorted(name.decode() for name in r.hkeys(key) if not name.startswith(b"freshq_") and name not in ours)
        if kind in ("set", "zset"):
            names = [name.decode() for name in (r.smembers if kind == "set" else lambda k: r.zrange(k, 0, -1))(key)]
        life = "for ever" if r.ttl(key) < 0 else "some time"
        line = f"{key} {kind} {life} {' '.join(name for name in names if name != 'current_job')}"
        seen.append(re.sub("[0-9a-f]{32}", "execution", line))
    r.set("seen-by-a-running-job", "\n".join(seen))

def succeeded(job, connection, result):
    connection.set(f"succeeded:{job.id}", str(result))

def failed(job, connection, kind, value, traceback):
    connection.set(f"failed:{job.id}", f"{kind.__name__} {value}")

def bad_callback(*args):
    raise RuntimeError("the callback raised")
"#;

/// What is written on purpose otherwise than by RQ 3.0.0: where, what RQ has there, what freshq has.
/// Null is nothing.
pub(crate) type Intended = Vec<(&'static str, Value, Value)>;

fn always_intended() -> Intended {
    vec![
        // With these a lost answer to the end of a job can be asked for again, and what comes late is known.
        ("/rq:worker:w1/2/freshq_finished", Value::Null, json!("own")),
        ("/rq:worker:w1/2/freshq_number", Value::Null, json!("own")),
    ]
}

fn intended_once() -> Intended {
    vec![
        // A job that is not kept leaves no entry that outlives it; RQ's is gone with the next
        // maintenance.
        ("/rq:failed:default/2/fails-unkept", json!("past"), Value::Null),
        // RQ forgets which worker ran a job that was killed.
        ("/rq:job:killed/2/worker_name", json!(""), json!("w1")),
        ("/rq:job:killed/2/last_heartbeat", json!(""), json!("time")),
    ]
}

/// Jobs, the Python whose rq enqueues and runs them, and options of the worker.
pub(crate) struct Scenario<'a> {
    pub(crate) name: &'a str,
    /// What `parity.py` is told besides.
    pub(crate) more: &'a [&'a str],
    pub(crate) python: PathBuf,
    pub(crate) options: &'a [&'a str],
}

fn script(context: &Context, python: &Path, action: &str, more: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/parity.py");
    let output = Command::new(python)
        .arg(script)
        .args([action, &context.redis.url()])
        .args(more)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("JSON")
}

/// What a worker leaves: each key with its type, whether it expires, and its content.
pub(crate) fn left_by(
    scenario: &Scenario<'_>,
    work: impl FnOnce(&Context, &Scenario<'_>),
) -> Value {
    let context = Context::with_tasks(TASKS);
    context.write("app/again.py", include_str!("parity_tasks.py"));
    script(&context, &scenario.python, scenario.name, scenario.more);
    work(&context, scenario);
    serde_json::from_str(&script(&context, &scenario.python, "dump", &[])).expect("JSON")
}

pub(crate) fn rq_worker(context: &Context, scenario: &Scenario<'_>) {
    let mut command = Command::new(&scenario.python);
    command
        .args(["-m", "rq.cli", "worker", "--burst", "--name", "w1", "--url", &context.redis.url()])
        .args(scenario.options)
        .current_dir(context.project.path());
    let (status, output) = Worker::start(command).end();
    assert_eq!(status.code(), Some(0), "{output}");
}

pub(crate) fn freshq_worker(context: &Context, scenario: &Scenario<'_>) {
    let python = scenario.python.to_str().expect("a path in UTF-8");
    let options = [&["--burst", "--name", "w1", "--python", python], scenario.options].concat();
    let (status, output) = context.unready_worker(&options).end();
    assert_eq!(status.code(), Some(0), "{output}");
}

/// Takes what is at `path` out of a dump.
fn take(dump: &mut Value, path: &str) -> Value {
    let (parent, name) = path.rsplit_once('/').expect("a path");
    let parent = dump.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is missing"));
    parent.as_object_mut().expect("an object").remove(name).unwrap_or(Value::Null)
}

fn object(dump: &Value) -> &Map<String, Value> {
    dump.as_object().expect("keys")
}

/// All differences, in words.
fn differences(rq: &Value, freshq: &Value) -> Vec<String> {
    let (rq, freshq) = (object(rq), object(freshq));
    let keys: BTreeSet<&String> = rq.keys().chain(freshq.keys()).collect();
    let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    keys.into_iter()
        .filter(|key| rq.get(*key) != freshq.get(*key))
        .map(|key| {
            format!("{key}\n  rq     {}\n  freshq {}", text(rq.get(key)), text(freshq.get(key)))
        })
        .collect()
}

/// A job that was deleted while it ran comes back with RQ's worker; with ours it stays deleted.
fn take_revived(rq: &mut Value, freshq: &mut Value, job: &str) {
    for path in [
        format!("/rq:job:{job}"),
        format!("/rq:results:{job}"),
        format!("/rq:finished:default/2/{job}"),
    ] {
        assert!(!take(rq, &path).is_null(), "{path} of rq");
        assert!(take(freshq, &path).is_null(), "{path} of freshq");
    }
}

/// Runs the jobs of a scenario with both workers of the newest RQ, and compares; returns what RQ's
/// worker has left.
fn compare(name: &str, options: &[&str], intended: Intended, revived: &[&str]) -> Value {
    let scenario = Scenario { name, more: &[], python: testing::python(), options };
    let mut rq = left_by(&scenario, rq_worker);
    let mut freshq = left_by(&scenario, freshq_worker);
    for job in revived {
        take_revived(&mut rq, &mut freshq, job);
    }
    assert_equal(&mut rq, &mut freshq, intended);
    rq
}

/// Fails with all differences that are not intended.
pub(crate) fn assert_equal(rq: &mut Value, freshq: &mut Value, intended: Intended) {
    for (path, theirs, ours) in intended.into_iter().chain(always_intended()) {
        assert_eq!(take(rq, path), theirs, "{path} of rq");
        assert_eq!(take(freshq, path), ours, "{path} of freshq");
    }
    let found = differences(rq, freshq);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_same_jobs_leave_the_same_as_rqs_worker() {
    let rq = compare("once", &[], intended_once(), &[]);
    // A comparison of nothing would find nothing.
    assert_eq!(rq.pointer("/rq:job:grandchild/2/status"), Some(&json!("finished")));
    assert_eq!(rq.pointer("/rq:results:value/2/0/type"), Some(&json!("1")));
    let seen = rq.pointer("/seen-by-a-running-job/2").and_then(Value::as_str).unwrap();
    assert!(seen.contains("rq:wip:default zset for ever running:execution"), "{seen}");
}

#[test]
fn jobs_that_run_again_leave_the_same_as_rqs_worker() {
    let unkept = ("/rq:failed:default/2/asks-unkept", json!("past"), Value::Null);
    let rq = compare("again", &[], vec![unkept], &["deletes-itself"]);
    assert_eq!(rq.pointer("/rq:results:asks/2/2/type"), Some(&json!("5")));
    assert_eq!(rq.pointer("/rq:job:repeats-later/2/status"), Some(&json!("scheduled")));
}

#[test]
fn rate_limited_jobs_leave_the_same_as_rqs_worker() {
    let rq = compare("limited", &[], Vec::new(), &["one-deletes-itself"]);
    assert_eq!(rq.pointer("/rq:job:one-last/2/status"), Some(&json!("finished")));
}

#[test]
fn failures_that_are_not_recorded_leave_the_same_as_with_rqs_worker() {
    let rq = compare("unrecorded", &["--disable-default-exception-handler"], Vec::new(), &[]);
    assert_eq!(rq.pointer("/rq:job:fails/2/status"), Some(&json!("failed")));
}

/// Takes out of results what later versions of RQ added to them.
fn without_later_fields(dump: &mut Value) {
    let keys = dump.as_object_mut().expect("keys").values_mut();
    let entries = keys.filter(|key| key[0] == "stream").filter_map(|key| key[2].as_array_mut());
    for entry in entries.flatten().filter_map(Value::as_object_mut) {
        for field in ["worker_name", "execution_id", "execution_started_at", "execution_ended_at"] {
            assert!(entry.remove(field).is_some(), "{field} of a result");
        }
    }
}

#[test]
fn with_the_oldest_rq_the_same_jobs_leave_the_same_too() {
    let scenario =
        Scenario { name: "once", more: &[], python: testing::oldest_python(), options: &[] };
    let mut rq = left_by(&scenario, rq_worker);
    let mut freshq = left_by(&scenario, freshq_worker);
    without_later_fields(&mut freshq);
    // Since RQ 2.1 a retried job keeps its time to live and its changed meta. While it runs there is
    // more to see since RQ 2.11.
    for key in
        ["rq:job:retried-later-expiring", "rq:job:retried-with-meta", "seen-by-a-running-job"]
    {
        for dump in [&mut rq, &mut freshq] {
            assert!(!take(dump, &format!("/{key}")).is_null(), "{key} is missing");
        }
    }
    // Until 3.0 RQ counted the time of the current job.
    let counted = ("/rq:worker:w1/2/current_job_working_time", json!("0"), Value::Null);
    // The lock of later versions on the clean-up of groups.
    assert!(!take(&mut freshq, "/rq:clean_groups").is_null());
    let intended = intended_once().into_iter().chain([counted]).collect();
    assert_equal(&mut rq, &mut freshq, intended);
    assert_eq!(rq.pointer("/rq:job:grandchild/2/status"), Some(&json!("finished")));
}
