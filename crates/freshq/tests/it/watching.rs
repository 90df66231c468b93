//! How changes are noticed: by polling, after a checkout, where events are missing, at the limits of inotify.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = "\
from .version import VERSION

def version():
    return VERSION
";

fn project() -> Context {
    let context = Context::with_tasks(TASKS);
    context.write("app/version.py", "VERSION = 'v000'\n");
    context
}

fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

/// Saves a version in one of three ways.
fn save(folder: &Path, number: u32) -> String {
    let path = folder.join("app/version.py");
    let version = format!("v{number:03}");
    let text = format!("VERSION = '{version}'\n");
    match number % 3 {
        0 => fs_err::write(path, text).expect("saved"),
        1 => {
            fs_err::write(path.with_extension("new"), text).expect("saved");
            fs_err::rename(path.with_extension("new"), path).expect("saved");
        }
        _ => {
            fs_err::remove_file(&path).expect("saved");
            fs_err::write(path, text).expect("saved");
        }
    }
    version
}

/// Each job runs right after a save in `folder`.
fn expect_fresh_jobs(context: &Context, worker: &Worker, folder: &Path, saves: u32) {
    for number in 1..=saves {
        let version = save(folder, number);
        let end = context.eval("run('app.tasks.version')");
        assert_eq!(end, json!(["finished", version]), "{}", worker.output());
    }
}

#[test]
fn with_polling_too_a_job_enqueued_after_a_save_runs_the_new_code() {
    let context = project();
    // No look would come in time by itself.
    let worker = context.worker(&[
        "--reload",
        "--watch-mode",
        "poll",
        "--poll-interval",
        "600s",
        "--import",
        "app.tasks",
    ]);
    worker.wait_for("polled every 600.0 s: 3 files that count; as asked for");
    expect_fresh_jobs(&context, &worker, context.project.path(), 100);
    let output = worker.stop();
    assert!(output.contains("100 finished, 0 failed"), "{output}");
}

#[test]
fn a_poll_notices_a_save_without_any_job() {
    let context = project();
    let mut command = context.freshq();
    command.args(["worker", "--url", &context.redis.url(), "--reload", "--import", "app.tasks"]);
    command.env("FRESHQ_WATCH_MODE", "poll").env("FRESHQ_POLL_INTERVAL", "50");
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    save(context.project.path(), 1);
    worker.wait_for("generation 2");
    worker.stop();
}

fn git(context: &Context, args: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "gc.auto=0"]);
    command.args(args).current_dir(context.project.path()).stdout(std::process::Stdio::null());
    assert!(run(command.stderr(std::process::Stdio::null())), "git {args:?}");
}

/// Goal: a checkout of 5,000 files is one reload.
/// Method: real git, and a job that asks at its end.
fn expect_one_generation_of_a_checkout(mode: &str) {
    let context = project();
    let module = |number: u32| format!("app/part{}/module{number}.py", number % 50);
    for number in 0..5_000 {
        context.write(&module(number), "VALUE = 1\n");
    }
    context.write(".gitignore", "*.pyc\n");
    git(&context, &["init", "--quiet"]);
    git(&context, &["add", "."]);
    git(&context, &["commit", "--quiet", "-m", "one"]);
    git(&context, &["checkout", "--quiet", "-b", "other"]);
    for number in 0..5_000 {
        context.write(&module(number), "VALUE = 2\n");
    }
    context.write("app/version.py", "from .part7.module7 import VALUE as VERSION\n");
    git(&context, &["commit", "--quiet", "-a", "-m", "two"]);
    let worker = context.worker(&["--reload", "--watch-mode", mode, "--import", "app.tasks"]);
    let expect = |version: serde_json::Value| {
        let end = context.eval("run('app.tasks.version')");
        assert_eq!(end, json!(["finished", version]), "{}", worker.output());
    };
    expect(json!(2));
    git(&context, &["checkout", "--quiet", "-"]);
    expect(json!("v000"));
    git(&context, &["checkout", "--quiet", "other"]);
    expect(json!(2));
    let output = worker.stop();
    assert!(output.contains("generation 3") && !output.contains("generation 4"), "{output}");
}

