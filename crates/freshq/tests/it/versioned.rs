//! A small application whose jobs tell which version of it they run: what tests of reloading save and ask.

use serde_json::{Value, json};

use crate::context::Context;

const TASKS: &str = "
import os, time
from .version import VERSION

def version():
    return VERSION

def wait_for(path, begun=None):
    if begun:
        open(begun, 'w').close()
    while not os.path.exists(path):
        time.sleep(0.002)
    return VERSION
";

/// The package `app`: `app.tasks` has the jobs, `app/version.py` is what is saved.
pub(crate) fn project() -> Context {
    project_with("")
}

/// The text of `app/tasks.py`, with more in it.
pub(crate) fn tasks(more: &str) -> String {
    format!("{TASKS}{more}")
}

/// One whose `app.tasks` has more in it.
pub(crate) fn project_with(more: &str) -> Context {
    let context = Context::new();
    context.write("app/__init__.py", "");
    context.write("app/tasks.py", &tasks(more));
    context.write("app/version.py", "VERSION = 'v0'\n");
    context
}

/// Runs a job that tells the version; how it ended.
pub(crate) fn run(context: &Context) -> Value {
    context.eval("run('app.tasks.version')")
}

/// The end of such a job.
pub(crate) fn finished(version: &str) -> Value {
    json!(["finished", version])
}
