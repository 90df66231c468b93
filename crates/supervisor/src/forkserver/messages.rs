//! The messages of the chain, typed. The Python side is `python/freshq_runtime`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reaper::Exited;
use crate::reload::sources::Position;
use crate::settings::{Hooks, PythonLogging, ReuseLimits};

/// To a base, once, with its life line.
#[derive(Debug, Serialize)]
pub struct BaseSettings {
    /// Folders of user code, absolute and without symlinks.
    pub roots: Vec<PathBuf>,
    /// Where code objects of user code are cached.
    pub code_cache: PathBuf,
    /// The manifest of what user code was; none without reloading.
    pub manifest: Option<PathBuf>,
    /// Appended to `sys.path`, as `rq worker --path` does.
    pub path: Vec<PathBuf>,
    /// Library modules to import, in order.
    pub libraries: Vec<String>,
    /// Modules that must not be imported.
    pub kept_out: Vec<String>,
    /// `module:function` of the user's, called in each generation after its imports.
    pub warmups: Vec<String>,
    /// What each generation imports before anything else.
    pub hooks: Hooks,
    /// Whether horses may be sent the warning of a stop.
    pub may_warn: bool,
    /// For RQ's loggers.
    pub logging: PythonLogging,
    /// What jobs connect to; none if it is not told by a URL.
    pub redis_url: Option<String>,
    /// RQ's settings of it, if it is not.
    pub redis_settings: Option<Map<String, Value>>,
    /// The user's configuration module.
    pub config: Option<String>,
    /// Until when a horse runs one job after the other; none: one job each.
    pub reuse: Option<ReuseLimits>,
    /// What a worker class of the user's own is made with.
    pub worker: WorkerOptions,
    /// The release that these folders may be of.
    pub release: Option<Release>,
}

/// A folder of user code that a symlink leads to, until that leads to another.
#[derive(Clone, Debug, Serialize)]
pub struct Release {
    /// The folder that the supervisor was started in.
    pub here: PathBuf,
    /// The symlink.
    pub link: PathBuf,
    /// The folder of the release that all folders are told of.
    pub at: PathBuf,
    /// The folder of the one that is to run.
    pub now: PathBuf,
}

/// What RQ's command line gives to a worker.
#[derive(Debug, Serialize)]
pub struct WorkerOptions {
    /// Names of its queues, in order.
    pub queues: Vec<String>,
    /// How long results of jobs are kept that do not say, in seconds.
    pub result_ttl: i64,
    /// Time to live of its record, in seconds.
    pub worker_ttl: u64,
    /// Between two clean-ups, in seconds.
    pub maintenance_interval: u64,
    /// Between two heartbeats of a running job, in seconds.
    pub job_monitoring_interval: u64,
    /// Whether a failure leaves no more than a status.
    pub disable_default_exception_handler: bool,
    /// Whether calls of jobs are logged.
    pub log_job_description: bool,
}

/// To an interpreter that is horse and all in one, once, with its life line.
#[derive(Debug, Serialize)]
pub struct SpawnSettings<'a> {
    /// What a base is told.
    #[serde(flatten)]
    pub base: BaseSettings,
    /// What it is to load.
    #[serde(flatten)]
    pub order: LoadOrder,
    /// The code that its generation has; none for the first, which loads what is on disk.
    pub snapshot: Option<&'a Snapshot>,
}

/// What a generation is to load.
#[derive(Debug, Serialize)]
pub struct LoadOrder {
    /// User modules to import, and whether a missing one is an error.
    pub modules: Vec<(String, bool)>,
    /// Files that changed, and the hashes of those that serve. If all of them compile to the same
    /// code, and there are any, nothing is to be loaded.
    pub compiled: BTreeMap<PathBuf, String>,
    /// Names that files have which changed: libraries of these names may be the user's by now.
    pub changed: Vec<String>,
    /// Folder of the release that is to run, if there are such.
    pub release_now: Option<PathBuf>,
    /// Where in the manifest the code is that is to be loaded; none: what is on disk.
    pub position: Option<Position>,
}

/// Path and hash of each user module of a generation.
pub type Snapshot = BTreeMap<String, (PathBuf, String)>;

/// From such an interpreter, once.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FromSpawned {
    /// The user's modules are imported, and it waits for a job.
    Ready(Loaded),
    /// What changed compiles to the code that serves; it ends.
    Same(SameCode),
    /// They cannot be imported; it ends.
    Broken(Broken),
}

/// From a base.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FromBase {
    /// Libraries are imported; generations can be forked.
    Ready(BaseReady),
    /// A library imported what must not be in a base; this one is of no use.
    Unwanted {
        /// The library.
        library: String,
        /// What it imported.
        imports: String,
    },
    /// A library left behind what no fork survives; this base is of no use.
    Unfit {
        /// The library.
        library: String,
        /// What it left behind, for people.
        left: String,
    },
    /// This Python cannot be used.
    Unusable {
        /// What is wrong with it.
        problem: String,
    },
    /// A generation has been forked.
    Forked {
        /// Number of the generation that was asked for.
        generation: u64,
        /// Its process.
        pid: i32,
    },
    /// A generation has ended; it stays unreaped until `Reap`.
    Ended {
        /// Its process.
        pid: i32,
        /// Raw wait status.
        status: i32,
    },
}

