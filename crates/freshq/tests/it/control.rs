//! The control socket, and the commands that use it: a running worker says how it is, and reloads.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::context::{Context, PATIENCE, Worker};
use crate::versioned::project;

/// Clients that are answered at a time.
const CLIENTS: usize = 16;

fn worker(context: &Context, args: &[&str]) -> Worker {
    context.worker(&[&["--import", "app.tasks"], args].concat())
}

/// Runs a command beside the worker: its exit code, and all that it printed.
fn command(context: &Context, args: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } =
        context.freshq().args(args).output().expect("it starts");
    let text = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    (status.code().expect("it ends by itself"), text.into_owned())
}

/// What `freshq status --json` says of the one worker.
fn status(context: &Context) -> Value {
    let (code, text) = command(context, &["status", "--json"]);
    assert_eq!(code, 0, "{text}");
    let mut statuses: Vec<Value> = serde_json::from_str(&text).expect(&text);
    assert_eq!(statuses.len(), 1, "{text}");
    statuses.remove(0)
}

/// The sockets of workers that are there.
fn sockets(context: &Context) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(context.cache().join("run")).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "sock")).collect()
}

/// Says something to the one worker.
fn say(context: &Context, what: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(&sockets(context)[0]).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(what).expect("it is read");
    stream
}

/// What it answers, to the end of the connection.
fn answer(stream: UnixStream) -> String {
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text).expect("an answer");
    text
}

/// A module that is imported to its end when there is a file `gate`.
fn gated(context: &Context, rest: &str) -> (PathBuf, String) {
    let gate = context.path("gate");
    let wait = format!("while not os.path.exists('{}'):\n    time.sleep(0.002)\n", gate.display());
    (gate, format!("import os, time\n{wait}{rest}"))
}

#[test]
fn the_status_names_workers_code_and_jobs() {
    let context = project();
    let worker = worker(&context, &["--reload", "--num-workers", "2", "--name", "w", "q", "low"]);
    let gate = context.path("gate");
    let job = format!("enqueue('app.tasks.wait_for', '{}', queue_name='q')", gate.display());
    let job = context.eval(&job);
    worker.wait_for("  job ");
    context.replace("app/version.py", "VERSION = 'v1'\n");
    worker.wait_for("generation 2");
    let status = status(&context);
    assert_eq!(status["pid"], json!(worker.pid()));
    assert_eq!(status["workers"], json!(["w-1", "w-2"]));
    assert_eq!(status["queues"], json!(["q", "low"]));
    assert_eq!(status["jobs"], json!("run"));
    assert_eq!(status["running"], json!([{"generation": 1, "jobs": 1}]));
    assert_eq!(status["serving"]["generation"], json!(2));
    let changed = status["serving"]["cause"]["changed"][0].as_str().unwrap();
    assert!(changed.ends_with("app/version.py"), "{changed}");
    let hash = status["serving"]["code_hash"].as_str().unwrap();
    worker.wait_for(&format!("code {hash}"));
    assert_eq!(status["watching"]["files"], json!(3));
    assert_eq!(status["last_reload"]["generation"], json!(2));
    let steps = status["last_reload"]["steps_ms"].as_object().unwrap();
    assert!(steps.values().all(Value::is_number) && steps.contains_key("imported"), "{steps:?}");
    for absent in ["loading", "broken"] {
        assert_eq!(status[absent], Value::Null, "{status}");
    }

    let (code, text) = command(&context, &["status"]);
    assert_eq!(code, 0, "{text}");
    for line in [
        format!("pid {}, since ", worker.pid()),
        "  workers    w-1, w-2 on q, low".to_owned(),
        format!("  serving    generation 2, code {hash}, 3 files, for "),
        "app/version.py changed".to_owned(),
        "  jobs       1 running, on generation 1".to_owned(),
        "  watching   3 files that count in ., by ".to_owned(),
        "  reload     ".to_owned(),
    ] {
        assert!(text.contains(&line), "`{line}` is not in\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colours where nobody sees them:\n{text}");
    fs_err::write(gate, "").unwrap();
    context.eval(&format!("end({job})"));
    worker.stop();
    assert!(sockets(&context).is_empty());
}

#[test]
fn without_a_worker_the_commands_say_so() {
    let context = project();
    let other = project();
    let worker = worker(&context, &[]);
    for name in ["status", "reload"] {
        let elsewhere = |args: &[&str]| {
            let output = context
                .freshq()
                .current_dir(other.project.path())
                .arg(name)
                .args(args)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code().unwrap(), text)
        };
        let (code, text) = elsewhere(&[]);
        assert_eq!(code, 9, "{text}");
        assert!(text.contains("no freshq worker of yours was started in "), "{text}");
        assert!(text.contains("`freshq worker`"), "{text}");
        assert_eq!(elsewhere(&["--all"]).0, 0);
        assert_eq!(elsewhere(&["--pid", &worker.pid().to_string()]).0, 0);
        let (code, text) = elsewhere(&["--pid", "1"]);
        assert_eq!(code, 9, "{text}");
        assert!(text.contains("process id 1"), "{text}");
    }
    worker.stop();
    assert_eq!(command(&context, &["status", "--all"]).0, 9);
}

