//! `-u embedded`: a private Redis that comes and goes with the worker, and keeps the jobs.

use std::process::Command;

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
