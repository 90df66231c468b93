//! An edit that compiles to the code that serves is no reload.

use serde_json::json;

use crate::versioned::project;

/// Edits that change nothing, then those that look as if they did not; the worker has learned what to
/// import, so that the generation that serves at first is its last before a reload.
fn only_what_differs_reloads(args: &[&str]) {
    let context = project();
    let args = [&["--reload", "--verbose", "--import", "app.tasks"], args].concat();
    let worker = context.worker(&args);
    let same = ["VERSION = 'v0'  # a comment\n", "VERSION = 'v0'   \n", "VERSION = 'v0' \n# end\n"];
    for (n, text) in same.iter().enumerate() {
        context.write("app/version.py", text);
        worker.wait_for_times("same code", n + 1);
        assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v0"]));
    }
    assert_eq!(worker.output().matches("serving    generation").count(), 1, "{}", worker.output());
    // Lines, docstrings and constants are part of the code.
    let different = ["\nVERSION = 'v0'\n", "'''Doc.'''\nVERSION = 'v0'\n", "VERSION = 'v1'\n"];
    for (n, text) in different.iter().enumerate() {
        context.write("app/version.py", text);
        worker.wait_for_times("serving    generation", n + 2);
    }
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v1"]));
    let output = worker.stop();
    assert_eq!(output.matches("same code").count(), same.len(), "{output}");
}

#[test]
fn only_what_differs_reloads_with_fork() {
    only_what_differs_reloads(&[]);
}

#[test]
fn only_what_differs_reloads_with_spawn() {
    only_what_differs_reloads(&["--isolation", "spawn"]);
}

#[test]
fn one_file_that_differs_is_enough() {
    let context = project();
    let worker = context.worker(&["--reload", "--verbose", "--import", "app.tasks"]);
    // Both are seen by one drain or by two; the second decides.
    context.write("app/version.py", "VERSION = 'v0'  # a comment\n");
    context.write("app/tasks.py", "def version():\n    return 'other'\n");
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "other"]));
    context.write("app/tasks.py", "def version():\n    return 'other' # ...\n");
    worker.wait_for("tasks.py: same code");
    worker.stop();
}

#[test]
fn code_that_was_broken_is_loaded_when_it_is_what_it_was() {
    let context = project();
    let worker = context.worker(&["--reload", "--verbose", "--import", "app.tasks"]);
    context.write("app/version.py", "VERSION = (\n");
    worker.wait_for("app/version.py:1: SyntaxError");
    context.write("app/version.py", "VERSION = 'v0' # mended\n");
    worker.wait_for_times("serving    generation", 2);
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v0"]));
    worker.stop();
}
