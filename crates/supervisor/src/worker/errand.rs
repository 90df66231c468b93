//! An errand: user-side Python that runs around a job, in a horse of its own.
//!
//! A callback of a job whose own horse is dead is the user's code all the same: it gets a
//! fresh horse of the newest code, and its own timeouts hold inside. What an errand does never
//! changes how its job ends, so whoever runs it only learns what went wrong, for people.
//!
//! Invariant: a horse that was handed an errand has answered or is killed when [`run`] is over,
//! also when nobody waits for that any more.

use std::time::Duration;

use rq::{JobHash, JobId, WorkerName};
use tokio::sync::{mpsc, oneshot, watch};

use super::horse::{Horse, Leash};
use super::{HORSES_PER_JOB_MAX, Orders, reached};
use crate::forkserver::link::LinkError;
use crate::forkserver::messages::{ErrandAnswer, Purpose};
use crate::input::{Grant, HorseRequest, Input};
use crate::reload::machine::Wish;
use crate::settings::GENERATION_LOAD_MAX;
use crate::shutdown::Phase;

/// How long a horse for an errand is waited for: as long as the newest code may take to load.
pub const ERRAND_HORSE_MAX: Duration = GENERATION_LOAD_MAX;
/// How much longer than the timeouts of what it calls an errand may take; then its horse is killed.
pub const ERRAND_GRACE: Duration = Duration::from_secs(10);

/// What is to be done, and for which job.
#[derive(Clone, Copy, Debug)]
pub struct Errand<'a> {
    /// What is to be done.
    pub purpose: &'a Purpose,
    /// The job.
    pub job: &'a JobId,
    /// Its fields, from which Python makes the job again.
    pub hash: &'a JobHash,
    /// The worker that ran it, or that cleans up after it.
    pub worker: &'a WorkerName,
    /// The timeouts of everything that it calls, together.
    pub timeout: Duration,
}

/// Why an errand was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ErrandError {
    /// There is no code that could run it.
    #[error("the newest code is broken and jobs are held")]
    Held,
    /// No horse came.
    #[error("no process for it came within {} s", ERRAND_HORSE_MAX.as_secs())]
    NoHorse,
    /// It does not fit into a message.
    #[error("it cannot be handed to a process: {0}")]
    Unsendable(LinkError),
    /// Its horse ended on the way.
    #[error("its process ended without an answer")]
    Died,
    /// Its horse was killed.
    #[error("it took longer than {} s and was killed", .0.as_secs())]
    Overdue(Duration),
    /// The supervisor is to end at once.
    #[error("the worker was told to stop at once")]
    Stopped,
}

/// Runs an errand to its end and tells what went wrong. A warm stop waits for it, a cold one kills it.
pub async fn run(
    errand: Errand<'_>,
    inputs: &mpsc::Sender<Input>,
    orders: &watch::Receiver<Orders>,
) -> Result<Vec<String>, ErrandError> {
    tokio::select! {
        answer = run_to_the_end(errand, inputs) => answer,
        () = reached(orders, Phase::Cold) => Err(ErrandError::Stopped),
    }
}

async fn run_to_the_end(
    errand: Errand<'_>,
    inputs: &mpsc::Sender<Input>,
) -> Result<Vec<String>, ErrandError> {
    loop {
        let (mut horse, leash) = hand_over(errand, inputs).await?;
        let limit = errand.timeout.saturating_add(ERRAND_GRACE);
        let answer = tokio::time::timeout(limit, horse.link.receive::<ErrandAnswer>()).await;
        let (answer, _) =
            answer.map_err(|_| ErrandError::Overdue(limit))?.map_err(|_| ErrandError::Died)?;
        leash.let_go();
        match answer {
            ErrandAnswer::Run { problems } => return Ok(problems),
            ErrandAnswer::Declined => {} // only a horse that has run a job does, and it ends
        }
    }
}

/// Gives the errand to a horse that lives.
async fn hand_over(
    errand: Errand<'_>,
    inputs: &mpsc::Sender<Input>,
) -> Result<(Horse, Leash), ErrandError> {
    for _ in 0..HORSES_PER_JOB_MAX {
        let (reply, granted) = oneshot::channel();
        // The loop outlives whoever runs errands; if it is gone, the process is ending.
        drop(inputs.send(Input::HorseWanted(HorseRequest { wish: Wish::Settled, reply })).await);
        let granted = tokio::time::timeout(ERRAND_HORSE_MAX, granted).await;
        let mut horse = match granted.map_err(|_| ErrandError::NoHorse)? {
            Ok(Grant::Horse(horse, _)) => *horse,
            Ok(Grant::Hold) => return Err(ErrandError::Held),
            Err(_) => return Err(ErrandError::Stopped),
        };
        let leash = Leash::new(&horse);
        match horse.run_errand(&errand).await {
            Ok(()) => return Ok((horse, leash)),
            Err(error @ LinkError::Frame(_)) => return Err(ErrandError::Unsendable(error)),
            Err(_) => {} // it died while it waited
        }
    }
    Err(ErrandError::Died)
}
