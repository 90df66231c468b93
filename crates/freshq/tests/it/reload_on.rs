//! `--reload-on`: one file says when the code is new, a deploy marker or the symlink to a release folder.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::context::{Context, Worker};
use crate::processes::{children, kill, wait_until};
use crate::versioned::finished;

const TASKS: &str = "
import importlib, os
from .version import VERSION

def version():
    return VERSION

def late(name):
    return importlib.import_module(f'app.{name}').VALUE

def folder():
    return os.getcwd()
";

/// Modules that jobs import late, each in a test once: the next generation has them from the start.
const LATE: [&str; 4] = ["late0", "late1", "late2", "late3"];

fn write_release(context: &Context, folder: &str, version: &str) {
    context.write(&format!("{folder}app/__init__.py"), "");
    context.write(&format!("{folder}app/tasks.py"), TASKS);
    for late in LATE {
        context.write(&format!("{folder}app/{late}.py"), &format!("VALUE = '{version}'\n"));
    }
    context.write(&format!("{folder}app/version.py"), &format!("VERSION = '{version}'\n"));
}

fn run(context: &Context) -> Value {
    context.eval("run('app.tasks.version')")
}

fn late(context: &Context, name: &str) -> Value {
    context.eval(&format!("run('app.tasks.late', '{name}')"))
}

/// A project, its deploy marker, which is not there yet, and the folder of that.
fn project() -> (Context, PathBuf, tempfile::TempDir) {
    let context = Context::new();
    write_release(&context, "", "v0");
    let elsewhere = tempfile::tempdir().expect("a folder");
    (context, elsewhere.path().join("deployed"), elsewhere)
}

fn worker(context: &Context, marker: &Path, args: &[&str]) -> Worker {
    let marker = marker.to_str().expect("UTF-8");
    let all = [&["--reload-on", marker, "--import", "app.tasks", "--verbose"], args].concat();
    context.worker(&all)
}

#[test]
fn saves_alone_are_no_reload_and_the_marker_is_one() {
    let (context, marker, _elsewhere) = project();
    let worker = worker(&context, &marker, &[]);
    worker.wait_for("is made or changes");
    for n in 1..=20 {
        let (old, new) = (format!("v{}", n - 1), format!("v{n}"));
        write_release(&context, "", &new);
        assert_eq!(run(&context), finished(&old), "{}", worker.output());
        if let Some(name) = LATE.get(n - 1) {
            assert_eq!(late(&context, name), finished(&old), "{}", worker.output());
        }
        fs_err::write(&marker, &new).expect("done");
        assert_eq!(run(&context), finished(&new), "{}", worker.output());
        if let Some(name) = LATE.get(n) {
            assert_eq!(late(&context, name), finished(&new), "{}", worker.output());
        }
    }
    let output = worker.stop();
    assert!(output.contains("app/version.py: "), "{output}");
    assert!(output.contains("deployed has not changed"), "{output}");
}

#[test]
fn a_marker_that_is_touched_or_made_again_counts_and_one_that_is_removed_does_not() {
    let (context, marker, _elsewhere) = project();
    fs_err::write(&marker, "same").expect("done");
    let worker = worker(&context, &marker, &[]);
    let touch = || {
        let file = fs_err::OpenOptions::new().append(true).open(&marker).expect("done");
        file.set_modified(std::time::UNIX_EPOCH).expect("done");
    };
    let write = || fs_err::write(&marker, "same").expect("done");
    for (n, say) in [&touch as &dyn Fn(), &write, &write].into_iter().enumerate() {
        let old = run(&context);
        if n == 2 {
            fs_err::remove_file(&marker).expect("done");
        }
        context.write("app/version.py", &format!("VERSION = 'v{}'\n", n + 1));
        assert_eq!(run(&context), old, "{}", worker.output());
        say();
        assert_eq!(run(&context), finished(&format!("v{}", n + 1)), "{}", worker.output());
    }
    worker.stop();
}