#[test]
fn a_checkout_of_5000_files_is_one_generation() {
    expect_one_generation_of_a_checkout("native");
}

#[test]
fn a_checkout_of_5000_files_is_one_generation_with_polling() {
    expect_one_generation_of_a_checkout("poll");
}

#[test]
fn changes_wait_for_the_lock_of_git_and_jobs_with_them() {
    let context = project();
    git(&context, &["init", "--quiet"]);
    let lock = context.path(".git/index.lock");
    // The repository begins above the watched folder.
    let worker = context.worker(&["--reload", "--watch", "app", "--import", "app.tasks"]);
    fs_err::write(&lock, "").unwrap();
    save(context.project.path(), 1);
    let job = context.eval("enqueue('app.tasks.version')");
    context.wait_until("queue().count == 0");
    context.write("app/version.py", "VALUE = (\n");
    save(context.project.path(), 2);
    fs_err::remove_file(&lock).unwrap();
    assert_eq!(context.eval(&format!("end({job})")), json!(["finished", "v002"]));
    let output = worker.stop();
    assert!(!output.contains("generation 3") && !output.contains("SyntaxError"), "{output}");
}

#[test]
fn a_lock_that_was_left_behind_is_not_waited_for_for_ever() {
    let context = project();
    git(&context, &["init", "--quiet"]);
    let worker = context.worker(&["--reload", "--import", "app.tasks"]);
    fs_err::write(context.path(".git/index.lock"), "").unwrap();
    expect_fresh_jobs(&context, &worker, context.project.path(), 3);
    let output = worker.stop();
    assert_eq!(output.matches("index.lock is held for too long").count(), 1, "{output}");
}

/// Another folder, shown by a file system in user space that tells nothing of what happens below it.
struct Bound {
    below: tempfile::TempDir,
    shown: PathBuf,
}

impl Bound {
    /// At `shown`; none, and said, where the machine has no such file system.
    fn mount(shown: PathBuf) -> Option<Self> {
        let below = tempfile::tempdir().expect("a folder of the test");
        fs_err::create_dir(&shown).expect("a folder of the test");
        let mut command = Command::new("bindfs");
        let mounted = run(command.arg("--no-allow-other").arg(below.path()).arg(&shown));
        if !mounted {
            let why =
                "skipped: bindfs cannot mount here (it needs the package bindfs and /dev/fuse)\n";
            std::io::Write::write_all(&mut std::io::stderr(), why.as_bytes())
                .expect("a folder of the test");
            return None;
        }
        Some(Self { below, shown })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // The first is for those who are not root.
        let mut command = Command::new("fusermount");
        let unmounted = run(command.arg("-uz").arg(&self.shown));
        if !unmounted {
            run(Command::new("umount").arg("--lazy").arg(&self.shown));
        }
    }
}

/// A project whose code is changed below what is mounted at `code`.
fn bound_project() -> Option<(Context, Bound)> {
    let context = Context::new();
    let bound = Bound::mount(context.path("code"))?;
    fs_err::create_dir(bound.below.path().join("app")).expect("a folder of the test");
    fs_err::write(bound.below.path().join("app/__init__.py"), "").expect("a folder of the test");
    fs_err::write(bound.below.path().join("app/tasks.py"), TASKS).expect("a folder of the test");
    fs_err::write(bound.below.path().join("app/version.py"), "VERSION = 'v000'\n")
        .expect("a folder of the test");
    Some((context, bound))
}

#[test]
fn a_file_system_without_events_is_polled() {
    let Some((context, bound)) = bound_project() else { return };
    let args = ["--reload", "--path", "code", "--watch", "code", "--import", "app.tasks"];
    let worker = context.worker(&args);
    worker.wait_for("does not tell of changes from elsewhere");
    expect_fresh_jobs(&context, &worker, bound.below.path(), 30);
    worker.stop();
}

#[test]
fn a_mount_below_a_watched_folder_is_polled_by_itself() {
    let Some((context, bound)) = bound_project() else { return };
    context.write("own.py", "");
    let worker =
        context.worker(&["--reload", "--path", "code", "--watch", ".", "--import", "app.tasks"]);
    let output = worker.wait_for("does not tell of changes from elsewhere");
    assert!(output.contains("watched by inotify: 1 files that count"), "{output}");
    expect_fresh_jobs(&context, &worker, bound.below.path(), 10);
    worker.stop();
}

