//! A saved file is new code for the next job; running jobs, broken code and touches cost nothing.

use serde_json::json;

use crate::context::{Context, Worker};
use crate::versioned::project_with;

const MORE: &str = "
def lazy():
    from .later import VALUE
    return VALUE
";

/// A worker that has learned which modules the jobs need.
fn learned(context: &Context, args: &[&str]) -> Worker {
    let worker = context.worker(&[&["--reload"], args].concat());
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v0"]));
    worker.wait_for("generation 2");
    worker
}

#[test]
fn a_running_job_ends_on_the_code_it_began_with() {
    let context = project_with(MORE);
    let worker = learned(&context, &["--num-workers", "2"]);
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    let old = context.eval(&format!(
        "enqueue('app.tasks.wait_for', '{}', '{}')",
        gate.display(),
        begun.display()
    ));
    worker.wait_for_times("  job ", 2);
    context.replace("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v1"]));
    worker.wait_for("1 job ends on an older one");
    fs_err::write(gate, "").unwrap();
    assert_eq!(context.eval(&format!("end({old})")), json!(["finished", "v0"]));
    worker.stop();
}

#[test]
fn broken_code_is_shown_and_the_last_good_code_serves() {
    let context = project_with(MORE);
    let worker = learned(&context, &[]);
    for (n, (broken, shown)) in [
        ("VERSION = 'oops\n", "app/version.py:1: SyntaxError"),
        ("import nowhere\n", "app/version.py:1: ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1\n1 / 0\n", "app/version.py:2: ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "app/version.py:2: SystemExit: 3"),
    ]
    .into_iter()
    .enumerate()
    {
        let good = context.eval("run('app.tasks.version')");
        context.write("app/version.py", broken);
        worker.wait_for(shown);
        worker.wait_for_times("serves on", n + 1);
        assert_eq!(context.eval("run('app.tasks.version')"), good, "{}", worker.output());
        context.write("app/version.py", &format!("VERSION = 'mended{n}'\n"));
        let mended = json!(["finished", format!("mended{n}")]);
        assert_eq!(context.eval("run('app.tasks.version')"), mended, "{}", worker.output());
    }
    worker.stop();
}

#[test]
fn jobs_are_held_while_the_code_is_broken_if_asked_for() {
    let context = project_with(MORE);
    let worker = learned(&context, &["--on-broken", "hold"]);
    context.write("app/version.py", "VERSION = (\n");
    let id = context.eval("enqueue('app.tasks.version')");
    worker.wait_for("jobs wait until it is mended");
    // It may have been taken before the event was read: then it is on its way back.
    context.wait_until(&format!("[status({id}), queue().count] == ['queued', 1]"));
    context.write("app/version.py", "VERSION = 'mended'\n");
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", "mended"]));
    worker.stop();
}

#[test]
fn a_burst_ends_with_its_own_code_when_jobs_are_held() {
    let context = project_with(MORE);
    context.write("app/version.py", "VERSION = (\n");
    context.eval("enqueue('app.tasks.version')");
    let args = ["--burst", "--reload", "--on-broken", "hold", "--import", "app.tasks"];
    let (status, output) = context.unready_worker(&args).end();
    assert_eq!(status.code(), Some(5), "{output}");
    assert!(output.contains("app/version.py:1: SyntaxError"), "{output}");
    assert_eq!(context.eval("queue().count"), json!(1), "the job is still there");
}

#[test]
fn without_reloading_broken_code_fails_the_jobs_that_need_it_as_with_rq() {
    let context = project_with(MORE);
    context.worker(&["--burst"]);
    let worker = context.worker(&[]);
    context.eval("run('app.tasks.version')");
    worker.stop();
    context.write("app/version.py", "VERSION = (\n");
    let worker = context.worker(&[]);
    let end = context.eval("run('app.tasks.version')");
    assert_eq!(end, json!(["failed", "SyntaxError: '(' was never closed"]), "{}", worker.output());
    worker.stop();
}

#[test]
fn without_reloading_a_save_changes_nothing() {
    let context = project_with(MORE);
    let worker = context.worker(&["--import", "app.tasks"]);
    context.replace("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v0"]));
    worker.stop();
}

#[test]
fn a_touch_or_the_same_bytes_are_no_change() {
    let context = project_with(MORE);
    let worker = learned(&context, &["--verbose"]);
    context.replace("app/version.py", "VERSION = 'v0'\n");
    context.write("app/unused.txt", "no code");
    context.eval("run('app.tasks.version')");
    let output = worker.stop();
    assert!(!output.contains("  changed "), "{output}");
    assert!(output.contains("no reload for"), "{output}");
}

#[test]
fn a_module_in_a_new_folder_is_seen() {
    let context = project_with(MORE);
    let worker = learned(&context, &[]);
    context.write("app/new/__init__.py", "");
    context.write("app/new/deep/__init__.py", "");
    context.write("app/new/deep/value.py", "VALUE = 'deep'\n");
    context.replace("app/version.py", "from .new.deep.value import VALUE as VERSION\n");
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "deep"]));
    context.write("app/new/deep/value.py", "VALUE = 'deeper'\n");
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "deeper"]));
    worker.stop();
}

#[test]
fn a_module_that_jobs_import_late_is_fresh_too() {
    let context = project_with(MORE);
    context.write("app/later.py", "VALUE = 'l0'\n");
    let worker = learned(&context, &[]);
    for n in 0..20 {
        context.write("app/later.py", &format!("VALUE = 'l{n}'\n"));
        assert_eq!(context.eval("run('app.tasks.lazy')"), json!(["finished", format!("l{n}")]));
    }
    worker.stop();
}

#[test]
fn what_was_learned_serves_the_next_start() {
    let context = project_with(MORE);
    context.write("app/version.py", "import decimal\nVERSION = 'v0'\n");
    learned(&context, &[]).stop();
    let worker = context.worker(&["--reload"]);
    assert_eq!(context.eval("run('app.tasks.version')"), json!(["finished", "v0"]));
    let output = worker.stop();
    assert!(output.contains("library modules imported"), "{output}");
    assert!(!output.contains("generation 2"), "nothing new to learn:\n{output}");
}

#[test]
fn what_a_job_taught_serves_before_the_base_is_renewed() {
    let context = project_with(MORE);
    context.write("app/version.py", "import decimal\nVERSION = 'v0'\n");
    let worker = learned(&context, &[]);
    worker.wait_for("generation 3");
    let output = worker.stop();
    let at = |text| output.find(text).unwrap_or_else(|| panic!("{text} is not in:\n{output}"));
    assert!(at("generation 2") < at("library modules imported"), "{output}");
    assert!(at("library modules imported") < at("generation 3"), "{output}");
}
