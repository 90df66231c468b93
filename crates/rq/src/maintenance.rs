//! Maintenance: what no worker does in passing, and what dead workers have left.
//!
//! Every step is safe beside other workers that do the same, with or without the locks: a script
//! looks again at what it changes. A step goes through large keys in pieces, so that no script
//! blocks Redis for long.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{RedisError, Script, Value, cmd};
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::error::Error;
use crate::execution::{Finished, OnFailure, finished, packed};
use crate::job::JobHash;
use crate::names::{JobId, QueueName, WorkerName};
use crate::reply::{bytes, hash, integer, list, unexpected};
use crate::scripts::script;
use crate::timestamp::Timestamp;

static EXPIRE: LazyLock<Script> = LazyLock::new(|| script!("expire"));
static EXPIRED: LazyLock<Script> = LazyLock::new(|| script!("abandoned", "expired"));
static ABANDON: LazyLock<Script> =
    LazyLock::new(|| script!("limiter", "dependents", "ending", "again", "abandoned", "abandon"));
static STUCK: LazyLock<Script> =
    LazyLock::new(|| script!("limiter", "dependents", "ending", "again", "stuck"));
static READY: LazyLock<Script> = LazyLock::new(|| script!("limiter", "dependents", "ready"));
static PRUNE: LazyLock<Script> = LazyLock::new(|| script!("prune"));

/// How long the lock of a queue's registries lives (as RQ).
const REGISTRIES_LOCK_LIFE: Duration = Duration::from_secs(899);
/// What a lock says that does not tell who has it (as RQ).
const ANYBODY: &str = "1";
/// Entries of a registry or members of a set that one script looks at.
const LOOKED_AT_MAX: usize = 1000;
/// Jobs whose fields one script reads.
const READ_MAX: usize = 100;
/// What a job fails with that a worker of RQ has popped and not started (as RQ).
const STUCK_TEXT: &str = "Job was stuck in intermediate queue.";

/// An execution whose worker no longer says that it runs.
#[derive(Clone, Debug)]
pub struct Abandoned {
    /// The queue in whose registry it is.
    pub queue: QueueName,
    /// The job.
    pub job: JobId,
    /// Its fields.
    pub hash: JobHash,
    entry: Vec<u8>,
}

/// A piece of the expired entries of a started registry.
#[derive(Clone, Debug)]
pub struct Expired {
    /// Those that were abandoned; the others are gone.
    pub abandoned: Vec<Abandoned>,
    /// Whether there may be more behind them.
    pub more: bool,
}

/// A key that somebody's mistake has given another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The key.
    pub key: String,
    /// The type it has.
    pub found: String,
    /// The type it should have.
    pub wanted: &'static str,
}

/// A job that was given up.
#[derive(Clone, Debug)]
pub struct GaveUp {
    /// The job.
    pub job: JobId,
    /// Its fields before.
    pub hash: JobHash,
    /// What became of it.
    pub how: Finished,
    /// What it failed with.
    pub text: String,
}

impl Client {
    /// Takes the lock under which one worker cleans the registries of a queue, for a run of a
    /// supervisor. False: somebody has it.
    pub async fn lock_registries(&self, queue: &QueueName, run: &str) -> Result<bool, Error> {
        let holder = if run.is_empty() { ANYBODY } else { run };
        self.lock(self.keys().registries_lock(queue), holder, REGISTRIES_LOCK_LIFE).await
    }

    /// Gives that lock back.
    pub async fn unlock_registries(&self, queue: &QueueName) -> Result<(), Error> {
        self.query(cmd("DEL").arg(self.keys().registries_lock(queue))).await?;
        Ok(())
    }

    /// Takes the lock under which groups are cleaned, for a little less than `interval`: it is
    /// never given back, so that all workers together clean once in that time.
    pub async fn lock_groups(&self, interval: Duration) -> Result<bool, Error> {
        let life = interval.saturating_sub(Duration::from_secs(1)).max(Duration::from_secs(1));
        self.lock(self.keys().groups_lock(), ANYBODY, life).await
    }

