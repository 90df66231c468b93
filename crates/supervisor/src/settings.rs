//! The numbers and names the engine needs, resolved by the caller.

use std::path::PathBuf;
use std::time::Duration;

use rq::{FailureLeaves, OnFailure, QueueName, WorkerName};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::forkserver::interpreter::Interpreter;
use crate::reload::machine::{OnBroken, Policy};
use crate::reload::marker::Marker;
use crate::watch::Mode;
use crate::worker::stand_in::StandInCommand;
use crate::worker::strategy::Strategy;

/// Everything a supervisor is told. No defaults: the command line has them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One name for each slot.
    pub workers: Vec<WorkerName>,
    /// Queues, in order of priority.
    pub queues: Vec<QueueName>,
    /// End when the queues are empty.
    pub burst: bool,
    /// Of a pool: what stands for each worker. A worker that ends is replaced, except in a burst.
    pub pool: Option<StandInCommand>,
    /// End a slot after this many jobs.
    pub max_jobs: Option<u64>,
    /// End a slot that has had no job for so long.
    pub max_idle_time: Option<Duration>,
    /// How long after its own timeout a job is killed that goes on.
    pub timeout_grace: Duration,
    /// Most private memory of a job and all that it has started, in bytes; with more it is killed.
    pub max_job_memory: Option<u64>,
    /// How long a warm stop waits for running jobs; then they are told to end.
    pub stop_timeout: Option<Duration>,
    /// In which order a slot looks into its queues.
    pub strategy: Strategy,
    /// Time to live of a worker's record without a heartbeat.
    pub worker_ttl: Duration,
    /// Time between two heartbeats of a running job.
    pub monitoring_interval: Duration,
    /// How long results of jobs are kept that do not say, in seconds; -1 is for ever.
    pub result_ttl: i64,
    /// What a failure for good leaves in Redis.
    pub failure_leaves: FailureLeaves,
    /// What becomes of a job whose process died with it.
    pub on_lost: OnFailure,
    /// Time between two clean-ups of the registries.
    pub maintenance_interval: Duration,
    /// Put scheduled jobs on their queues when they are due.
    pub with_scheduler: bool,
    /// The Python that runs jobs.
    pub interpreter: Interpreter,
    /// What jobs connect to, in redis-py's form; none if it is not told by a URL.
    pub redis_url: Option<String>,
    /// RQ's settings of what jobs connect to, if that is not told by a URL. Where there is a
    /// configuration module its own count, which may hold anything of Python's.
    pub redis_settings: Option<Map<String, Value>>,
    /// The user's configuration module, as `rq worker --config`.
    pub config: Option<String>,
    /// Appended to `sys.path`.
    pub path: Vec<PathBuf>,
    /// Folders of user code, absolute and without symlinks; also when reloading is off.
    pub roots: Vec<PathBuf>,
    /// User modules that every generation imports.
    pub imports: Vec<String>,
    /// `module:function` of the user's, called in every generation before it serves.
    pub warmups: Vec<String>,
    /// The user's own Python that jobs run with.
    pub hooks: Hooks,
    /// What RQ's loggers are told in the processes of jobs.
    pub logging: PythonLogging,
    /// What bases import.
    pub preload: Preload,
    /// How jobs are separated from each other.
    pub isolation: Isolation,
    /// How to reload; none when it is off.
    pub reload: Option<ReloadSettings>,
    /// Where people and tools ask how it is.
    pub control: Control,
    /// How long a generation may import the user's modules; then it is broken.
    pub load_max: Duration,
    /// Restarts in a row of what dies without a change of code.
    pub restarts_max: u32,
    /// For what any project may share: the Python side, compiled user code.
    pub cache: PathBuf,
    /// For what this project has learned.
    pub project_cache: PathBuf,
    /// What runs beside the supervisor, which cannot do without it (the embedded Redis).
    pub companion: Option<Companion>,
}

impl Settings {
    /// How generations are chosen.
    pub fn policy(&self) -> Policy {
        let reload = self.reload.as_ref();
        Policy {
            on_broken: reload.map_or(OnBroken::Keep, |reload| reload.on_broken),
            canary_jobs: reload.map_or(0, |reload| reload.canary_jobs),
            restarts_max: self.restarts_max,
        }
    }

    /// Whether new code is tried before it serves all.
    pub fn has_canaries(&self) -> bool {
        self.reload.as_ref().is_some_and(|reload| 0 < reload.canary_jobs)
    }

    /// Time between two heartbeats of an idle worker: RQ's, or the shorter one of busy workers.
    pub fn idle_heartbeat_interval(&self) -> Duration {
        let rqs = self.worker_ttl.saturating_sub(WORKER_TTL_MARGIN).max(IDLE_HEARTBEAT_MIN);
        rqs.min(self.monitoring_interval)
    }
}

