//! One attempt at one job: start, heartbeat, finish, or release.
//!
//! Each is one script, one atomic step. `start` and `finish` are idempotent by execution id,
//! so that a caller whose answer was lost sends the same request again.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use redis::{Script, Value};
use serde_json::json;

use crate::client::Client;
use crate::code::Code;
use crate::error::Error;
use crate::job::{Job, JobHash, JobRefusal};
use crate::names::{ExecutionId, JobId, QueueName, WorkerName};
use crate::reply::{bytes, hash, integer, list, unexpected};
use crate::scripts::script;
use crate::timestamp::Timestamp;
use crate::worker::{Beat, WORKER_KEY_MARGIN, WorkerBirth, WorkerState};

static RUN: LazyLock<Script> =
    LazyLock::new(|| script!("limiter", "dependents", "start", "ending", "again", "finish", "run"));
static BEGIN: LazyLock<Script> = LazyLock::new(|| script!("begin"));
static RELEASE: LazyLock<Script> = LazyLock::new(|| script!("release"));

/// Fields of a job that a start changes and a release changes back, in the order that the script
/// for a release takes them.
const CHANGED_BY_START: [&str; 6] =
    ["status", "started_at", "worker_name", "last_heartbeat", "generation", "code_hash"];
/// RQ's text for a job that was stopped, to the letter: people and their tools match on it.
pub const STOPPED_TEXT: &str = "Job stopped by user, work-horse terminated.";
/// Most that the fields of a job may take: they are in memory several times on their way to it.
pub const JOB_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Redis refuses times to live that overflow its clock; this is some three thousand years.
const TTL_MAX: i64 = 100_000_000_000;

/// Asks for a job.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// The worker that will run it.
    pub worker: WorkerName,
    /// Where to look, in order.
    pub queues: Vec<QueueName>,
    /// Id of the execution, chosen by the caller; the same id again returns the same job.
    pub execution: ExecutionId,
    /// Higher than those of what the worker asked for before. What comes late, when the worker has been
    /// answered a later request, changes nothing.
    pub number: u64,
    /// The code that serves now.
    pub code: Code,
    /// Now.
    pub now: Timestamp,
    /// Time between two heartbeats of a running job.
    pub monitoring_interval: Duration,
    /// How long an idle worker counts as alive without a heartbeat.
    pub worker_ttl: Duration,
}

/// The answer to a [`StartRequest`].
#[derive(Clone, Debug)]
pub enum StartReply {
    /// A job was taken and registered as started.
    Job(Box<Started>),
    /// There is none.
    Empty,
    /// Workers are suspended.
    Suspended,
}

/// A job that was taken. It must be finished or released.
#[derive(Clone, Debug)]
pub struct Started {
    /// Its id.
    pub job: JobId,
    /// The worker that took it.
    pub worker: WorkerName,
    /// The queue it was taken from.
    pub queue: QueueName,
    /// This attempt.
    pub execution: ExecutionId,
    /// The number of the request that took it.
    pub number: u64,
    /// The code that its record names.
    pub code: Code,
    /// When it was taken.
    pub started_at: Timestamp,
    /// Its fields, as they were before.
    pub hash: JobHash,
    /// The field that brings them over [`JOB_BYTES_MAX`], if one does; its value is left out.
    pub too_large: Option<String>,
    /// What was left of the time to live of its record.
    pub ttl_left: Option<Duration>,
    /// How long an idle worker's key is kept, for a release.
    worker_life: Duration,
}

impl Started {
    /// What a worker must know of it.
    pub fn parse(&self) -> Result<Job, JobRefusal> {
        match &self.too_large {
            Some(field) => Err(JobRefusal::TooLarge { field: field.clone(), limit: JOB_BYTES_MAX }),
            None => Job::parse(&self.job, &self.queue, &self.hash),
        }
    }

    /// How long the result is to be kept if the job says, in seconds; -1 is for ever.
    pub fn result_ttl(&self) -> Option<i64> {
        self.hash.text("result_ttl")?.parse().ok()
    }
}

/// The end of an execution.
#[derive(Clone, Debug)]
pub struct Finish<'a> {
    /// The job that was taken.
    pub job: &'a Started,
    /// As of a start; that of the start that comes with it, if one does.
    pub number: u64,
    /// When the job's function was called.
    pub started_at: Timestamp,
    /// When it returned or raised.
    pub ended_at: Timestamp,
    /// How it ended.
    pub ending: Ending,
    /// How long results are kept of jobs that do not say, in seconds; -1 is for ever.
    pub default_result_ttl: i64,
    /// What a failure for good leaves.
    pub failure_leaves: FailureLeaves,
    /// What becomes of the job if it failed.
    pub on_failure: OnFailure,
    /// Fields of its record that the job changed in itself; its end goes by them.
    pub changed: BTreeMap<String, String>,
    /// Serialized meta, written only when the job is put back.
    pub meta: Option<Vec<u8>>,
}

