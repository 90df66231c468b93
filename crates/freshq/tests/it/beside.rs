//! RQ's own worker and freshq's, given the same jobs: each leaves the same to see.

use serde_json::Value;

use crate::context::Context;

/// Runs `rq worker` in a project until its queues are empty; returns what it printed.
pub(crate) fn rq_burst(context: &Context, args: &[&str]) -> String {
    let (status, output) = context.rqs_worker(&[&["--burst"], args].concat()).end();
    assert_eq!(status.code(), Some(0), "{output}");
    output
}

/// Runs `freshq worker` in a project until its queues are empty; returns what it printed.
pub(crate) fn freshq_burst(context: &Context, args: &[&str]) -> String {
    let (status, output) = context.unready_worker(&[&["--burst"], args].concat()).end();
    assert_eq!(status.code(), Some(0), "{output}");
    output
}

/// Evaluates `enqueue`, lets both workers work, each in a world of its own, and evaluates `look`:
/// both must show the same. Returns what that is.
pub(crate) fn same(tasks: &str, args: &[&str], enqueue: &[&str], look: &str) -> Value {
    same_in(Context::new, tasks, args, enqueue, look)
}

/// The same in worlds that `make` makes.
pub(crate) fn same_in(
    make: fn() -> Context,
    tasks: &str,
    args: &[&str],
    enqueue: &[&str],
    look: &str,
) -> Value {
    let see = |work: fn(&Context, &[&str]) -> String| {
        let context = make();
        context.write("app/__init__.py", "");
        context.write("app/tasks.py", tasks);
        for expression in enqueue {
            context.eval(expression);
        }
        let output = work(&context, args);
        (context.eval(look), output)
    };
    let (rq, _) = see(rq_burst);
    let (freshq, output) = see(freshq_burst);
    assert_eq!(freshq, rq, "freshq at the left, rq at the right\n{output}");
    rq
}