#[test]
fn an_idle_worker_loads_without_a_job() {
    let (context, marker, _elsewhere) = project();
    let worker = worker(&context, &marker, &[]);
    context.write("app/version.py", "VERSION = 'v1'\n");
    worker.wait_for("version.py: ");
    fs_err::write(&marker, "").expect("done");
    worker.wait_for("generation 2 in");
    assert_eq!(run(&context), finished("v1"));
    worker.stop();
}

#[test]
fn what_is_loaded_for_another_reason_is_the_code_that_was_deployed() {
    let (context, marker, _elsewhere) = project();
    let worker = worker(&context, &marker, &[]);
    write_release(&context, "", "v1");
    assert_eq!(late(&context, "late0"), finished("v0"));
    worker.wait_for("generation 2 in");
    assert_eq!(run(&context), finished("v0"), "learned: {}", worker.output());
    context.write("app/version.py", "VERSION = (\n");
    let base = children(worker.pid())[0];
    kill(*children(base).last().expect("a generation"));
    worker.wait_for("generation 3 in");
    assert_eq!(run(&context), finished("v0"), "died: {}", worker.output());
    assert_eq!(late(&context, "late1"), finished("v0"));
    write_release(&context, "", "v2");
    fs_err::write(&marker, "").expect("done");
    assert_eq!(run(&context), finished("v2"), "{}", worker.output());
    worker.stop();
}

#[test]
fn what_is_saved_while_new_code_is_loaded_waits_for_the_next_marker() {
    let (context, marker, _elsewhere) = project();
    context.write("go", "");
    let slow = "import os, time\nopen('loading', 'w').close()\n\
                while not os.path.exists('go'):\n    time.sleep(0.002)\n";
    context.write("app/slow.py", slow);
    context.write("app/__init__.py", "from . import slow\n");
    let worker = worker(&context, &marker, &[]);
    assert_eq!(run(&context), finished("v0"));
    for name in ["go", "loading"] {
        fs_err::remove_file(context.path(name)).unwrap();
    }
    context.write("app/version.py", "VERSION = 'v1'\n");
    fs_err::write(&marker, "1").unwrap();
    wait_until("it loads", || context.path("loading").exists());
    context.write("app/version.py", "VERSION = 'v2'\n");
    context.write("app/late0.py", "VALUE = 'v2'\n");
    worker.wait_for("late0.py: ");
    context.write("go", "");
    assert_eq!(run(&context), finished("v1"), "{}", worker.output());
    assert_eq!(late(&context, "late0"), finished("v0"), "{}", worker.output());
    fs_err::write(&marker, "2").unwrap();
    assert_eq!(run(&context), finished("v2"), "{}", worker.output());
    worker.stop();
}

#[test]
fn polled_folders_are_looked_at_before_the_code_counts_as_known() {
    let (context, marker, _elsewhere) = project();
    let hour = ["--watch-mode", "poll", "--poll-interval", "3600000"];
    let worker = worker(&context, &marker, &hour);
    for (n, name) in LATE.into_iter().enumerate() {
        let version = format!("v{}", n + 1);
        write_release(&context, "", &version);
        fs_err::write(&marker, &version).expect("done");
        assert_eq!(run(&context), finished(&version), "{}", worker.output());
        assert_eq!(late(&context, name), finished(&version), "{}", worker.output());
    }
    worker.stop();
}

