//! What is said about generations: loaded, broken, on trial, dead, gone back from.

use std::time::Duration;

use supervisor::event::{AfterDeath, Broken, Event, Serving, Steps};
use supervisor::forkserver::reaper;
use supervisor::reload::machine::{GenerationId, RollBackCause};

use super::columns::{Columns, Record, info, lines, millis, wrong};
use super::{Colour, Level};

/// Last lines of the traceback of code that cannot be imported that are shown without `-v`.
const TRACEBACK_LINES: usize = 4;
/// Longest error of broken code in its line, so that what serves now is seen behind it.
const ERROR_CHARS_MAX: usize = 120;

pub(super) fn record(columns: &Columns, event: &Event) -> Option<Record> {
    Some(match event {
        Event::ChangeSeen { files } => info(Colour::Cyan, "changed", columns.files(files.iter())),
        Event::GenerationServing(new) => serving(columns, new),
        Event::GenerationBroken(error) => broken(columns, error),
        Event::JobUnknown { job, generation, error } => {
            let text = format!("{job} is unknown to generation {generation}: {error}");
            info(Colour::Yellow, "offered", text)
        }
        Event::CanaryBegun { .. }
        | Event::CanaryPassed(_)
        | Event::CanaryFailed { .. }
        | Event::RolledBack { .. } => canary_or_rollback(columns, event)?,
        Event::GenerationDied { generation, status, then } => died(*generation, *status, *then),
        Event::GivenUp { what, deaths, waits_for_save } => {
            let count = match deaths {
                1 => format!("a {what} died"),
                count => format!("{count} {what}s died in a row"),
            };
            let then = if *waits_for_save {
                "the next save is waited for"
            } else {
                "no further attempt is made"
            };
            wrong(Level::Error, "given up", format!("{count}; {then}"))
        }
        _ => return None,
    })
}

fn broken(columns: &Columns, broken: &Broken) -> Record {
    let then = broken.serving.map_or("jobs wait until it is mended".to_owned(), |good| {
        format!("generation {good} serves on")
    });
    let (error, generation) = (error(columns, broken), broken.generation);
    let text = format!("{error} (generation {generation}); {then}");
    let mut more = lines(&broken.traceback);
    if Level::Debug < columns.threshold {
        more.drain(..more.len().saturating_sub(TRACEBACK_LINES));
    }
    Record { more, ..wrong(Level::Error, "broken", text) }
}

/// Where code is broken, and why.
pub(super) fn error(columns: &Columns, broken: &Broken) -> String {
    let at = broken.place.as_ref().map_or(String::new(), |(file, line)| {
        let line = line.map_or(String::new(), |line| format!(":{line}"));
        format!("{}{line}: ", columns.short(file))
    });
    // The traceback below has all of it.
    match broken.error.char_indices().nth(ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{at}{}...", &broken.error[..end]),
        None => format!("{at}{}", broken.error),
    }
}

fn died(generation: GenerationId, status: Option<i32>, then: AfterDeath) -> Record {
    let how = status.map_or(String::new(), |raw| format!(" ({})", reaper::describe(raw)));
    let then = match then {
        AfterDeath::Loading => "another is loading".to_owned(),
        AfterDeath::Pause(pause) => format!("the next attempt is in {}", millis(pause)),
        AfterDeath::Serving(serving) => format!("generation {serving} serves"),
        AfterDeath::Nothing => "no other is started".to_owned(),
    };
    wrong(Level::Error, "died", format!("generation {generation} ended{how}; {then}"))
}

fn canary_or_rollback(columns: &Columns, event: &Event) -> Option<Record> {
    Some(match event {
        Event::CanaryBegun { canary, jobs, serving: old } => {
            let others = old.map_or(String::new(), |id| format!(" while {id} serves"));
            let jobs = match jobs {
                1 => "1 job".to_owned(),
                count => format!("{count} jobs, one by one"),
            };
            let Record { text, .. } = serving(columns, canary);
            info(Colour::Cyan, "canary", format!("{text}; it runs {jobs}{others}"))
        }
        Event::CanaryPassed(generation) => {
            info(Colour::Green, "canary", format!("generation {generation} serves all from now on"))
        }
        Event::CanaryFailed { generation, job, error } => {
            let how = error.as_deref().unwrap_or("its process died");
            let text = format!("job {job} failed on generation {generation}: {how}");
            wrong(Level::Error, "canary", text)
        }
        Event::RolledBack { from, to, cause } => {
            let (level, why) = match cause {
                RollBackCause::Requested => (Level::Warning, "as asked for"),
                RollBackCause::Crashed => (Level::Error, "it ended soon after the change"),
                RollBackCause::CanaryFailed => (Level::Error, "it failed as canary"),
            };
            // A second step leads forward again.
            let then = if to < from { "; jobs run older code until the next save" } else { "" };
            wrong(level, "rollback", format!("from generation {from} to {to}: {why}{then}"))
        }
        _ => return None,
    })
}

fn serving(columns: &Columns, serving: &Serving) -> Record {
    let Serving { generation, code_hash, cause, total, .. } = serving;
    let old = match serving.draining {
        0 => String::new(),
        1 => "; 1 job ends on an older one".to_owned(),
        count => format!("; {count} jobs end on older ones"),
    };
    let (colour, took, rest) = if cause.concerns_code() {
        let what = match cause.changed.len() {
            0 => "as asked for".to_owned(),
            _ => columns.files(cause.changed.iter()),
        };
        // How long the user waited, and what for.
        (Colour::Green, *total, format!("{what}{old}; {}", steps(&serving.steps)))
    } else {
        let warmed_up = match serving.steps.warmed_up {
            Duration::ZERO => String::new(),
            took => format!(", warmed up {}", millis(took)),
        };
        let code = match serving.files {
            0 => "nothing imported yet".to_owned(),
            1 => "1 file".to_owned(),
            files => format!("{files} files"),
        };
        (Colour::Dim, serving.steps.imported, format!("{code}{warmed_up}{old}"))
    };
    let took = millis(took);
    let text = format!("generation {generation} in {took}, code {code_hash}: {rest}");
    info(colour, "serving", text)
}

/// How long each step of a reload took, in milliseconds.
pub(super) fn steps(steps: &Steps) -> String {
    let warmed_up = Some(("warmed up", steps.warmed_up)).filter(|(_, took)| !took.is_zero());
    let steps = [
        ("seen", steps.seen),
        ("settled", steps.settled),
        ("forked", steps.forked),
        ("imported", steps.imported),
    ]
    .into_iter()
    .chain(warmed_up)
    .chain([("verified", steps.verified), ("serving", steps.serving)]);
    let text = |(name, took): (&str, Duration)| {
        let millis = took.as_secs_f64() * 1000.0;
        if millis < 9.95 { format!("{name} {millis:.1}") } else { format!("{name} {millis:.0}") }
    };
    format!("{} ms", steps.map(text).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serves_is_seen_behind_a_long_error() {
        let columns = Columns { here: "/app".into(), threshold: Level::Info, describes_jobs: true };
        let broken = Broken {
            generation: GenerationId(2),
            error: "ä".repeat(ERROR_CHARS_MAX + 1),
            traceback: String::new(),
            place: Some(("/app/tasks.py".into(), Some(7))),
            serving: Some(GenerationId(1)),
        };
        let text = super::broken(&columns, &broken).text;
        assert!(text.starts_with("tasks.py:7: ää"), "{text}");
        assert!(text.ends_with("ää... (generation 2); generation 1 serves on"), "{text}");
    }
}
