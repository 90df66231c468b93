//! New code first shows what it can do: `--canary`.

use serde_json::json;

use crate::context::{Context, Worker};
use crate::processes::wait_until;
use crate::versioned::{finished, project_with, run, tasks};

const MORE: &str = "
def check(value):
    if value < 0:
        raise ValueError(value)
    return VERSION
";

fn worker(context: &Context, args: &[&str]) -> Worker {
    context.worker(&[&["--reload", "--import", "app.tasks"], args].concat())
}

/// Saves new code, and waits until it is on trial.
fn save(context: &Context, worker: &Worker, name: &str, text: &str) {
    let before = worker.output().matches("it runs").count();
    context.write(name, text);
    worker.wait_for_times("it runs", before + 1);
}

#[test]
fn a_canary_serves_all_after_so_many_jobs() {
    let context = project_with(MORE);
    let worker = worker(&context, &["--canary", "2"]);
    assert_eq!(run(&context), finished("v0"), "the first code has nothing before it");
    save(&context, &worker, "app/version.py", "VERSION = 'v1'\n");
    worker.wait_for("it runs 2 jobs, one by one while 1 serves");
    assert_eq!(run(&context), finished("v1"));
    assert!(!worker.output().contains("serves all from now on"));
    assert_eq!(run(&context), finished("v1"));
    worker.wait_for("generation 2 serves all from now on");
    worker.stop();
}

#[test]
fn other_jobs_run_on_the_old_code_while_a_canary_has_one() {
    let context = project_with(MORE);
    let worker = worker(&context, &["--canary", "1", "--num-workers", "2"]);
    save(&context, &worker, "app/version.py", "VERSION = 'v1'\n");
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    let (gate_text, begun_text) = (gate.display(), begun.display());
    let first =
        context.eval(&format!("enqueue('app.tasks.wait_for', '{gate_text}', '{begun_text}')"));
    wait_until("the canary begins", || begun.exists());
    for _ in 0..3 {
        assert_eq!(run(&context), finished("v0"), "{}", worker.output());
    }
    fs_err::write(&gate, "").unwrap();
    assert_eq!(context.eval(&format!("end({first})")), finished("v1"));
    worker.wait_for("generation 2 serves all from now on");
    assert_eq!(run(&context), finished("v1"));
    worker.stop();
}

#[test]
fn a_canary_that_fails_as_no_job_did_before_is_gone_back_from() {
    let context = project_with(MORE);
    let worker = worker(&context, &["--canary", "5"]);
    assert_eq!(run(&context), finished("v0"));
    let broken =
        tasks(MORE).replace("return VERSION\n\ndef wait", "return VERSION + 1\n\ndef wait");
    save(&context, &worker, "app/tasks.py", &broken);
    let end = context.eval("run('app.tasks.version')");
    assert_eq!(end[0], json!("failed"), "the job itself has failed: {end}");
    worker.wait_for("failed on generation 2: TypeError");
    worker.wait_for("from generation 2 to 1: it failed as canary");
    assert_eq!(run(&context), finished("v0"));
    // The next save is on trial again.
    save(&context, &worker, "app/tasks.py", &tasks(MORE).replace("check", "checked"));
    assert_eq!(run(&context), finished("v0"));
    worker.wait_for_times("failed as canary", 1);
    worker.stop();
}

#[test]
fn a_failure_that_is_known_says_nothing_about_new_code() {
    let context = project_with(MORE);
    let worker = worker(&context, &["--canary", "1"]);
    assert_eq!(context.eval("run('app.tasks.check', -1)")[0], json!("failed"));
    // Its line moves, and so does the message.
    save(&context, &worker, "app/tasks.py", &format!("\n\n{}", tasks(MORE)));
    assert_eq!(context.eval("run('app.tasks.check', -2)")[0], json!("failed"));
    worker.wait_for("generation 2 serves all from now on");
    worker.stop();
}

#[test]
fn a_canary_whose_job_dies_is_gone_back_from() {
    let context = project_with(MORE);
    let worker = worker(&context, &["--canary", "5"]);
    let deadly =
        tasks(MORE).replace("    return VERSION\n\ndef wait", "    os._exit(1)\n\ndef wait");
    save(&context, &worker, "app/tasks.py", &deadly);
    assert_eq!(run(&context)[0], json!("failed"));
    worker.wait_for("failed on generation 2: its process died");
    worker.wait_for("it failed as canary");
    assert_eq!(run(&context), finished("v0"));
    worker.stop();
}

#[test]
fn a_job_that_was_stopped_says_nothing_about_a_canary() {
    let context = project_with(MORE);
    let worker = worker(&context, &["--canary", "1"]);
    save(&context, &worker, "app/version.py", "VERSION = 'v1'\n");
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    let id = context.eval(&format!(
        "enqueue('app.tasks.wait_for', '{}', '{}')",
        gate.display(),
        begun.display()
    ));
    wait_until("the canary begins", || begun.exists());
    context.eval(&format!("command.send_stop_job_command(r, {id})"));
    context.wait_until(&format!("status({id}) == 'stopped'"));
    assert!(!worker.output().contains("serves all from now on"));
    assert_eq!(run(&context), finished("v1"));
    let output = worker.wait_for("generation 2 serves all from now on");
    assert!(!output.contains("failed as canary"), "{output}");
    worker.stop();
}
