//! Every way an execution ends, and what is recorded for it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rq::{Ending, Finished, JobRefusal, ReturnedRetry, STOPPED_TEXT, Timestamp};

use super::death::Death;
use super::horse::Answer;
use crate::event::{Failure, JobEnd};
use crate::forkserver::messages::AnswerKind;

const BYTES_PER_MB: u64 = 1024 * 1024;

/// How an execution ended.
#[derive(Debug)]
pub enum Outcome {
    /// The horse answered: the job returned or raised.
    Answered(Box<Answer>),
    /// The horse ended without an answer.
    Died {
        /// Its end.
        death: Box<Death>,
        /// When the job began.
        began: Timestamp,
    },
    /// Its horse was killed because somebody asked for the job to be stopped.
    Stopped {
        /// When the job began.
        began: Timestamp,
    },
    /// The job cannot be run by this worker.
    Refused(JobRefusal),
    /// The job could not be handed to a horse; the text says why.
    Unsendable(String),
}

/// Why a job was not let run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doom {
    /// A second signal, or what is as good as one.
    ColdStop,
    /// A warm stop has taken its time.
    StopOverdue(Duration),
    /// It neither ended nor raised at its timeout; so much later it was killed.
    HardLimit(Duration),
    /// A command asked for its process to be killed.
    KillHorse,
    /// It and what it has started took more memory than it may.
    Memory {
        /// Private bytes.
        taken: u64,
        /// Most of them.
        limit: u64,
    },
    /// It has closed the connection that its end is told on.
    HungUp,
}

impl fmt::Display for Doom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ColdStop => f.write_str("the worker was told to stop without waiting for its jobs"),
            Self::StopOverdue(most) => write!(
                f,
                "the worker was told to stop and waited {} s for the job (--stop-timeout)",
                most.as_secs()
            ),
            Self::HardLimit(grace) => write!(
                f,
                "it went on for {} s after its timeout, in code that no exception reaches or that caught it",
                grace.as_secs()
            ),
            Self::KillHorse => f.write_str("a command asked for its process to be killed"),
            Self::Memory { taken, limit } => write!(
                f,
                "it took {} MB of memory, and may take {} MB (--max-job-memory)",
                taken.div_ceil(BYTES_PER_MB),
                limit / BYTES_PER_MB
            ),
            Self::HungUp => f.write_str(
                "it has closed descriptors that it had not opened, among them the one on which the end of the job is told",
            ),
        }
    }
}

/// What goes into Redis and onto the screen.
#[derive(Debug)]
pub struct Record {
    /// For the end of the job.
    pub ending: Ending,
    /// Serialized meta, for the case that the job is put back.
    pub meta: Option<Vec<u8>>,
    /// Fields of its record that the job changed in itself.
    pub changed: BTreeMap<String, String>,
    /// When the job's function was called.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What went wrong, if anything did; of a job that asks to run again, that it has asked too often.
    pub failure: Option<Failure>,
}

impl Outcome {
    /// A horse that ended without an answer.
    pub fn died(death: Death, began: Timestamp) -> Self {
        Self::Died { death: Box::new(death), began }
    }

    /// Whether the job was lost with its process.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Died { death, .. } if death.is_lost())
    }

    /// What is to be recorded; `now` is the end of an execution that could not tell it.
    pub fn into_record(self, now: Timestamp) -> Record {
        match self {
            Self::Answered(answer) => answered(*answer),
            Self::Died { death, began } => {
                let text = death.text();
                silent(
                    Ending::Failed { exc_text: text.clone() },
                    (death.summary(), text),
                    (began, now),
                )
            }
            Self::Stopped { began } => {
                let text = STOPPED_TEXT.to_owned();
                silent(Ending::Stopped, (text.clone(), text), (began, now))
            }
            Self::Refused(refusal) => refused(refusal.to_string(), now),
            Self::Unsendable(text) => refused(text, now),
        }
    }
}

impl Record {
    /// The same, of a job that RQ's own code ran: it has recorded the end of its own accord, unless it
    /// could not.
    #[must_use]
    pub fn by_rqs_code(self) -> Self {
        let ending = match self.ending {
            Ending::Failed { exc_text } => Ending::Handled { otherwise: exc_text },
            other => other,
        };
        Self { ending, ..self }
    }
}

/// What people are told about an end that is recorded.
pub fn job_end(how: Finished, ending: &Ending, failure: Option<Failure>) -> JobEnd {
    let raised = !matches!(ending, Ending::Retry(_));
    match (how, failure) {
        (Finished::Finished | Finished::Already, None) => JobEnd::Finished,
        (Finished::Finished | Finished::Already | Finished::Failed, failure) => {
            JobEnd::Failed(failure.unwrap_or_default())
        }
        (Finished::Retried { left }, failure) => {
            JobEnd::Retried { failure: failure.filter(|_| raised), left, due: None }
        }
        (Finished::RetryScheduled { left, at }, failure) => {
            JobEnd::Retried { failure: failure.filter(|_| raised), left, due: Some(at) }
        }
        (Finished::Requeued { left }, failure) => {
            JobEnd::Requeued { failure: failure.unwrap_or_default(), left }
        }
        (Finished::Repeated { left }, _) => JobEnd::Repeated { left },
        (Finished::Stopped, _) => JobEnd::Stopped,
        (Finished::Gone, _) => JobEnd::Gone,
    }
}

fn answered(answer: Answer) -> Record {
    let Answer { head, value, meta } = answer;
    let (ending, failure) = match (head.kind, head.retry) {
        (AnswerKind::Finished, None) => (Ending::Finished { value }, None),
        (AnswerKind::Finished, Some(asked)) => {
            let summary = format!("it has exceeded maximum retry attempts ({})", asked.max);
            let retry = ReturnedRetry {
                value: value.unwrap_or_default(),
                max: asked.max,
                intervals: asked.intervals,
                front: asked.front,
                exceeded_text: asked.exceeded,
            };
            (Ending::Retry(retry), Some(Failure { summary, ..Failure::default() }))
        }
        (AnswerKind::Failed | AnswerKind::Unknown | AnswerKind::Declined, _) => {
            let failure = Failure {
                summary: head.summary,
                place: head.place,
                traceback: head.exc.clone(),
                raised_in: head.func,
            };
            (Ending::Failed { exc_text: head.exc }, Some(failure))
        }
        (AnswerKind::Handled, _) => {
            let failure = Failure { summary: head.summary, ..Failure::default() };
            let failed = !failure.summary.is_empty();
            (Ending::Handled { otherwise: head.exc }, failed.then_some(failure))
        }
    };
    Record {
        ending,
        meta,
        changed: head.changed,
        started_at: Timestamp::from_micros(head.started_us),
        ended_at: Timestamp::from_micros(head.ended_us),
        failure,
    }
}

fn refused(text: String, now: Timestamp) -> Record {
    silent(Ending::Failed { exc_text: text.clone() }, (text.clone(), text), (now, now))
}

/// What is recorded for a job that cannot speak for itself.
fn silent(
    ending: Ending,
    (summary, traceback): (String, String),
    (started_at, ended_at): (Timestamp, Timestamp),
) -> Record {
    let failure = Some(Failure { summary, traceback, ..Failure::default() });
    Record { ending, meta: None, changed: BTreeMap::new(), started_at, ended_at, failure }
}
