//! What the demo shows, in order. Each scene checks what it shows, and fails if it is not so.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::DemoError;
use super::example::{
    BROKEN, DOCUMENTS, Edit, LABEL_AT_FIRST, MENDED, PASSAGE, PASSAGE_DESCRIPTION, YEAR_ADDED,
};
use super::screen::{Colour, duration_text};
use super::stage::Stage;
use super::table::Table;

/// A job of the demo takes less than a second; a cold start of Python on a slow machine some more.
const JOB_SECONDS_MAX: u64 = 90;
/// From a save until a job runs the new code: tens of milliseconds, if all is well.
const SWITCH_SECONDS_MAX: u64 = 60;
/// From a broken save until the worker has said so.
const WORD_SECONDS_MAX: u64 = 30;
/// Between two looks at what the worker said.
const LOOK_AGAIN_MS: u64 = 5;
/// Width of a bar at 100 %, where there is room.
const BAR_WIDTH_MAX: usize = 20;
/// What stands beside the bar: the name, and how far it is in words.
const BESIDE_BAR_WIDTH: usize = 58;

/// What happened, for the end.
#[derive(Debug, Default)]
pub(super) struct Tally {
    jobs: usize,
    /// Jobs after a save that still ran older code.
    late_jobs: usize,
    saves: usize,
    /// From each good save until a job ran the new code.
    switches: Vec<Duration>,
}

/// Plays everything.
pub(super) fn play(stage: &mut Stage) -> Result<(), DemoError> {
    let mut tally = Tally::default();
    let pid = stage.worker.pid();
    documents(stage, &mut tally)?;
    edited(stage, &mut tally)?;
    broken(stage, &mut tally)?;
    mended(stage, &mut tally)?;
    stage.check()?;
    summary(stage, &tally, pid);
    Ok(())
}

/// How far the job of one document is.
#[derive(Debug, Default, Clone)]
struct Progress {
    done: u64,
    total: u64,
    found: u64,
    took: Option<Duration>,
}

fn documents(stage: &mut Stage, tally: &mut Tally) -> Result<(), DemoError> {
    stage.screen.heading("1  Three court documents become jobs");
    let mut table = Table::default();
    let mut progress = vec![Progress::default(); DOCUMENTS.len()];
    stage.ask("extract", &[("documents", json!(DOCUMENTS))])?;
    while progress.iter().any(|document| document.took.is_none()) {
        let event = stage.next("the job of a document", JOB_SECONDS_MAX)?;
        let name = event["document"].as_str().unwrap_or_default();
        let Some(place) = DOCUMENTS.iter().position(|document| *document == name) else {
            continue;
        };
        let number = |key: &str| event[key].as_u64().unwrap_or_default();
        let (done, total, found) = (number("done"), number("total"), number("found"));
        progress[place] = Progress { done, total, found, took: None };
        if event.get("error").is_some() || event.get("value").is_some() {
            progress[place].found = table.add(value_of(&event, name)?) as u64;
            let seconds = event["seconds"].as_f64().unwrap_or_default();
            progress[place].took = Some(Duration::from_secs_f64(seconds));
            tally.jobs += 1;
            if !stage.screen.in_place() {
                stage.screen.line(&progress_line(stage, name, &progress[place]));
            }
        }
        let lines = DOCUMENTS.iter().zip(&progress);
        let lines = lines.map(|(name, document)| progress_line(stage, name, document));
        stage.screen.live(&lines.collect::<Vec<_>>());
    }
    stage.worker.hear_out();
    stage.screen.settle();
    stage.screen.gap();
    let dim = |text: &str| stage.screen.paint(Colour::Dim, text);
    for line in table.lines(stage.screen.width(), &dim) {
        stage.screen.line(&line);
    }
    if table.len() == 0 {
        return Err(DemoError::Unexpected { expected: "citations".into(), got: "none".into() });
    }
    Ok(())
}

fn progress_line(stage: &Stage, name: &str, progress: &Progress) -> String {
    let Progress { done, total, found, took } = progress;
    let width = BAR_WIDTH_MAX.min(stage.screen.width().saturating_sub(BESIDE_BAR_WIDTH));
    let filled = if *total == 0 { 0 } else { width * *done as usize / *total as usize };
    let empty = stage.screen.paint(Colour::Dim, &"─".repeat(width - filled));
    let bar = "━".repeat(filled) + &empty;
    if *total == 0 && took.is_none() {
        return format!("{name:<9} {bar}");
    }
    let paragraphs = format!("{done}/{total}");
    let took = took.map_or_else(String::new, |took| format!("in {}", duration_text(took)));
    format!("{name:<9} {bar}  {paragraphs:>5} paragraphs  {found:>3} citations  {took}")
}

fn edited(stage: &mut Stage, tally: &mut Tally) -> Result<(), DemoError> {
    stage.screen.heading("2  A rule is edited while the worker runs");
    let before = cite(stage, tally)?;
    expect(LABEL_AT_FIRST, &before)?;
    stage.worker.hear_out();
    stage.screen.gap();
    let saved = save(stage, tally, &YEAR_ADDED)?;
    let took = wait_for_new_code(stage, tally, &YEAR_ADDED, saved)?;
    stage.worker.hear_out();
    stage.screen.gap();
    stage.screen.fact("before", &before, None);
    show_new_code(stage, "after", &YEAR_ADDED, took);
    Ok(())
}

