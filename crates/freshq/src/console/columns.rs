//! freshq's own layout: time, what, about what, details. One calm line for what happens.
//!
//! Where RQ has words for it they are RQ's, because people and their tools look for them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use supervisor::event::{Event, Failure, JobEnd};
use supervisor::input::StopCause;
use supervisor::shutdown::Phase;

use super::{Colour, Level, generations, rq_words};

/// Files that are named in one line; the rest is counted.
const NAMES_MAX: usize = 3;
/// What is said about one event.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) level: Level,
    pub(super) colour: Colour,
    pub(super) verb: &'static str,
    pub(super) text: String,
    /// Lines below it.
    pub(super) more: Vec<String>,
}

/// Turns events into records.
#[derive(Debug)]
pub(super) struct Columns {
    /// Paths below this folder are shown without it.
    pub(super) here: PathBuf,
    pub(super) threshold: Level,
    pub(super) describes_jobs: bool,
}

pub(super) fn info(colour: Colour, verb: &'static str, text: impl Into<String>) -> Record {
    Record { level: Level::Info, colour, verb, text: text.into(), more: Vec::new() }
}

fn debug(verb: &'static str, text: impl Into<String>) -> Record {
    Record { level: Level::Debug, ..info(Colour::Dim, verb, text) }
}

pub(super) fn wrong(level: Level, verb: &'static str, text: impl Into<String>) -> Record {
    Record { level, colour: Colour::Red, verb, text: text.into(), more: Vec::new() }
}

impl Columns {
    /// What is to be said about an event; none if there is nothing to say.
    pub(super) fn record(&self, event: &Event) -> Option<Record> {
        Some(match event {
            Event::Decided { topic, choice, why } => {
                info(Colour::Plain, topic, format!("{choice}  {why}"))
            }
            Event::Listening { workers, queues } => {
                let who = match workers.as_slice() {
                    [worker] => format!("worker {worker}"),
                    _ => format!("{} workers", workers.len()),
                };
                info(Colour::Green, "ready", format!("{who}: {}", rq_words::listening(queues)))
            }
            Event::JobBegun { job, description, queue, generation, first_after, .. } => {
                let call = rq_words::job(queue, job, self.described(description));
                let first = first_after.map_or(String::new(), |after| {
                    format!(", its first job, {} after it served", millis(after))
                });
                info(Colour::Dim, "job", format!("{call}  generation {generation}{first}"))
            }
            Event::JobEnded { .. } => self.job_ended(event)?,
            Event::JobReleased { job, why } => {
                info(Colour::Yellow, "released", format!("{job} is back in its queue: {why}"))
            }
            Event::ChangeSeen { .. }
            | Event::GenerationServing(_)
            | Event::GenerationBroken(_)
            | Event::CanaryBegun { .. }
            | Event::CanaryPassed(_)
            | Event::CanaryFailed { .. }
            | Event::RolledBack { .. }
            | Event::GenerationDied { .. }
            | Event::JobUnknown { .. }
            | Event::GivenUp { .. } => generations::record(self, event)?,
            // Of all workers together, the last line says why.
            Event::Stopping { phase: Phase::Running, .. } | Event::WorkerEnded { .. } => {
                return None;
            }
            Event::BaseReady { .. } | Event::PackagesChanged { .. } => libraries(event)?,
            Event::RedisLost { error } => {
                let text = format!("lost: {error}; trying again until it is back");
                wrong(Level::Error, "redis", text)
            }
            Event::RedisBack { after } => {
                wrong(Level::Warning, "redis", format!("back after {}", millis(*after)))
            }
            Event::Registered { worker } => {
                info(Colour::Yellow, "redis", format!("worker {worker} registered again"))
            }
            Event::Suspended(true) => info(Colour::Yellow, "suspended", "until `rq resume`"),
            Event::Suspended(false) => info(Colour::Green, "resumed", ""),
            Event::SchedulerLocked { queue } => {
                info(Colour::Dim, "scheduler", rq_words::scheduler_locked(queue))
            }
            Event::CleaningRegistries { queue, .. } => {
                debug("cleaning", format!("the registries of queue {queue}"))
            }
            Event::CleaningGroups => debug("cleaning", "groups"),
            Event::JobGivenUp { job, how, text } => {
                wrong(Level::Warning, "abandoned", rq_words::given_up(job, *how, text))
            }
            Event::Warning(text) => wrong(Level::Warning, "warning", text),
            Event::Detail(text) => debug("", text),
            Event::WorkerStopping { .. }
            | Event::WorkerReplaced { .. }
            | Event::Stopping { .. }
            | Event::Stopped { .. } => ending(event)?,
        })
    }

