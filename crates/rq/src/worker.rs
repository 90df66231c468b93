//! A worker's record: birth, heartbeat, death.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::error::{Error, RegisterError};
use crate::names::{QueueName, WorkerName};
use crate::scripts::script;
use crate::timestamp::Timestamp;

/// How much longer than its time to live a worker's key is kept (as RQ).
pub const WORKER_KEY_MARGIN: Duration = Duration::from_mins(1);

/// What a worker's record says from its birth on.
#[derive(Clone, Debug)]
pub struct WorkerBirth {
    /// Its name.
    pub name: WorkerName,
    /// Queues it works on, in order.
    pub queues: Vec<QueueName>,
    /// Process id.
    pub pid: u32,
    /// Which run of which program that is, in the words of whoever tells whether it is over.
    pub run: String,
    /// Host it runs on.
    pub hostname: String,
    /// Its address as Redis sees it.
    pub ip_address: String,
    /// Version of the `rq` package that its jobs run with.
    pub rq_version: String,
    /// `sys.version` of its Python.
    pub python_version: String,
    /// When it was born.
    pub born: Timestamp,
    /// How long it counts as alive without a heartbeat.
    pub worker_ttl: Duration,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It is starting.
    Started,
    /// It waits for jobs.
    Idle,
    /// It runs a job.
    Busy,
    /// It waits for `rq resume`.
    Suspended,
}

impl WorkerState {
    fn text(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Suspended => "suspended",
        }
    }
}

static REGISTER: LazyLock<Script> = LazyLock::new(|| script!("birth", "register"));
static DEATH: LazyLock<Script> = LazyLock::new(|| script!("death"));
static SHUTDOWN: LazyLock<Script> = LazyLock::new(|| script!("shutdown"));
static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| script!("birth", "heartbeat"));

impl Client {
    /// Writes a new worker's record, unless an active worker has the name.
    pub async fn register(&self, birth: &WorkerBirth, now: Timestamp) -> Result<(), RegisterError> {
        let request = birth.request(self, now, WorkerState::Started).to_string();
        let keys = [self.keys().worker(&birth.name)];
        let reply = self.run(&REGISTER, &keys, &[request.as_bytes()]).await?;
        if reply == redis::Value::Int(0) {
            return Err(RegisterError::NameTaken(birth.name.to_string()));
        }
        Ok(())
    }

    /// Keeps an idle worker's record alive. Returns whether it had vanished and was written again.
    pub async fn heartbeat(
        &self,
        birth: &WorkerBirth,
        state: WorkerState,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let request = birth.request(self, now, state);
        Ok(self.beat(birth, &request, b"").await?.registered_again)
    }

    /// Registers a worker's end.
    pub async fn death(&self, birth: &WorkerBirth, now: Timestamp) -> Result<(), Error> {
        let request = birth.request(self, now, WorkerState::Idle).to_string();
        let keys = [self.keys().worker(&birth.name)];
        self.run(&DEATH, &keys, &[request.as_bytes()]).await?;
        Ok(())
    }

    /// Notes that a worker was asked to stop while it was busy.
    pub async fn mark_shutdown_requested(
        &self,
        worker: &WorkerName,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (keys, now) = ([self.keys().worker(worker)], now.text());
        let args = [self.keys().prefix().as_bytes(), worker.as_str().as_bytes(), now.as_bytes()];
        self.run(&SHUTDOWN, &keys, &args).await?;
        Ok(())
    }

    pub(crate) async fn beat(
        &self,
        birth: &WorkerBirth,
        request: &Json,
        job: &[u8],
    ) -> Result<Beat, Error> {
        let keys = [self.keys().worker(&birth.name)];
        let reply = self.run(&HEARTBEAT, &keys, &[request.to_string().as_bytes(), job]).await?;
        let (again, gone): (bool, bool) =
            redis::from_redis_value(reply).map_err(redis::RedisError::from)?;
        Ok(Beat { registered_again: again, job_gone: gone })
    }
}

/// What a heartbeat found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The worker's record had vanished and was written again.
    pub registered_again: bool,
    /// The job was deleted meanwhile.
    pub job_gone: bool,
}

impl WorkerBirth {
    /// The request that all scripts about workers take.
    pub(crate) fn request(&self, client: &Client, now: Timestamp, state: WorkerState) -> Json {
        let queues: Vec<&str> = self.queues.iter().map(QueueName::as_str).collect();
        json!({
            "prefix": client.keys().prefix(),
            "worker": self.name.as_str(),
            "queues": queues,
            "now": now.text(),
            "life": (self.worker_ttl + WORKER_KEY_MARGIN).as_secs(),
            "birth": {
                "birth": self.born.text(),
                "last_heartbeat": now.text(),
                "queues": queues.join(","),
                "pid": self.pid.to_string(),
                "freshq_run": self.run,
                "hostname": self.hostname,
                "ip_address": self.ip_address,
                "version": self.rq_version,
                "python_version": self.python_version,
                "state": state.text(),
            },
        })
    }
}
