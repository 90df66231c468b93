//! The promise, many times: a job that was enqueued after a save runs what was saved, and no save costs
//! a job anything. `cargo xtask prove` runs the same with larger numbers.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::context::{Context, Worker};
use crate::dice::Dice;

/// How often code is saved: many times in the suite, more if a number is given.
fn saves(here: u32) -> u32 {
    std::env::var("FRESHQ_PROOF_SAVES").map_or(here, |text| text.parse().expect("a number"))
}

/// For somebody who waits for a long run.
fn show_progress(number: u32) {
    if number.is_multiple_of(500) {
        std::io::stderr().write_all(format!("  {number} saves\n").as_bytes()).expect("a stream");
    }
}

/// What a long run was.
fn show_sum(saves: u32, jobs: u64, output: &str) {
    let count = |what: &str| output.lines().filter(|line| line.contains(what)).count();
    let (served, broken) = (count("  serving    generation "), count("  broken     "));
    let text = format!(
        "  {saves} saves, {jobs} jobs, all finished; {served} generations served, {broken} were broken\n"
    );
    if std::env::var("FRESHQ_PROOF_SAVES").is_ok() {
        std::io::stderr().write_all(text.as_bytes()).expect("a stream");
    }
}

/// What is saved, and where a job sees it: a module, a package, a data file, a module in a folder that
/// was made a moment before.
const PLACES: [&str; 4] = ["app/module.py", "app/package/__init__.py", "app/data.txt", ""];

const TASKS: &str = r#"
import pathlib, time
from . import module, package, newest

DATA = int(pathlib.Path(__file__).with_name("data.txt").read_text())

# Here, so that half of a save is broken code: a package without its `__init__` can be imported all the same.
SAVED = [module.VALUE, package.VALUE, DATA, newest.VALUE]

def saved():
    return SAVED

def busy(seconds):
    time.sleep(seconds)

def work(log, number, seconds):
    with open(log, "a") as file:
        file.write(f"+{number}\n")
    time.sleep(seconds)
    with open(log, "a") as file:
        file.write(f"-{number}\n")
"#;

fn project() -> Context {
    let context = Context::with_tasks(TASKS);
    context.write("app/data.txt", "00000");
    for module in ["app/module.py", "app/package/__init__.py", "app/newest.py"] {
        context.write(module, "VALUE = int('00000')\n");
    }
    context
}

fn worker(context: &Context, on_broken: &str) -> Worker {
    context.worker(&[
        "--reload",
        "--on-broken",
        on_broken,
        "--num-workers",
        "3",
        "--import",
        "app.tasks",
        "--watch-include",
        "**/*.txt",
    ])
}

/// Saves `number` in one of the places, in one of the ways in which files are saved. All texts of a place
/// have the same length, and many are written within one second: what a `.pyc` cannot tell apart.
fn save(context: &Context, dice: &mut Dice, number: u32) -> usize {
    let place = dice.below(PLACES.len() as u64) as usize;
    let text = match place {
        2 => format!("{number:05}"),
        _ => format!("VALUE = int('{number:05}')\n"),
    };
    let name = PLACES[place];
    match (place, dice.below(5)) {
        (3, _) => {
            context.write(&format!("app/folder{number:05}/deep/value.py"), &text);
            let import = format!("from .folder{number:05}.deep.value import VALUE\n");
            context.replace("app/newest.py", &import);
        }
        (_, 0) => context.write(name, &text),
        (_, 1) => context.replace(name, &text),
        (_, 2) => {
            fs_err::remove_file(context.path(name)).expect("it is there");
            context.write(name, &text);
        }
        (_, 3) => drop(context.eval(&format!("pathlib.Path({name:?}).write_text({text:?})"))),
        (_, _) => {
            let script = format!("printf '%s' \"$0\" > '{name}~'; mv '{name}~' '{name}'");
            let mut shell = Command::new("sh");
            shell.args(["-c", &script, &text]).current_dir(context.project.path());
            assert!(shell.status().expect("a shell").success());
        }
    }
    place
}

#[test]
fn a_job_enqueued_after_a_save_runs_the_new_code_without_any_pause() {
    let context = project();
    // The next save may be half done when a job is taken; then the job is to wait, not to run older code.
    let worker = worker(&context, "hold");
    let mut dice = Dice::new(0x5eed_0001);
    let mut newest = [0; PLACES.len()];
    // Jobs that are on their way, and what was saved before each was enqueued.
    let mut on_their_way = VecDeque::new();
    let saves = saves(1000);
    let mut jobs = 0;
    let check = |(id, least): (Value, [u32; PLACES.len()])| {
        let end = context.eval(&format!("end({id})"));
        let seen: Vec<u32> = serde_json::from_value(end[1].clone())
            .unwrap_or_else(|_| panic!("{end}\n{}", worker.output()));
        let fresh = seen.iter().zip(least).all(|(seen, least)| least <= *seen);
        assert!(fresh, "saved {least:?}, the job saw {seen:?}\n{}", worker.output());
    };
    for number in 1..=saves {
        show_progress(number);
        let place = save(&context, &mut dice, number);
        newest[place] = number;
        let id = context.eval("enqueue('app.tasks.saved')");
        on_their_way.push_back((id, newest));
        jobs += 1;
        if dice.below(4) == 0 {
            context.eval("enqueue('app.tasks.busy', 0.02)");
            jobs += 1;
        }
        if dice.below(3) < on_their_way.len() as u64 {
            on_their_way.pop_front().into_iter().for_each(check);
        }
    }
    on_their_way.into_iter().for_each(check);
    context.wait_until("[queue().count, StartedJobRegistry(connection=r).count] == [0, 0]");
    let output = worker.stop();
    assert!(output.contains(&format!("{jobs} finished, 0 failed")), "{output}");
    show_sum(saves, jobs, &output);
}

#[test]
fn whatever_is_saved_each_job_is_run_exactly_once() {
    let context = project();
    let worker = worker(&context, "keep");
    let log = context.path("log");
    let mut dice = Dice::new(0x5eed_0002);
    let saves = saves(60);
    let mut jobs = 0;
    for number in 1..=saves {
        show_progress(number);
        for _ in 0..dice.below(4) {
            let milliseconds = [0, 1, 5, 20, 60][dice.below(5) as usize];
            context.eval(&format!(
                "enqueue('app.tasks.work', {log:?}, {jobs}, {milliseconds} / 1000).__len__()"
            ));
            jobs += 1;
        }
        match dice.below(4) {
            0 => context.write("app/module.py", "VALUE = (\n"),
            1 => context.write("app/module.py", "raise RuntimeError('half done')\n"),
            _ => {}
        }
        for _ in 0..=dice.below(2) {
            save(&context, &mut dice, number);
        }
        // Else this would only be a longer and longer queue.
        context.wait_until("queue().count < 20");
    }
    context.write("app/module.py", "VALUE = int('99999')\n");
    let end = context.eval("run('app.tasks.saved')");
    assert_eq!(end[1][0], json!(99999), "{}", worker.output());
    context.wait_until("StartedJobRegistry(connection=r).count == 0");
    let output = worker.stop();
    assert!(output.contains(&format!("{} finished, 0 failed", jobs + 1)), "{output}");
    let mut expected = String::new();
    (0..jobs).for_each(|job| writeln!(expected, "+{job}").unwrap());
    (0..jobs).for_each(|job| writeln!(expected, "-{job}").unwrap());
    let log = fs_err::read_to_string(log).unwrap();
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&log), sorted(&expected), "each job begins and ends once");
    show_sum(saves, jobs + 1, &output);
}
