//! What `freshq status` shows: a block for each worker process, a line for each thing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use supervisor::control::status::{Generation, Jobs, Running, Status};
use supervisor::event::Broken;
use supervisor::reload::machine::Cause;

use super::columns::{Columns, millis};
use super::generations::{self, steps};
use super::{Colour, Level, Printer};

/// Width of the column that says what a line is about.
const ABOUT_WIDTH: usize = 9;
/// Names that are shown; the rest is counted.
const NAMES_MAX: usize = 4;

/// Prints how these are; paths below `here` are shown without it.
pub(crate) fn print(statuses: &[Status], here: &Path, out: &Printer) {
    let now = Timestamp::now().as_millisecond() as f64 / 1000.0;
    for (index, status) in statuses.iter().enumerate() {
        if 0 < index {
            out.line("");
        }
        for line in lines(status, here, now, out) {
            out.line(&line);
        }
    }
}

/// A title, and a line for each thing; `now` in Unix seconds.
pub(super) fn lines(status: &Status, here: &Path, now: f64, out: &Printer) -> Vec<String> {
    // What is below the project of a worker is shown as people there write it.
    let project = PathBuf::from(&status.project);
    let below = if here.starts_with(&project) { here.to_path_buf() } else { project };
    let columns = Columns { here: below, threshold: Level::Info, describes_jobs: true };
    let page = Page { status, now, columns };
    let rows = page.rows().into_iter().map(|(colour, about, text)| {
        let about = out.paint(colour, &format!("{about:<ABOUT_WIDTH$}"));
        format!("  {about}  {text}")
    });
    std::iter::once(page.title()).chain(rows).collect()
}

struct Page<'a> {
    status: &'a Status,
    /// Unix seconds.
    now: f64,
    columns: Columns,
}

