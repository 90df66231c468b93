//! The scheduler: moves jobs that are due from the scheduled registry to their queue.
//!
//! One scheduler at a time works on a queue: the one whose name is the value of its lock, which
//! has to be refreshed. Each move is one atomic step, so that a job is never moved twice, lock or
//! no lock.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use serde_json::json;

use crate::client::Client;
use crate::error::Error;
use crate::names::QueueName;
use crate::reply::{bytes, integer, list};
use crate::scripts::script;
use crate::timestamp::Timestamp;

static LOCKS: LazyLock<Script> = LazyLock::new(|| script!("locks"));
static UNLOCK: LazyLock<Script> = LazyLock::new(|| script!("unlock"));
static SCHEDULE: LazyLock<Script> = LazyLock::new(|| script!("limiter", "schedule"));

/// How long locks and record live without a refresh (as RQ).
pub const LOCK_LIFE: Duration = Duration::from_secs(61);
/// Jobs of a queue that are moved in one step (as RQ).
pub const MOVED_MAX: usize = 1000;
/// Names are numbers below this, and at least a tenth of it.
const NAME_END: u128 = 1_000_000_000_000_000_000;

/// What a scheduler's record says.
#[derive(Clone, Debug)]
pub struct SchedulerBirth {
    /// Its name: digits only, because clients before RQ 2.10 read a lock's value as a number.
    pub name: String,
    /// Queues it would like to serve.
    pub queues: Vec<QueueName>,
    /// Process id.
    pub pid: u32,
    /// Which run of which program that is, in the words of whoever tells whether it is over.
    pub run: String,
    /// Host it runs on.
    pub hostname: String,
    /// When it was born.
    pub born: Timestamp,
}

impl SchedulerBirth {
    /// A name that nobody else has.
    pub fn random_name() -> String {
        let tenth = NAME_END / 10;
        (tenth + uuid::Uuid::new_v4().as_u128() % (NAME_END - tenth)).to_string()
    }
}

/// The state of one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It was ours before.
    Kept,
    /// It is ours from now on.
    New,
    /// Somebody else has it.
    Foreign,
}

/// What a scheduler knows of a queue after it asked for its lock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// Whose the lock is.
    pub lock: Lock,
    /// When the queue's next job is due, in Unix seconds.
    pub next_due: Option<f64>,
}

impl Client {
    /// Takes or refreshes the locks of `queues`, and the scheduler's record with them.
    pub async fn hold_locks(
        &self,
        scheduler: &SchedulerBirth,
        queues: &[QueueName],
        now: Timestamp,
    ) -> Result<Vec<Held>, Error> {
        let all: Vec<&str> = scheduler.queues.iter().map(QueueName::as_str).collect();
        let request = json!({
            "prefix": self.keys().prefix(),
            "name": scheduler.name,
            "queues": queues.iter().map(QueueName::as_str).collect::<Vec<_>>(),
            "life": LOCK_LIFE.as_secs(),
            "record": {
                "name": scheduler.name,
                "hostname": scheduler.hostname,
                "pid": scheduler.pid.to_string(),
                "freshq_run": scheduler.run,
                "queues": all.join(","),
                "created_at": scheduler.born.text(),
                "last_heartbeat": now.text(),
            },
        })
        .to_string();
        let reply = self.run(&LOCKS, &self.locks(queues), &[request.as_bytes()]).await?;
        let held = list(reply)?.map(|answer| {
            let mut items = list(answer)?;
            let lock = match integer(items.next().as_ref())? {
                2 => Lock::Kept,
                1 => Lock::New,
                _ => Lock::Foreign,
            };
            let due = bytes(items.next())?;
            let next_due = std::str::from_utf8(&due).ok().and_then(|text| text.parse().ok());
            Ok(Held { lock, next_due })
        });
        held.collect()
    }

    /// Moves jobs of a queue that are due, at most [`MOVED_MAX`]; returns how many entries were
    /// dealt with.
    pub async fn enqueue_due(&self, queue: &QueueName, now: Timestamp) -> Result<usize, Error> {
        let request = json!({
            "prefix": self.keys().prefix(),
            "queue": queue.as_str(),
            "limit": MOVED_MAX,
            "now": now.text(),
            "now_seconds": now.seconds(),
        })
        .to_string();
        let reply = self.run(&SCHEDULE, &[self.keys().queue(queue)], &[request.as_bytes()]).await?;
        Ok(usize::try_from(integer(Some(&reply))?).unwrap_or_default())
    }

    /// Gives the locks back that a scheduler of this name still holds, and removes its record.
    pub async fn release_locks(&self, name: &str, queues: &[QueueName]) -> Result<(), Error> {
        let args = [self.keys().prefix().as_bytes(), name.as_bytes()];
        self.run(&UNLOCK, &self.locks(queues), &args).await?;
        Ok(())
    }

    fn locks(&self, queues: &[QueueName]) -> Vec<String> {
        queues.iter().map(|queue| self.keys().scheduler_lock(queue)).collect()
    }
}