impl Finish<'_> {
    /// Whether the job is to run again after a success.
    fn repeats(&self) -> bool {
        let changed = self.changed.get("repeats_left").map(|left| left.as_str().into());
        let left = changed.or_else(|| self.job.hash.text("repeats_left"));
        left.and_then(|left| left.parse().ok()).is_some_and(|left: i64| 0 < left)
    }
}

/// How an execution ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// It returned.
    Finished {
        /// The serialized value; none for Python's `None`.
        value: Option<Vec<u8>>,
    },
    /// It raised, or could not be run.
    Failed {
        /// The traceback, or the reason.
        exc_text: String,
    },
    /// It returned a `Retry`: it asks to run again.
    Retry(ReturnedRetry),
    /// It was stopped on request: never retried, and nothing that waits for it is freed.
    Stopped,
    /// RQ's own code ran it, in the horse, and has recorded its end.
    Handled {
        /// What it failed for if that has not come about.
        otherwise: String,
    },
}

/// A `Retry` that a job returned.
#[derive(Clone, Debug)]
pub struct ReturnedRetry {
    /// It, serialized.
    pub value: Vec<u8>,
    /// How often the job may ask for it.
    pub max: i64,
    /// Seconds before each attempt; the last one serves for all that follow.
    pub intervals: Vec<f64>,
    /// Whether the job goes to the front of its queue.
    pub front: bool,
    /// What is recorded as the failure once it may ask no more; none: that it has asked too often, which
    /// clients before RQ 2.8 cannot read.
    pub exceeded_text: Option<String>,
}

/// What becomes of a job that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is retried if its client said so.
    Retry,
    /// It was lost with its process, and goes back to the front of its queue; not for ever.
    Requeue,
}

/// What a failure for good leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureLeaves {
    /// An entry in the failed registry, a result, and times to live.
    Record,
    /// The status alone (RQ's `--disable-default-exception-handler`).
    Status,
}

/// The answer to a [`Finish`].
#[derive(Clone, Debug)]
pub struct FinishReply {
    /// What became of the job.
    pub how: Finished,
    /// The next job, if one was asked for.
    pub next: Option<StartReply>,
}

/// What became of a job at the end of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is finished.
    Finished,
    /// It has failed for good.
    Failed,
    /// It was stopped, and is in the failed registry.
    Stopped,
    /// It is back on its queue.
    Retried {
        /// Retries left.
        left: i64,
    },
    /// It will be back on its queue.
    RetryScheduled {
        /// Retries left.
        left: i64,
        /// When, in Unix seconds.
        at: i64,
    },
    /// It was lost with its process, and is back at the front of its queue.
    Requeued {
        /// How often it may be lost after this.
        left: i64,
    },
    /// It has finished, and is on its queue again or will be.
    Repeated {
        /// Repeats left.
        left: i64,
    },
    /// This execution had been finished before; its answer was lost.
    Already,
    /// The job was deleted while it ran.
    Gone,
}

/// The answer to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The job is back at the front of its queue.
    Done,
    /// The worker no longer holds this execution.
    NotMine,
}

impl Client {
    /// Takes the first job of the first queue that has one.
    pub async fn start(&self, request: &StartRequest) -> Result<StartReply, Error> {
        let start = self.start_json(request);
        let args: [&[u8]; 7] = [start.as_bytes(), b"", b"", b"", b"", b"", b""];
        let reply = self.run(&RUN, &self.start_keys(request), &args).await?;
        let (_, started) = pair(reply)?;
        start_reply(started, request)
    }

