//! Webhooks: the requests that RQ's worker sends, and nothing that has to wait for them.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use embedded::testing;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::context::{Context, PATIENCE, Worker};
use crate::parity::{Intended, Scenario, assert_equal, freshq_worker, left_by, rq_worker};

/// What has been asked so far; a request for `/held` is answered only once the lid is open.
#[derive(Default)]
struct Asked {
    requests: Vec<Value>,
    open: bool,
}

/// Something that webhooks can be sent to.
struct Endpoint {
    port: String,
    asked: Arc<(Mutex<Asked>, Condvar)>,
}

impl Endpoint {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port().to_string();
        let asked = Arc::<(Mutex<Asked>, Condvar)>::default();
        let shared = asked.clone();
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { port, asked }
    }

    /// What has been asked, in an order of its own.
    fn requests(&self) -> Vec<Value> {
        let mut requests = self.asked.0.lock().expect("not poisoned").requests.clone();
        requests.sort_by_key(Value::to_string);
        requests
    }

    fn wait_for(&self, path: &str) {
        let (asked, changed) = &*self.asked;
        let guard = asked.lock().expect("not poisoned");
        let missing =
            |asked: &mut Asked| !asked.requests.iter().any(|request| request["path"] == path);
        let (_guard, timeout) =
            changed.wait_timeout_while(guard, PATIENCE, missing).expect("not poisoned");
        assert!(!timeout.timed_out(), "nobody asks for {path}");
    }

    fn open(&self) {
        self.asked.0.lock().expect("not poisoned").open = true;
        self.asked.1.notify_all();
    }
}

fn answer(mut stream: TcpStream, (asked, changed): &(Mutex<Asked>, Condvar)) {
    let Some(request) = read_request(&stream) else { return };
    let (held, refused) = (request["path"] == "/held", request["path"] == "/refuse/finished");
    let mut guard = asked.lock().expect("not poisoned");
    guard.requests.push(request);
    changed.notify_all();
    if held {
        let waited = changed.wait_timeout_while(guard, PATIENCE, |asked| !asked.open);
        drop(waited.expect("not poisoned"));
    } else {
        drop(guard);
    }
    let status = if refused { "500 No" } else { "200 OK" };
    let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(reply.as_bytes()).ok();
}

fn read_request(stream: &TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut headers) = (0, Vec::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            name @ ("content-type" | "x-key") => headers.push(format!("{name}: {value}")),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    // Times and the frames above the job's own function are each worker's own.
    for name in ["enqueued_at", "ended_at"] {
        if body[name].is_string() {
            body[name] = json!("time");
        }
    }
    if let Some(text) = body["exc_info"].as_str() {
        let mut lines = text.trim_end().lines();
        // Below the line of a process that died, freshq tells more.
        let died = text.starts_with("Work-horse terminated");
        body["exc_info"] = json!(if died { lines.next().map(str::trim) } else { lines.last() });
    }
    headers.sort();
    Some(json!({"method": method, "path": path, "headers": headers, "body": body}))
}

#[test]
fn the_same_requests_are_sent_as_by_rqs_worker() {
    let (theirs, ours) = (Endpoint::new(), Endpoint::new());
    let to = |endpoint: &Endpoint, work: fn(&Context, &Scenario<'_>)| {
        let (python, more) = (testing::python(), [endpoint.port.as_str()]);
        left_by(&Scenario { name: "webhooks", more: &more, python, options: &[] }, work)
    };
    let (mut rq, mut freshq) = (to(&theirs, rq_worker), to(&ours, freshq_worker));
    let intended: Intended = vec![
        ("/rq:failed:default/2/fails-unkept", json!("past"), Value::Null),
        ("/rq:job:killed/2/worker_name", json!(""), json!("w1")),
        ("/rq:job:killed/2/last_heartbeat", json!(""), json!("time")),
    ];
    assert_equal(&mut rq, &mut freshq, intended);
    let expected = theirs.requests();
    assert_eq!(ours.requests(), expected);
    // A comparison of nothing would find nothing.
    let posted = |path: &str| expected.iter().find(|request| request["path"] == path);
    assert_eq!(posted("/fails/failed").expect("sent")["body"]["exc_info"], "ValueError: boom");
    assert!(posted("/is-retried/finished").is_none());
}

/// A worker that has begun to send a webhook that is not answered.
fn with_a_held_webhook(context: &Context) -> (Endpoint, Worker) {
    context.write("app/__init__.py", "");
    context.write("app/tasks.py", "def nothing(): pass\n");
    let endpoint = Endpoint::new();
    let worker = context.worker(&[]);
    let url = format!("http://127.0.0.1:{}/held", endpoint.port);
    context.eval(&format!(
        "enqueue('app.tasks.nothing', webhooks=[__import__('rq').Webhook('{url}', 'finished', timeout=600)])"
    ));
    endpoint.wait_for("/held");
    (endpoint, worker)
}

#[test]
fn the_next_job_does_not_wait_for_an_answer_and_a_stop_does() {
    let context = Context::new();
    let (endpoint, worker) = with_a_held_webhook(&context);
    assert_eq!(context.eval("run('app.tasks.nothing')"), json!(["finished", null]));
    worker.signal(Signal::TERM);
    worker.wait_for("warm shutdown");
    endpoint.open();
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!output.contains("were not all sent"), "{output}");
}

#[test]
fn a_cold_stop_gives_webhooks_up() {
    let context = Context::new();
    let (_endpoint, worker) = with_a_held_webhook(&context);
    worker.signal(Signal::TERM);
    worker.wait_for("warm shutdown");
    // RQ takes a second signal within a second for a repeat of the first.
    std::thread::sleep(supervisor::shutdown::REPEAT_WITHIN);
    worker.signal(Signal::TERM);
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("were not all sent: the worker was told to stop at once"), "{output}");
}
