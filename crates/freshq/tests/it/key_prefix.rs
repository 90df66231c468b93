//! With `RQ_KEY_PREFIX` no key lies outside the prefix, whatever a worker does.

use serde_json::json;

use crate::context::{Context, Worker};

const PREFIX: &str = "{app}:rq";

const TASKS: &str = "
from rq import Retry, get_current_job
from rq.job import Job

def add(a, b):
    return a + b

def boom(*_):
    raise ValueError('boom')

def again():
    return Retry(max=1) if get_current_job().number_of_retries is None else 'done'

def note(*_):
    get_current_job().meta['noted'] = 1
    get_current_job().save_meta()
";

/// Everything that leaves keys: results, failures, retries, dependents, groups, schedules, repeats.
const ENQUEUE: &str = "
[enqueue('tasks.add', 1, 2),
 enqueue('tasks.boom'),
 enqueue('tasks.boom', retry=Retry(max=2)),
 enqueue('tasks.boom', retry=Retry(max=1, interval=1)),
 enqueue('tasks.note'),
 enqueue('tasks.add', 1, 2, depends_on=queue().enqueue('tasks.add', 3, 4)),
 enqueue('tasks.add', 1, 2, depends_on=queue().enqueue('tasks.boom')),
 queue().enqueue_in(timedelta(seconds=0), 'tasks.add', 5, 6).id,
 [job.id for job in Group.create(connection=r).enqueue_many(
     queue(), [Queue.prepare_data('tasks.add', (1, 1)), Queue.prepare_data('tasks.boom')])]]
";

#[test]
fn no_key_lies_outside() {
    let context = Context::with_prefix(PREFIX);
    context.write("tasks.py", TASKS);
    context.eval(&ENQUEUE.replace('\n', " "));
    let worker =
        context.worker(&["--with-scheduler", "--maintenance-interval", "1", "--num-workers", "2"]);
    context.wait_until(
        "queue().finished_job_registry.count >= 5 and queue().scheduled_job_registry.count == 0 \
                        and queue().started_job_registry.count == 0 and queue().count == 0",
    );
    let names = context.eval("[worker.name for worker in Worker.all(connection=r)]");
    assert_eq!(names.as_array().map(Vec::len), Some(2), "the client sees its workers: {names}");
    worker.stop();
    let outside =
        context.eval(&format!("[key for key in keys() if not key.startswith('{PREFIX}:')]"));
    assert_eq!(outside, json!([]));
    assert!(context.eval("len(keys())").as_u64() > Some(10), "{}", context.eval("keys()"));
}

#[test]
fn a_prefix_that_rq_refuses_is_refused() {
    let context = Context::new();
    for prefix in ["", "a b", "a%s"] {
        let mut command = context.freshq();
        command.args(["worker", "-u", &context.redis.url()]).env("RQ_KEY_PREFIX", prefix);
        let (status, output) = Worker::start(command).end();
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(output.contains(&format!("RQ_KEY_PREFIX is {prefix:?}; only letters")), "{output}");
    }
}