#[test]
fn reload_and_rollback_work_as_ever_and_status_says_what_is_waited_for() {
    let (context, marker, _elsewhere) = project();
    let worker = worker(&context, &marker, &["--on-broken", "hold"]);
    let ask = |command: &str| {
        let output = context.freshq().arg(command).output().expect("done");
        (output.status.code(), String::from_utf8(output.stdout).expect("done"))
    };
    let (_, status) = ask("status");
    assert!(status.contains("reloads when "), "{status}");
    write_release(&context, "", "v1");
    assert_eq!(run(&context), finished("v0"));
    assert_eq!(ask("reload").0, Some(0));
    assert_eq!(run(&context), finished("v1"));
    assert_eq!(ask("rollback").0, Some(0));
    assert_eq!(run(&context), finished("v0"));
    assert_eq!(late(&context, "late0"), finished("v0"));
    context.write("app/version.py", "VERSION = (\n");
    fs_err::write(&marker, "broken").expect("done");
    worker.wait_for("SyntaxError");
    let held = context.eval("enqueue('app.tasks.version')");
    context.write("app/version.py", "VERSION = 'v2'\n");
    context.write("app/fresh.py", "");
    worker.wait_for("app/fresh.py: ");
    context.wait_until(&format!("[status({held}), queue().count] == ['queued', 1]"));
    fs_err::write(&marker, "mended").expect("done");
    assert_eq!(context.eval(&format!("end({held})")), finished("v2"));
    worker.stop();
}

#[test]
fn it_turns_reloading_on_unless_something_that_counts_more_says_no() {
    let (context, marker, _elsewhere) = project();
    let on = ["--reload-on", marker.to_str().expect("UTF-8")];
    let burst = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = context.freshq();
        command.args(["worker", "--burst", "--url", &context.redis.url()]).args(args);
        command.envs(variables.iter().copied());
        Worker::start(command).end().1
    };
    let says_on = |output: &str| output.contains("deployed is made or changes");
    assert!(says_on(&burst(&on, &[])));
    assert!(says_on(&burst(&on, &[("FRESHQ_RELOAD", "0")])));
    assert!(says_on(&burst(&[], &[("FRESHQ_RELOAD_ON", on[1])])));
    assert!(!says_on(&burst(&[], &[("FRESHQ_RELOAD_ON", on[1]), ("FRESHQ_RELOAD", "0")])));
    assert!(!says_on(&burst(&[on[0], on[1], "--no-reload"], &[])));
}

/// Has a symlink lead elsewhere, in one step.
fn lead(link: &Path, target: &str) {
    let new = link.with_extension("new");
    symlink(target, &new).expect("done");
    fs_err::rename(new, link).expect("done");
}

/// Three releases, and a worker that is started in the first, or beside it with `--path`.
fn deployed(args: &[&str]) -> (Context, Worker) {
    let context = Context::new();
    for release in ["one", "two", "three"] {
        write_release(&context, &format!("releases/{release}/"), release);
    }
    symlink("releases/one", context.path("current")).expect("done");
    let mut command = context.freshq();
    let at = if args.contains(&"--path") { "." } else { "current" };
    command
        .current_dir(context.path(at))
        .args(["worker", "--url", &context.redis.url(), "--import", "app.tasks", "--verbose"])
        .arg("--reload-on")
        .arg(context.path("current"))
        .args(args);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    (context, worker)
}

fn swap_releases(args: &[&str]) {
    let (context, worker) = deployed(args);
    for (n, (before, release)) in
        [("one", "two"), ("two", "three"), ("three", "one")].into_iter().enumerate()
    {
        assert_eq!(run(&context), finished(before), "{}", worker.output());
        lead(&context.path("current"), &format!("releases/{release}"));
        assert_eq!(run(&context), finished(release), "{}", worker.output());
        assert_eq!(late(&context, LATE[n]), finished(release), "{}", worker.output());
        if !args.contains(&"--path") {
            let folder = context.path("releases").join(release).canonicalize().expect("done");
            let folder = finished(folder.to_str().expect("UTF-8"));
            assert_eq!(context.eval("run('app.tasks.folder')"), folder);
        }
    }
    // Old releases may be cleaned up.
    fs_err::remove_dir_all(context.path("releases/three")).expect("done");
    write_release(&context, "releases/four/", "four");
    lead(&context.path("current"), "releases/four");
    assert_eq!(run(&context), finished("four"), "{}", worker.output());
    let output = worker.stop();
    assert!(!output.contains("warning"), "{output}");
}

#[test]
fn a_release_folder_that_is_swapped_is_new_code_from_there() {
    swap_releases(&[]);
}

