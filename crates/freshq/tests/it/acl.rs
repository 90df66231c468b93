//! A user of Redis who may do only what the guide says: everything works, and nothing else does.

use serde_json::json;

use crate::context::{Context, Worker};

const GUIDE: &str = include_str!("../../../../docs/guide/security.md");

const TASKS: &str = "
import os, time

def add(a, b=0):
    return a + b

def fail():
    raise ValueError('as it should')

def wait_for(path):
    open(path + '.begun', 'w').close()
    while not os.path.exists(path):
        time.sleep(0.002)

def note(job, *args):
    open('called', 'w').close()
";

/// The line that makes the user.
fn rule() -> Vec<&'static str> {
    let line = GUIDE.lines().find(|line| line.starts_with("ACL SETUSER freshq "));
    line.expect("the guide has it").split(' ').collect()
}

fn context() -> Context {
    let context = Context::new();
    context.write("tasks.py", TASKS);
    context.eval(&format!("r.execute_command(*{:?})", rule()));
    context.eval("r.acl_log_reset()");
    context
}

fn worker(context: &Context, command: &str, args: &[&str]) -> Worker {
    let url = context.redis.url().replace("redis://", "redis://freshq:PASSWORD@");
    let mut freshq = context.freshq();
    freshq.args([command, "--url", &url]).args(args);
    let worker = Worker::start(freshq);
    worker.wait_for("  ready ");
    worker
}

/// Redis has refused nothing, and nothing was said.
fn end(context: &Context, worker: Worker) {
    let known = "all(text(r.hget(k, 'ip_address')) != 'unknown' for k in r.smembers('rq:workers'))";
    assert_eq!(context.eval(known), json!(true), "the worker has asked for its address");
    let output = worker.stop();
    // To Redis 6 redis-py says something that it does not know.
    let refused = "[text(e['object']) for e in r.acl_log() if text(e['object']) != 'client']";
    assert_eq!(context.eval(refused), json!([]));
    assert!(!output.contains("warning") && !output.contains("  lost: "), "{output}");
}

#[test]
fn all_ways_of_a_job_are_open() {
    let context = context();
    let worker = worker(&context, "worker", &["--with-scheduler", "--maintenance-interval", "1"]);
    assert_eq!(context.eval("run('tasks.add', 1, 2)"), json!(["finished", 3]));
    assert_eq!(context.eval("run('tasks.fail')")[0], json!("failed"));
    let retried = context.eval("run('tasks.fail', retry=Retry(max=1))");
    assert_eq!(retried[0], json!("failed"));
    let later = context.eval("run('tasks.fail', retry=Retry(max=1, interval=1))");
    assert_eq!(later[0], json!("failed"));
    let first = context.eval("enqueue('tasks.add', 1)");
    let second = context.eval(&format!("enqueue('tasks.add', 2, depends_on={first})"));
    assert_eq!(context.eval(&format!("end({second})")), json!(["finished", 2]));
    let scheduled = context.eval("queue().enqueue_in(timedelta(seconds=1), 'tasks.add', 4).id");
    assert_eq!(context.eval(&format!("end({scheduled})")), json!(["finished", 4]));
    context.eval("run('tasks.add', 5, on_success=Callback('tasks.note'))");
    assert!(context.path("called").exists());
    end(&context, worker);
}

#[test]
fn commands_and_pools_are_open() {
    let context = context();
    let worker = worker(&context, "worker-pool", &["--num-workers", "2"]);
    let gate = context.path("never").display().to_string();
    let id = context.eval(&format!("enqueue('tasks.wait_for', {gate:?})"));
    context.wait_until(&format!("pathlib.Path({:?}).exists()", gate + ".begun"));
    context.eval(&format!("command.send_stop_job_command(r, {id})"));
    context.wait_until(&format!("status({id}) == 'stopped'"));
    assert_eq!(context.eval("run('tasks.add', 1, 2)"), json!(["finished", 3]));
    end(&context, worker);
}

#[test]
fn the_rest_of_the_server_is_closed() {
    let context = context();
    let user =
        format!("Redis(port={}, username='freshq', password='PASSWORD')", context.redis.port());
    for request in [
        "get('other')",
        "flushall()",
        "config_get('*')",
        "keys('*')",
        "publish('other', '')",
        "client_list()",
        "acl_list()",
        "eval(\"return redis.call('GET', 'other')\", 0)",
    ] {
        let refused = context.eval(&format!("refusal(lambda: {user}.{request})"));
        let refused = refused.as_str().unwrap();
        assert!(!refused.starts_with("it answers"), "{request}: {refused}");
    }
}
