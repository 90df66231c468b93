//! Functions that fill caches once, for all horses of a generation.

use serde_json::{Value, json};

use crate::context::{Context, Worker};

const TASKS: &str = "
import os
from app import caches

def cache():
    return [caches.CACHE, os.getpid(), os.getppid()]
";

const CACHES: &str = "
import os
CACHE = {}

def fill():
    CACHE['filled'] = ['v0', os.getpid()]

async def fill_too():
    CACHE['too'] = True

class Other:
    @staticmethod
    def fill():
        CACHE['other'] = True
";

fn project() -> Context {
    let context = Context::with_tasks(TASKS);
    context.write("app/caches.py", CACHES);
    context
}

/// What the job finds in the cache, its own process, and its parent.
fn cache(context: &Context) -> (Value, Value, Value) {
    let end = context.eval("run('app.tasks.cache')");
    assert_eq!(end[0], "finished", "{end}");
    (end[1][0].clone(), end[1][1].clone(), end[1][2].clone())
}

fn worker(context: &Context, args: &[&str]) -> Worker {
    context.worker(&[&["--import", "app.tasks", "--warmup", "app.caches:fill"], args].concat())
}

#[test]
fn a_job_finds_what_its_generation_has_filled() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    let (first, _, generation) = cache(&context);
    assert_eq!(first, json!({"filled": ["v0", generation]}), "{}", worker.output());
    let (again, ..) = cache(&context);
    assert_eq!(again, first, "for all horses");
    // New code is warmed up anew, before a job sees it.
    context.write("app/caches.py", &CACHES.replace("v0", "v1"));
    let (new, _, generation) = cache(&context);
    assert_eq!(new, json!({"filled": ["v1", generation]}), "{}", worker.output());
    let output = worker.stop();
    let lines: Vec<_> = output.lines().filter(|line| line.contains("  serving ")).collect();
    assert!(2 <= lines.len(), "{output}");
    assert!(lines.iter().all(|line| line.contains(", warmed up ")), "{output}");
}

#[test]
fn horses_that_run_many_jobs_or_were_never_forked_are_warm_too() {
    let context = project();
    let reusing = worker(&context, &["--isolation", "reuse"]);
    let (filled, _, generation) = cache(&context);
    assert_eq!(filled, json!({"filled": ["v0", generation]}));
    reusing.stop();
    let spawning = worker(&context, &["--isolation", "spawn"]);
    let (filled, process, _) = cache(&context);
    assert_eq!(filled, json!({"filled": ["v0", process]}));
    spawning.stop();
}

#[test]
fn several_are_called_and_their_modules_imported() {
    let context = project();
    context.write(
        "pyproject.toml",
        "[tool.freshq]\nwarmup = ['app.caches:fill_too', 'app.caches:Other.fill']\n",
    );
    let worker = context.worker(&[]);
    let (filled, ..) = cache(&context);
    assert_eq!(filled, json!({"too": true, "other": true}), "a coroutine is run, as RQ does");
    worker.stop();
    let mut command = context.freshq();
    command.args(["worker", "--burst", "--url", &context.redis.url()]);
    command.env("FRESHQ_WARMUP", "app.caches:fill,app.caches:fill_too");
    let id = context.eval("enqueue('app.tasks.cache')");
    let (status, output) = Worker::start(command).end();
    assert_eq!(status.code(), Some(0), "{output}");
    let filled = context.eval(&format!("sorted(end({id})[1][0])"));
    assert_eq!(filled, json!(["filled", "too"]), "the environment goes before the file");
}

#[test]
fn one_that_fails_is_broken_code() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    let (good, ..) = cache(&context);
    for (n, (code, shown)) in [
        ("def fill():\n    1 / 0\n", "app/caches.py:2: ZeroDivisionError: division by zero"),
        ("import sys\ndef fill():\n    sys.exit(3)\n", "app/caches.py:3: SystemExit: 3"),
        (
            "CACHE = {}\n",
            "AttributeError: --warmup app.caches:fill: module app.caches has no function fill",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        context.write("app/caches.py", code);
        worker.wait_for(shown);
        worker.wait_for_times("serves on", n + 1);
        assert_eq!(cache(&context).0, good, "{}", worker.output());
    }
    context.write("app/caches.py", &CACHES.replace("v0", "mended"));
    let (mended, _, generation) = cache(&context);
    assert_eq!(mended, json!({"filled": ["mended", generation]}));
    worker.stop();
}

#[test]
fn without_reloading_one_that_fails_ends_the_worker() {
    let context = project();
    let args = ["--burst", "--warmup", "nowhere.to:be_found"];
    let (status, output) = context.unready_worker(&args).end();
    assert_eq!(status.code(), Some(5), "{output}");
    let said = "ImportError: --warmup nowhere.to:be_found: there is no module nowhere.to";
    assert!(output.contains(said), "{output}");
    let (status, output) = context.unready_worker(&["--warmup", "app.caches.fill"]).end();
    assert_eq!(status.code(), Some(2), "{output}");
    assert!(output.contains("MODULE:FUNCTION"), "{output}");
}