type Row = (Colour, &'static str, String);

impl Page<'_> {
    fn title(&self) -> String {
        let Status { pid, project, started_at, .. } = self.status;
        format!("{project}  pid {pid}, since {}", self.since(*started_at))
    }

    fn rows(&self) -> Vec<Row> {
        let status = self.status;
        let workers = format!("{} on {}", names(&status.workers), status.queues.join(", "));
        let mut rows = vec![(Colour::Plain, "workers", workers), self.redis()];
        rows.extend(status.serving.as_ref().map(|serving| self.serving(serving)));
        rows.extend(status.loading.as_ref().map(|loading| {
            let why = self.why(&loading.cause);
            let text = format!(
                "generation {}, for {}: {why}",
                loading.generation,
                self.ago(loading.since)
            );
            (Colour::Cyan, "loading", text)
        }));
        rows.extend(status.broken.as_ref().map(|broken| self.broken(broken)));
        rows.push(self.jobs());
        rows.push(self.watching());
        rows.extend(status.last_reload.as_ref().map(|reload| {
            let steps = steps(&reload.serving.steps);
            let total = millis(reload.serving.total);
            (Colour::Dim, "reload", format!("{} ago, in {total}: {steps}", self.ago(reload.at)))
        }));
        rows
    }

    fn redis(&self) -> Row {
        let redis = &self.status.redis;
        match redis.away_for {
            Some(seconds) => {
                let lasts = duration(seconds);
                (Colour::Red, "redis", format!("{} has not answered for {lasts}", redis.url))
            }
            None => (Colour::Plain, "redis", redis.url.clone()),
        }
    }

    fn serving(&self, serving: &Generation) -> Row {
        let Generation { generation, code_hash, files, since, cause } = serving;
        let files = count(*files, "file", "files");
        let why = self.why(cause);
        let text = format!(
            "generation {generation}, code {code_hash}, {files}, for {}: {why}",
            self.ago(*since)
        );
        (Colour::Green, "serving", text)
    }

    fn broken(&self, broken: &Broken) -> Row {
        let generation = broken.generation;
        (
            Colour::Red,
            "broken",
            format!("generation {generation}: {}", generations::error(&self.columns, broken)),
        )
    }

    fn jobs(&self) -> Row {
        let running = &self.status.running;
        let total = running.iter().fold(0_usize, |sum, running| sum.saturating_add(running.jobs));
        let running = match running.as_slice() {
            [] => "none running".to_owned(),
            [Running { generation, .. }] => format!("{total} running, on generation {generation}"),
            several => {
                let each = several.iter().map(|running| {
                    format!("{} on generation {}", running.jobs, running.generation)
                });
                format!("{total} running: {}", each.collect::<Vec<_>>().join(", "))
            }
        };
        let (colour, new) = match self.status.jobs {
            Jobs::Run => (Colour::Plain, ""),
            Jobs::Wait => (Colour::Cyan, "; new ones wait for the code that is loading"),
            Jobs::Held => (Colour::Red, "; new ones wait until the code is mended"),
            Jobs::Stopping => (Colour::Yellow, "; no new ones: the worker is stopping"),
        };
        (colour, "jobs", format!("{running}{new}"))
    }

    fn watching(&self) -> Row {
        let text = match &self.status.watching {
            Some(watching) => {
                let files = count(watching.files, "file that counts", "files that count");
                let folders: Vec<_> = watching.folders.iter().map(PathBuf::from).collect();
                let folders = self.columns.files(folders.iter());
                let only = watching.only_on.as_ref().map(PathBuf::from);
                let only = only.map(|file| {
                    format!("; reloads when {} changes", self.columns.files([&file].into_iter()))
                });
                format!("{files} in {folders}, by {}{}", watching.how, only.unwrap_or_default())
            }
            None => "off; `freshq reload` loads what is saved".to_owned(),
        };
        (Colour::Plain, "watching", text)
    }

    /// Why a generation was wanted.
    fn why(&self, cause: &Cause) -> String {
        let files = (!cause.changed.is_empty()).then(|| self.columns.files(cause.changed.iter()));
        let reasons = [
            files.map(|files| format!("{files} changed")),
            cause.requested.then(|| "it was asked for".to_owned()),
            cause.learned.then(|| "jobs showed what to import".to_owned()),
            cause.died.then(|| "the one before had died".to_owned()),
        ];
        let reasons: Vec<_> = reasons.into_iter().flatten().collect();
        if reasons.is_empty() { "the first".to_owned() } else { reasons.join(", ") }
    }

    /// A point of time, and how long ago it was.
    fn since(&self, at: f64) -> String {
        format!("{} ({})", clock(at, self.now), self.ago(at))
    }

    fn ago(&self, at: f64) -> String {
        duration(self.now - at)
    }
}

fn names(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        rest => format!("{shown} and {rest} more"),
    }
}

fn count(count: usize, one: &str, several: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {several}") }
}

/// The time of day, with the day if that is another.
fn clock(at: f64, now: f64) -> String {
    let zoned = |seconds: f64| {
        let timestamp = Timestamp::from_millisecond((seconds * 1000.0) as i64).unwrap_or_default();
        timestamp.to_zoned_datetime(TimeZone::system())
    };
    let (at, now) = (zoned(at), zoned(now));
    let format = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    at.strftime(format).to_string()
}

/// A duration that people need not know exactly.
fn duration(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let (minutes, hours) = (duration.as_secs() / 60, duration.as_secs() / 3600);
    match hours {
        _ if minutes == 0 && duration.as_secs() == 0 => millis(duration),
        _ if minutes == 0 => format!("{} s", duration.as_secs()),
        0 => format!("{minutes} min"),
        1..48 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_exact_as_they_need_to_be() {
        for (seconds, expected) in [
            (-1.0, "0.0 ms"),
            (0.25, "250 ms"),
            (1.9, "1 s"),
            (61.0, "1 min"),
            (3_700.0, "1 h 1 min"),
            (200_000.0, "2 days"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn many_names_are_counted() {
        let many: Vec<_> = (1..=6).map(|n| format!("w-{n}")).collect();
        assert_eq!(names(&many), "w-1, w-2, w-3, w-4 and 2 more");
        assert_eq!(names(&many[..1]), "w-1");
    }
}
