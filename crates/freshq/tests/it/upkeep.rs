//! What other workers leave behind is taken up, and freshq works beside them.

use std::process::Command;

use embedded::testing;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import os, time
from rq import get_current_job

def add(a, b=0):
    return a + b

def hang(begun):
    with open(begun + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(begun + ".new", begun)
    time.sleep(600)

def count():
    job = get_current_job()
    job.connection.incr("ran:" + job.id)
    time.sleep(0.01)

def count_and_fail_once():
    job = get_current_job()
    job.connection.incr("ran:" + job.id)
    if job.retries_left:
        raise ValueError("not yet")

def failed(job, connection, kind, value, traceback):
    connection.rpush("failed", f"{job.id} {kind.__name__} {traceback} {job.get_status().value}")

def handler(job, kind, value, traceback):
    job.connection.rpush("handled", f"{job.id} {kind.__name__} {traceback}")

def slow_callback(job, connection, *exc_info):
    connection.set("called", 1)
    while not connection.exists("go-on"):
        time.sleep(0.002)

def bad_callback(*args):
    raise RuntimeError("the callback raised")
"#;

/// RQ's own worker on this Redis.
fn rq_worker(context: &Context, args: &[&str]) -> Worker {
    let mut command = Command::new(testing::python());
    command
        .args(["-m", "rq.cli", "worker", "--url", &context.redis.url()])
        .args(args)
        .current_dir(context.project.path());
    Worker::start(command)
}

/// Has RQ's worker begin a job and kills both; the record of the execution is over then.
fn abandon(context: &Context, options: &str) -> String {
    let begun = context.path("begun");
    let call = format!("enqueue('app.tasks.hang', {:?}, {options})", begun.display());
    let job = context.eval(&call).as_str().expect("an id").to_owned();
    let worker = rq_worker(context, &[]);
    context.wait_until(&format!("__import__('os').path.exists({:?})", begun.display()));
    let horse: i32 = fs_err::read_to_string(&begun).expect("its pid").parse().expect("a pid");
    worker.signal(Signal::KILL);
    kill_process_group(Pid::from_raw(horse).expect("a pid"), Signal::KILL).expect("it lives");
    worker.end();
    fs_err::remove_file(&begun).expect("removed");
    assert_eq!(context.eval("r.zcard('rq:wip:default')"), json!(1));
    context.eval("[r.zadd('rq:wip:default', {m: 1}) for m in r.zrange('rq:wip:default', 0, -1)]");
    job
}

fn burst(context: &Context, args: &[&str]) -> String {
    let (status, output) = context.unready_worker(&[&["--burst"], args].concat()).end();
    assert_eq!(status.code(), Some(0), "{output}");
    output
}

#[test]
fn a_job_of_a_killed_rq_worker_fails_and_its_callback_is_called() {
    let context = Context::with_tasks(TASKS);
    let job = abandon(&context, "job_id='j', on_failure=Callback('app.tasks.failed')");
    let allowed = "depends_on=Dependency('j', allow_failure=True)";
    let waits = context.eval(&format!("enqueue('app.tasks.add', 1, {allowed})"));
    let output = burst(&context, &[]);
    assert!(output.contains("Moved to FailedJobRegistry, due to AbandonedJobError"), "{output}");
    assert_eq!(context.eval(&format!("status('{job}')")), json!("failed"));
    let called = context.eval("[text(call) for call in r.lrange('failed', 0, -1)]");
    assert_eq!(called, json!(["j AbandonedJobError None started"]));
    let result = context
        .eval("[job('j').latest_result().exc_string[:60], job('j').latest_result().worker_name]");
    assert_eq!(result, json!(["Moved to FailedJobRegistry, due to AbandonedJobError, at 202", ""]));
    assert_eq!(context.eval("queue().failed_job_registry.get_job_ids()"), json!(["j"]));
    assert_eq!(context.eval("r.exists('rq:wip:default', 'rq:clean_registries:default')"), json!(0));
    let waits = waits.as_str().unwrap();
    assert_eq!(context.eval(&format!("status('{waits}')")), json!("finished"));
}

#[test]
fn a_callback_that_raises_changes_nothing_and_handlers_are_called() {
    let context = Context::with_tasks(TASKS);
    let job = abandon(&context, "on_failure=Callback('app.tasks.bad_callback')");
    let output = burst(&context, &["--exception-handler", "app.tasks.handler"]);
    assert!(output.contains("the callback raised"), "{output}");
    let handled = context.eval("[text(call) for call in r.lrange('handled', 0, -1)]");
    assert_eq!(handled, json!([format!("{job} AbandonedJobError None")]));
    assert_eq!(context.eval(&format!("status('{job}')")), json!("failed"));
}

#[test]
fn an_abandoned_job_is_retried_by_the_worker_that_finds_it() {
    let context = Context::with_tasks(TASKS);
    let job = abandon(&context, "retry=Retry(max=1)");
    context.write("app/tasks.py", &TASKS.replace("time.sleep(600)", "return 'again'"));
    let output = burst(&context, &[]);
    assert!(output.contains(&format!("Job {job}: enqueued for retry, 0 remaining")), "{output}");
    assert_eq!(context.eval(&format!("end('{job}')")), json!(["finished", "again"]));
}

#[test]
fn a_stop_waits_for_a_callback_and_a_cold_one_does_not() {
    for cold in [false, true] {
        let context = Context::with_tasks(TASKS);
        let job = abandon(&context, "on_failure=Callback('app.tasks.slow_callback')");
        let worker = context.worker(&[]);
        context.wait_until("r.exists('called') == 1");
        assert_eq!(context.eval("r.exists('rq:clean_registries:default')"), json!(1));
        worker.signal(Signal::TERM);
        worker.wait_for("stopping");
        if cold {
            // A repeat within a second would be the same request.
            context.eval("time.sleep(1.1)");
            worker.signal(Signal::TERM);
        } else {
            context.eval("r.set('go-on', 1)");
        }
        worker.end();
        let status = if cold { "started" } else { "failed" };
        assert_eq!(context.eval(&format!("status('{job}')")), json!(status));
        assert_eq!(context.eval("r.exists('rq:clean_registries:default')"), json!(0));
    }
}

#[test]
fn maintenance_comes_again_while_jobs_run() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&["--maintenance-interval", "1"]);
    let begun = context.path("begun");
    context.eval(&format!("enqueue('app.tasks.hang', {:?})", begun.display()));
    context.wait_until(&format!("__import__('os').path.exists({:?})", begun.display()));
    context.eval("r.sadd('rq:workers:default', 'rq:worker:dead')");
    context.wait_until("not r.sismember('rq:workers:default', 'rq:worker:dead')");
    context.eval("r.zadd('rq:failed:default', {'over': 1})");
    context.wait_until("r.zscore('rq:failed:default', 'over') is None");
    assert_eq!(context.eval("r.scard('rq:workers:default')"), json!(1));
    worker.signal(Signal::TERM);
    worker.wait_for("stopping");
}

