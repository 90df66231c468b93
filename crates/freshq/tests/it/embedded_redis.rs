//! `-u embedded`: a private Redis that comes and goes with the worker, and keeps the jobs.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::context::{Context, Worker};

fn url(context: &Context) -> (bool, String) {
    let output = context.freshq().arg("url").output().expect("freshq runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn embedded(context: &Context, args: &[&str]) -> Worker {
    let mut command = context.freshq();
    command.args(["worker", "-u", "embedded"]).args(args);
    Worker::start(command)
}

#[test]
fn jobs_survive_a_restart_of_the_embedded_redis() {
    let context = Context::new();
    assert!(!url(&context).0, "nothing runs yet");
    let worker = embedded(&context, &[]);
    let output = worker.wait_for("  ready ");
    assert!(output.contains("embedded"), "{output}");
    let (running, address) = url(&context);
    assert!(running && address.starts_with("redis://:"), "{address}");
    assert!(!output.contains(&address), "the password is not shown:\n{output}");
    let client = "import sys; from redis import Redis; from rq import Queue; \
                  print(Queue('later', connection=Redis.from_url(sys.argv[1])).enqueue('builtins.abs', -3).id)";
    let enqueue = Command::new(embedded::testing::python()).args(["-c", client, &address]).output();
    assert!(enqueue.unwrap().status.success());
    worker.stop();
    assert!(!url(&context).0, "it ends with its worker");
    let (status, output) = embedded(&context, &["--burst", "later"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("1 finished, 0 failed"), "{output}");
}

const TASKS: &str = "
import os
from rq import get_current_job

def kill_redis(number):
    os.kill(get_current_job().connection.info('server')['process_id'], 9)
    return number
";

/// Makes the client one of the embedded Redis.
fn move_client(context: &Context) {
    context.eval(&format!("use(Redis.from_url('{}'))", url(context).1));
}

#[test]
fn a_killed_embedded_redis_is_back_at_once_with_its_jobs() {
    let context = Context::new();
    context.write("tasks.py", TASKS);
    let worker = embedded(&context, &[]);
    worker.wait_for("  ready ");
    let address = url(&context).1;
    move_client(&context);
    let kept = context.eval("enqueue('builtins.abs', -5, queue_name='later')");
    for number in 1..=2 {
        context.eval(&format!("enqueue('tasks.kill_redis', {number}, job_id='j{number}')"));
        worker.wait_for_times("the embedded Redis has died", number);
        worker.wait_for_times("  done ", number);
    }
    assert_eq!(url(&context).1, address, "its clients find it where it was");
    for number in 1..=2 {
        assert_eq!(
            context.eval(&format!("end('j{number}')")),
            serde_json::json!(["finished", number])
        );
    }
    assert_eq!(context.eval(&format!("status({kept})")), "queued");
    worker.stop();
    assert!(!url(&context).0, "it ends with its worker, though it is another one");
}

#[test]
fn one_that_another_worker_has_started_is_started_again_too() {
    let context = Context::new();
    let first = embedded(&context, &[]);
    first.wait_for("  ready ");
    move_client(&context);
    let second = embedded(&context, &[]);
    second.wait_for("  ready ");
    first.stop();
    let pid = context.eval("r.info('server')['process_id']").as_i64().expect("a pid") as i32;
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it lives");
    second.wait_for("the embedded Redis has died");
    second.wait_for("redis      back");
    assert_eq!(context.eval("run('builtins.abs', -3)"), serde_json::json!(["finished", 3]));
    second.stop();
}

#[test]
fn one_that_does_not_stay_up_ends_the_worker() {
    let context = Context::new();
    let worker = embedded(&context, &["--max-restarts", "0"]);
    worker.wait_for("  ready ");
    move_client(&context);
    let pid = context.eval("r.info('server')['process_id']").as_i64().expect("a pid") as i32;
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it lives");
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(6), "{output}");
    assert!(output.contains("died again and again"), "{output}");
}
