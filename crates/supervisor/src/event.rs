//! Everything a front end is told.
//!
//! Closed: a front end that matches on it is told by the compiler what it misses.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rq::{Finished, JobId, QueueName, WorkerName};
use serde::{Deserialize, Serialize};

use crate::control::wire::{millis, place};
use crate::input::StopCause;
use crate::reload::machine::{Cause, GenerationId, RollBackCause};
use crate::shutdown::Phase;

/// Takes events as they happen; called from the loop, so it must not wait for anything.
pub type Reporter = Arc<dyn Fn(&Event) + Send + Sync>;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Part of the start-up trace: what was decided, and why.
    Decided {
        /// What it is about: `python`, `redis`, `watch`.
        topic: &'static str,
        /// The decision.
        choice: String,
        /// The reason, if it is not plain.
        why: String,
    },
    /// The slots are registered and a generation serves.
    Listening {
        /// Worker names, one per slot.
        workers: Vec<WorkerName>,
        /// Queues, in order.
        queues: Vec<QueueName>,
    },
    /// A job's horse has begun.
    JobBegun {
        /// The slot's name.
        worker: WorkerName,
        /// The job.
        job: JobId,
        /// RQ's description of the call.
        description: String,
        /// Queue it came from.
        queue: QueueName,
        /// Generation it runs on.
        generation: GenerationId,
        /// If it is the first on that: for how long the generation serves.
        first_after: Option<Duration>,
    },
    /// An execution has ended and is recorded.
    JobEnded {
        /// The slot's name.
        worker: WorkerName,
        /// The job.
        job: JobId,
        /// RQ's description of the call.
        description: String,
        /// How it ended.
        how: JobEnd,
        /// Queue it came from.
        queue: QueueName,
        /// From begin to end; zero if it never began.
        took: Duration,
        /// How long its result is kept if it has one, in seconds; -1 is for ever.
        result_ttl: i64,
    },
    /// This generation cannot find what a job calls, or not read what it is called with. Nothing
    /// of the job has run; another generation is asked, if one lives that was not.
    JobUnknown {
        /// The job.
        job: JobId,
        /// Which one.
        generation: GenerationId,
        /// The last line of the traceback.
        error: String,
    },
    /// A job went back to the front of its queue before it began.
    JobReleased {
        /// The job.
        job: JobId,
        /// Why it could not begin.
        why: &'static str,
    },
    /// User code on disk is not what serves.
    ChangeSeen {
        /// What changed.
        files: BTreeSet<PathBuf>,
    },
    /// A generation serves from now on.
    GenerationServing(Serving),
    /// A generation has loaded and runs jobs one by one, while the one before serves.
    CanaryBegun {
        /// It, and what it took to get there.
        canary: Serving,
        /// How many jobs it is to run.
        jobs: u32,
        /// The one that serves meanwhile.
        serving: Option<GenerationId>,
    },
    /// A canary serves from now on.
    CanaryPassed(GenerationId),
    /// A job says that a canary is not to serve.
    CanaryFailed {
        /// The canary.
        generation: GenerationId,
        /// The job.
        job: JobId,
        /// What it failed with; none: its horse died.
        error: Option<String>,
    },
    /// A generation serves again, instead of a newer one.
    RolledBack {
        /// The newer one.
        from: GenerationId,
        /// The one that serves.
        to: GenerationId,
        /// Why.
        cause: RollBackCause,
    },
    /// The newest code cannot be imported.
    GenerationBroken(Broken),
    /// A generation ended that was not told to.
    GenerationDied {
        /// Which one.
        generation: GenerationId,
        /// How, if that is known.
        status: Option<i32>,
        /// What comes now.
        then: AfterDeath,
    },
    /// So many died in a row, without a change of code, that no other is started.
    GivenUp {
        /// What died: `generation`, `base`.
        what: &'static str,
        /// How many.
        deaths: u32,
        /// The next save is waited for; else the worker ends.
        waits_for_save: bool,
    },
    /// A base with more libraries is ready.
    BaseReady {
        /// How many library modules it has imported.
        libraries: usize,
        /// How long that took.
        took: Duration,
    },
    /// Installed packages are others than before; what has them imported is renewed.
    PackagesChanged {
        /// `yaml 6.0 -> 6.1`.
        changes: Vec<String>,
    },
    /// Redis cannot be reached; said once.
    RedisLost {
        /// What went wrong.
        error: String,
    },
    /// Redis is back.
    RedisBack {
        /// How long it was away.
        after: Duration,
    },
    /// A worker's record had vanished from Redis and was written again.
    Registered {
        /// The slot's name.
        worker: WorkerName,
    },
    /// The queues are suspended, or no longer.
    Suspended(bool),
    /// The scheduler has taken the lock of a queue.
    SchedulerLocked {
        /// The queue.
        queue: QueueName,
    },
    /// The registries of a queue are cleaned.
    CleaningRegistries {
        /// Name of the worker that does it.
        worker: WorkerName,
        /// The queue.
        queue: QueueName,
    },
    /// Groups are cleaned.
    CleaningGroups,
    /// A job was given up whose worker is dead.
    JobGivenUp {
        /// The job.
        job: JobId,
        /// What became of it.
        how: Finished,
        /// What it failed with.
        text: String,
    },
    /// Something to know that stops nothing.
    Warning(String),
    /// Something for those who ask for more.
    Detail(String),
    /// A stop was asked for.
    Stopping {
        /// How far it has gone.
        phase: Phase,
        /// Jobs that are running.
        running: usize,
    },
    /// One worker is asked to stop.
    WorkerStopping {
        /// Its name.
        worker: WorkerName,
        /// How far its stop has gone.
        phase: Phase,
        /// What asks.
        cause: StopCause,
    },
    /// One worker has ended by itself or as asked; its death is not recorded yet.
    WorkerEnded {
        /// Its name.
        worker: WorkerName,
        /// Why.
        end: WorkerEnd,
    },
    /// A worker of a pool has ended; another takes its place.
    WorkerReplaced {
        /// Name of the one that ended.
        worker: WorkerName,
        /// Name of the other.
        by: WorkerName,
    },
    /// The last thing that is said.
    Stopped {
        /// Jobs that ended well.
        finished: u64,
        /// Jobs that failed.
        failed: u64,
        /// Why it ended.
        why: &'static str,
    },
}

