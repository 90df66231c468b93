//! Python that the user gives to run jobs with: serializer, classes, exception handlers, loggers.

use serde_json::json;

use crate::beside::{freshq_burst, same};
use crate::context::Context;

const TASKS: &str = r#"
import json, logging, os, sys, time
from redis import Redis
from rq import get_current_job
from rq.job import Job
from rq.queue import Queue

def add(a, b=0):
    return a + b

def boom(text="boom"):
    raise ValueError(text)

def leave():
    sys.exit(3)

def unserializable():
    return {1}

def count():
    job = get_current_job()
    job.meta["count"] = job.meta.get("count", 0) + 1
    job.save_meta()
    return job.meta

def sleep():
    time.sleep(600)

def slow(*args):
    time.sleep(600)

def execution():
    return os.environ["RQ_EXECUTION_ID"] == get_current_job().get_executions()[0].id

def classes():
    job = get_current_job()
    return f"{type(job).__name__} {type(job.connection).__name__} "

def note(job, text):
    job.connection.rpush("notes", text)

def on_failure(job, connection, kind, value, tb):
    note(job, f"callback {kind.__name__}")

def first(job, kind, value, tb):
    note(job, f"first {job.id} {job.get_status(refresh=False).value} {kind.__name__} {value} {tb is not None}")

def empty(job, kind, value, tb):
    note(job, "empty")
    return []

def last(job, kind, value, tb):
    note(job, "last")

def bad(job, kind, value, tb):
    raise RuntimeError("the handler raised")

class Doubling(Job):
    def perform(self):
        return super().perform() * 2

class Patient(Queue):
    DEFAULT_TIMEOUT = 1

class Own(Redis):
    pass

class Reverse:
    @staticmethod
    def dumps(value):
        return json.dumps(value).encode()[::-1]

    @staticmethod
    def loads(data):
        return json.loads(data[::-1])

class Saving(Job):
    redis_job_namespace_prefix = "mine:"

    def save(self, *args, **options):
        pass

class Priority(Queue):
    @classmethod
    def dequeue_any(cls, *args, **options):
        pass

class Record(logging.Handler):
    def emit(self, record):
        told = [record.levelname, record.getMessage().splitlines()[0].split(": ", 1)[1], record.func,
                str(record.arguments), str(record.kwargs), record.queue, record.job_id]
        self.connection.rpush("records", json.dumps(told))

def listen():
    handler = Record(level=logging.ERROR)
    handler.connection = get_current_job().connection
    logging.getLogger("rq.worker").addHandler(handler)
    raise ValueError("told")
"#;

const QUEUE: &str = "Queue('default', connection=r, serializer=";

#[test]
fn a_json_queue_is_read_and_written_as_json() {
    let json = |call: &str| format!("{QUEUE}'json').enqueue({call}).id");
    let jobs = [
        json("'app.tasks.add', 2, b=3, job_id='value'"),
        json("'app.tasks.unserializable', job_id='unserializable'"),
        json("'app.tasks.count', meta={'count': 1}, job_id='meta'"),
        json("'app.tasks.boom', meta={'count': 1}, retry=Retry(1), job_id='retried'"),
    ];
    let seen = same(
        TASKS,
        &["--serializer", "json"],
        &jobs.each_ref().map(String::as_str),
        "[[j.get_status().value, j.return_value(), j.meta, j.retries_left] for j in Job.fetch_many(
            ['value', 'unserializable', 'meta', 'retried'], connection=r, serializer='json')]",
    );
    assert_eq!(seen[0][1], json!(5));
    assert_eq!(seen[1][1], json!("Unserializable return value"));
    assert_eq!(seen[2][1], json!({"count": 2}));
}

/// Not importable by the client, so its bytes are looked at.
#[test]
fn a_serializer_of_the_users_own_is_used_for_all() {
    let data = r#"json.dumps(["app.tasks.add", None, [2], {"b": 3}]).encode()[::-1]"#;
    let job = format!("r.hset('rq:job:' + enqueue('app.tasks.add', job_id='own'), 'data', {data})");
    let look = "__import__('base64').b64decode(r.xrange('rq:results:own')[0][1][b'return_value']).decode()";
    assert_eq!(same(TASKS, &["-S", "app.tasks.Reverse"], &[&job], look), json!("5"));
}

#[test]
fn a_job_class_performs_and_a_connection_class_connects() {
    let args = ["-j", "app.tasks.Doubling", "--connection-class", "app.tasks.Own"];
    let jobs =
        ["enqueue('app.tasks.add', 2, job_id='a')", "enqueue('app.tasks.classes', job_id='b')"];
    let look = "[job('a').return_value(), job('b').return_value()]";
    let seen = same(TASKS, &args, &jobs, look);
    assert_eq!(seen, json!([4, "Doubling Own Doubling Own "]));
}

#[test]
fn a_job_knows_its_execution() {
    let context = Context::new();
    context.write("app/tasks.py", TASKS);
    context.eval("enqueue('app.tasks.execution', job_id='a')");
    freshq_burst(&context, &[]);
    assert_eq!(context.eval("job('a').return_value()"), json!(true));
}

#[test]
fn a_queue_class_gives_the_timeout_of_jobs_that_have_none() {
    let jobs = ["r.hdel('rq:job:' + enqueue('app.tasks.sleep', job_id='a'), 'timeout')"];
    let look = "job('a').latest_result().exc_string.strip().splitlines()[-1]";
    let seen = same(TASKS, &["--queue-class", "app.tasks.Patient"], &jobs, look);
    assert!(seen.as_str().unwrap().contains("maximum timeout value (1 seconds)"), "{seen}");
}