#[test]
fn where_events_are_missing_the_sweep_turns_to_polling() {
    let Some((context, bound)) = bound_project() else { return };
    let mut args = vec!["--reload", "--path", "code", "--watch", "code", "--import", "app.tasks"];
    args.extend(["--watch-mode", "native"]);
    let worker = context.worker(&args);
    save(bound.below.path(), 1);
    worker.wait_for("is polled from now on: inotify did not tell of a change of");
    worker.wait_for("generation 2");
    expect_fresh_jobs(&context, &worker, bound.below.path(), 10);
    worker.stop();
}

/// A worker in namespaces of its own, which the script prepares before it becomes the worker; none, and
/// said, where the machine has no such namespaces.
fn worker_in_namespace(context: &Context, script: &str) -> Option<Worker> {
    let script = format!("{script} && exec \"$@\"");
    let namespace = ["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    let folder = context.project.path();
    if !run(Command::new("unshare").args(namespace).arg("true").current_dir(folder)) {
        let why = "skipped: no user namespaces here\n";
        std::io::Write::write_all(&mut std::io::stderr(), why.as_bytes())
            .expect("the test can do that");
        return None;
    }
    let mut command = context.freshq_through("unshare", namespace);
    command.args(["worker", "--url", &context.redis.url(), "--reload", "--import", "app.tasks"]);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    Some(worker)
}

/// Goal: what has no watch is polled, and this is said. Method: a user namespace has a limit of its own.
#[test]
fn beyond_the_limit_of_watches_folders_are_polled() {
    for (limit, number, said) in [
        ("max_inotify_watches", 1, "no inotify watch is left for"),
        ("max_inotify_instances", 0, "no inotify instance is left for this user"),
    ] {
        let context = project();
        let script = format!("echo {number} > /proc/sys/user/{limit}");
        let Some(worker) = worker_in_namespace(&context, &script) else { return };
        worker.wait_for(said);
        expect_fresh_jobs(&context, &worker, context.project.path(), 5);
        worker.stop();
    }
}

/// A container's `-v ./version.py:/app/version.py`.
#[test]
fn a_file_that_is_mounted_by_itself_is_named_and_once_more_when_it_is_blind() {
    let context = project();
    let host = tempfile::tempdir().unwrap();
    let file = host.path().join("version.py");
    fs_err::write(&file, "VERSION = 'v001'\n").unwrap();
    let script = format!("mount --bind {} app/version.py", file.display());
    let Some(worker) = worker_in_namespace(&context, &script) else { return };
    worker.wait_for("app/version.py is mounted by itself");
    let version = || context.eval("run('app.tasks.version')")[1].clone();
    assert_eq!(version(), "v001");
    // Written in place it is seen; replaced, as most editors do, it is not any more.
    fs_err::write(&file, "VERSION = 'v002'\n").unwrap();
    assert_eq!(version(), "v002");
    fs_err::write(file.with_extension("new"), "VERSION = 'v003'\n").unwrap();
    fs_err::rename(file.with_extension("new"), &file).unwrap();
    worker.wait_for("app/version.py was replaced or removed on the host");
    assert_eq!(version(), "v002");
    let output = worker.stop();
    assert_eq!(output.matches("was replaced or removed on the host").count(), 1, "{output}");
}

#[test]
fn why_a_save_is_no_reload_is_said_to_those_who_ask() {
    let context = project();
    context.write("app/unused.py", "");
    let worker = context.worker(&["--reload", "--verbose", "--import", "app.tasks"]);
    for (name, text, why) in [
        ("version.py", "VERSION = 'v000'\n", "the same bytes as those that were loaded"),
        ("unused.py", "VALUE = 1\n", "no generation has loaded it"),
        (".version.py.swp", "swap", "editors and tools give such names to copies"),
        ("notes.txt", "text", "its name is none of those that are watched"),
    ] {
        context.write(&format!("app/{name}"), text);
        worker.wait_for(&format!("/app/{name}: {why}"));
    }
    let output = worker.stop();
    assert!(!output.contains("generation 2"), "{output}");
}
