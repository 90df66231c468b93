//! `--on-lost requeue`: what died with its process runs again, and only that.

use rustix::process::Signal;
use serde_json::json;

use crate::context::{Context, Worker};
use crate::processes::wait_until;

const REQUEUE: [&str; 2] = ["--on-lost", "requeue"];

const TASKS: &str = r#"
import os, signal, time

def begin():
    with open("begun", "a") as file:
        file.write(f"{os.getpid()} ")

def die(times):
    begin()
    if open("begun").read().count(" ") <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"

def leave(code):
    begin()
    os._exit(code)

def hang():
    begin()
    while not os.path.exists("go-on"):
        time.sleep(0.002)
    return "done"
"#;

/// How often the job has begun.
fn begun(context: &Context) -> usize {
    fs_err::read_to_string(context.path("begun")).unwrap_or_default().matches(' ').count()
}

fn worker_that_hangs(context: &Context) -> (Worker, String) {
    let worker = context.worker(&REQUEUE);
    let job = context.eval("enqueue('app.tasks.hang', job_id='j')").to_string();
    wait_until("the job begins", || begun(context) == 1);
    (worker, job)
}

#[test]
fn a_job_whose_horse_dies_runs_again_but_not_for_ever() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&REQUEUE);
    assert_eq!(context.eval("run('app.tasks.die', 2)"), json!(["finished", "done"]));
    assert_eq!(begun(&context), 3);
    fs_err::remove_file(context.path("begun")).unwrap();
    assert_eq!(context.eval("run('app.tasks.die', 9)[0]"), json!("failed"));
    assert_eq!(begun(&context), 4);
    let output = worker.stop();
    assert!(output.contains("it may be lost 2 more times"), "{output}");
}

#[test]
fn a_job_that_ends_its_process_itself_or_is_killed_on_purpose_has_failed() {
    let context = Context::with_tasks(TASKS);
    let (worker, job) = worker_that_hangs(&context);
    context.eval("command.send_kill_horse_command(r, Worker.all(r)[0].name)");
    assert_eq!(context.eval(&format!("end({job})[0]")), json!("failed"));
    assert_eq!(context.eval("run('app.tasks.leave', 3)[0]"), json!("failed"));
    assert_eq!(begun(&context), 2);
    worker.stop();
}

#[test]
fn the_job_of_a_killed_supervisor_runs_again_as_soon_as_it_is_back() {
    let context = Context::with_tasks(TASKS);
    let (worker, job) = worker_that_hangs(&context);
    worker.signal(Signal::KILL);
    worker.reap();
    context.write("go-on", "");
    let worker = context.worker(&REQUEUE);
    assert_eq!(context.eval(&format!("end({job})")), json!(["finished", "done"]));
    assert_eq!(begun(&context), 2);
    worker.stop();
}

#[test]
fn a_cold_stop_puts_the_job_back() {
    let context = Context::with_tasks(TASKS);
    let (worker, job) = worker_that_hangs(&context);
    worker.signal(Signal::TERM);
    worker.wait_for("warm shutdown");
    // A second signal counts once a second is over.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    worker.signal(Signal::TERM);
    worker.end();
    assert_eq!(context.eval("queue().job_ids"), json!(["j"]));
    assert_eq!(context.eval(&format!("status({job})")), json!("queued"));
    assert_eq!(context.eval("StartedJobRegistry(queue=queue()).count"), json!(0));
}
