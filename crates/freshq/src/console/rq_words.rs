//! What RQ's own worker says, to the letter: people and their tools match on it.
//!
//! [`lines`] is all of it, for those who ask for RQ's lines (`--log-style rq`); the phrases
//! are part of freshq's own layout too.

use std::time::Duration;

use rq::{Finished, JobId, QueueName, WorkerName};
use supervisor::event::{Event, Failure, JobEnd, WorkerEnd};
use supervisor::input::StopCause;
use supervisor::shutdown::Phase;

use super::Level;

/// RQ's lines for an event; none where RQ has no words for it.
pub(super) fn lines(event: &Event, describes_jobs: bool) -> Option<Vec<(Level, String)>> {
    let info = |text: String| Some(vec![(Level::Info, text)]);
    match event {
        Event::Listening { workers, queues } => {
            let pid = std::process::id();
            let mut lines: Vec<_> = workers
                .iter()
                .map(|worker| format!("Worker {worker}: started with PID {pid}"))
                .collect();
            lines.push(listening(queues));
            Some(lines.into_iter().map(|line| (Level::Info, line)).collect())
        }
        Event::JobBegun { worker, job: id, description, queue, .. } => {
            let what = job(queue, id, describes_jobs.then_some(description));
            info(format!("Worker {worker}: {what}"))
        }
        Event::JobEnded { .. } => job_ended(event, describes_jobs),
        Event::SchedulerLocked { queue } => info(scheduler_locked(queue)),
        Event::CleaningRegistries { worker, queue } => {
            info(format!("Worker {worker}: cleaning registries for queue: {queue}"))
        }
        Event::CleaningGroups => info("cleaning group registries".to_owned()),
        Event::JobGivenUp { job, how, text } => {
            Some(vec![(Level::Warning, given_up(job, *how, text))])
        }
        Event::Suspended(true) => info("suspended, run `rq resume` to resume".to_owned()),
        Event::WorkerStopping { worker, phase: Phase::Warm, cause } => info(match cause {
            StopCause::Command => {
                format!("Worker {worker}: Received shutdown command, sending SIGINT signal.")
            }
            _ => format!("Worker {worker}: warm shut down requested"),
        }),
        Event::WorkerEnded { worker, end } => info(format!("Worker {worker}: {}", ended(*end))),
        Event::Stopping { phase: Phase::Warm, .. } => {
            info(format!("[PID {}]: warm shut down requested", std::process::id()))
        }
        Event::Stopping { phase: Phase::Cold, .. }
        | Event::WorkerStopping { phase: Phase::Cold, .. } => {
            Some(vec![(Level::Warning, "cold shut down".to_owned())])
        }
        _ => None,
    }
}

pub(super) fn listening(queues: &[QueueName]) -> String {
    let names: Vec<_> = queues.iter().map(QueueName::as_str).collect();
    format!("*** Listening on {}...", names.join(", "))
}

pub(super) fn job(queue: &QueueName, id: &JobId, description: Option<&str>) -> String {
    match description {
        Some(description) => format!("{queue}: {description} ({id})"),
        None => format!("{queue}: {id}"),
    }
}

pub(super) fn job_ok(queue: &QueueName, id: &JobId) -> String {
    format!("{queue}: Job OK ({id})")
}

pub(super) fn scheduler_locked(queue: &QueueName) -> String {
    format!("Acquired scheduler lock for {queue}")
}

fn ended(end: WorkerEnd) -> String {
    match end {
        WorkerEnd::Stopped => "stopping on request".to_owned(),
        WorkerEnd::Drained => "done, quitting".to_owned(),
        WorkerEnd::Suspended => "suspended in burst mode, exiting".to_owned(),
        WorkerEnd::MaxIdleTime(most) => format!("idle for {} seconds, quitting", most.as_secs()),
        WorkerEnd::MaxJobs(run) => format!("finished executing {run} jobs, quitting"),
    }
}

fn job_ended(event: &Event, describes_jobs: bool) -> Option<Vec<(Level, String)>> {
    let Event::JobEnded { worker, job, queue, description, how, took, result_ttl } = event else {
        return None;
    };
    let subject = if describes_jobs { format!("{description} job") } else { format!("job {job}") };
    Some(match how {
        JobEnd::Finished | JobEnd::Repeated { .. } => {
            let repeated = match how {
                JobEnd::Repeated { left } => Some(repeated(job, *left)),
                _ => None,
            };
            let done =
                format!("Successfully completed {subject} in {}s on worker {worker}", clock(*took));
            let about = |text: String| format!("Worker {worker}: {text}");
            let ok = about(job_ok(queue, job));
            let kept = about(format!("job {job} {}", lifespan(*result_ttl)));
            let lines = repeated.map(about).into_iter().chain([done, ok, kept]);
            lines.map(|line| (Level::Info, line)).collect()
        }
        JobEnd::Failed(failure) => vec![failure_line(worker, job, failure)],
        JobEnd::Retried { failure, left, due } => {
            let failed = failure.iter().map(|failure| failure_line(worker, job, failure));
            failed.chain([(Level::Info, retried(job, *left, *due))]).collect()
        }
        JobEnd::Requeued { failure, left } => {
            let again = format!("Worker {worker}: job {job} {}", requeued(*left));
            vec![failure_line(worker, job, failure), (Level::Info, again)]
        }
        JobEnd::Stopped => {
            vec![(Level::Warning, format!("Worker {worker}: {}", stopped(job)))]
        }
        JobEnd::Gone => return None,
    })
}

