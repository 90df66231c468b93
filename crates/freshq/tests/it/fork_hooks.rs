//! What Python and libraries have run around a fork: left out where it changes nothing, and nowhere else.

use serde_json::json;

use crate::context::{Context, Worker};

const TASKS: &str = r#"
import logging, os, threading

LOCK = threading._active_limbo_lock
HANDLER = logging.StreamHandler()
ran = []
os.register_at_fork(before=lambda: ran.append("before"), after_in_child=lambda: ran.append("child"))

def in_horse():
    return [ran, threading._active_limbo_lock is LOCK]

def fork():
    """Forks while another thread holds the locks of `logging`; says what is wrong in the child."""
    os.register_at_fork(before=lambda: ran.append("mine"))
    held, done = threading.Event(), threading.Event()
    def hold():
        with HANDLER.lock:
            held.set()
            done.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        free = HANDLER.lock.acquire(blocking=False)
        fresh = threading._active_limbo_lock is not LOCK
        os.write(tell, repr([free, fresh, threading.active_count(), ran]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    done.set()
    thread.join()
    logging.getLogger("after").warning("the lock of logging is free again")
    os.close(tell)
    return os.read(told, 1000).decode()

def fork_twice():
    first = fork()
    ran.clear()
    return [first, fork()]
"#;

fn project(context: &Context) -> Worker {
    context.write("tasks.py", TASKS);
    context.worker(&["--import", "tasks"])
}

#[test]
fn a_horse_runs_the_hooks_of_libraries_and_not_those_for_threads_that_are_not_there() {
    let context = Context::new();
    let worker = project(&context);
    let end = context.eval("run('tasks.in_horse')");
    assert_eq!(end[0], "finished", "{end}");
    let ran = end[1][0].as_array().expect("names");
    assert_eq!(ran.last(), Some(&json!("child")), "{ran:?}");
    assert_eq!(ran.iter().filter(|name| *name == "child").count(), 1, "{ran:?}");
    assert!(ran.contains(&json!("before")), "{ran:?}");
    assert_eq!(end[1][1], true, "the lock was made anew");
    worker.stop();
}

#[test]
fn a_job_that_forks_has_all_hooks() {
    let context = Context::new();
    let worker = project(&context);
    let end = context.eval("run('tasks.fork_twice')");
    assert_eq!(end[0], "finished", "{end}");
    for said in end[1].as_array().expect("two forks") {
        let said = said.as_str().expect("text");
        assert!(said.starts_with("[True, True, 1, ["), "{end}");
        let own = said.find("'mine'").expect("the hook of the job");
        let last = said.rfind("'before'").expect("the hook of its module");
        assert!(own < last && said.ends_with("'child']]"), "{end}");
    }
    assert_eq!(end[1][1].as_str().map(|said| said.matches("'child'").count()), Some(1), "{end}");
    worker.stop();
}
