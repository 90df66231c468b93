//! Webhooks: HTTP requests that a client wants to be sent when its job has ended.
//!
//! They are sent by the user's own rq, as an errand, once the end is recorded; what goes wrong is
//! said and changes nothing. A slot goes on meanwhile, as long as there are not too many.

use std::time::Duration;

use rq::{Ending, Finish, Finished, GaveUp, JobHash, JobId, Timestamp, WorkerName};
use tokio::task::JoinSet;

use super::Shared;
use super::errand::{self, Errand};
use crate::forkserver::messages::Purpose;

/// Jobs of a slot whose webhooks are sent at the same time; with more, its next job waits for one.
pub const WEBHOOKS_MAX: usize = 16;
/// How long a slot that ends waits for the last webhooks.
pub const LAST_WEBHOOKS_MAX: Duration = Duration::from_secs(30);

/// The webhooks that are due for one end of a job.
#[derive(Debug)]
pub struct Due {
    job: JobId,
    worker: WorkerName,
    hash: JobHash,
    purpose: Purpose,
    timeout: Duration,
}

impl Due {
    /// After the end of an execution; none for a job that is to run again because it failed.
    pub fn after(finish: &Finish<'_>, how: Finished) -> Option<Self> {
        let (status, exc_text) = match (&finish.ending, how) {
            (Ending::Finished { .. }, how) if how != Finished::Gone => ("finished", None),
            (Ending::Failed { exc_text }, Finished::Failed) => ("failed", Some(exc_text.clone())),
            // As RQ: there is no traceback.
            (Ending::Retry(_), Finished::Failed) => ("failed", Some(String::new())),
            // It runs again, was stopped or deleted, or the answer about a failure was lost, and
            // nobody knows which it is.
            _ => return None,
        };
        let timeout = finish.job.hash.webhook_time(status)?;
        let mut hash = finish.job.hash.clone();
        if let Ending::Finished { value: Some(value) } = &finish.ending {
            hash.set("result", value.clone()); // for versions of rq that send it along
        }
        let purpose = Purpose::Webhooks { status, ended_us: finish.ended_at.micros(), exc_text };
        let (job, worker) = (finish.job.job.clone(), finish.job.worker.clone());
        Some(Self { job, worker, hash, purpose, timeout })
    }

    /// After a job was given up whose worker is dead.
    pub fn after_giving_up(gave_up: &GaveUp, worker: &WorkerName, now: Timestamp) -> Option<Self> {
        if gave_up.how != Finished::Failed {
            return None;
        }
        let (status, exc_text) = ("failed", Some(gave_up.text.clone()));
        let timeout = gave_up.hash.webhook_time(status)?;
        let purpose = Purpose::Webhooks { status, ended_us: now.micros(), exc_text };
        let (job, hash) = (gave_up.job.clone(), gave_up.hash.clone());
        Some(Self { job, worker: worker.clone(), hash, purpose, timeout })
    }

    /// Sends them.
    pub async fn send(self, shared: Shared) {
        let Self { job, worker, hash, purpose, timeout } = self;
        let errand = Errand { purpose: &purpose, job: &job, hash: &hash, worker: &worker, timeout };
        let problem = match errand::run(errand, &shared.inputs, &shared.orders).await {
            Ok(problems) if problems.is_empty() => return,
            Ok(problems) => problems.join("\n"),
            Err(error) => error.to_string(),
        };
        shared.warn(format!("webhooks of job {job} were not all sent: {problem}"));
    }
}

/// The webhooks of a slot that are on their way.
#[derive(Debug, Default)]
pub struct Webhooks(JoinSet<()>);

impl Webhooks {
    /// Sends webhooks, after one that is on its way if there are too many.
    pub async fn send(&mut self, due: Due, shared: &Shared) {
        while self.0.try_join_next().is_some() {}
        if WEBHOOKS_MAX <= self.0.len() {
            self.0.join_next().await;
        }
        self.0.spawn(due.send(shared.clone()));
    }

    /// Waits for those that are on their way; what takes too long is ended.
    pub async fn settle(&mut self, shared: &Shared) {
        let all = async { while self.0.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WEBHOOKS_MAX, all).await.is_err() {
            let seconds = LAST_WEBHOOKS_MAX.as_secs();
            shared.warn(format!("webhooks that took longer than {seconds} s were given up"));
            self.0.shutdown().await;
        }
    }
}