#[test]
fn exception_handlers_are_called_in_order_after_the_callback() {
    let handlers = ["first", "empty", "last"].map(|name| format!("app.tasks.{name}"));
    let args = handlers.each_ref().map(|path| ["--exception-handler", path.as_str()]).concat();
    let jobs = [
        "enqueue('app.tasks.boom', 'one', job_id='a', on_failure='app.tasks.on_failure')",
        "enqueue('app.tasks.leave', job_id='b', retry=Retry(1))",
        "enqueue('app.tasks.add', 1, job_id='c')",
    ];
    let seen = same(TASKS, &args, &jobs, "[text(note) for note in r.lrange('notes', 0, -1)]");
    let left = "first b failed SystemExit 3 True";
    let all = [
        "callback ValueError",
        "first a failed ValueError one True",
        "empty",
        left,
        "empty",
        left,
        "empty",
    ];
    assert_eq!(seen, json!(all));
}

/// In RQ it ends the horse, and the job fails for that.
#[test]
fn an_exception_handler_that_raises_is_a_dead_horse() {
    let seen = same(
        TASKS,
        &["--exception-handler", "app.tasks.bad"],
        &["enqueue('app.tasks.boom', job_id='a')", "enqueue('app.tasks.add', 1, job_id='b')"],
        "[end('a'), end('b')]",
    );
    assert!(seen[0][1].as_str().unwrap().contains("waitpid returned 256"), "{seen}");
    assert_eq!(seen[1], json!(["finished", 1]));
}

#[test]
fn callbacks_have_their_own_timeouts() {
    let call = |name: &str| {
        format!("__import__('rq').Callback('app.tasks.slow', timeout=1), job_id='{name}')")
    };
    let jobs = [
        format!("enqueue('app.tasks.add', 1, on_success={}", call("success")),
        format!("enqueue('app.tasks.boom', on_failure={}", call("failure")),
    ];
    let seen =
        same(TASKS, &[], &jobs.each_ref().map(String::as_str), "[end('success'), end('failure')]");
    let text = "rq.timeouts.JobTimeoutException: Task exceeded maximum timeout value (1 seconds)";
    assert_eq!(seen, json!([["failed", text], ["failed", text]]));
}

/// Tools as Sentry's listen to RQ's logger in the process of the job.
#[test]
fn a_failure_is_one_record_for_handlers_of_rqs_logger() {
    let jobs = ["enqueue('app.tasks.listen', job_id='a')"];
    let look = "[json.loads(record) for record in r.lrange('records', 0, -1)]";
    let seen = same(TASKS, &[], &jobs, look);
    let text = "job a: exception raised while executing (app.tasks.listen)";
    assert_eq!(seen, json!([["ERROR", text, "app.tasks.listen", "()", "{}", "default", "a"]]));
}

#[test]
fn a_failure_is_printed_once() {
    let context = Context::new();
    context.write("app/tasks.py", TASKS);
    context.eval("enqueue('app.tasks.boom', 'only once', job_id='a')");
    let output = freshq_burst(&context, &[]);
    assert_eq!(output.matches("exception raised while executing").count(), 1, "{output}");
}

#[test]
fn what_cannot_be_used_ends_the_command_and_says_why() {
    let context = Context::new();
    context.write("app/tasks.py", TASKS);
    context.write("app/broken.py", "import missing_module\n");
    for (args, expected) in [
        (["-j", "nowhere.Class"], "--job-class nowhere.Class: ValueError: Invalid attribute name"),
        (["-j", "app.tasks.add"], "--job-class app.tasks.add: it is not a subclass of rq.job.Job"),
        (
            ["-j", "app.tasks.Saving"],
            "it overrides redis_job_namespace_prefix, save, which freshq does itself",
        ),
        (["--queue-class", "app.tasks.Priority"], "it overrides dequeue_any"),
        (["--connection-class", "app.tasks.Reverse"], "it is not a subclass of redis.client.Redis"),
        (
            ["--exception-handler", "app.tasks.none"],
            "--exception-handler app.tasks.none: ValueError",
        ),
        (["-S", "app.tasks.Doubling"], "--serializer app.tasks.Doubling: NotImplementedError"),
    ] {
        let (status, output) = context.unready_worker(&args).end();
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(output.contains(expected), "{output}");
    }
}

#[test]
fn a_handler_is_reloaded_as_any_code_and_the_last_good_one_serves_on() {
    let context = Context::new();
    let handler = |text: &str| {
        format!("def note(job, *exc_info):\n    job.connection.rpush('notes', '{text}')\n")
    };
    context.write("app/tasks.py", TASKS);
    context.write("app/handlers.py", &handler("old"));
    let worker = context.worker(&["--reload", "--exception-handler", "app.handlers.note"]);
    context.eval("run('app.tasks.boom')");
    context.replace("app/handlers.py", &handler("new"));
    context.eval("run('app.tasks.boom')");
    context.replace("app/handlers.py", "def note(:\n");
    context.eval("run('app.tasks.boom')");
    worker.wait_for("SyntaxError");
    assert_eq!(
        context.eval("[text(note) for note in r.lrange('notes', 0, -1)]"),
        json!(["old", "new", "new"])
    );
    context.replace("app/handlers.py", &handler("mended"));
    context.eval("run('app.tasks.boom')");
    assert_eq!(context.eval("text(r.lindex('notes', -1))"), json!("mended"));
    worker.stop();
}
