//! Bad input gets one clear message and a documented exit code.

use crate::context::{Context, Worker};

/// Runs `freshq worker` with these arguments; expects this exit code and this text.
fn check(context: &Context, args: &[&str], code: i32, text: &str) {
    let mut command = context.freshq();
    command.arg("worker").args(args);
    let (status, output) = Worker::start(command).end();
    assert_eq!(status.code(), Some(code), "{args:?}\n{output}");
    assert!(output.contains(text), "{args:?}: `{text}` is missing\n{output}");
    assert!(!output.contains("panicked"), "{output}");
}

#[test]
fn redis_cannot_be_used() {
    let context = Context::new();
    check(
        &context,
        &["-u", "redis://127.0.0.1:1"],
        1,
        "cannot connect to Redis at redis://127.0.0.1:1",
    );
    check(&context, &["-u", "redis://:pw@127.0.0.1:1"], 1, "redis://:***@127.0.0.1:1");
    check(&context, &["-u", "nonsense"], 1, "is not a Redis URL");
    check(&context, &["-u", "rediss://127.0.0.1:1"], 1, "cannot connect to Redis");
    check(&context, &["-u", "unix:///nowhere/socket"], 1, "cannot connect to Redis");
    let url = context.redis.url();
    check(&context, &["-u", &url.replace("/0", "/99")], 1, "has no database 99");
    check(&context, &["-u", "rediss://h?ssl_ca_certs=/nowhere.pem"], 1, "there is no such file");
    check(&context, &["-u", "rediss://h?ssl_cert_reqs=maybe"], 1, "none, optional or required");
    context.eval("r.config_set('requirepass', 'secret')");
    check(&context, &["-u", &url], 1, "it wants a password");
    let wrong = url.replace("://", "://:wrong@");
    check(&context, &["-u", &wrong], 1, "does not accept this user and password");
    context.write("conf.py", "SENTINEL = {'INSTANCES': [('127.0.0.1', 1)], 'MASTER_NAME': 'm'}\n");
    check(&context, &["-c", "conf"], 1, "no sentinel knows the master \"m\"");
}

#[test]
fn the_command_line_makes_no_sense() {
    let context = Context::new();
    check(&context, &["--nonsense"], 2, "unexpected argument '--nonsense'");
    check(&context, &["--num-workers", "0"], 2, "invalid value '0'");
    check(&context, &["--on-broken", "explode"], 2, "[possible values: keep, hold]");
    check(&context, &["--isolation", "none"], 2, "[possible values: fork, reuse, spawn]");
    check(&context, &["--max-memory", "0"], 2, "invalid value '0'");
    check(
        &context,
        &["--max-jobs", "-3"],
        2,
        "'-3' for '--max-jobs <N>': it is not a whole number",
    );
    check(&context, &["--max-idle-time", "1.5"], 2, "it is not a whole number from 0");
    check(&context, &["--maintenance-interval", "-1"], 2, "invalid value '-1'");
    check(&context, &["--num-workers", "-1"], 2, "invalid value '-1'");
    check(&context, &["-v", "-q"], 2, "cannot be used with");
    let url = context.redis.url();
    let glob = ["-u", &url, "--reload", "--watch-include", "["];
    check(&context, &glob, 2, "a glob of the watched files makes no sense");
}

#[test]
fn a_folder_cannot_be_watched() {
    let context = Context::new();
    let url = context.redis.url();
    let missing = ["-u", &url, "--reload", "--watch", "missing"];
    check(&context, &missing, 4, "the folder missing cannot be used: there is no such folder");
    context.write("file", "");
    check(&context, &["-u", &url, "--reload", "--watch", "file"], 4, "it is not a folder");
    check(
        &context,
        &["-u", &url, "-P", "missing"],
        4,
        "missing cannot be used: there is no such folder",
    );
}

#[test]
fn python_cannot_run_jobs() {
    let context = Context::new();
    let url = context.redis.url();
    check(
        &context,
        &["-u", &url, "--python", "/nowhere/python"],
        3,
        "/nowhere/python (--python): cannot be run",
    );
    check(&context, &["-u", &url, "--python", "/bin/true"], 3, "is not a Python interpreter");
    context.write("bare/bin/python", "#!/bin/sh\necho '{\"executable\": \"x\", \"version\": \"3.11.0\", \"rq\": null, \"path\": []}'\n");
    let python = context.path("bare/bin/python");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(&python, mode).unwrap();
    let python = python.to_str().unwrap();
    check(&context, &["-u", &url, "--python", python], 3, "Python 3.11.0 has no rq package");
}

#[test]
fn an_empty_name_is_none() {
    let context = Context::new();
    let worker = context.worker(&["--name", ""]);
    assert_eq!(
        context.eval("[len(worker.name) for worker in Worker.all(r)]"),
        serde_json::json!([32])
    );
    worker.stop();
}

#[test]
fn the_name_is_taken_or_workers_are_suspended() {
    let context = Context::new();
    let url = context.redis.url();
    let worker = context.worker(&["--name", "w1"]);
    check(
        &context,
        &["-u", &url, "--name", "w1"],
        1,
        "There exists an active worker named 'w1' already",
    );
    worker.stop();
    context.eval("r.set('rq:suspended', 1)");
    check(&context, &["-u", &url], 1, "suspended");
}