/// The user's own Python that jobs run with, as dotted paths. Each generation imports it anew.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Hooks {
    /// Settings module of a Django project, which is set up before anything else is imported.
    pub django: Option<String>,
    /// Reads and writes what jobs are called with and return; also RQ's aliases.
    pub serializer: Option<String>,
    /// Called, in this order, with each job that fails and its exception.
    pub exception_handlers: Vec<String>,
    /// Class of jobs.
    pub job_class: Option<String>,
    /// Class of queues.
    pub queue_class: Option<String>,
    /// Class of what jobs reach Redis with.
    pub connection_class: Option<String>,
    /// Class of workers, if it is not one of RQ's own: RQ's code then runs jobs, through it.
    pub worker_class: Option<String>,
    /// Horses are warned of a stop and live on for a while, as those of RQ's `HerokuWorker`.
    pub heroku: bool,
}

impl Hooks {
    /// Whether horses may want to be warned of a stop: a class of the user's may derive from RQ's.
    pub fn may_warn(&self) -> bool {
        self.heroku || self.worker_class.is_some()
    }
}

/// What RQ's loggers are told in the processes of jobs; what is not said is left as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PythonLogging {
    /// The least that is printed, as Python's number.
    pub level: Option<u32>,
    /// Format of lines.
    pub log_format: Option<String>,
    /// Format of their time.
    pub date_format: Option<String>,
    /// Whether calls of jobs are shown; their arguments may be secret.
    pub describes_jobs: bool,
}

/// Which libraries the user wants in bases, and which not.
#[derive(Clone, Debug, Default)]
pub struct Preload {
    /// These instead of what was learned.
    pub only: Option<Vec<String>>,
    /// Never these, nor what is in them or imports them.
    pub never: Vec<String>,
}

/// How jobs are separated from each other.
#[derive(Clone, Copy, Debug)]
pub enum Isolation {
    /// A horse for each job, forked from its generation.
    Fork,
    /// A horse runs one job after the other.
    Reuse(ReuseLimits),
    /// A horse for each job, which is an interpreter of its own; nothing is forked.
    Spawn,
}

/// Until when a horse is reused.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ReuseLimits {
    /// Most jobs of one horse.
    pub max_jobs: Option<u64>,
    /// Most private memory that it may have between two jobs, in bytes.
    pub max_memory: Option<u64>,
}

/// How to reload.
#[derive(Clone, Debug)]
pub struct ReloadSettings {
    /// What happens while the newest code cannot be imported.
    pub on_broken: OnBroken,
    /// Reload when this file changes, and only then.
    pub on: Option<Marker>,
    /// Jobs that new code runs one by one before it serves all; zero: it serves at once.
    pub canary_jobs: u32,
    /// How changes are noticed.
    pub mode: Mode,
    /// How often to look where nobody tells.
    pub poll_interval: Duration,
    /// Globs of files that count besides Python's.
    pub include: Vec<String>,
    /// Globs of files that do not.
    pub ignore: Vec<String>,
}

/// Where a supervisor is asked how it is, and told to reload.
#[derive(Clone, Debug)]
pub struct Control {
    /// The folder that it was started in.
    pub here: PathBuf,
    /// Its mark, by which its sockets are found.
    pub project: String,
    /// Folders that only this user can enter; the first that can be used is.
    pub folders: Vec<PathBuf>,
}

/// A process that is not the supervisor's own. Somebody else starts it again when it dies.
#[derive(Clone, Debug)]
pub struct Companion {
    /// What people call it.
    pub name: String,
    /// Becomes true when it is not started again any more.
    pub lost: watch::Receiver<bool>,
}

/// How long before its time to live is over an idle worker says that it is alive (as RQ).
pub const WORKER_TTL_MARGIN: Duration = Duration::from_secs(15);
/// Shortest time between two heartbeats of an idle worker (as RQ).
pub const IDLE_HEARTBEAT_MIN: Duration = Duration::from_secs(1);
/// How long a base may import its libraries.
pub const BASE_START_MAX: Duration = Duration::from_mins(5);
/// How long a generation may import the user's modules, unless the user says.
pub const GENERATION_LOAD_MAX: Duration = Duration::from_mins(2);
/// How long after its own timeout a job is killed that goes on, unless the user says (as RQ).
pub const TIMEOUT_GRACE: Duration = Duration::from_mins(1);
/// How long a generation that is stuck in an import may take to say where, before it is killed.
pub const LAST_WORDS_MAX: Duration = Duration::from_secs(1);
/// How long nothing has to happen to the installed packages until a change of them is over.
pub const PACKAGES_QUIET: Duration = Duration::from_secs(1);
/// How long an installer is waited for that has not written its record.
pub const PACKAGES_CHANGE_MAX: Duration = Duration::from_mins(2);
/// How long a file may stay open for writing before it is taken as it is.
pub const UNFINISHED_WRITE_MAX: Duration = Duration::from_secs(2);
/// How often the tree is compared with what events told, a slice at a time.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long the exit status of a horse that has hung up is waited for.
pub const EXIT_STATUS_MAX: Duration = Duration::from_secs(10);
/// How long processes may take to end after a stop before they are killed.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// Inputs that may wait for the loop.
pub const INPUTS_MAX: usize = 1024;
/// Messages that may wait for one Python process.
pub const ORDERS_MAX: usize = 1024;
