//! A hundred saves under a full queue: nothing is lost, killed, failed or run twice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::context::Context;
use crate::processes::{children, wait_until};

const SAVES: usize = 100;
const JOBS: usize = 400;
/// A hundred saves take ten seconds.
const BETWEEN: Duration = Duration::from_millis(100);

const TASKS: &str = "
import os, time
from .version import VERSION
from .other import OTHER

def note(number):
    assert VERSION == OTHER or VERSION == OTHER + 1, (VERSION, OTHER)
    time.sleep(number % 7 * 0.004)
    with open('ran', 'a') as file:
        file.write(f'{number} {VERSION}\\n')
    return VERSION
";

/// What jobs have noted: how often each ran, and on which version.
fn ran(context: &Context) -> BTreeMap<usize, Vec<usize>> {
    let text = fs_err::read_to_string(context.path("ran")).expect("jobs ran");
    let mut ran = BTreeMap::<usize, Vec<usize>>::new();
    for line in text.lines() {
        let (number, version) = line.split_once(' ').expect("two words");
        ran.entry(number.parse().expect("a number"))
            .or_default()
            .push(version.parse().expect("a number"));
    }
    ran
}

#[test]
fn a_storm_of_saves_costs_no_job_and_ends_with_the_newest_code() {
    let context = Context::with_tasks(TASKS);
    context.write("app/version.py", "VERSION = 0\n");
    context.write("app/other.py", "OTHER = 0\n");
    let worker = context.worker(&["--reload", "--import", "app.tasks", "--num-workers", "4"]);
    context.eval(&format!("[enqueue('app.tasks.note', n) for n in range({})] and None", JOBS / 2));
    for n in 1..=SAVES {
        // Two files, one in place and one renamed: a change that is half done half of the time.
        context.write("app/version.py", &format!("VERSION = {n}\n"));
        context.replace("app/other.py", &format!("OTHER = {n}\n"));
        context.eval(&format!(
            "[enqueue('app.tasks.note', n) for n in ({}, {})] and None",
            JOBS / 2 + 2 * n - 2,
            JOBS / 2 + 2 * n - 1
        ));
        std::thread::sleep(BETWEEN);
    }
    let last = context.eval(&format!("run('app.tasks.note', {JOBS})"));
    assert_eq!(last, json!(["finished", SAVES]), "{}", worker.output());
    context.wait_until(
        "[queue().count, StartedJobRegistry(queue=queue()).count, FailedJobRegistry(queue=queue()).count] == [0, 0, 0]",
    );
    let ran = ran(&context);
    assert_eq!(ran.len(), JOBS + 1, "none is lost");
    for (number, versions) in &ran {
        assert_eq!(versions.len(), 1, "job {number} ran on {versions:?}");
        // A job that was enqueued after a save has it.
        let since = (number.saturating_sub(JOBS / 2) / 2 + 1) * usize::from(JOBS / 2 <= *number);
        assert!(since.min(SAVES) <= versions[0], "job {number} ran on {versions:?}");
    }
    // What serves, and the one before it, which sleeps.
    let base = children(worker.pid())[0];
    wait_until("older generations end", || children(base).len() <= 2);
    let output = worker.stop();
    assert!(output.contains(&format!("{} finished, 0 failed", JOBS + 1)), "{output}");
    assert!(!output.contains("  died ") && !output.contains("  broken "), "{output}");
}
