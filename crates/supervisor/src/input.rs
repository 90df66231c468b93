//! Everything that can wake the loop.

use rq::{RegisterError, WorkerName};
use tokio::sync::oneshot;

use crate::control::Asked;
use crate::event::WorkerEnd;
use crate::forkserver::BaseId;
use crate::forkserver::link::LinkError;
use crate::forkserver::messages::{FromBase, FromGeneration, FromSpawned, Learned};
use crate::reload::ledger::Ticket;
use crate::reload::machine::{GenerationId, Wish};
use crate::reload::sources::FirstRead;
use crate::watch::poller::Told;
use crate::worker::horse::Horse;
use crate::worker::trial::Finding;

/// Something happened that the loop has to know.
#[derive(Debug)]
pub enum Input {
    /// A base said something.
    FromBase(BaseId, FromBase),
    /// A base hung up.
    BaseGone(BaseId, LinkError),
    /// A generation said something.
    FromGeneration(GenerationId, FromGeneration),
    /// A generation hung up.
    GenerationGone(GenerationId, LinkError),
    /// A slot has taken a job: this is the barrier.
    HorseWanted(HorseRequest),
    /// The watcher that polls tells something.
    Poller(Told),
    /// An interpreter that becomes a horse has imported the user's modules, or could not.
    Spawned(Horse, FromSpawned),
    /// It ended, or took too long; with its raw wait status, if that is known.
    SpawnFailed(GenerationId, i32, Option<i32>),
    /// A horse has run its job and may run another.
    HorseFree(Horse),
    /// A horse has ended; its generation has not reaped it.
    HorseEnded(GenerationId, i32),
    /// A job imported something that its generation had not.
    Learned(GenerationId, Learned),
    /// Files as they were at the start have been read.
    SourcesRead(Vec<FirstRead>),
    /// All of them.
    AllSourcesRead,
    /// A slot has ended an execution.
    JobEnded {
        /// Whether the job ended well.
        finished: bool,
    },
    /// A horse that had hung up left no exit status in time: its generation is stuck.
    ExitOverdue(GenerationId),
    /// A slot's record is in Redis, and it waits for jobs.
    SlotReady,
    /// Maintenance or the scheduler has done its work once, or once more.
    UpkeepPrepared,
    /// Maintenance or the scheduler is done.
    UpkeepEnded,
    /// A slot is done.
    SlotEnded(WorkerName, Result<WorkerEnd, RegisterError>),
    /// This one worker is asked to stop.
    StopSlot(WorkerName, StopCause),
    /// The process that stands for this worker has ended before the worker.
    StandInGone(WorkerName),
    /// A stop was asked for.
    Stop,
    /// A reload was asked for by a signal.
    Reload,
    /// Somebody asks at the control socket.
    Asked(Asked),
    /// The trial of a canary with a job has ended.
    TrialEnded(GenerationId, Finding),
    /// A job has failed on code that serves; the text is how failures are told apart.
    FailureSeen(String),
    /// A child of this process ended.
    ChildEnded,
    /// What the supervisor cannot do without is not started again any more.
    CompanionLost(String),
}

/// What asks one worker to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// A command of RQ's client.
    Command,
    /// A signal to the process that stands for it.
    Signal,
    /// What was asked before has taken too long.
    Overdue,
}

/// A slot that stands at the barrier with a job.
#[derive(Debug)]
pub struct HorseRequest {
    /// Which code it is for.
    pub wish: Wish,
    /// Where the answer goes; the slot waits for it, and may give up.
    pub reply: oneshot::Sender<Grant>,
}

/// What a slot at the barrier is told.
#[derive(Debug)]
pub enum Grant {
    /// Run the job on this horse, which is of that code.
    Horse(Box<Horse>, Ticket),
    /// The newest code is broken and jobs are held: give the job back.
    Hold,
}