    fn described<'a>(&self, description: &'a str) -> Option<&'a str> {
        self.describes_jobs.then_some(description)
    }

    fn job_ended(&self, event: &Event) -> Option<Record> {
        let Event::JobEnded { job, queue, how, took, result_ttl, .. } = event else { return None };
        Some(match how {
            JobEnd::Finished => {
                let ok = rq_words::job_ok(queue, job);
                // Said only where it is not what everybody expects.
                let kept = if 0 < *result_ttl {
                    String::new()
                } else {
                    format!("; {}", rq_words::lifespan(*result_ttl))
                };
                info(Colour::Green, "done", format!("{ok}  {}{kept}", millis(*took)))
            }
            JobEnd::Failed(failure) => self.job_failed("failed", job, failure, ""),
            JobEnd::Retried { failure: Some(failure), left, .. } => {
                let retries = if *left == 1 { "retry" } else { "retries" };
                let rest = format!("; will run again, {left} {retries} left");
                self.job_failed("retry", job, failure, &rest)
            }
            JobEnd::Retried { failure: None, left, due } => {
                info(Colour::Yellow, "retry", rq_words::retried(job, *left, *due))
            }
            JobEnd::Requeued { failure, left } => {
                let rest = format!("; {}", rq_words::requeued(*left));
                self.job_failed("requeued", job, failure, &rest)
            }
            JobEnd::Repeated { left } => {
                let (ok, again) = (rq_words::job_ok(queue, job), rq_words::repeated(job, *left));
                info(Colour::Green, "done", format!("{ok}  {}; {again}", millis(*took)))
            }
            JobEnd::Stopped => {
                let what = rq_words::stopped(job);
                info(Colour::Yellow, "stopped", format!("{what}, after {}", millis(*took)))
            }
            JobEnd::Gone => {
                info(Colour::Yellow, "gone", format!("job {job} was deleted while it ran"))
            }
        })
    }

    fn job_failed(
        &self,
        verb: &'static str,
        job: &rq::JobId,
        failure: &Failure,
        rest: &str,
    ) -> Record {
        let place = failure
            .place
            .as_ref()
            .map_or(String::new(), |place| format!(" at {}", self.short(Path::new(place))));
        let (level, what) = rq_words::failed(job, failure);
        let text = match &failure.raised_in {
            Some(_) => format!("{what}: {}{place}{rest}", failure.summary),
            None => format!("{what}{rest}"),
        };
        let more = failure.raised_in.as_ref().map(|_| lines(&failure.traceback));
        Record { more: more.unwrap_or_default(), ..wrong(level, verb, text) }
    }

    pub(super) fn files<'a>(&self, files: impl ExactSizeIterator<Item = &'a PathBuf>) -> String {
        some(files.map(|file| self.short(file)))
    }

    pub(super) fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.here) {
            Ok(below) if below.as_os_str().is_empty() => ".".to_owned(),
            Ok(below) => below.display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }
}

/// The first few, and how many more there are.
fn some<T: AsRef<str>>(names: impl ExactSizeIterator<Item = T>) -> String {
    let rest = names.len().saturating_sub(NAMES_MAX);
    let names: Vec<_> = names.take(NAMES_MAX).collect();
    let shown = names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if rest == 0 { shown } else { format!("{shown} and {rest} more") }
}

pub(super) fn lines(text: &str) -> Vec<String> {
    text.trim_end().lines().map(str::to_owned).collect()
}

/// About what is not the user's own code.
fn libraries(event: &Event) -> Option<Record> {
    Some(match event {
        Event::BaseReady { libraries, took } if 0 < *libraries => {
            let text = format!("{libraries} library modules imported in {}", millis(*took));
            info(Colour::Dim, "base", text)
        }
        Event::PackagesChanged { changes } => {
            let text = format!("{}: what imported them is renewed", some(changes.iter()));
            info(Colour::Cyan, "packages", text)
        }
        _ => return None,
    })
}

/// About the end of workers.
fn ending(event: &Event) -> Option<Record> {
    Some(match event {
        Event::WorkerStopping { worker, phase, cause } => {
            let cause = match cause {
                StopCause::Command => "by a command",
                StopCause::Signal => "by a signal",
                StopCause::Overdue => "which has taken too long",
            };
            if *phase < Phase::Overdue {
                info(Colour::Yellow, "stopping", format!("worker {worker}, {cause}"))
            } else {
                let text = format!("worker {worker} and its job, {cause}");
                wrong(Level::Warning, "stopping", text)
            }
        }
        Event::WorkerReplaced { worker, by } => {
            info(Colour::Yellow, "replaced", format!("worker {worker} by {by}"))
        }
        Event::Stopping { phase, running } => stopping(*phase, *running),
        Event::Stopped { finished, failed, why } => {
            let text = format!("{why}: {finished} finished, {failed} failed");
            info(Colour::Plain, "stopped", text)
        }
        _ => return None,
    })
}

fn stopping(phase: Phase, running: usize) -> Record {
    let jobs = match running {
        1 => "1 job is running".to_owned(),
        n => format!("{n} jobs are running"),
    };
    let text = match phase {
        Phase::Warm if running == 0 => "warm shutdown: nothing is running".to_owned(),
        Phase::Overdue => format!("warm shutdown takes too long: {jobs} and told to end"),
        Phase::Cold => format!("cold shutdown: {jobs} and will be killed"),
        Phase::Abort => "ended at once".to_owned(),
        Phase::Warm | Phase::Running => {
            format!("warm shutdown: {jobs}, no new ones are taken; a second signal kills")
        }
    };
    info(Colour::Yellow, "stopping", text)
}

/// A duration as people say it.
pub(super) fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    match millis {
        _ if millis < 9.95 => format!("{millis:.1} ms"),
        _ if millis < 999.5 => format!("{millis:.0} ms"),
        _ if millis < 60_000.0 => format!("{:.1} s", millis / 1000.0),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (micros, expected) in [
            (420, "0.4 ms"),
            (9_960, "10 ms"),
            (31_400, "31 ms"),
            (1_240_000, "1.2 s"),
            (75_000_000, "1 min 15 s"),
        ] {
            assert_eq!(millis(Duration::from_micros(micros)), expected);
        }
    }
}