    /// Ends one execution and, when `next` is given, starts another in the same step.
    pub async fn finish(
        &self,
        finish: &Finish<'_>,
        next: Option<&StartRequest>,
    ) -> Result<FinishReply, Error> {
        let request = self.finish_json(finish);
        let start = next.map(|next| self.start_json(next)).unwrap_or_default();
        let keys = next
            .map_or_else(|| vec![self.keys().worker(&finish.job.worker)], |n| self.start_keys(n));
        let value = finish.ending.value().unwrap_or_default();
        // Only a job that runs again has its value in its hash, too.
        let repeats = matches!(finish.ending, Ending::Retry(_)) || finish.repeats();
        let (encoded, trace) = (BASE64.encode(value), finish.ending.trace());
        let args: [&[u8]; 7] = [
            start.as_bytes(),
            request.as_bytes(),
            finish.job.job.as_bytes(),
            encoded.as_bytes(),
            trace.as_bytes(),
            finish.meta.as_deref().unwrap_or_default(),
            if repeats { value } else { b"" },
        ];
        let reply = self.run(&RUN, &keys, &args).await?;
        let (ended, started) = pair(reply)?;
        let next = next.map(|next| start_reply(started, next)).transpose()?;
        Ok(FinishReply { how: finished(ended)?, next })
    }

    /// Undoes a start: the job is again what it was, at the front of its queue.
    pub async fn release(
        &self,
        worker: &WorkerName,
        started: &Started,
        now: Timestamp,
    ) -> Result<Released, Error> {
        let before = CHANGED_BY_START.map(|name| started.hash.get(name));
        let request = json!({
            "prefix": self.keys().prefix(),
            "worker": worker.as_str(),
            "worker_life": started.worker_life.as_secs(),
            "execution": started.execution.as_str(),
            "queue": started.queue.as_str(),
            "now": now.text(),
            "ttl": started.ttl_left.map_or(-1, |ttl| ttl.as_millis() as i64),
            "had": before.map(|value| value.is_some()),
        })
        .to_string();
        let keys = [self.keys().worker(worker), self.keys().queue(&started.queue)];
        let mut args = vec![request.as_bytes(), started.job.as_bytes()];
        args.extend(before.map(Option::unwrap_or_default));
        let reply = self.run(&RELEASE, &keys, &args).await?;
        Ok(if reply == Value::Int(1) { Released::Done } else { Released::NotMine })
    }

    /// Renews what the start has said, when the job begins after a wait or on other code.
    pub async fn begin(&self, started: &Started, code: Code, now: Timestamp) -> Result<(), Error> {
        let keys = [self.keys().worker(&started.worker)];
        let request = json!({
            "prefix": self.keys().prefix(),
            "now": now.text(),
            "generation": code.generation,
            "code_hash": code.hash.to_string(),
        })
        .to_string();
        self.run(&BEGIN, &keys, &[request.as_bytes(), started.job.as_bytes()]).await?;
        Ok(())
    }

    /// Keeps an execution and its worker alive for `ttl`.
    pub async fn job_heartbeat(
        &self,
        birth: &WorkerBirth,
        started: &Started,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Beat, Error> {
        let mut request = birth.request(self, now, WorkerState::Busy);
        request["ttl"] = ttl.as_secs().max(1).into();
        request["execution"] = started.execution.as_str().into();
        request["number"] = started.number.to_string().into();
        request["queue"] = started.queue.as_str().into();
        request["started_float"] = started.started_at.float().into();
        request["now_float"] = now.float().into();
        request["now_seconds"] = now.seconds().into();
        self.beat(birth, &request, started.job.as_bytes()).await
    }

    fn start_keys(&self, request: &StartRequest) -> Vec<String> {
        let queues = request.queues.iter().map(|queue| self.keys().queue(queue));
        std::iter::once(self.keys().worker(&request.worker)).chain(queues).collect()
    }

    fn start_json(&self, request: &StartRequest) -> String {
        let queues: Vec<&str> = request.queues.iter().map(QueueName::as_str).collect();
        json!({
            "prefix": self.keys().prefix(),
            "worker": request.worker.as_str(),
            "queues": queues,
            "execution": request.execution.as_str(),
            "number": request.number.to_string(),
            "generation": request.code.generation,
            "code_hash": request.code.hash.to_string(),
            "now": request.now.text(),
            "now_float": request.now.float(),
            "now_seconds": request.now.seconds(),
            "interval": request.monitoring_interval.as_secs(),
            "job_bytes_max": JOB_BYTES_MAX,
            "worker_life": (request.worker_ttl + WORKER_KEY_MARGIN).as_secs(),
        })
        .to_string()
    }

    fn finish_json(&self, finish: &Finish<'_>) -> String {
        let job = finish.job;
        let working = finish.ended_at.micros().saturating_sub(finish.started_at.micros()).max(0);
        json!({
            "prefix": self.keys().prefix(),
            "worker": job.worker.as_str(),
            "worker_life": job.worker_life.as_secs(),
            "queue": job.queue.as_str(),
            "execution": job.execution.as_str(),
            "number": finish.number.to_string(),
            "rate_limit_key": job.hash.text("rate_limit_key").unwrap_or_default(),
            "kind": finish.ending.kind(),
            "repeats": finish.repeats(),
            "lost": finish.on_failure == OnFailure::Requeue,
            "changed": finish.changed.iter().flat_map(|(n, v)| [n, v]).collect::<Vec<_>>(),
            "retry": match &finish.ending {
                Ending::Retry(retry) => json!({
                    "max": retry.max,
                    "intervals": retry.intervals,
                    "front": retry.front,
                }),
                _ => json!(null),
            },
            "failure_leaves": match finish.failure_leaves {
                FailureLeaves::Record => "record",
                FailureLeaves::Status => "status",
            },
            "taken_float": job.started_at.float(),
            "started": finish.started_at.text(),
            "now": finish.ended_at.text(),
            "now_float": finish.ended_at.float(),
            "now_seconds": finish.ended_at.seconds(),
            "working_time": Timestamp::from_micros(working).float(),
            "default_result_ttl": finish.default_result_ttl.clamp(-1, TTL_MAX),
        })
        .to_string()
    }
}

impl Ending {
    fn kind(&self) -> &'static str {
        match self {
            Self::Finished { .. } => "finished",
            Self::Failed { .. } => "failed",
            Self::Retry(_) => "retry",
            Self::Stopped => "stopped",
            Self::Handled { .. } => "handled",
        }
    }

    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Finished { value } => value.as_deref(),
            Self::Retry(retry) => Some(&retry.value),
            Self::Failed { .. } | Self::Stopped | Self::Handled { .. } => None,
        }
    }

    /// Text that is recorded for a failure, as RQ packs it.
    fn trace(&self) -> String {
        let text = match self {
            Self::Failed { exc_text } => Some(exc_text.as_str()),
            Self::Stopped => Some(STOPPED_TEXT),
            Self::Handled { otherwise } => Some(otherwise.as_str()),
            Self::Retry(retry) => retry.exceeded_text.as_deref(),
            Self::Finished { .. } => None,
        };
        text.map(packed).unwrap_or_default()
    }
}