/// What comes after a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterDeath {
    /// Another is loading, or will be as soon as it can.
    Loading,
    /// The next attempt, after this pause.
    Pause(Duration),
    /// This one serves.
    Serving(GenerationId),
    /// Nothing.
    Nothing,
}

/// Why a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// A stop was asked for.
    Stopped,
    /// The queues are empty, and this is a burst.
    Drained,
    /// Workers are suspended, and this is a burst.
    Suspended,
    /// It had no job for as long as it was to wait.
    MaxIdleTime(Duration),
    /// It has run as many jobs as it was to.
    MaxJobs(u64),
}

/// A generation that serves, and what it took to get there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Serving {
    /// Which one.
    pub generation: GenerationId,
    /// Why it was wanted.
    pub cause: Cause,
    /// User files it has loaded.
    pub files: usize,
    /// Hash over all of them: the proof.
    pub code_hash: String,
    /// How long each step took.
    #[serde(rename = "steps_ms")]
    pub steps: Steps,
    /// From the save until it served.
    #[serde(rename = "total_ms", with = "millis")]
    pub total: Duration,
    /// Jobs that still run on older generations.
    pub draining: usize,
}

/// From a save until new code serves, step by step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Steps {
    /// From the save until it was noticed, if that is known.
    #[serde(with = "millis")]
    pub seen: Duration,
    /// Until the fork was asked for.
    #[serde(with = "millis")]
    pub settled: Duration,
    /// Until the new process ran.
    #[serde(with = "millis")]
    pub forked: Duration,
    /// Until the user's modules were imported.
    #[serde(with = "millis")]
    pub imported: Duration,
    /// Until the user's functions that warm up were done.
    #[serde(with = "millis")]
    pub warmed_up: Duration,
    /// Comparison with the disk.
    #[serde(with = "millis")]
    pub verified: Duration,
    /// What was left until it served.
    #[serde(with = "millis")]
    pub serving: Duration,
}

/// Code that cannot be imported.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broken {
    /// The generation that could not be loaded.
    pub generation: GenerationId,
    /// Last line of the traceback.
    pub error: String,
    /// The traceback.
    pub traceback: String,
    /// File of the user's code, and the line in it, if that is known.
    #[serde(with = "place")]
    pub place: Option<(PathBuf, Option<u32>)>,
    /// The last good generation, which serves on; none: jobs wait.
    pub serving: Option<GenerationId>,
}

/// How an execution ended, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It returned.
    Finished,
    /// It failed; the job is in the failed registry.
    Failed(Failure),
    /// It is to run again, because it failed or asked for it.
    Retried {
        /// What went wrong, if anything did.
        failure: Option<Failure>,
        /// Retries left after this one.
        left: i64,
        /// When it is put on its queue, in Unix seconds; none: it is there.
        due: Option<i64>,
    },
    /// Its process died, and it is back at the front of its queue.
    Requeued {
        /// How that died.
        failure: Failure,
        /// How often the job may be lost after this.
        left: i64,
    },
    /// It returned and is to run again.
    Repeated {
        /// Repeats left after this one.
        left: i64,
    },
    /// It was stopped on request; the job is in the failed registry.
    Stopped,
    /// Its record was deleted while it ran.
    Gone,
}

/// What went wrong with a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// One line.
    pub summary: String,
    /// Where it was raised, `file:line`.
    pub place: Option<String>,
    /// The traceback, as stored with the job.
    pub traceback: String,
    /// Name of the job's function, if an exception came out of it.
    pub raised_in: Option<String>,
}
