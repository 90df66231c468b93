//! What user code reads while it is imported is a part of it: a change of that reloads.

use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import json, pathlib
HERE = pathlib.Path(__file__).parent
CONFIG = json.loads((HERE / "config.json").read_text())
try:
    LOCAL = open("app/local.txt").read()
except FileNotFoundError:
    LOCAL = None
with open(HERE / "cache.txt", "a+") as cache:
    cache.write("x")
(HERE / "cache.txt").read_text()

def seen():
    return [CONFIG, LOCAL]

def touch(name):
    (HERE / name).touch()
    (HERE / name).write_bytes((HERE / name).read_bytes())
"#;

fn project() -> Context {
    let context = Context::with_tasks(TASKS);
    context.write("app/config.json", "0");
    context
}

fn a_file_that_was_read_reloads(args: &[&str]) {
    let context = project();
    let args = [&["--reload", "--verbose", "--import", "app.tasks"], args].concat();
    let worker = context.worker(&args);
    let seen = |config: i32, local: Option<&str>| {
        let end = context.eval("run('app.tasks.seen')");
        assert_eq!(end, json!(["finished", [config, local]]), "{}", worker.output());
    };
    seen(0, None);
    // What it writes itself is not one of them.
    context.write("app/cache.txt", "another");
    context.eval("run('app.tasks.touch', 'config.json')");
    worker.wait_for("no reload for");
    seen(0, None);
    assert_eq!(worker.output().matches("serving    generation").count(), 1, "{}", worker.output());
    context.write("app/config.json", "1");
    seen(1, None);
    context.replace("app/config.json", "2");
    seen(2, None);
    // It was looked for.
    context.write("app/local.txt", "here");
    seen(2, Some("here"));
    fs_err::remove_file(context.path("app/local.txt")).expect("it was there");
    seen(2, None);
    worker.stop();
}

#[test]
fn a_file_that_was_read_reloads_with_fork() {
    a_file_that_was_read_reloads(&[]);
}

#[test]
fn a_file_that_was_read_reloads_with_spawn() {
    a_file_that_was_read_reloads(&["--isolation", "spawn"]);
}

#[test]
fn a_file_that_breaks_the_import_mends_it() {
    let context = project();
    let worker = context.worker(&["--reload", "--import", "app.tasks"]);
    context.write("app/config.json", "{");
    worker.wait_for("JSONDecodeError");
    assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", [0, null]]));
    context.write("app/config.json", "1");
    assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", [1, null]]));
    worker.stop();
}

#[test]
fn what_is_ignored_or_read_by_jobs_is_not_learned() {
    let context = project();
    let worker =
        context.worker(&["--reload", "--import", "app.tasks", "--watch-ignore", "app/config.json"]);
    context.write("app/other.txt", "0");
    context.eval("run('app.tasks.touch', 'other.txt')");
    context.write("app/config.json", "1");
    context.write("app/other.txt", "1");
    assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", [0, null]]));
    let output = worker.stop();
    assert!(!output.contains("  changed "), "{output}");
}

#[test]
fn the_cache_of_freshq_may_lie_in_the_folder() {
    let context = project();
    let mut command = context.freshq();
    command.env("FRESHQ_CACHE_DIR", context.path("cache"));
    command.args(["worker", "--url", &context.redis.url(), "--reload", "--import", "app.tasks"]);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    context.write("app/config.json", "1");
    assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", [1, null]]));
    let output = worker.stop();
    assert_eq!(output.matches("serving    generation").count(), 2, "{output}");
    assert!(!output.contains("cache/code"), "{output}");
}

#[test]
fn a_file_behind_a_symlink_that_is_swapped_reloads() {
    use std::os::unix::fs::symlink;
    let context = project();
    for (folder, text) in [("app/..1", "1"), ("app/..2", "2")] {
        context.write(&format!("{folder}/config.json"), text);
    }
    fs_err::remove_file(context.path("app/config.json")).unwrap();
    symlink("..1", context.path("app/..data")).unwrap();
    symlink("..data/config.json", context.path("app/config.json")).unwrap();
    let worker = context.worker(&["--reload", "--import", "app.tasks"]);
    assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", [1, null]]));
    symlink("..2", context.path("app/..next")).unwrap();
    fs_err::rename(context.path("app/..next"), context.path("app/..data")).unwrap();
    assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", [2, null]]));
    worker.stop();
}

#[test]
fn a_shared_object_that_was_built_again_reloads() {
    let context = project();
    // One of Python's own takes the place of one of the user's.
    let find = "[spec.origin for name in ('_json', '_csv', '_bz2', '_heapq') \
                for spec in [__import__('importlib.util').util.find_spec(name)] \
                if spec and spec.origin.endswith('.so')][0]";
    let found = context.eval(find);
    let original = std::path::Path::new(found.as_str().unwrap());
    let file = original.file_name().unwrap().to_str().unwrap();
    let name = file.split('.').next().unwrap();
    let bytes = fs_err::read(original).unwrap();
    let built = context.path(&format!("app/{file}"));
    fs_err::write(&built, &bytes).unwrap();
    let tasks = format!(
        "import os\nfrom app import {name} as built\ndef size():\n    return os.stat(built.__file__).st_size\n"
    );
    context.write("app/tasks.py", &tasks);
    let worker = context.worker(&["--reload", "--import", "app.tasks"]);
    let end = context.eval("run('app.tasks.size')");
    assert_eq!(end, json!(["finished", bytes.len()]), "{}", worker.output());
    let next = context.path("app/next");
    fs_err::write(&next, [&bytes[..], b"once more"].concat()).unwrap();
    fs_err::rename(&next, &built).unwrap();
    worker.wait_for(&format!("changed    app/{file}"));
    worker.wait_for("serving    generation 2 ");
    worker.stop();
}