/// The text of a failure, as results hold it.
pub(crate) fn packed(text: &str) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    let deflated = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    BASE64.encode(deflated.unwrap_or_default())
}

fn pair(reply: Value) -> Result<(Value, Value), Error> {
    match reply {
        Value::Array(items) => match <[Value; 2]>::try_from(items) {
            Ok([first, second]) => Ok((first, second)),
            Err(_) => Err(unexpected()),
        },
        _ => Err(unexpected()),
    }
}

pub(crate) fn start_reply(reply: Value, request: &StartRequest) -> Result<StartReply, Error> {
    let mut items = list(reply)?;
    match bytes(items.next())?.as_slice() {
        b"empty" => Ok(StartReply::Empty),
        b"suspended" => Ok(StartReply::Suspended),
        b"job" => {
            let queue = QueueName::new(String::from_utf8_lossy(&bytes(items.next())?));
            let job = JobId::new(bytes(items.next())?);
            let ttl = integer(items.next().as_ref())?;
            let hash = hash(items.next())?;
            let too_large = String::from_utf8_lossy(&bytes(items.next())?).into_owned();
            Ok(StartReply::Job(Box::new(Started {
                job,
                worker: request.worker.clone(),
                queue,
                execution: request.execution.clone(),
                number: request.number,
                code: request.code,
                started_at: request.now,
                hash,
                too_large: Some(too_large).filter(|field| !field.is_empty()),
                ttl_left: u64::try_from(ttl).ok().map(Duration::from_millis),
                worker_life: request.worker_ttl + WORKER_KEY_MARGIN,
            })))
        }
        _ => Err(unexpected()),
    }
}

pub(crate) fn finished(reply: Value) -> Result<Finished, Error> {
    let mut items = list(reply)?;
    match bytes(items.next())?.as_slice() {
        b"finished" => Ok(Finished::Finished),
        b"failed" => Ok(Finished::Failed),
        b"stopped" => Ok(Finished::Stopped),
        b"already" => Ok(Finished::Already),
        b"gone" => Ok(Finished::Gone),
        b"retried" => {
            let left = integer(items.next().as_ref())?;
            Ok(match integer(items.next().as_ref())? {
                0 => Finished::Retried { left },
                at => Finished::RetryScheduled { left, at },
            })
        }
        b"requeued" => Ok(Finished::Requeued { left: integer(items.next().as_ref())? }),
        b"repeated" => Ok(Finished::Repeated { left: integer(items.next().as_ref())? }),
        _ => Err(unexpected()),
    }
}
