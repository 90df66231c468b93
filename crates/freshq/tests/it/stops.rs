//! A worker is stopped at random moments of a load, again and again, and every job is counted each time.
//! `cargo xtask crash-test --stops N` does the same for longer.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::context::Context;
use crate::crash::{TASKS, number};
use crate::dice::Dice;

/// Each of them is stopped each time.
const SLOTS: &str = "4";
const JOBS_PER_STOP: u32 = 12;
/// How long after a start, and how long after it is ready, a stop comes at the latest.
const STARTING_MILLIS: u64 = 600;
const WORKING_MILLIS: u64 = 60;

/// The same code, of other bytes and another meaning.
fn save_code(context: &Context, version: u32) {
    context.write("app/tasks.py", &format!("{TASKS}\nVERSION = {version}\n"));
}

#[test]
fn whenever_a_stop_comes_every_job_ends_once() {
    let stops = number("FRESHQ_CRASH_STOPS", 40) as u32;
    let seed = number("FRESHQ_CRASH_SEED", 0x5eed_0004);
    let context = Context::with_names("crash.py");
    context.write("app/__init__.py", "");
    save_code(&context, 0);
    let mut dice = Dice::new(seed);
    let args = ["--num-workers", SLOTS, "--name", "stops", "--with-scheduler", "--reload"];
    let mut jobs = 0;
    for stop in 1..=stops {
        context.eval(&format!("load({jobs}, {JOBS_PER_STOP})"));
        jobs += JOBS_PER_STOP;
        let worker = context.unready_worker(&args);
        if dice.below(2) == 0 {
            std::thread::sleep(Duration::from_millis(dice.below(STARTING_MILLIS)));
        } else {
            worker.wait_for("  ready ");
            std::thread::sleep(Duration::from_millis(dice.below(WORKING_MILLIS)));
        }
        if dice.below(3) == 0 {
            save_code(&context, stop); // a generation loads meanwhile
            std::thread::sleep(Duration::from_millis(dice.below(20)));
        }
        worker.signal(Signal::TERM);
        let (status, output) = worker.end();
        // Killed by the signal: it had not begun to listen, nor to do anything else.
        let well = status.code() == Some(0) || status.signal() == Some(15);
        assert!(well, "stop {stop}, seed {seed}: {status}\n{output}");
        let wrong = context.eval(&format!("[misplaced({jobs}), left_in_redis()]"));
        assert_eq!(wrong, json!([[], []]), "stop {stop}, seed {seed}\n{output}");
    }
    let worker = context.worker(&args);
    context.wait_until("waiting() == 0");
    let output = worker.stop();
    let count = context.eval(&format!("count_jobs({jobs}, False)"));
    assert_eq!(count["wrong"], json!({}), "seed {seed}: {count}\n{output}");
    // Of all that fails on purpose nothing else is a reason.
    let tally = &count["tally"];
    assert_eq!(tally["failed: as it should"], tally["failed"], "seed {seed}: {count}");
    assert_eq!(context.eval("left_in_redis()"), json!([]));
}
