//! The password of Redis, in every place where it can be told, and in none where it can be seen.

use std::process::Command;

use serde_json::json;

use crate::context::{Context, Worker};
use crate::processes::descendants;

const SECRET: &str = "hushhush";

const TASKS: &str = "
from rq import get_current_job

def fail():
    assert get_current_job().connection.ping()
    raise ValueError('as it should')
";

/// All that is in Redis, as text.
const KEPT: &str = "repr([(k, {b'hash': r.hgetall, b'set': r.smembers, b'string': r.get, b'stream': r.xrange, \
                    b'list': lambda k: r.lrange(k, 0, -1), b'zset': lambda k: r.zrange(k, 0, -1)} \
                    .get(r.type(k), str)(k)) for k in r.keys('*')])";

/// A project whose Redis has a password.
fn context() -> Context {
    let context = Context::new();
    context.write("tasks.py", TASKS);
    context.eval(&format!("r.config_set('requirepass', {SECRET:?})"));
    context
}

fn url(context: &Context) -> String {
    context.redis.url().replace("redis://", &format!("redis://:{SECRET}@"))
}

/// What everybody on the machine sees of a process and all below it.
fn listed(worker: &Worker) -> String {
    let mut pids = vec![worker.pid()];
    pids.extend(descendants(worker.pid()));
    let file = |pid: i32, name: &str| {
        let bytes = fs_err::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    pids.into_iter().map(|pid| file(pid, "cmdline") + &file(pid, "comm") + "\n").collect()
}

fn assert_silent(place: &str, text: &str) {
    assert!(!text.is_empty() && !text.contains(SECRET), "{place}: {text}");
}

/// Runs a job that fails, and looks everywhere. Returns the list of processes.
fn assert_hidden(context: &Context, mut command: Command) -> String {
    command.args(["-v", "--reload"]);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    assert_eq!(context.eval("run('tasks.fail')"), json!(["failed", "ValueError: as it should"]));
    let listed = listed(&worker);
    assert_silent("processes", &listed);
    for args in [&["status"][..], &["status", "--json"]] {
        let output = context.freshq().args(args).output().expect("freshq starts");
        assert_silent("status", &String::from_utf8_lossy(&output.stdout));
        assert!(!String::from_utf8_lossy(&output.stderr).contains(SECRET));
    }
    let kept = context.eval(KEPT).to_string();
    assert!(kept.contains("tasks.fail"), "{kept}");
    assert_silent("Redis", &kept);
    let traceback = "job(queue().failed_job_registry.get_job_ids()[0]).latest_result().exc_string";
    assert_silent("the traceback", &context.eval(traceback).to_string());
    assert_silent("output", &worker.stop());
    listed
}

#[test]
fn a_url_that_was_typed_is_overwritten_where_processes_are_listed() {
    if fs_err::OpenOptions::new().write(true).open("/proc/self/mem").is_err() {
        println!("skipped: this system lets no process write there");
        return;
    }
    let context = context();
    for typed in [vec!["-u".to_owned(), url(&context)], vec![format!("--url={}", url(&context))]] {
        let mut command = context.freshq();
        command.args(["worker", "--with-scheduler"]).args(typed);
        let listed = assert_hidden(&context, command);
        assert!(listed.contains("redis://:***@127.0.0.1"), "{listed}");
    }
}

#[test]
fn what_the_environment_says_is_not_passed_on_in_the_open() {
    let context = context();
    let port = context.redis.port().to_string();
    let url = url(&context);
    for set in [
        vec![("RQ_REDIS_URL", url.as_str())],
        vec![("REDIS_URL", url.as_str())],
        vec![
            ("REDIS_HOST", "127.0.0.1"),
            ("REDIS_PORT", port.as_str()),
            ("REDIS_PASSWORD", SECRET),
        ],
    ] {
        let mut command = context.freshq();
        command.args(["worker-pool", "--num-workers", "1"]).envs(set);
        assert_hidden(&context, command);
    }
}

#[test]
fn what_files_say_is_not_passed_on_in_the_open() {
    let context = context();
    context.write("conf.py", &format!("REDIS_URL = {:?}\n", url(&context)));
    let mut command = context.freshq();
    command.args(["worker", "-c", "conf"]);
    assert_hidden(&context, command);

    context.write("pyproject.toml", &format!("[tool.freshq]\nurl = {:?}\n", url(&context)));
    let mut command = context.freshq();
    command.arg("worker");
    assert_hidden(&context, command);
}

#[test]
fn nobody_reads_the_password_of_the_embedded_redis() {
    let context = Context::new();
    let mut command = context.freshq();
    command.args(["worker", "-v", "-u", "embedded"]);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    let output = context.freshq().arg("url").output().unwrap();
    let url = String::from_utf8_lossy(&output.stdout).into_owned();
    let secret = url.split_once("://:").unwrap().1.split_once('@').unwrap().0;
    let listed = listed(&worker);
    assert!(listed.contains("redis-server"), "{listed}");
    assert!(!listed.contains(secret), "{listed}");
    assert!(!worker.stop().contains(secret));
}

/// What a worker says that ends at once.
fn refused(context: &Context, command: &mut Command) -> String {
    let output = command.output().expect("freshq starts");
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_silent("the error", &said);
    let kept = context.eval("r.keys('*')");
    assert_eq!(kept, json!([]), "{said}");
    said
}

#[test]
fn errors_show_no_password() {
    let context = Context::new();
    let at = context.redis.url().replace("redis://", "");
    context.eval("r.config_set('requirepass', 'another')");
    for (url, expected) in [
        (format!("redis://:{SECRET}@{at}"), "refuses the login"),
        (format!("redis://{at}?password={SECRET}"), "refuses the login"),
        (format!("redis://me:{SECRET}@127.0.0.1:1"), "cannot connect"),
        (format!("redis://me:{SECRET}@no.such.host.invalid"), "cannot connect"),
        (format!("unix://:{SECRET}@/no/such/socket"), "cannot connect"),
        (format!("redis://:{SECRET}@h:port"), "no number"),
        (format!("redis://:a/{SECRET}@h"), "no number"),
        (format!("redis://:a#{SECRET}@h"), "%23"),
        (format!("http://:{SECRET}@h"), "does not begin"),
        (format!(":{SECRET}@h"), "no ://"),
    ] {
        let said = refused(&context, context.freshq().args(["worker", "-u", &url]));
        assert!(said.contains(expected), "{expected}: {said}");
        refused(&context, context.freshq().arg("worker").env("RQ_REDIS_URL", &url));
        context.write("conf.py", &format!("REDIS_URL = {url:?}\n"));
        refused(&context, context.freshq().args(["worker", "-c", "conf"]));
    }
}

#[test]
fn a_url_in_a_wrong_place_is_shown_without_its_password() {
    let context = Context::new();
    let url = format!("redis://:{SECRET}@h/1");
    for args in [&[url.as_str()][..], &["worker", &format!("--num-workers={url}")]] {
        let said = refused(&context, context.freshq().args(args));
        assert!(said.contains("redis://:***@h/1"), "{said}");
    }
}

#[test]
fn an_outage_is_told_without_the_password() {
    let context = context();
    let mut command = context.freshq();
    command.args(["worker", "-v", "-u", &url(&context)]);
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    let another = "[r.config_set('requirepass', 'another'), \
                   r.client_kill_filter(_type='normal', skipme=True)]";
    context.eval(another);
    worker.wait_for("  lost: ");
    context.eval(&format!("r.config_set('requirepass', {SECRET:?})"));
    worker.wait_for("  back after ");
    assert_silent("output", &worker.stop());
}

#[test]
fn a_url_in_the_place_of_a_queue_is_refused_without_its_password() {
    let context = Context::new();
    let typed = format!("redis://user:{SECRET}@host");
    let by_variable = context.freshq().arg("worker").env("RQ_QUEUE_NAME", &typed).output();
    for output in [
        context.freshq().args(["worker", &typed]).output(),
        context.freshq().args(["worker-pool", "default", &typed]).output(),
        by_variable,
    ] {
        let output = output.expect("freshq starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("redis://user:***@host is the address of a Redis"), "{said}");
        assert!(said.contains("-u"), "{said}");
        let all = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
        assert_silent("output", &all);
    }
}