    async fn lock(&self, key: String, holder: &str, life: Duration) -> Result<bool, Error> {
        let mut set = cmd("SET");
        set.arg(key).arg(holder).arg("NX").arg("EX").arg(life.as_secs());
        Ok(self.query(&set).await? != Value::Nil)
    }

    /// The key because of which no job of a queue can be taken, if there is one.
    pub async fn blocked(&self, queue: &QueueName) -> Result<Option<Blocked>, Error> {
        let keys = self.keys();
        for (key, wanted) in [(keys.queue(queue), "list"), (keys.registry("wip", queue), "zset")] {
            let found = bytes(Some(self.query(cmd("TYPE").arg(&key)).await?))?;
            let found = String::from_utf8_lossy(&found).into_owned();
            if found != wanted && found != "none" {
                return Ok(Some(Blocked { key, found, wanted }));
            }
        }
        Ok(None)
    }

    /// Drops the entries of finished and failed jobs that are no longer kept.
    pub async fn drop_expired(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error> {
        let (now, limit) = (now.seconds().to_string(), LOOKED_AT_MAX.to_string());
        for registry in ["finished", "failed"] {
            let key = [self.keys().registry(registry, queue)];
            let args = [self.keys().prefix(), registry, queue.as_str(), &now, &limit];
            while count(&self.run(&EXPIRE, &key, &args.map(str::as_bytes)).await?)? == LOOKED_AT_MAX
            {
            }
        }
        Ok(())
    }

    /// A piece of the expired entries of the started registry, behind the first `skip`.
    pub async fn expired_executions(
        &self,
        queue: &QueueName,
        skip: usize,
        now: Timestamp,
    ) -> Result<Expired, Error> {
        let mut request = self.request(queue, now);
        request["skip"] = skip.into();
        request["limit"] = READ_MAX.into();
        let mut reply = list(self.run_for(&EXPIRED, queue, &request, &[]).await?)?;
        let looked_at = count(&reply.next().ok_or_else(unexpected)?)?;
        let abandoned = list(reply.next().ok_or_else(unexpected)?)?.map(|item| {
            let mut item = list(item)?;
            let entry = bytes(item.next())?;
            let (job, hash) = (JobId::new(bytes(item.next())?), hash(item.next())?);
            Ok(Abandoned { queue: queue.clone(), job, hash, entry })
        });
        let abandoned = abandoned.collect::<Result<_, Error>>()?;
        Ok(Expired { abandoned, more: looked_at == READ_MAX })
    }

    /// Gives up an execution: its job is retried, or has failed. None: its worker is alive after
    /// all, or somebody else was faster.
    pub async fn abandon(
        &self,
        abandoned: &Abandoned,
        certainly: OnFailure,
        now: Timestamp,
    ) -> Result<Option<GaveUp>, Error> {
        let Abandoned { queue, job, hash, entry } = abandoned;
        let shown = now.shown();
        let text = format!("Moved to FailedJobRegistry, due to AbandonedJobError, at {shown}");
        let mut request = self.request(queue, now);
        request["lost"] = (certainly == OnFailure::Requeue).into();
        let args = [entry.as_slice(), &packed(&text).into_bytes()];
        let how = finished(self.run_for(&ABANDON, queue, &request, &args).await?)?;
        let gave_up = GaveUp { job: job.clone(), hash: hash.clone(), how, text };
        Ok(Some(gave_up).filter(|gave_up| gave_up.how != Finished::Already))
    }

    /// Gives up jobs that workers of RQ have popped and not started; `worker` counts them.
    pub async fn give_up_stuck(
        &self,
        queue: &QueueName,
        worker: &WorkerName,
        now: Timestamp,
    ) -> Result<Vec<GaveUp>, Error> {
        let (mut all, mut left, text) = (Vec::new(), 0, packed(STUCK_TEXT));
        loop {
            let mut request = self.request(queue, now);
            request["worker"] = worker.as_str().into();
            request["now_float"] = now.float().into();
            request["skip"] = left.into();
            request["limit"] = READ_MAX.into();
            let reply = self.run_for(&STUCK, queue, &request, &[text.as_bytes()]).await?;
            let mut reply = list(reply)?;
            let looked_at = count(&reply.next().ok_or_else(unexpected)?)?;
            left += count(&reply.next().ok_or_else(unexpected)?)?;
            for item in list(reply.next().ok_or_else(unexpected)?)? {
                let mut item = list(item)?;
                let how = finished(item.next().ok_or_else(unexpected)?)?;
                let (job, hash) = (JobId::new(bytes(item.next())?), hash(item.next())?);
                all.push(GaveUp { job, hash, how, text: STUCK_TEXT.to_owned() });
            }
            if looked_at < READ_MAX {
                return Ok(all);
            }
        }
    }

    /// Puts dependents on their queue that are ready and were left so.
    pub async fn enqueue_ready(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error> {
        let request = self.request(queue, now);
        while 0 < count(&self.run_for(&READY, queue, &request, &[]).await?)? {}
        Ok(())
    }

    /// Takes workers whose record is gone out of the sets of workers.
    pub async fn forget_dead_workers(&self, queue: &QueueName) -> Result<(), Error> {
        self.prune(&[self.keys().queue_workers(queue), self.keys().workers()], "").await
    }

    /// Takes jobs that are gone out of their groups, and then the groups that are empty.
    pub async fn clean_groups(&self) -> Result<(), Error> {
        let (groups, prefix) = (self.keys().groups(), self.keys().group_prefix());
        let mut cursor = Vec::from(*b"0");
        loop {
            let names = self.scan(&groups, &mut cursor).await?;
            for name in names {
                let group = String::from_utf8_lossy(&name);
                self.prune(&[format!("{prefix}{group}")], &self.keys().job_prefix()).await?;
            }
            if cursor == b"0" {
                return self.prune(&[groups], &prefix).await;
            }
        }
    }

    /// Takes names out of sets that stand for a key that is gone; the first set says which there are.
    async fn prune(&self, sets: &[String], key_prefix: &str) -> Result<(), Error> {
        let mut cursor = Vec::from(*b"0");
        loop {
            let names = self.scan(&sets[0], &mut cursor).await?;
            let mut args = vec![key_prefix.as_bytes()];
            args.extend(names.iter().map(Vec::as_slice));
            self.run(&PRUNE, sets, &args).await?;
            if cursor == b"0" {
                return Ok(());
            }
        }
    }

    /// Some members of a set, and where the next ones are.
    pub(crate) async fn scan(
        &self,
        set: &str,
        cursor: &mut Vec<u8>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut command = cmd("SSCAN");
        command.arg(set).arg(cursor.as_slice()).arg("COUNT").arg(LOOKED_AT_MAX);
        let reply = self.query(&command).await?;
        let (next, names) = redis::from_redis_value(reply).map_err(RedisError::from)?;
        *cursor = next;
        Ok(names)
    }

    fn request(&self, queue: &QueueName, now: Timestamp) -> Json {
        json!({
            "prefix": self.keys().prefix(),
            "queue": queue.as_str(),
            "now": now.text(),
            "now_seconds": now.seconds(),
        })
    }

    async fn run_for(
        &self,
        script: &Script,
        queue: &QueueName,
        request: &Json,
        args: &[&[u8]],
    ) -> Result<Value, Error> {
        let request = request.to_string();
        let mut all = vec![request.as_bytes()];
        all.extend(args);
        self.run(script, &[self.keys().queue(queue)], &all).await
    }
}

fn count(value: &Value) -> Result<usize, Error> {
    Ok(usize::try_from(integer(Some(value))?).unwrap_or_default())
}
