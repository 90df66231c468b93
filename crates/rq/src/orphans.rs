//! What supervisors have put the name of their run to, and what becomes of it when that run is over.
//!
//! Whether it is over is not known here. A worker's record goes, and the execution that it notes counts as
//! abandoned at once instead of after a minute or more; maintenance takes it from there.

use std::sync::LazyLock;

use redis::Script;
use serde_json::json;

use crate::client::Client;
use crate::error::Error;
use crate::names::{JobId, QueueName};
use crate::reply::{bytes, list, unexpected};
use crate::scripts::script;

static SIGNED: LazyLock<Script> = LazyLock::new(|| script!("signed"));
static BURY: LazyLock<Script> = LazyLock::new(|| script!("bury"));
static DISOWN: LazyLock<Script> = LazyLock::new(|| script!("disown"));

/// Something that has the name of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The run, as it was written.
    pub run: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A worker's record, by its key.
    Worker(Vec<u8>),
    /// The lock under which the registries of a queue are cleaned.
    Maintenance(QueueName),
    /// A scheduler by its name, with one of its locks.
    Scheduler(String, QueueName),
}

/// What was taken from a run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A worker's record, by the worker's name, and the job that it was running.
    Worker(String, Option<JobId>),
    /// The lock under which the registries of this queue are cleaned.
    Maintenance(QueueName),
    /// The lock of the scheduler for this queue.
    Scheduler(QueueName),
}

impl Client {
    /// All workers and the locks of `queues` that have the name of a run.
    pub async fn signed(&self, queues: &[QueueName]) -> Result<Vec<Signed>, Error> {
        let mut cursor = Vec::from(*b"0");
        let mut queues = queues;
        let mut found = Vec::new();
        loop {
            let workers = self.scan(&self.keys().workers(), &mut cursor).await?;
            let names: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
            let request = json!({ "prefix": self.keys().prefix(), "queues": names }).to_string();
            let mut args = vec![request.as_bytes()];
            args.extend(workers.iter().map(Vec::as_slice));
            for item in list(self.run(&SIGNED, &[self.keys().workers()], &args).await?)? {
                found.push(signed(item)?);
            }
            if cursor == b"0" {
                return Ok(found);
            }
            // Once is enough.
            queues = &[];
        }
    }

    /// Takes this from its run, which is over. None: it is of another run by now.
    pub async fn take_over(&self, signed: &Signed) -> Result<Option<Taken>, Error> {
        match &signed.what {
            What::Worker(key) => self.bury(key, &signed.run).await,
            What::Maintenance(queue) => {
                let lock = [self.keys().registries_lock(queue)];
                self.run(&DISOWN, &lock, &[signed.run.as_bytes()]).await?;
                Ok(Some(Taken::Maintenance(queue.clone())))
            }
            What::Scheduler(name, queue) => {
                self.release_locks(name, std::slice::from_ref(queue)).await?;
                Ok(Some(Taken::Scheduler(queue.clone())))
            }
        }
    }

    async fn bury(&self, key: &[u8], run: &str) -> Result<Option<Taken>, Error> {
        let request = json!({ "prefix": self.keys().prefix(), "run": run }).to_string();
        let reply = self.run(&BURY, &[self.keys().workers()], &[request.as_bytes(), key]).await?;
        if reply == redis::Value::Nil {
            return Ok(None);
        }
        let job = Some(bytes(Some(reply))?).filter(|id| !id.is_empty()).map(JobId::new);
        let key = String::from_utf8_lossy(key);
        let name = key.strip_prefix(&self.keys().worker_prefix()).unwrap_or(&key).to_owned();
        Ok(Some(Taken::Worker(name, job)))
    }
}

pub(crate) fn signed(item: redis::Value) -> Result<Signed, Error> {
    let mut parts = list(item)?;
    let (kind, name) = (bytes(parts.next())?, bytes(parts.next())?);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (run, queue) = (text(bytes(parts.next())?), QueueName::new(text(bytes(parts.next())?)));
    let what = match kind.as_slice() {
        b"worker" => What::Worker(name),
        b"maintenance" => What::Maintenance(QueueName::new(text(name))),
        b"scheduler" => What::Scheduler(text(name), queue),
        _ => return Err(unexpected()),
    };
    Ok(Signed { run, what })
}