fn broken(stage: &mut Stage, tally: &mut Tally) -> Result<(), DemoError> {
    stage.screen.heading("3  The next save is broken: a quotation mark is missing");
    let printed = stage.worker.printed_count();
    let line = BROKEN.file.to_owned() + ":";
    save(stage, tally, &BROKEN)?;
    let label = cite(stage, tally)?;
    expect(BROKEN.label, &label)?;
    wait_for_word(stage, printed, &line)?;
    stage.worker.hear_out();
    stage.screen.gap();
    let good = stage.screen.paint(Colour::Green, "the job succeeded, on the last good code");
    stage.screen.fact("job", &good, None);
    stage.screen.fact("", &label, None);
    let pid = stage.worker.pid();
    stage.screen.fact("worker", &format!("up, still process {pid}"), None);
    Ok(())
}

fn mended(stage: &mut Stage, tally: &mut Tally) -> Result<(), DemoError> {
    stage.screen.heading("4  The quotation mark is added");
    let saved = save(stage, tally, &MENDED)?;
    let took = wait_for_new_code(stage, tally, &MENDED, saved)?;
    stage.worker.hear_out();
    stage.screen.gap();
    show_new_code(stage, "now", &MENDED, took);
    Ok(())
}

fn show_new_code(stage: &Stage, topic: &str, edit: &Edit, took: Duration) {
    stage.screen.fact(topic, edit.label, None);
    let text = format!("{} from the save to the first result of the new code", duration_text(took));
    stage.screen.fact("fresh", &stage.screen.paint(Colour::Green, &text), None);
}

/// Saves a change and shows it as a difference. Returns when that was.
fn save(stage: &mut Stage, tally: &mut Tally, edit: &Edit) -> Result<Instant, DemoError> {
    let line = edit.place(&stage.folders.application)?;
    let screen = &stage.screen;
    screen.fact("save", &format!("{}, line {line}", edit.file), None);
    screen.fact("", &screen.paint(Colour::Red, &format!("- {}", edit.before)), None);
    screen.fact("", &screen.paint(Colour::Green, &format!("+ {}", edit.after)), None);
    screen.gap();
    tally.saves += 1;
    edit.save(&stage.folders.application)?;
    Ok(Instant::now())
}

/// Enqueues jobs until one runs the new code; with freshq that is the first one.
fn wait_for_new_code(
    stage: &mut Stage,
    tally: &mut Tally,
    edit: &Edit,
    saved: Instant,
) -> Result<Duration, DemoError> {
    loop {
        let label = cite(stage, tally)?;
        let took = saved.elapsed();
        if label == edit.label {
            tally.switches.push(took);
            return Ok(took);
        }
        tally.late_jobs += 1;
        if Duration::from_secs(SWITCH_SECONDS_MAX) < took {
            expect(edit.label, &label)?;
        }
    }
}

/// Waits until the worker has printed the place of the error.
fn wait_for_word(stage: &mut Stage, printed: usize, text: &str) -> Result<(), DemoError> {
    let deadline = Instant::now() + Duration::from_secs(WORD_SECONDS_MAX);
    while stage.worker.printed_since(printed, text).is_none() {
        stage.check()?;
        if deadline <= Instant::now() {
            let what = "the worker's word about the broken file";
            return Err(DemoError::TooLate { what, seconds: WORD_SECONDS_MAX });
        }
        thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
    }
    Ok(())
}

/// Runs a small job and returns how the citation in it is listed.
fn cite(stage: &mut Stage, tally: &mut Tally) -> Result<String, DemoError> {
    let arguments = [("passage", json!(PASSAGE)), ("description", json!(PASSAGE_DESCRIPTION))];
    stage.ask("cite", &arguments)?;
    let event = stage.next("a job", JOB_SECONDS_MAX)?;
    tally.jobs += 1;
    let labels = value_of(&event, "passage")?;
    Ok(labels[0].as_str().unwrap_or_default().to_owned())
}

fn value_of<'a>(event: &'a Value, job: &str) -> Result<&'a Value, DemoError> {
    match event["error"].as_str() {
        Some(error) => Err(DemoError::JobFailed { job: job.to_owned(), error: error.to_owned() }),
        None => Ok(&event["value"]),
    }
}

fn expect(expected: &str, got: &str) -> Result<(), DemoError> {
    if expected == got {
        return Ok(());
    }
    Err(DemoError::Unexpected { expected: expected.to_owned(), got: got.to_owned() })
}

fn summary(stage: &Stage, tally: &Tally, pid: u32) {
    let Tally { jobs, late_jobs, saves, switches } = tally;
    // A job that fails or a worker that ends would have ended the demo.
    let (failures, restarts) = (0, usize::from(pid != stage.worker.pid()));
    let times: Vec<String> = switches.iter().copied().map(duration_text).collect();
    let screen = &stage.screen;
    screen.heading("What happened");
    screen.fact(
        "jobs",
        &format!("{jobs} run, {failures} failed, {late_jobs} on old code after a save"),
        None,
    );
    screen.fact("saves", &format!("{saves}, one of them broken"), None);
    screen.fact(
        "fresh",
        &format!("{} from a save to the result of the new code", times.join(" and ")),
        None,
    );
    screen.fact("worker", &format!("{restarts} restarts"), None);
}
