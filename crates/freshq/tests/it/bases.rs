//! A base that keeps dying is replaced after pauses, and not for ever; what is loaded serves on.

use std::collections::BTreeSet;

use serde_json::json;

use crate::context::{Context, Worker};
use crate::processes::{children, kill, wait_until};
use crate::versioned::{finished, project, run};

fn worker(context: &Context, args: &[&str]) -> Worker {
    context.worker(&[&["--import", "app.tasks"], args].concat())
}

/// Kills the bases of a worker, one after the other.
struct Bases<'a> {
    worker: &'a Worker,
    /// Those that were killed, and what they leave: their generation becomes the worker's child.
    others: BTreeSet<i32>,
}

impl<'a> Bases<'a> {
    fn of(worker: &'a Worker) -> Self {
        Self { worker, others: BTreeSet::new() }
    }

    fn newest(&self) -> Option<i32> {
        children(self.worker.pid()).into_iter().find(|pid| !self.others.contains(pid))
    }

    fn kill_newest(&mut self) {
        wait_until("a base", || self.newest().is_some());
        let base = self.newest().expect("a base");
        self.others.extend(children(base));
        self.others.insert(base);
        kill(base);
    }
}

#[test]
fn a_base_that_dies_too_often_waits_for_the_next_save_while_what_is_loaded_serves() {
    let context = project();
    let worker = worker(&context, &["--reload", "--max-restarts", "1"]);
    let mut bases = Bases::of(&worker);
    for said in ["the base ended; another is started", "2 bases died in a row; the next save"] {
        bases.kill_newest();
        worker.wait_for(said);
        assert_eq!(run(&context), finished("v0"));
    }
    context.write("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(run(&context), finished("v1"), "{}", worker.output());
    // The save has begun another row.
    bases.kill_newest();
    worker.wait_for_times("the base ended; another is started", 2);
    assert_eq!(run(&context), finished("v1"));
    worker.stop();
}

#[test]
fn a_base_that_dies_again_is_replaced_after_a_pause() {
    let context = project();
    let worker = worker(&context, &["--reload"]);
    let mut bases = Bases::of(&worker);
    bases.kill_newest();
    worker.wait_for("the base ended; another is started");
    bases.kill_newest();
    worker.wait_for("the base ended again; the next attempt is in 1.");
    wait_until("another base", || bases.newest().is_some());
    context.write("app/version.py", "VERSION = 'v1'\n");
    assert_eq!(run(&context), finished("v1"), "{}", worker.output());
    worker.stop();
}

#[test]
fn a_base_that_dies_too_often_ends_a_worker_that_looks_for_no_save_after_its_job() {
    let context = project();
    let worker = worker(&context, &["--max-restarts", "0"]);
    let (gate, begun) = (context.path("gate"), context.path("begun"));
    let job = format!("enqueue('app.tasks.wait_for', '{}', '{}')", gate.display(), begun.display());
    let id = context.eval(&job);
    wait_until("the job begins", || begun.exists());
    Bases::of(&worker).kill_newest();
    worker.wait_for("a base died; no further attempt is made");
    fs_err::write(&gate, "").unwrap();
    let (status, output) = worker.end();
    assert_eq!(status.code(), Some(8), "{output}");
    assert_eq!(context.eval(&format!("end({id})")), json!(["finished", "v0"]), "{output}");
}
