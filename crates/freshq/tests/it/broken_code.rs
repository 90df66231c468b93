//! Code that crashes or hangs while it is imported is shown and never served; what keeps dying is not
//! restarted for ever.

use serde_json::json;

use crate::context::{Context, Worker};
use crate::processes::{children, kill, wait_until};
use crate::versioned::{project, run};

fn worker(context: &Context, args: &[&str]) -> Worker {
    context.worker(&[&["--import", "app.tasks"], args].concat())
}

/// The process of the generation that was forked last.
fn newest_generation(worker: &Worker) -> i32 {
    let base = children(worker.pid())[0];
    *children(base).last().expect("a generation")
}

#[test]
fn a_crash_while_importing_is_broken_code_and_the_last_good_code_serves_at_once() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    for (n, (crash, how)) in [
        ("os._exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), 9)", "signal 9 SIGKILL"),
        ("os.kill(os.getpid(), 11)", "signal 11 SIGSEGV"),
        ("os.abort()", "signal 6 SIGABRT"),
    ]
    .into_iter()
    .enumerate()
    {
        let good = run(&context);
        context.write("app/version.py", &format!("import os\n{crash}\n"));
        assert_eq!(run(&context), good, "{}", worker.output());
        worker.wait_for(&format!("app/version.py: the process ended ({how})"));
        worker.wait_for_times("while it imported app.version", n + 1);
        worker.wait_for_times("serves on", n + 1);
        context.write("app/version.py", &format!("VERSION = 'mended{n}'\n"));
        assert_eq!(run(&context), json!(["finished", format!("mended{n}")]));
    }
    let output = worker.stop();
    assert!(output.contains("Fatal Python error: Segmentation fault"), "where it was:\n{output}");
    assert!(output.contains("12 finished, 0 failed"), "{output}");
}

#[test]
fn a_crash_while_importing_holds_the_jobs_if_asked_for() {
    let context = project();
    let worker = worker(&context, &["--reload", "--on-broken", "hold"]);
    context.write("app/version.py", "import os\nos._exit(3)\n");
    let id = context.eval("enqueue('app.tasks.version')");
    worker.wait_for("jobs wait until it is mended");
    context.wait_until(&format!("[status({id}), queue().count] == ['queued', 1]"));
    context.write("app/version.py", "VERSION = 'mended'\n");
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", "mended"]));
    worker.stop();
}

#[test]
fn an_import_without_end_is_given_up_and_says_where_it_was() {
    let context = project();
    let worker = worker(&context, &["--reload", "--load-timeout", "1"]);
    context.write("app/version.py", "while True:\n    pass\n");
    assert_eq!(run(&context), json!(["finished", "v0"]));
    let output = worker.wait_for("took longer than 1 s; it was importing app.version");
    assert!(output.contains("Fatal Python error: Aborted"), "its last words:\n{output}");
    assert!(output.contains("app/version.py\", line"), "{output}");
    context.write("app/version.py", "VERSION = 'mended'\n");
    assert_eq!(run(&context), json!(["finished", "mended"]));
    worker.stop();
}

#[test]
fn a_save_does_not_wait_for_an_import_without_end() {
    let context = project();
    let worker = worker(&context, &["--reload", "--verbose", "--load-timeout", "3600"]);
    context.write("app/version.py", "open('stuck', 'w').close()\nwhile True:\n    pass\n");
    wait_until("the import begins", || context.path("stuck").exists());
    let stuck = newest_generation(&worker);
    context.write("app/version.py", "VERSION = 'mended'\n");
    assert_eq!(run(&context), json!(["finished", "mended"]));
    worker.wait_for("generation 2 is given up before it has loaded");
    let base = children(worker.pid())[0];
    wait_until("the stuck process ends", || !children(base).contains(&stuck));
    worker.stop();
}

#[test]
fn code_that_crashes_from_the_start_ends_a_worker_that_looks_for_no_save() {
    let context = project();
    context.write("app/version.py", "import os\nos._exit(3)\n");
    let args = ["--burst", "--import", "app.tasks"];
    let (status, output) = context.unready_worker(&args).end();
    assert_eq!(status.code(), Some(5), "{output}");
    assert!(output.contains("exit code 3) while it imported app.version"), "{output}");
    let args = ["--max-restarts", "1", "--import", "app.tasks"];
    let (status, output) = context.unready_worker(&args).end();
    assert_eq!(status.code(), Some(8), "{output}");
    assert!(output.contains("2 generations died in a row"), "{output}");
}

#[test]
fn what_dies_too_often_waits_for_the_next_save() {
    let context = project();
    let worker = worker(&context, &["--reload", "--max-restarts", "1"]);
    kill(newest_generation(&worker));
    worker.wait_for("generation 1 ended (signal 9 SIGKILL); another is loading");
    worker.wait_for("generation 2 in");
    kill(newest_generation(&worker));
    worker.wait_for("2 generations died in a row; the next save is waited for");
    let id = context.eval("enqueue('app.tasks.version')");
    assert_eq!(context.eval("len(Worker.all(connection=r))"), json!(1), "its record is alive");
    context.write("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", "v1"]));
    // The save has begun another row.
    kill(newest_generation(&worker));
    worker.wait_for("generation 4 in");
    assert_eq!(run(&context), json!(["finished", "v1"]));
    worker.stop();
}

#[test]
fn what_dies_too_often_ends_a_worker_that_looks_for_no_save() {
    let context = project();
    let worker = worker(&context, &["--max-restarts", "0"]);
    kill(newest_generation(&worker));
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(8), "{output}");
    assert!(output.contains("a generation died; no further attempt is made"), "{output}");
}

#[test]
fn a_second_death_in_a_row_is_followed_by_a_pause() {
    let context = project();
    let worker = worker(&context, &[]);
    kill(newest_generation(&worker));
    worker.wait_for("generation 2 in");
    kill(newest_generation(&worker));
    worker.wait_for("the next attempt is in 1.");
    assert_eq!(run(&context), json!(["finished", "v0"]));
    worker.stop();
}

#[test]
fn spawned_interpreters_that_crash_or_hang_are_broken_code_too() {
    let context = project();
    let worker = worker(&context, &["--reload", "--isolation", "spawn", "--load-timeout", "5"]);
    assert_eq!(run(&context), json!(["finished", "v0"]));
    context.write("app/version.py", "import os\nos._exit(3)\n");
    worker
        .wait_for("app/version.py: the process ended (exit code 3) while it imported app.version");
    assert_eq!(run(&context), json!(["finished", "v0"]));
    context.write("app/version.py", "while True:\n    pass\n");
    worker.wait_for("took longer than 5 s; it was importing app.version");
    assert_eq!(run(&context), json!(["finished", "v0"]));
    context.write("app/version.py", "VERSION = 'mended'\n");
    assert_eq!(run(&context), json!(["finished", "mended"]));
    worker.stop();
}