/// What a base reports once it has imported its libraries.
#[derive(Clone, Debug, Deserialize)]
pub struct BaseReady {
    /// Version of the `rq` package.
    pub rq_version: String,
    /// `sys.version`, as RQ stores it.
    pub python_version: String,
    /// `3.11.7`.
    pub python_short: String,
    /// Libraries that could not be imported here, each with the reason.
    pub skipped: Vec<(String, String)>,
    /// What is no library: an import of that name finds the user's.
    pub yours: Vec<String>,
    /// Kernel tasks after a trial fork; more than one means that forking is not safe.
    pub tasks: usize,
    /// How long the imports took, in nanoseconds.
    pub import_ns: u64,
}

/// To a base, after its settings.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToBase {
    /// Fork a generation (with its control socket and life line).
    Fork {
        /// Number of the generation.
        generation: u64,
        /// What it is to load.
        #[serde(flatten)]
        order: LoadOrder,
    },
    /// The end of this generation has been noted: its pid may be used again.
    Reap {
        /// The generation's process.
        pid: i32,
    },
}

/// To a generation.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToGeneration {
    /// Fork horses (with a socket and a life line for each, in this order).
    Fork {
        /// Numbers of the horses.
        horses: Vec<u64>,
        /// As [`ToGeneration::Reap`], sent along.
        reap: Vec<i32>,
        /// With a third descriptor for each: its standard error.
        relayed: bool,
    },
    /// The exit of these horses has been noted: their pids may be used again.
    Reap {
        /// Their processes.
        pids: Vec<i32>,
    },
    /// A horse has ended without an answer: report how, and reap it.
    Report {
        /// Its process.
        pid: i32,
    },
}

/// From a generation.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FromGeneration {
    /// The user's modules are imported.
    Ready(Loaded),
    /// What changed compiles to the code that serves; it ends.
    Same(SameCode),
    /// They cannot be imported.
    Broken(Broken),
    /// One of them left behind what no fork survives; this generation is of no use.
    Unfit {
        /// The module.
        module: String,
        /// What it left behind, for people.
        left: String,
    },
    /// The base has libraries where an import would find the user's modules by now; this generation
    /// is of no use, nor is its base.
    Shadowed {
        /// Their names.
        names: Vec<String>,
    },
    /// Horses have been forked and wait for jobs.
    Forked {
        /// Number and process of each; it leads its own group.
        horses: Vec<(u64, i32)>,
    },
    /// How a horse has ended that was asked about; it is reaped.
    Exited {
        /// Its process.
        pid: i32,
        /// How.
        #[serde(flatten)]
        how: Exited,
    },
}

/// What a generation has loaded.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Loaded {
    /// Real path and SHA-256 of each user file, as compiled.
    pub files: BTreeMap<PathBuf, String>,
    /// Other user files that were read meanwhile.
    #[serde(default)]
    pub opened: Opened,
    /// Modules learned earlier that no longer exist.
    pub gone: Vec<String>,
    /// Library modules that the base did not have, in order.
    pub libraries: Vec<String>,
    /// What does not survive a fork and was left behind, for people.
    pub left: Option<String>,
    /// When the process began.
    pub begun_ns: u64,
    /// When the imports and what warms up were done.
    pub imported_ns: u64,
    /// How much of that the user's functions took that warm up.
    pub warmup_ns: u64,
    /// The same files by module, from an interpreter that others are to follow.
    #[serde(default)]
    pub snapshot: Snapshot,
}

/// Files that were read while user code was imported, and what stands for their bytes; none of one that
/// was not there.
pub type Opened = BTreeMap<PathBuf, Option<String>>;

/// Files whose bytes changed, and their code did not.
#[derive(Clone, Debug, Deserialize)]
pub struct SameCode {
    /// Real path and SHA-256 of each.
    pub files: BTreeMap<PathBuf, String>,
}

/// Why user code cannot be imported.
#[derive(Clone, Debug, Deserialize)]
pub struct Broken {
    /// Last line of the traceback.
    pub error: String,
    /// The traceback, without frames of freshq and of the import system.
    pub traceback: String,
    /// The user's file it happened in.
    pub file: Option<PathBuf>,
    /// The line in it.
    pub line: Option<u32>,
    /// What is wrong with an option that names Python, if it is that.
    #[serde(default)]
    pub hook: Option<String>,
    /// What had been loaded until then.
    #[serde(default)]
    pub files: BTreeMap<PathBuf, String>,
    /// Other user files that had been read.
    #[serde(default)]
    pub opened: Opened,
}

