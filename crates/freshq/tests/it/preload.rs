//! Which libraries the base imports, as the user says it.

use serde_json::json;

use crate::context::Context;

/// Whether modules were there before the job, and whether importing them works.
const TASKS: &str = "
import sys

def there(*names):
    return [name in sys.modules for name in names]

def importing(*names):
    before = there(*names)
    for name in names:
        __import__(name)
    return before
";

#[test]
fn what_is_named_is_imported_instead_of_what_was_learned() {
    let context = Context::new();
    context.write("tasks.py", TASKS);
    let worker = context.worker(&["--verbose", "--preload", "plistlib,wave"]);
    assert_eq!(context.eval("run('tasks.there', 'plistlib', 'wave')")[1], json!([true, true]));
    assert_eq!(context.eval("run('tasks.importing', 'colorsys')")[1], json!([false]));
    worker.stop();
    // Learned, but not wanted.
    context.write("pyproject.toml", "[tool.freshq]\npreload = false\n");
    let worker = context.worker(&[]);
    assert_eq!(
        context.eval("run('tasks.there', 'plistlib', 'colorsys')")[1],
        json!([false, false])
    );
    worker.stop();
    fs_err::remove_file(context.path("pyproject.toml")).unwrap();
    let worker = context.worker(&["--preload="]);
    assert_eq!(context.eval("run('tasks.there', 'colorsys')")[1], json!([false]));
    worker.stop();
    let worker = context.worker(&[]);
    assert_eq!(context.eval("run('tasks.there', 'colorsys')")[1], json!([true]), "it was learned");
    worker.stop();
}

#[test]
fn what_is_kept_out_stays_out_also_when_a_library_imports_it() {
    let context = Context::new();
    context.write("tasks.py", TASKS);
    // wave imports audioop or chunk, depending on the Python; plistlib imports xml.
    let args = ["--verbose", "--preload=plistlib,colorsys", "--no-preload", "xml"];
    let worker = context.worker(&args);
    let there = context.eval("run('tasks.there', 'xml', 'plistlib', 'colorsys')");
    assert_eq!(there[1], json!([false, false, true]), "{}", worker.output());
    worker.wait_for("not in the base: plistlib imports xml");
    // Jobs import it all the same.
    assert_eq!(context.eval("run('tasks.importing', 'plistlib')")[0], json!("finished"));
    worker.stop();
}

#[test]
fn code_of_the_user_is_never_in_the_base() {
    let context = Context::new();
    context.write("tasks.py", "def value():\n    return 1\n");
    let worker = context.worker(&["--reload", "--preload", "tasks,nowhere"]);
    let output = worker.output();
    assert!(output.contains("tasks (it is code of yours"), "{output}");
    assert!(output.contains("nowhere (ModuleNotFoundError"), "{output}");
    assert_eq!(context.eval("run('tasks.value')"), json!(["finished", 1]));
    context.write("tasks.py", "def value():\n    return 2\n");
    assert_eq!(context.eval("run('tasks.value')"), json!(["finished", 2]));
    worker.stop();
}

/// Each import of this module leaves a mark.
const MARKING: &str = "
import time
from rq import get_current_job

with open('imports', 'a') as marks:
    marks.write('x')

def wait_for(key):
    redis = get_current_job().connection
    redis.set('begun', 1)
    while not redis.exists(key):
        time.sleep(0.002)
";

#[test]
fn what_is_learned_during_a_stop_is_for_the_next_worker() {
    let context = Context::new();
    context.write("marking.py", MARKING);
    let worker = context.worker(&[]);
    let id = context.eval("enqueue('marking.wait_for', 'go')");
    context.wait_until("r.exists('begun') == 1");
    worker.signal(rustix::process::Signal::TERM);
    worker.wait_for("warm shutdown");
    context.eval("r.set('go', 1)");
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(context.eval(&format!("status({id})")), "finished", "{output}");
    assert_eq!(fs_err::read_to_string(context.path("imports")).unwrap(), "x", "{output}");
    let next = context.worker(&[]);
    next.stop();
    assert_eq!(fs_err::read_to_string(context.path("imports")).unwrap(), "xx", "{output}");
}
