//! Jobs that are damaged, hostile or too large: that one job fails, and the worker goes on.

use serde_json::json;

use crate::beside::same;
use crate::context::Context;

const TASKS: &str = r#"
import os
from rq import get_current_job

def add(a, b=0):
    return a + b

def large(count):
    return "x" * count

def shout(count):
    raise ValueError("x" * count)

def who():
    job = get_current_job()
    return [os.fsencode(os.environ["RQ_JOB_ID"]) == os.fsencode(job.id), len(job.id)]

def on_failure(job, connection, kind, value, tb):
    connection.set("seen", kind.__name__)
"#;

const SET: &str = "r.hset('rq:job:' + enqueue(
    'app.tasks.add', job_id='a', on_failure='app.tasks.on_failure'), 'data',";

#[test]
fn data_that_cannot_be_read_is_an_ordinary_failure() {
    let zlib = "__import__('zlib').compress";
    for data in [
        "b'garbage'".to_owned(),
        format!("{zlib}(b'garbage')"),
        format!("{zlib}(b'')"),
        format!("{zlib}(__import__('pickle').dumps(('app.tasks.add', None)))"),
        format!("{zlib}(__import__('pickle').dumps(5))"),
        // A class that this side does not have.
        format!("{zlib}(b'\\x80\\x04cnowhere\\nMissing\\n.')"),
    ] {
        let look = "[end('a'), text(r.get('seen'))]";
        let seen = same(TASKS, &[], &[&format!("{SET} {data})")], look);
        assert_eq!(seen[0], json!(["failed", "rq.exceptions.DeserializationError"]), "{data}");
        assert_eq!(seen[1], json!("DeserializationError"), "{data}");
    }
}

/// Some 600 kilobytes that would become 600 megabytes.
#[test]
fn what_would_fill_the_memory_is_not_inflated() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&[]);
    let bomb = "(lambda c: b''.join(c.compress(bytes(1 << 20)) for _ in range(600)) + c.flush())(
        __import__('zlib').compressobj(9))";
    context.eval(&format!(
        "r.hset('rq:job:bomb', mapping=dict(data={bomb},\
        failure_callback_name='app.tasks.on_failure', origin='default'))"
    ));
    context.eval("r.rpush('rq:queue:default', 'bomb')");
    let text =
        "rq.exceptions.DeserializationError: the job's data inflates to more than 536870912 bytes";
    context.wait_until("r.exists('rq:results:bomb') == 1");
    assert_eq!(context.eval("end('bomb')"), json!(["failed", text]));
    assert_eq!(context.eval("text(r.get('seen'))"), json!("DeserializationError"));
    assert_eq!(context.eval("run('app.tasks.add', 1)"), json!(["finished", 1]));
    worker.stop();
}

#[test]
fn what_is_too_large_fails_and_says_so() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&[]);
    context.eval(
        "r.hset('rq:job:' + queue('other').enqueue('app.tasks.add', 1, job_id='a').id, '\
        meta', bytes(129 << 20))",
    );
    context.eval("r.rpush('rq:queue:default', 'a')");
    let text = "the job's record is too large: its \
        field meta brings it over 134217728 bytes; the job was not run";
    context.wait_until("r.exists('rq:results:a') == 1");
    assert_eq!(context.eval("text(r.hget('rq:job:a', 'status'))"), json!("failed"));
    let stored = "__import__('zlib').decompress(__import__('base64').\
        b64decode(r.xrange('rq:results:a')[0][1][b'exc_string'])).decode()";
    assert_eq!(context.eval(stored), json!(text));
    assert_eq!(context.eval("r.hstrlen('rq:job:a', 'meta')"), json!(129 << 20));
    let end = context.eval("run('app.tasks.large', 129 << 20)[1]");
    assert!(end.as_str().unwrap().contains("more than 134217728 are not stored"), "{end}");
    assert_eq!(context.eval("run('app.tasks.shout', 4_000_000)[0]"), json!("failed"));
    assert_eq!(context.eval("run('app.tasks.add', 1)"), json!(["finished", 1]));
    worker.stop();
}

/// An id that RQ's own clients no longer allow, and a field that nobody knows.
#[test]
fn odd_bytes_in_ids_and_field_names_survive() {
    let context = Context::with_tasks(TASKS);
    let worker = context.worker(&[]);
    let fields = "{**r.hgetall('rq:job:' + queue('other').enqueue('app.tasks.who', job_id='a').id\
        ), b'odd\\xff': b'1', b'odd\\xfe': b'2'}";
    context.eval(&format!("r.hset(b'rq:job:j\\xff:\\xe9', mapping={fields})"));
    context.eval("r.rpush('rq:queue:default', b'j\\xff:\\xe9')");
    context.wait_until("r.exists(b'rq:results:j\\xff:\\xe9') == 1");
    let value = "__import__('pickle').loads(__import__('base64').\
        b64decode(r.xrange(b'rq:results:j\\xff:\\xe9')[0][1][b'return_value']))";
    assert_eq!(context.eval(value), json!([true, 4]));
    assert_eq!(context.eval("text(r.hget(b'rq:job:j\\xff:\\xe9', 'status'))"), json!("finished"));
    let odd =
        "[r.hget(b'rq:job:j\\xff:\\xe9', name).decode() for name in (b'odd\\xff', b'odd\\xfe')]";
    assert_eq!(context.eval(odd), json!(["1", "2"]));
    worker.stop();
}
