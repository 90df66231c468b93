//! Old code never mixes with new: what a job imports late is as it was when the job began.

use serde_json::{Value, json};

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import importlib, os, time
from .version import VERSION

def version():
    return VERSION

def seen():
    found = {"version": VERSION}
    for name in ("changed", "gone", "made", "package.inner", "space.inner", "fresh.inner"):
        try:
            found[name] = importlib.import_module("app." + name).VALUE
        except ModuleNotFoundError:
            found[name] = None
    return found

def seen_late(gate, begun):
    open(begun, "w").close()
    while not os.path.exists(gate):
        time.sleep(0.002)
    found = seen()
    changed = importlib.import_module("app.changed")
    assert importlib.reload(changed).VALUE == found["changed"]
    return found
"#;

fn value(text: &str) -> String {
    format!("VALUE = '{text}'\n")
}

fn project() -> Context {
    let context = Context::with_tasks(TASKS);
    context.write("app/version.py", "VERSION = 'v0'\n");
    context.write("app/changed.py", &value("c0"));
    context.write("app/gone.py", &value("g0"));
    context.write("app/package/__init__.py", "from .other import VALUE as OTHER\n");
    context.write("app/package/other.py", &value("o0"));
    context.write("app/package/inner.py", "from . import OTHER as VALUE\n");
    context.write("app/space/inner.py", &value("s0"));
    context
}

/// What stands there in [`project`].
fn old() -> Value {
    json!({
        "version": "v0", "changed": "c0", "gone": "g0", "made": null,
        "package.inner": "o0", "space.inner": "s0", "fresh.inner": null,
    })
}

/// Changes all of it; the file that each generation has loaded comes last.
fn change(context: &Context) -> Value {
    context.write("app/changed.py", &value("c1"));
    fs_err::remove_file(context.path("app/gone.py")).expect("it was there");
    context.write("app/made.py", &value("m1"));
    context.replace("app/package/other.py", &value("o1"));
    fs_err::remove_dir_all(context.path("app/space")).expect("it was there");
    context.write("app/fresh/inner.py", &value("f1"));
    context.write("app/version.py", "VERSION = 'v1'\n");
    json!({
        "version": "v1", "changed": "c1", "gone": null, "made": "m1",
        "package.inner": "o1", "space.inner": null, "fresh.inner": "f1",
    })
}

/// A job that has begun and waits; and what lets it go on.
fn begin(context: &Context, worker: &Worker) -> (Value, std::path::PathBuf) {
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    let (at, told) = (gate.display(), begun.display());
    let id = context.eval(&format!("enqueue('app.tasks.seen_late', '{at}', '{told}')"));
    context.wait_until(&format!("pathlib.Path('{told}').exists()"));
    assert!(!worker.output().contains("Traceback"), "{}", worker.output());
    (id, gate)
}

fn old_and_new_at_the_same_time(args: &[&str]) {
    let context = project();
    let args = [&["--reload", "--num-workers", "2", "--import", "app.tasks"], args].concat();
    let worker = context.worker(&args);
    let (id, gate) = begin(&context, &worker);
    let new = change(&context);
    // Twice: what the first has taught comes from a generation then.
    for _ in 0..2 {
        assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", new]));
    }
    fs_err::write(gate, "").expect("written");
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", old()]));
    assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", new]));
    worker.stop();
}

#[test]
fn old_and_new_at_the_same_time_with_fork() {
    old_and_new_at_the_same_time(&[]);
}

#[test]
fn old_and_new_at_the_same_time_with_reuse() {
    old_and_new_at_the_same_time(&["--isolation", "reuse"]);
}

#[test]
fn old_and_new_at_the_same_time_with_spawn() {
    old_and_new_at_the_same_time(&["--isolation", "spawn"]);
}

#[test]
fn many_saves_later_it_is_still_what_it_was() {
    let context = project();
    let worker =
        context.worker(&["--reload", "--num-workers", "2", "--import", "app.tasks", "--verbose"]);
    let (id, gate) = begin(&context, &worker);
    for n in 1..=30 {
        context.write("app/changed.py", &value(&format!("c{n}")));
        if n % 10 == 0 {
            context.write("app/version.py", &format!("VERSION = 'v{n}'\n"));
            let end = context.eval("run('app.tasks.seen')");
            assert_eq!(end[1]["changed"], json!(format!("c{n}")), "{}", worker.output());
        }
    }
    let new = change(&context);
    assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", new]));
    fs_err::write(gate, "").unwrap();
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", old()]));
    worker.stop();
}

#[test]
fn while_the_code_is_broken_all_of_it_is_what_it_was() {
    let context = project();
    let worker = context.worker(&["--reload", "--verbose", "--import", "app.tasks"]);
    // It is loaded by nobody: no reload, and jobs see it all the same.
    context.write("app/changed.py", &value("c1"));
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v0"]));
    assert!(worker.output().contains("no reload for"));
    context.write("app/version.py", "VERSION = (\n");
    worker.wait_for("app/version.py:1: SyntaxError");
    context.write("app/changed.py", &value("c2"));
    fs_err::remove_file(context.path("app/gone.py")).unwrap();
    let mut expected = old();
    expected["changed"] = json!("c1");
    assert_eq!(context.eval("run('app.tasks.seen')"), json!(["finished", expected]));
    context.write("app/version.py", "VERSION = 'v1'\n");
    let end = context.eval("run('app.tasks.seen')");
    assert_eq!([&end[1]["changed"], &end[1]["gone"]], [&json!("c2"), &Value::Null]);
    worker.stop();
}

#[test]
fn what_is_not_kept_any_more_is_an_error_and_never_new_code() {
    let context = project();
    let worker = context.worker(&["--reload", "--verbose", "--import", "app.tasks"]);
    let (id, gate) = begin(&context, &worker);
    let sources = context.cache().join("sources");
    fs_err::remove_dir_all(&sources).unwrap();
    context.write("app/changed.py", &value("c1"));
    worker.wait_for("no reload for");
    fs_err::write(gate, "").unwrap();
    let end = context.eval(&format!("end({id})"));
    let text = end[1].as_str().unwrap();
    assert!(
        text.contains("what your code was when this job began is not kept any more")
            && text.contains(sources.to_str().unwrap()),
        "{end}"
    );
    worker.stop();
}

#[test]
fn a_tree_that_moves_while_it_is_loaded_is_loaded_again() {
    let context = project();
    context.write("app/slow.py", "");
    context.write("app/tasks.py", &format!("{TASKS}\nfrom . import slow\n"));
    let worker = context.worker(&["--reload", "--import", "app.tasks"]);
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    context.write(
        "app/slow.py",
        &format!(
            "import os, time\nopen({begun:?}, 'w').close()\nwhile not os.path.exists({gate:?}):\n    time.sleep(0.002)\n"
        ),
    );
    context.wait_until(&format!("pathlib.Path({begun:?}).exists()"));
    // The generation that loads has the old one of this already.
    context.write("app/version.py", "VERSION = 'v1'\n");
    fs_err::write(gate, "").unwrap();
    let end = context.eval("run('app.tasks.seen')");
    assert_eq!(end[1]["version"], json!("v1"), "{}", worker.output());
    let output = worker.stop();
    assert!(!output.contains("serving    generation 2 "), "{output}");
    assert!(output.contains("serving    generation 3 "), "{output}");
}
