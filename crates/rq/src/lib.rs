//! RQ's job protocol in Redis, as a worker speaks it.
//!
//! Matched: RQ 3.0, and what clients from 2.0 on write and read. The reference is RQ's own worker.
//! This crate starts no process, reads no clock and never looks into a payload: `data`, `meta`
//! and return values are bytes.
//!
//! Every step of a job's life is one Lua script, so that nothing can be lost between two
//! commands. With the prefix `rq` (`RQ_KEY_PREFIX`) and queue `q`, job `j`, execution `e`,
//! worker `w` the keys are:
//!
//! | key | type | what |
//! | --- | --- | --- |
//! | `rq:queue:q` | list | job ids, taken from the left |
//! | `rq:queues` | set | keys of queues |
//! | `rq:job:j` | hash | the job; `generation` and `code_hash` tell which code runs it, or ran it last |
//! | `rq:job:j:dependents`, `rq:job::j:dependencies` | set | who waits for it, whom it waits for |
//! | `rq:results:j` | stream | its results, newest last |
//! | `rq:execution:j:e`, `rq:executions:j` | hash, sorted set | its attempts that run |
//! | `rq:wip:q` | sorted set | `j:e` by the time when they count as abandoned |
//! | `rq:finished:q`, `rq:failed:q`, `rq:deferred:q`, `rq:scheduled:q`, `rq:ready:q` | sorted set | registries |
//! | `rq:worker:w`, `rq:worker:w:executions` | hash, set | a worker and what it runs |
//! | `rq:workers`, `rq:workers:q` | set | keys of workers |
//! | `rq:group:g` | set | ids of the jobs of a group |
//! | `rq:rl-keys`, `rq:rl:k` | set, hash | keys of rate limits; how many jobs one allows |
//! | `rq:rl:k:allowed`, `rq:rl:k:rate_limited` | sorted set | jobs that hold a slot of it, jobs that wait for one |
//! | `rq:clean_registries:q`, `rq:clean_groups` | string | who does maintenance |
//! | `rq:suspended` | string | exists while workers are suspended |
//! | `rq:scheduler-lock:q`, `rq:scheduler:s` | string, hash | who moves scheduled jobs to `q` |
//!
//! freshq adds two fields to a job's hash when it takes the job: `generation`, the number of the loaded
//! version of the user's code that runs it, and `code_hash` over the files of that. Clients of RQ leave
//! them alone. It also adds fields to the worker's hash: `freshq_execution`, `freshq_job`, `freshq_queue` and
//! `freshq_undo` while it holds a job, `freshq_finished` with the last execution it ended.
//! With them `start` and `finish` can be sent again after a lost answer, and a start can be
//! undone. It also writes `current_job`, which readers of RQ 2 show.
//!
//! `freshq_run` in the hash of a worker or a scheduler is the process that it belongs to. `freshq_lost` in
//! that of a job counts how often it went back to its queue because its process died.
//!
//! Invariants:
//!
//! 1. A job id is always in a queue, in the started registry, or in a registry of ended or
//!    waiting jobs: no step has a gap between two of them.
//! 2. A script that is refused (out of memory, a key of another type) has changed nothing.
//! 3. A job that was deleted never comes back as half a hash.
//! 4. No time is computed in a script: it comes with the request.
//!
//! Read next: [`Client::start`], [`Client::finish`], `scripts/start.lua`, `scripts/finish.lua`.

mod client;
mod code;
mod commands;
mod endpoint;
mod error;
mod execution;
#[cfg(test)]
mod fuzz_tests;
mod job;
mod keys;
mod limits;
mod maintenance;
mod names;
mod option;
mod orphans;
mod reply;
mod scheduler;
mod scripts;
mod sentinel;
mod source;
mod timestamp;
mod tls;
mod url;
mod worker;

pub use client::{Client, Connect, Peek, Server};
pub use code::{Code, CodeHash};
pub use commands::{Command, CommandError, Received, Subscription};
pub use error::{ConnectError, Error, RegisterError};
pub use execution::{
    Ending, FailureLeaves, Finish, FinishReply, Finished, JOB_BYTES_MAX, OnFailure, Released,
    ReturnedRetry, STOPPED_TEXT, StartReply, StartRequest, Started,
};
pub use job::{CALLBACK_TIMEOUT, DEFAULT_TIMEOUT, Job, JobHash, JobRefusal, JobTimeout};
pub use keys::Keys;
pub use maintenance::{Abandoned, Blocked, Expired, GaveUp};
pub use names::{ExecutionId, JobId, QueueName, WorkerName};
pub use orphans::{Signed, Taken};
pub use scheduler::{Held, LOCK_LIFE, Lock, MOVED_MAX, SchedulerBirth};
pub use source::Source;
pub use timestamp::Timestamp;
pub use url::{for_redis_py, redacted};
pub use worker::{Beat, WORKER_KEY_MARGIN, WorkerBirth, WorkerState};