/// To a horse: the one thing it is for.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToHorse<'a> {
    /// Run this job; the answer is a [`JobAnswer`].
    Run {
        /// Id of this attempt.
        execution: &'a str,
        /// Queue it was taken from.
        queue: &'a str,
        /// Answer that the job is unknown, rather than to fail it: another generation is asked.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        offer: bool,
        /// The job.
        #[serde(flatten)]
        job: JobFields<'a>,
    },
    /// Run an errand for this job; the answer is an [`ErrandAnswer`].
    Errand {
        /// What is to be done.
        #[serde(flatten)]
        purpose: &'a Purpose,
        /// The job.
        #[serde(flatten)]
        job: JobFields<'a>,
    },
}

/// A job on its way to a horse. The body holds its id, then the field values.
#[derive(Debug, Serialize)]
pub struct JobFields<'a> {
    /// Length of the job's id, which need not be UTF-8.
    pub id: usize,
    /// Name of the worker that runs it.
    pub worker: &'a str,
    /// Where in the manifest its late imports look; none: on the disk.
    pub position: Option<Position>,
    /// Field names of the job hash, and the length of each value in the body.
    pub fields: Vec<(&'a str, usize)>,
}

/// What an errand is for; `python/freshq_runtime/errand.py` has a function for each.
#[derive(Debug, Serialize)]
#[serde(tag = "purpose", rename_all = "snake_case")]
pub enum Purpose {
    /// Call the stopped callback of a job whose horse was killed.
    Stopped {
        /// When the job began, in microseconds of wall time.
        started_us: i64,
    },
    /// Call failure callback and exception handlers for a job whose worker is dead.
    Abandoned,
    /// Send the webhooks of a job that has ended.
    Webhooks {
        /// Those for this status: `finished` or `failed`.
        status: &'static str,
        /// When it ended, in microseconds of wall time.
        ended_us: i64,
        /// What a failed job has failed with.
        exc_text: Option<String>,
    },
}

/// From a horse that was given an errand.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ErrandAnswer {
    /// It was run.
    Run {
        /// What went wrong: a traceback for each thing that raised.
        problems: Vec<String>,
    },
    /// As [`AnswerKind::Declined`].
    Declined,
}

/// From a horse: how its job ended. The body holds value, then meta.
#[derive(Debug, Deserialize)]
pub struct JobAnswer {
    /// Finished or failed.
    pub kind: AnswerKind,
    /// Length of the serialized return value; none for Python's `None`.
    #[serde(default)]
    pub value: Option<usize>,
    /// Length of the serialized meta, if the job has any.
    #[serde(default)]
    pub meta: Option<usize>,
    /// What it asks for, if it returned a `Retry`.
    #[serde(default)]
    pub retry: Option<RetryAsked>,
    /// Fields of its record that it changed in itself.
    #[serde(default)]
    pub changed: BTreeMap<String, String>,
    /// The traceback of a failure.
    #[serde(default)]
    pub exc: String,
    /// Its last line.
    #[serde(default)]
    pub summary: String,
    /// `file:line` where it was raised.
    #[serde(default)]
    pub place: Option<String>,
    /// What was raised, and in which function: tells failures apart, also when lines move.
    #[serde(default)]
    pub signature: Option<String>,
    /// Name of the function that failed.
    #[serde(default)]
    pub func: Option<String>,
    /// When the job function was called, in microseconds of wall time.
    #[serde(default)]
    pub started_us: i64,
    /// When it returned or raised.
    #[serde(default)]
    pub ended_us: i64,
    /// What it imported beyond its generation.
    #[serde(default)]
    pub learned: Option<Learned>,
    /// It waits for another job, unless it finds itself unfit for one.
    #[serde(default)]
    pub stays: bool,
}

/// What a job asks for that returned a `Retry`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RetryAsked {
    /// How often it may ask.
    pub max: i64,
    /// Seconds before each attempt.
    pub intervals: Vec<f64>,
    /// Whether it goes to the front of its queue.
    pub front: bool,
    /// What a client is told that cannot read a result of the type for too many retries.
    pub exceeded: Option<String>,
}

/// The ways a job can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerKind {
    /// It returned, and its success callback did not raise.
    Finished,
    /// It raised.
    Failed,
    /// RQ's own code ran it and has recorded its end.
    Handled,
    /// Its function cannot be found, or its arguments cannot be read. Nothing of it has run.
    Unknown,
    /// The job before left a process that is not fit for this one, and ends. Nothing of it has run.
    Declined,
}

/// What a job imported beyond its generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Learned {
    /// User modules that nothing but the job asked for, in order.
    pub modules: Vec<String>,
    /// Those of them that left behind what no fork survives.
    #[serde(default)]
    pub unfit: Vec<String>,
    /// Library modules, in order.
    pub libraries: Vec<String>,
}
