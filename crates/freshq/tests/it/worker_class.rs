//! `--worker-class`: RQ's own code runs jobs through a subclass of the user's, in a horse of freshq's.

use serde_json::json;

use crate::beside::{freshq_burst, same, same_in};
use crate::context::Context;

const TASKS: &str = r#"
import os, sys
from rq import Retry, SimpleWorker, Worker, get_current_job
from rq.worker import RoundRobinWorker

def add(a, b=0):
    return a + b

def boom():
    raise ValueError("boom")

def leave():
    sys.exit(3)

def again():
    return Retry(max=1)

def kill():
    os.kill(os.getpid(), 9)

def succeeded(job, connection, result):
    connection.rpush("notes", f"callback {result}")

def handler(job, kind, value, tb):
    job.connection.rpush("notes", f"handler {kind.__name__}")

def names():
    job = get_current_job()
    return [job.worker_name, os.environ["RQ_JOB_ID"], os.getpid() == os.getpgrp()]

class Noting(Worker):
    def note(self, *words):
        self.connection.rpush("notes", " ".join(words))

class Robust(Noting):
    """What people write: counts, contexts around a job, a place to report to."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.jobs = 0

    def execute_job(self, job, queue):
        self.note("execute", job.id, queue.name, self.name)
        super().execute_job(job, queue)

    def perform_job(self, job, queue, *args):
        self.jobs += 1
        try:
            return super().perform_job(job, queue, *args)
        finally:
            self.note("performed", job.id, job.get_status(refresh=False).value)

    def handle_exception(self, job, *exc_info):
        self.note("exception", exc_info[0].__name__)
        super().handle_exception(job, *exc_info)

    def handle_job_success(self, job, *args, **options):
        self.note("success", job.id)
        super().handle_job_success(job, *args, **options)

class Around(Noting):
    def main_work_horse(self, job, queue):
        self.note("before", job.id)
        super().main_work_horse(job, queue)

    def perform_job(self, job, queue, *args):
        if job.id == "breaks":
            raise RuntimeError("the worker raised")
        return super().perform_job(job, queue, *args)

class Simple(SimpleWorker):
    def perform_job(self, job, queue, *args):
        return super().perform_job(job, queue, *args)

class Lazy(Worker):
    def execute_job(self, job, queue):
        if job.id == "raises":
            raise RuntimeError("the worker raised")

class Loop(Worker):
    def work(self, *args, **options):
        return super().work(*args, **options)

    def register_birth(self):
        super().register_birth()

class Old(Worker):
    def perform_job(self, job):
        return super().perform_job(job, None)

class Turns(RoundRobinWorker):
    pass
"#;

/// All that is left of some jobs and of the worker, but times.
const LEFT: &str = "[
    [[j.id, j.get_status().value, j.worker_name, j.retries_left,
      [[x.type.name, str(x.return_value),
        (x.exc_string or '').strip().splitlines()[-1:], x.worker_name] for x in j.results()]]
     for j in Job.fetch_many([name[7:].decode() for name in sorted(r.keys('rq:job:*'))], connection=r) if j],
    [note.decode() for note in r.lrange('notes', 0, -1)],
    [text(r.hget('rq:worker:w1', name)) for name in
     ('state', 'successful_job_count', 'failed_job_count', 'current_job')],
    [name.decode() for name in sorted(r.keys('*')) if name != b'rq:clean_groups'],
    [sorted(m.decode() for m in r.zrange('rq:' + name + ':default', 0, -1)) for name in ('finished', 'failed', 'wip')]]";

const JOBS: [&str; 8] = [
    "enqueue('app.tasks.add', 2, b=3, job_id='value', on_success='app.tasks.succeeded')",
    "enqueue('app.tasks.boom', job_id='fails')",
    "enqueue('app.tasks.leave', job_id='leaves', retry=Retry(1))",
    "enqueue('app.tasks.again', job_id='asks')",
    "enqueue('app.tasks.add', 1, job_id='unkept', result_ttl=0)",
    "enqueue('app.tasks.names', job_id='names')",
    "enqueue('app.tasks.add', 1, job_id='child', depends_on='names')",
    "r.hset('rq:job:' + enqueue('app.tasks.add', job_id='odd'), 'data', b'odd')",
];

#[test]
fn a_robust_worker_leaves_and_sees_the_same_as_in_rq() {
    let args = ["-n", "w1", "-w", "app.tasks.Robust", "--exception-handler", "app.tasks.handler"];
    let seen = same(TASKS, &args, &JOBS, LEFT);
    let notes = seen[1].as_array().unwrap();
    for note in
        ["execute value default w1", "performed value finished", "success value", "callback 5"]
    {
        assert!(notes.contains(&json!(note)), "{notes:?}");
    }
    for note in ["exception SystemExit", "handler ValueError", "exception DeserializationError"] {
        assert!(notes.contains(&json!(note)), "{notes:?}");
    }
}

/// Its results know less, and name no worker.
#[test]
fn with_the_oldest_rq_the_same_is_left_and_seen_too() {
    let left = LEFT.replace(", x.worker_name]", "]");
    let jobs: Vec<_> = JOBS.into_iter().filter(|job| !job.contains("'asks'")).collect();
    // There RQ's simple worker does not name the job in the environment.
    for (class, jobs, successful) in
        [("Robust", &jobs[..], "4"), ("Around", &jobs, "4"), ("Simple", &JOBS[..2], "1")]
    {
        let class = format!("app.tasks.{class}");
        let args = ["-n", "w1", "-w", &class];
        let seen = same_in(Context::with_oldest_rq, TASKS, &args, jobs, &left);
        assert_eq!(seen[2][1], successful, "{seen}");
    }
}

#[test]
fn code_around_the_horse_runs_and_its_failure_is_a_dead_horse() {
    let jobs = [
        "enqueue('app.tasks.add', 1, job_id='value')",
        "enqueue('app.tasks.add', 1, job_id='breaks')",
    ];
    let look =
        "[end('value'), end('breaks'), [note.decode() for note in r.lrange('notes', 0, -1)]]";
    let seen = same(TASKS, &["-w", "app.tasks.Around"], &jobs, look);
    assert_eq!(seen[2], json!(["before value", "before breaks"]));
    assert!(seen[1][1].as_str().unwrap().contains("waitpid returned 256"), "{seen}");
}

#[test]
fn a_simple_worker_of_the_users_own_runs_jobs_too() {
    let seen = same(TASKS, &["-n", "w1", "-w", "app.tasks.Simple"], &JOBS[..2], LEFT);
    assert_eq!(seen[0][1][1], json!("finished"));
}

#[test]
fn a_horse_that_is_killed_is_recorded_as_ever() {
    let context = Context::new();
    context.write("app/tasks.py", TASKS);
    let end = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9);";
    let worker = context.worker(&["-w", "app.tasks.Robust", "-n", "w1"]);
    assert_eq!(context.eval("run('app.tasks.kill', retry=Retry(1))"), json!(["failed", end]));
    assert_eq!(context.eval("text(r.hget('rq:worker:w1', 'failed_job_count'))"), json!("2"));
    assert_eq!(context.eval("run('app.tasks.add', 1)"), json!(["finished", 1]));
    worker.stop();
}

/// RQ's worker would leave such a job started for ever.
#[test]
fn a_job_that_the_class_does_not_end_fails() {
    let context = Context::new();
    context.write("app/tasks.py", TASKS);
    context.eval("[enqueue('app.tasks.add', 1, job_id=name) for name in ('returns', 'raises')]");
    freshq_burst(&context, &["-w", "app.tasks.Lazy"]);
    let returned = "execute_job of Lazy returned, and the job had not ended";
    assert_eq!(context.eval("end('returns')"), json!(["failed", returned]));
    assert_eq!(context.eval("end('raises')"), json!(["failed", "RuntimeError: the worker raised"]));
    assert_eq!(context.eval("len(StartedJobRegistry(queue=queue()))"), json!(0));
}

#[test]
fn a_class_that_is_not_honoured_is_refused_by_the_names_of_its_methods() {
    let context = Context::new();
    context.write("app/tasks.py", TASKS);
    for (class, expected) in [
        ("app.tasks.Loop", "it overrides register_birth, work, which freshq does itself"),
        ("app.tasks.Old", "perform_job(self, job) cannot be called as this rq calls it"),
        (
            "app.tasks.Turns",
            "it is a RoundRobinWorker, of which freshq has its own kind; derive from rq.Worker and give --dequeue-strategy round_robin",
        ),
        ("app.tasks.add", "it is not a subclass of rq.worker.base.BaseWorker"),
        ("app.tasks.Missing", "ValueError: Invalid attribute name"),
    ] {
        let (status, output) = context.unready_worker(&["-w", class]).end();
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(output.contains(&format!("error: --worker-class {class}: ")), "{output}");
        assert!(output.contains(expected), "{output}");
    }
}

/// A job sees what the one before it left only where they share a process.
#[test]
fn rqs_simple_worker_is_a_process_for_many_jobs() {
    let context = Context::new();
    context.write("app/tasks.py", "import os\ndef pid():\n    return os.getpid()\n");
    for (class, shared) in [("rq.SimpleWorker", true), ("rq.worker.RandomWorker", false)] {
        let worker = context.worker(&["-w", class, "--import", "app.tasks"]);
        let pids = "run('app.tasks.pid') == run('app.tasks.pid')";
        assert_eq!(context.eval(pids), json!(shared), "{class}");
        worker.stop();
    }
}

#[test]
fn rqs_round_robin_worker_takes_from_each_queue_in_turn() {
    let look = "[note.decode() for note in r.lrange('notes', 0, -1)]";
    let jobs = "[enqueue('app.tasks.note', q, queue_name=q) for q in ('a', 'a', 'b', 'b')]";
    let tasks = "from rq import get_current_job\n\
                 def note(text):\n    get_current_job().connection.rpush('notes', text)\n";
    let seen = same(tasks, &["-w", "rq.worker.RoundRobinWorker", "a", "b"], &[jobs], look);
    assert_eq!(seen, json!(["a", "b", "a", "b"]));
}

#[test]
fn rqs_plain_worker_is_freshqs_own() {
    let context = Context::new();
    context.write("app/tasks.py", TASKS);
    for class in ["rq.Worker", "rq.worker.Worker", "rq.worker.worker_classes.Worker"] {
        let output = freshq_burst(&context, &["-w", class]);
        assert!(output.contains("the queues are empty"), "{output}");
    }
}
