//! What survives no fork: libraries stay out of the base, modules are left to horses, and jobs run all the
//! same on the newest code.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::context::{Context, Worker};

const TASKS: &str = "
import os, sys, threading
from .version import VERSION

def version():
    return VERSION

def threads():
    return threading.active_count()

def who():
    return [os.getpid(), os.getppid(), 'app.tasks' in sys.modules]
";

const THREAD: &str = "
import threading, time
threading.Thread(target=time.sleep, args=(1e6,), name='ticker', daemon=True).start()
";

fn project() -> Context {
    let context = Context::with_tasks(TASKS);
    context.write("app/version.py", "VERSION = 'v0'\n");
    context.write("app/other.py", "import sys\ndef has(name):\n    return name in sys.modules\n");
    context
}

fn value(context: &Context, call: &str) -> Value {
    let end = context.eval(&format!("run({call})"));
    assert_eq!(end[0], "finished", "{call}: {end}");
    end[1].clone()
}

const HELD: &str = "app.tasks leaves threads (ticker) behind";

/// Jobs run the code that was saved last, and each has the thread that its import starts.
fn jobs_run_the_newest_code(context: &Context, worker: &Worker, before: &str) {
    for n in 1..=5 {
        context.write("app/version.py", &format!("{before}\nVERSION = 'v{n}'\n"));
        let version = value(context, "'app.tasks.version'");
        assert_eq!(version, json!(format!("v{n}")), "{}", worker.output());
    }
    assert_eq!(value(context, "'app.tasks.threads'"), 2, "{}", worker.output());
}

#[test]
fn a_library_that_leaves_threads_stays_out_of_the_base_alone() {
    let context = project();
    // Not below the watched folder, so to freshq these are libraries.
    context.write("threaded.py", THREAD);
    context.write("harmless.py", "");
    context.write("app/version.py", "import harmless, threaded\nVERSION = 'v0'\n");
    let args = ["--reload", "--watch", "app", "--import", "app.other", "--verbose"];
    let worker = context.worker(&args);
    assert_eq!(value(&context, "'app.tasks.version'"), "v0");
    worker.wait_for("not in the base: threaded, which leaves threads (ticker) behind");
    worker.wait_for(HELD);
    jobs_run_the_newest_code(&context, &worker, "import harmless, threaded");
    context.wait_until("run('app.other.has', 'harmless')[1]");
    assert_eq!(value(&context, "'app.other.has', 'threaded'"), false);
    worker.stop();
    // All of it is known at the next start.
    let worker = context.worker(&args);
    assert_eq!(value(&context, "'app.other.has', 'harmless'"), true);
    assert_eq!(value(&context, "'app.tasks.threads'"), 2);
    let output = worker.stop();
    assert!(!output.contains("leaves threads"), "{output}");
}

#[test]
fn a_module_that_leaves_threads_is_left_to_horses_until_it_does_not() {
    let context = project();
    let worker = context.worker(&["--reload", "--import", "app.tasks"]);
    let loaded = value(&context, "'app.tasks.threads'");
    assert_eq!(loaded, 1);
    context.write("app/version.py", &format!("{THREAD}VERSION = 'v1'\n"));
    assert_eq!(value(&context, "'app.tasks.version'"), "v1", "{}", worker.output());
    worker.wait_for(HELD);
    assert_eq!(value(&context, "'app.other.has', 'app.tasks'"), false, "no generation has it");
    jobs_run_the_newest_code(&context, &worker, THREAD);
    context.write("app/version.py", "VERSION = 'mended'\n");
    assert_eq!(value(&context, "'app.tasks.version'"), "mended");
    context.wait_until("run('app.other.has', 'app.tasks')[1]");
    assert_eq!(value(&context, "'app.tasks.version'"), "mended");
    let output = worker.stop();
    assert_eq!(output.matches(HELD).count(), 1, "{output}");
}

#[test]
fn a_module_that_leaves_a_connection_is_left_to_horses() {
    let context = project();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    context.write(
        "app/version.py",
        &format!("import socket\nSOCK = socket.create_connection(('127.0.0.1', {port}))\nVERSION = 'v0'\n"),
    );
    let worker = context.worker(&["--import", "app.tasks"]);
    let held = format!("app.tasks leaves a connection to 127.0.0.1:{port} behind");
    assert_eq!(value(&context, "'app.tasks.version'"), "v0");
    worker.wait_for(&held);
    worker.stop();
    drop(server);
    // Known at the next start: nothing connects before there is a job.
    let worker = context.worker(&["--import", "app.tasks"]);
    let output = worker.stop();
    assert!(!output.contains(&held), "{output}");
    assert!(!output.contains("ConnectionRefusedError"), "{output}");
}

#[test]
fn what_can_be_shared_is() {
    let context = project();
    // A thread that ended, a datagram socket (a log's), a listening one, a connection that was closed.
    context.write(
        "app/version.py",
        "import socket, threading\n\
         pool = __import__('concurrent.futures').futures.ThreadPoolExecutor(1)\n\
         pool.submit(int)\n\
         pool.shutdown()\n\
         LOG = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         LOG.connect(('127.0.0.1', 9))\n\
         SERVER = socket.create_server(('127.0.0.1', 0))\n\
         socket.create_connection(SERVER.getsockname()).close()\n\
         VERSION = 'v0'\n",
    );
    let worker = context.worker(&["--import", "app.tasks"]);
    assert_eq!(value(&context, "'app.tasks.version'"), "v0");
    let output = worker.stop();
    assert!(!output.contains("warning"), "{output}");
}

#[test]
fn a_warm_up_that_leaves_threads_is_broken_code() {
    let context = project();
    context.write(
        "app/warm.py",
        &format!("def fill():\n    pass\ndef leave():\n    exec({THREAD:?})\n"),
    );
    let args = ["--burst", "--warmup", "app.warm:leave"];
    let (status, output) = context.unready_worker(&args).end();
    assert_eq!(status.code(), Some(5), "{output}");
    assert!(
        output.contains("--warmup app.warm:leave: it left threads (ticker) behind"),
        "{output}"
    );
    let worker = context.worker(&["--isolation", "spawn", "--warmup", "app.warm:leave"]);
    assert_eq!(value(&context, "'app.tasks.threads'"), 2, "nothing is forked there");
    worker.stop();
}

#[test]
fn numpy_survives_in_a_generation() {
    let context = Context::with_numpy();
    context.write("app.py", "import numpy, sys\ndef total():\n    return float(numpy.ones((99, 99)).dot(numpy.ones(99)).sum())\n");
    for isolation in ["fork", "reuse"] {
        let worker = context.worker(&["--import", "app", "--isolation", isolation]);
        for _ in 0..5 {
            assert_eq!(value(&context, "'app.total'"), 99.0 * 99.0);
        }
        let output = worker.stop();
        assert!(!output.contains("warning"), "{output}");
    }
}