#[test]
fn a_reload_loads_what_is_saved_also_without_watching() {
    let context = project();
    let worker = worker(&context, &[]);
    context.replace("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v0"]));
    let (code, text) = command(&context, &["reload"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("  serving    generation 2 in "), "{text}");
    // The same line as in the log.
    let (_, said) = text.trim_end().split_once("  serving ").unwrap();
    worker.wait_for(said);
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v1"]));
    assert_eq!(status(&context)["watching"], Value::Null);
    worker.stop();
}

#[test]
fn a_reload_of_broken_code_says_where_and_why() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    context.write("app/version.py", "x = 1\n1 / 0\n");
    let (code, text) = command(&context, &["reload"]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("  broken     app/version.py:2: ZeroDivisionError"), "{text}");
    assert!(text.contains("generation 1 serves on"), "{text}");
    let status = status(&context);
    assert_eq!(status["serving"]["generation"], json!(1));
    assert_eq!(status["broken"]["serving"], json!(1));
    assert_eq!(status["broken"]["place"]["line"], json!(2));
    let (_, text) = command(&context, &["status"]);
    assert!(text.contains("app/version.py:2: ZeroDivisionError: division by zero"), "{text}");
    worker.stop();
}

#[test]
fn while_code_loads_there_are_answers_and_a_reload_waits_for_its_own() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    let (gate, version) = gated(&context, "VERSION = 'v1'\n");
    context.replace("app/version.py", &version);
    worker.wait_for("  changed ");
    context.eval("enqueue('app.tasks.version')");
    let reload = say(&context, b"{\"ask\":\"reload\"}\n");
    let loading = status(&context);
    assert_eq!(loading["loading"]["generation"], json!(2));
    assert_eq!(loading["serving"]["generation"], json!(1));
    assert_eq!(loading["jobs"], json!("wait"));
    fs_err::write(gate, "").unwrap();
    // One was loading when it was asked for: that may have read the files before.
    let serving: Value = serde_json::from_str(&answer(reload)).unwrap();
    assert_eq!(serving["serving"]["generation"], json!(3), "{serving}");
    worker.stop();
}

#[test]
fn before_the_first_generation_serves_and_without_redis_there_are_answers() {
    let context = project();
    let (gate, version) = gated(&context, "VERSION = 'v1'\n");
    context.write("app/version.py", &version);
    let worker = context.unready_worker(&["--import", "app.tasks", "--verbose"]);
    worker.wait_for("control socket");
    let until = std::time::Instant::now() + PATIENCE;
    while status(&context)["loading"]["generation"] != json!(1) {
        assert!(std::time::Instant::now() < until, "{}", worker.output());
    }
    assert_eq!(status(&context)["serving"], Value::Null);
    fs_err::write(gate, "").unwrap();
    worker.wait_for("  ready ");
    kill_process(Pid::from_raw(context.redis.pid()).unwrap(), Signal::KILL).unwrap();
    worker.wait_for("lost: ");
    assert!(status(&context)["redis"]["away_for"].is_number());
    let (code, text) = command(&context, &["status"]);
    assert_eq!(code, 0);
    assert!(text.contains("has not answered for"), "{text}");
    assert_eq!(command(&context, &["reload"]).0, 0);
    assert_eq!(status(&context)["serving"]["generation"], json!(2));
}

#[test]
fn several_workers_of_a_project_are_all_asked_or_one_of_them() {
    let context = project();
    let first = worker(&context, &[]);
    let second = worker(&context, &[]);
    let (code, text) = command(&context, &["reload"]);
    assert_eq!(code, 0, "{text}");
    for worker in [&first, &second] {
        assert!(text.contains(&format!("pid {}\n", worker.pid())), "{text}");
        worker.wait_for("  serving    generation 2");
    }
    let (code, text) = command(&context, &["reload", "--pid", &second.pid().to_string()]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("generation 3"), "{text}");
    let (_, text) = command(&context, &["status", "--json"]);
    let statuses: Vec<Value> = serde_json::from_str(&text).unwrap();
    let serving = |worker: &Worker| {
        let status = statuses.iter().find(|status| status["pid"] == json!(worker.pid()));
        status.expect(&text)["serving"]["generation"].clone()
    };
    assert_eq!((serving(&first), serving(&second)), (json!(2), json!(3)));
    first.stop();
    second.stop();
}

#[test]
fn a_worker_that_was_killed_is_not_found_and_leaves_nothing() {
    let context = project();
    let worker = worker(&context, &[]);
    worker.signal(Signal::KILL);
    worker.end();
    assert_eq!(sockets(&context).len(), 1);
    assert_eq!(command(&context, &["status"]).0, 9);
    assert!(sockets(&context).is_empty());
}