#[test]
fn spawned_interpreters_follow_a_release_folder() {
    swap_releases(&["--isolation", "spawn"]);
}

#[test]
fn an_import_path_that_names_the_symlink_follows_it_as_a_whole() {
    swap_releases(&["--path", "current"]);
}

#[test]
fn code_that_does_not_lie_in_the_release_is_said_and_loaded_from_where_it_is() {
    let (context, link, elsewhere) = project();
    for release in ["one", "two"] {
        fs_err::create_dir(elsewhere.path().join(release)).unwrap();
    }
    lead(&link, "one");
    let worker = worker(&context, &link, &[]);
    worker.wait_for("none of your code lies in ");
    write_release(&context, "", "v1");
    assert_eq!(run(&context), finished("v0"));
    lead(&link, "two");
    assert_eq!(run(&context), finished("v1"), "{}", worker.output());
    worker.stop();
}

#[test]
fn a_release_is_what_it_was_when_the_symlink_led_there() {
    let (context, worker) = deployed(&[]);
    lead(&context.path("current"), "releases/two");
    assert_eq!(run(&context), finished("two"));
    // Edited, or removed, while its code serves.
    write_release(&context, "releases/two/", "hotfix");
    worker.wait_for("version.py: ");
    assert_eq!(run(&context), finished("two"));
    assert_eq!(late(&context, "late0"), finished("two"), "{}", worker.output());
    worker.wait_for("generation 3 in");
    fs_err::remove_dir_all(context.path("releases/two")).expect("done");
    assert_eq!(late(&context, "late1"), finished("two"), "{}", worker.output());
    worker.stop();
}

#[test]
fn a_release_that_is_broken_or_crashes_leaves_the_one_before() {
    let (context, worker) = deployed(&["--canary", "1"]);
    context.write("releases/two/app/version.py", "VERSION = (\n");
    lead(&context.path("current"), "releases/two");
    assert_eq!(run(&context), finished("one"), "{}", worker.output());
    worker.wait_for("serves on");
    assert_eq!(late(&context, "late0"), finished("one"), "{}", worker.output());
    lead(&context.path("current"), "releases/three");
    assert_eq!(run(&context), finished("three"), "the canary: {}", worker.output());
    worker.wait_for("serves all from now on");
    assert_eq!(run(&context), finished("three"), "{}", worker.output());
    let output =
        context.freshq().current_dir(context.path("releases/one")).arg("rollback").output();
    assert_eq!(output.expect("done").status.code(), Some(0));
    assert_eq!(run(&context), finished("one"), "{}", worker.output());
    assert_eq!(late(&context, "late1"), finished("one"), "{}", worker.output());
    worker.stop();
}

#[test]
fn a_release_may_bring_a_module_with_the_name_of_a_library() {
    let context = Context::new();
    for release in ["one", "two"] {
        let text = "from gadget import NAME\ndef name():\n    return NAME\n";
        context.write(&format!("releases/{release}/tasks.py"), text);
        context.write(&format!("releases/{release}/site-packages/gadget.py"), "NAME = 'library'\n");
    }
    context.write("releases/two/gadget.py", "NAME = 'mine'\n");
    let current = context.path("current");
    symlink("releases/one", &current).expect("done");
    let mut command = context.freshq();
    command
        .current_dir(&current)
        .args(["worker", "--url", &context.redis.url(), "--import", "tasks", "--reload-on"])
        .arg(&current)
        .env(
            "PYTHONPATH",
            format!("{}:{}", current.display(), current.join("site-packages").display()),
        );
    let worker = Worker::start(command);
    worker.wait_for("site-packages lies in a release: later ones run with its packages");
    worker.wait_for("library modules imported");
    for (release, name) in [("two", "mine"), ("one", "library"), ("two", "mine")] {
        lead(&current, &format!("releases/{release}"));
        assert_eq!(context.eval("run('tasks.name')"), finished(name), "{}", worker.output());
    }
    worker.stop();
}
