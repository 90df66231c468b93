//! A horse, as the slot that runs a job on it sees it.

use rq::{JobHash, JobId, Started, WorkerName};
use tokio::sync::oneshot;

use super::errand::Errand;
use super::trial::Trial;
use crate::forkserver::link::{Link, LinkError};
use crate::forkserver::messages::{JobAnswer, JobFields, ToHorse};
use crate::forkserver::reaper::{Exited, Presence};
use crate::forkserver::relay::Stderr;
use crate::reload::machine::GenerationId;
use crate::reload::sources::Position;

/// One forked process that waits for one job.
#[derive(Debug)]
pub struct Horse {
    /// Generation it was forked from, and stays with until it ends.
    pub generation: GenerationId,
    /// Its process; the loop clears it when the pid is about to be free.
    pub presence: Presence,
    /// Its socket; nobody else has this end.
    pub link: Link,
    /// How it has ended, sent once by the loop.
    pub exit: oneshot::Receiver<Exited>,
    /// That, once it has been received.
    pub exited: Option<Exited>,
    /// What it writes there; none if that goes elsewhere by itself.
    pub stderr: Option<Stderr>,
    /// Where its job's late imports look, in the manifest of what user code was.
    pub position: Option<Position>,
    /// What its job tells about new code that is on trial.
    pub trial: Option<Trial>,
    /// A job that its code does not know can be given to another generation.
    pub has_alternative: bool,
}

/// What a horse answered, with the parts of its body.
#[derive(Debug)]
pub struct Answer {
    /// The header.
    pub head: JobAnswer,
    /// The serialized return value.
    pub value: Option<Vec<u8>>,
    /// The serialized meta.
    pub meta: Option<Vec<u8>>,
}

impl Answer {
    /// Takes the body apart, as the header says it is.
    pub(crate) fn of(head: JobAnswer, mut body: Vec<u8>) -> Self {
        let meta_at = head.value.unwrap_or(0).min(body.len());
        let rest = body.split_off(meta_at);
        let value = head.value.map(|_| body);
        let meta = head.meta.map(|_| rest);
        Self { head, value, meta }
    }
}

impl Horse {
    /// Tells it to run a job.
    pub async fn run(&mut self, job: &Started, worker: &WorkerName) -> Result<(), LinkError> {
        let (fields, body) = self.job_fields(&job.job, &job.hash, worker);
        let (execution, queue) = (job.execution.as_str(), job.queue.as_str());
        let order = ToHorse::Run { execution, queue, offer: self.has_alternative, job: fields };
        self.link.send(&order, &body, &[]).await
    }

    /// Tells it to run an errand.
    pub async fn run_errand(&mut self, errand: &Errand<'_>) -> Result<(), LinkError> {
        let (job, body) = self.job_fields(errand.job, errand.hash, errand.worker);
        self.link.send(&ToHorse::Errand { purpose: errand.purpose, job }, &body, &[]).await
    }

    fn job_fields<'a>(
        &self,
        job: &JobId,
        hash: &'a JobHash,
        worker: &'a WorkerName,
    ) -> (JobFields<'a>, Vec<u8>) {
        let id = job.as_bytes();
        let mut body = id.to_vec();
        let mut fields = Vec::new();
        for (name, value) in hash.iter() {
            // None of RQ's fields has another name, and what is not sent stays in Redis as it is.
            if let Ok(name) = std::str::from_utf8(name) {
                fields.push((name, value.len()));
                body.extend_from_slice(value);
            }
        }
        let position = self.position;
        (JobFields { id: id.len(), worker: worker.as_str(), position, fields }, body)
    }
}

/// Waits for the answer of a horse. Safe to cancel.
pub async fn answer(link: &mut Link) -> Result<Answer, LinkError> {
    let (head, body) = link.receive().await?;
    Ok(Answer::of(head, body))
}

/// Kills a horse's group when it is dropped, unless it has been let go.
#[derive(Debug)]
pub struct Leash {
    presence: Option<Presence>,
}

impl Leash {
    /// A leash on this horse.
    pub fn new(horse: &Horse) -> Self {
        Self { presence: Some(horse.presence.clone()) }
    }

    /// Lets it live on.
    pub fn let_go(mut self) {
        self.presence = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(presence) = &self.presence {
            presence.kill_group();
        }
    }
}