#[test]
fn what_makes_no_sense_is_answered_and_harms_nobody() {
    let context = project();
    let worker = worker(&context, &[]);
    for (said, expected) in [
        (b"hello\n".as_slice(), "this is no request"),
        (b"{\"ask\":\"stop\"}\n", "this is no request"),
        (b"\xff\xfe\n", "this is no request"),
        (&[b'['; 8192], "a request has fewer than 4096 bytes"),
    ] {
        let error = answer(say(&context, said));
        assert!(error.starts_with("{\"error\":") && error.contains(expected), "{error}");
    }
    // Whoever says nothing is hung up on.
    let error = answer(say(&context, b""));
    assert!(error.contains("no request came within 5 s"), "{error}");
    // Whoever does not wait for the answer harms nobody either.
    drop(say(&context, b"{\"ask\":\"reload\"}\n"));
    worker.wait_for("  serving    generation 2");
    assert_eq!(status(&context)["jobs"], json!("run"));
    worker.stop();
}

#[test]
fn too_many_clients_are_turned_away_until_others_have_gone() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    let (gate, version) = gated(&context, "VERSION = 'v1'\n");
    context.replace("app/version.py", &version);
    worker.wait_for("  changed ");
    let waiting: Vec<_> = (0..CLIENTS).map(|_| say(&context, b"{\"ask\":\"reload\"}\n")).collect();
    let refused = answer(say(&context, b""));
    assert!(refused.contains("ask again"), "{refused}");
    drop(waiting);
    let until = std::time::Instant::now() + PATIENCE;
    while command(&context, &["status"]).0 != 0 {
        assert!(std::time::Instant::now() < until, "{}", worker.output());
    }
    fs_err::write(gate, "").unwrap();
    worker.wait_for("generation 2");
    worker.stop();
}

#[test]
fn passwords_of_redis_are_never_told() {
    let context = project();
    context.eval("r.config_set('requirepass', 'hushhush')");
    let url = context.redis.url().replace("redis://", "redis://:hushhush@");
    let mut command = context.freshq();
    command.args(["worker", "-v", "--url", &url]);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    let output = context.freshq().args(["status", "--json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("127.0.0.1"), "{text}");
    assert!(!text.contains("hushhush"), "{text}");
    assert!(!worker.stop().contains("hushhush"));
}

/// What a worker with these folders says of its control socket, and what a command then finds.
fn with_folders(cache: &Path, runtime: &Path, temporary: &Path) -> (String, i32) {
    let context = project();
    let folders =
        [("FRESHQ_CACHE_DIR", cache), ("XDG_RUNTIME_DIR", runtime), ("TMPDIR", temporary)];
    let mut command = context.freshq();
    command.args(["worker", "-v", "--url", &context.redis.url()]).envs(folders);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    let found = context.freshq().arg("status").envs(folders).output().expect("it starts");
    (worker.stop(), found.status.code().expect("it ends by itself"))
}

#[test]
fn where_a_folder_cannot_be_used_another_is_or_none() {
    let root = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let path = root.path().join(name);
        fs_err::create_dir_all(&path).unwrap();
        path
    };
    // Longer than the path of a socket may be.
    let long = folder(&"long/".repeat(24));
    let (runtime, temporary) = (folder("r"), folder("t"));
    let (said, code) = with_folders(&long, &runtime, &temporary);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("control socket {}/freshq/", runtime.display())), "{said}");
    let mode = runtime.join("freshq").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let (said, code) = with_folders(&long, &long, &temporary);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("control socket {}/", temporary.display())), "{said}");
    let (said, code) = with_folders(&long, &long, &long);
    assert_eq!(code, 9, "{said}");
    assert!(said.contains("no control socket") && said.contains("too long"), "{said}");
}

#[test]
fn a_folder_that_others_can_enter_is_not_trusted() {
    let root = tempfile::tempdir().unwrap();
    let cache = root.path().join("cache");
    let run = cache.join("run");
    fs_err::create_dir_all(&run).unwrap();
    fs_err::set_permissions(&run, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (said, code) = with_folders(&cache, root.path(), root.path());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("control socket {}/freshq/", root.path().display())), "{said}");
}

#[test]
fn a_worker_that_stops_loads_nothing_more() {
    let context = project();
    let worker = worker(&context, &[]);
    let gate = context.path("gate");
    let job = context.eval(&format!("enqueue('app.tasks.wait_for', '{}')", gate.display()));
    worker.wait_for("  job ");
    worker.signal(Signal::TERM);
    worker.wait_for("warm shutdown");
    assert_eq!(status(&context)["jobs"], json!("stopping"));
    let (code, text) = command(&context, &["reload"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the worker is stopping"), "{text}");
    let mut rest = String::new();
    let mut open = say(&context, b"");
    fs_err::write(gate, "").unwrap();
    // A client that is still there when it ends is hung up on.
    open.read_to_string(&mut rest).ok();
    assert_eq!(worker.end().0.code(), Some(0));
    assert_eq!(context.eval(&format!("end({job})")), json!(["finished", "v0"]));
}