#[test]
fn odd_records_do_not_end_the_worker() {
    let context = Context::with_tasks(TASKS);
    context.eval(
        "[r.set(f'rq:{key}', 'odd') for key in ('wip:default', 'finished:default', 'failed:default', \
         'ready:default', 'groups', 'rl-keys', 'queue:default:intermediate', 'scheduled:default')]",
    );
    let worker = context.worker(&["--maintenance-interval", "1", "-s", "default", "other"]);
    let ran = "run('app.tasks.add', 2, queue_name='other')";
    assert_eq!(context.eval(ran), json!(["finished", 2]));
    context.eval("r.sadd('rq:workers:other', 'rq:worker:dead')");
    context.wait_until("not r.sismember('rq:workers:other', 'rq:worker:dead')");
    assert_eq!(context.eval(ran), json!(["finished", 2]));
    worker.stop();
}

#[test]
fn a_fleet_of_both_loses_nothing_and_runs_nothing_twice() {
    const PLAIN: usize = 200;
    let context = Context::with_tasks(TASKS);
    let rqs = [
        rq_worker(&context, &["--name", "rq-1", "--with-scheduler", "default", "low"]),
        rq_worker(&context, &["--name", "rq-2", "default"]),
    ];
    let ours = context.worker(&["--name", "ours", "-s", "default", "low"]);
    for worker in &rqs {
        worker.wait_for("Listening on");
    }
    let jobs = format!(
        "[[enqueue('app.tasks.count', job_id=f'plain-{{n}}', queue_name=('default', 'low')[n % 2]) \
          for n in range({PLAIN})], \
         [enqueue('app.tasks.count', job_id=f'dependent-{{n}}', depends_on=f'plain-{{n * 4}}') \
          for n in range(50)], \
         [enqueue('app.tasks.count_and_fail_once', job_id=f'retried-{{n}}', \
          retry=Retry(max=1, interval=n % 2)) for n in range(20)]] and None"
    );
    context.eval(&jobs);
    context.wait_until(
        "sum(FinishedJobRegistry(queue=queue(name)).count for name in ('default', 'low')) == 270",
    );
    let times = context.eval(
        "sorted({(text(k).split(':')[1].split('-')[0], int(r.get(k))) for k in r.keys('ran:*')})",
    );
    assert_eq!(times, json!([["dependent", 1], ["plain", 1], ["retried", 2]]));
    let workers = context
        .eval(&format!("sorted({{job(f'plain-{{n}}').worker_name for n in range({PLAIN})}})"));
    assert!(workers.as_array().unwrap().contains(&json!("ours")), "{workers}");
    assert!(1 < workers.as_array().map_or(0, Vec::len), "{workers}");
    assert_eq!(
        context.eval("sum(r.zcard(f'rq:{kind}:{name}') for kind in ('wip', 'failed', 'scheduled', 'deferred', 'ready') for name in ('default', 'low'))"),
        json!(0)
    );
    assert_eq!(
        context
            .eval("r.exists('rq:queue:default:intermediate', 'rq:queue:default', 'rq:queue:low')"),
        Value::from(0)
    );
    ours.stop();
    for worker in rqs {
        worker.signal(Signal::TERM);
        worker.end();
    }
}