/// What is said of a job that goes back to its queue because its process died.
pub(super) fn requeued(left: i64) -> String {
    format!("is back at the front of its queue; it may be lost {left} more times")
}

/// What became of a job whose worker is dead.
pub(super) fn given_up(job: &JobId, how: Finished, text: &str) -> String {
    match how {
        Finished::Retried { left } => format!("Job {job}: enqueued for retry, {left} remaining"),
        Finished::Requeued { left } => format!("job {job} {}", requeued(left)),
        Finished::RetryScheduled { left, at } => {
            let at = rq::Timestamp::from_micros(at.saturating_mul(1_000_000)).shown();
            format!("Job {job}: scheduled for retry at {at}, {left} remaining")
        }
        _ => format!("job {job}: {text}"),
    }
}

pub(super) fn stopped(job: &JobId) -> String {
    format!("job {job} stopped by user, moving job to FailedJobRegistry")
}

/// `due` in Unix seconds; none: it is on its queue.
pub(super) fn retried(job: &JobId, left: i64, due: Option<i64>) -> String {
    match due {
        None => format!("Job {job}: enqueued for retry, {left} remaining"),
        Some(due) => {
            let due = rq::Timestamp::from_micros(due.saturating_mul(1_000_000)).text();
            let due = due.replace('T', " ").replace(".000000Z", "+00:00");
            format!("Job {job}: scheduled for retry at {due}, {left} remaining")
        }
    }
}

/// As RQ, which counts the one that is coming.
pub(super) fn repeated(job: &JobId, left: i64) -> String {
    format!("job {job} scheduled to repeat ({} left)", left + 1)
}

/// How long the result of a job is kept; -1 is for ever.
pub(super) fn lifespan(result_ttl: i64) -> String {
    match result_ttl {
        0 => "result discarded immediately".to_owned(),
        seconds if 0 < seconds => format!("result is kept for {seconds} seconds"),
        _ => "result will never expire, clean up result key manually".to_owned(),
    }
}

/// The first line about a failure; the traceback of an exception follows it.
pub(super) fn failed(job: &JobId, failure: &Failure) -> (Level, String) {
    match &failure.raised_in {
        Some(func) => {
            (Level::Error, format!("job {job}: exception raised while executing ({func})"))
        }
        None => (Level::Warning, format!("job {job} failed ({})", failure.summary)),
    }
}

fn failure_line(worker: &WorkerName, job: &JobId, failure: &Failure) -> (Level, String) {
    let (level, mut text) = failed(job, failure);
    if failure.raised_in.is_some() {
        text.push('\n');
        text.push_str(failure.traceback.trim_end());
    }
    (level, format!("Worker {worker}: {text}"))
}

/// As Python prints a `timedelta`.
fn clock(took: Duration) -> String {
    let seconds = took.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours}:{minutes:02}:{seconds:02}.{:06}", took.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_ended_well_is_told_in_three_lines() {
        let event = Event::JobEnded {
            worker: WorkerName::new("w1"),
            job: JobId::new("j"),
            queue: QueueName::new("default"),
            description: "tasks.ok(3)".to_owned(),
            how: JobEnd::Finished,
            took: Duration::from_micros(1_272),
            result_ttl: 500,
        };
        let texts: Vec<_> =
            lines(&event, true).unwrap().into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            texts,
            [
                "Successfully completed tasks.ok(3) job in 0:00:00.001272s on worker w1",
                "Worker w1: default: Job OK (j)",
                "Worker w1: job j result is kept for 500 seconds",
            ]
        );
    }

    #[test]
    fn a_job_that_runs_again_is_told_when_and_how_often() {
        let job = JobId::new("j");
        assert_eq!(retried(&job, 2, None), "Job j: enqueued for retry, 2 remaining");
        assert_eq!(
            retried(&job, 1, Some(1_767_323_045)),
            "Job j: scheduled for retry at 2026-01-02 03:04:05+00:00, 1 remaining"
        );
        assert_eq!(repeated(&job, 0), "job j scheduled to repeat (1 left)");
    }

    #[test]
    fn a_failure_carries_its_traceback() {
        let failure = Failure {
            summary: "ValueError: boom".to_owned(),
            place: None,
            traceback: "Traceback ...\nValueError: boom\n".to_owned(),
            raised_in: Some("tasks.boom".to_owned()),
        };
        let line = failure_line(&WorkerName::new("w1"), &JobId::new("j"), &failure);
        let text = "Worker w1: job j: exception raised while executing (tasks.boom)\n\
                    Traceback ...\nValueError: boom";
        assert_eq!(line, (Level::Error, text.to_owned()));
    }
}
