//! What clients and strangers write, in every shape: it is read or refused, and nothing else.

use std::path::Path;
use std::time::Duration;

use embedded::testing::fuzz;
use redis::Value;
use serde_json::json;

use crate::code::{Code, CodeHash};
use crate::commands::Command;
use crate::execution::{StartReply, StartRequest, finished, start_reply};
use crate::job::{Job, JobHash};
use crate::names::{ExecutionId, JobId, QueueName, WorkerName};
use crate::orphans::signed;
use crate::reply::{bytes, hash, integer, list};
use crate::timestamp::Timestamp;
use crate::url;

/// Longest text that is told about what makes no sense.
const TOLD_BYTES_MAX: usize = 4096;
/// Lists within lists that are made.
const NESTED_MAX: usize = 16;
/// The password in the URLs of the corpus.
const SECRET: &str = "hushhush";

fn corpus(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The fields of a hash: a line for each.
fn fields(input: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let lines = input.split(|byte| *byte == b'\n');
    lines
        .map(|line| {
            let mut parts = line.splitn(2, |byte| *byte == b'=');
            let mut part = || parts.next().unwrap_or_default().to_vec();
            (part(), part())
        })
        .collect()
}

#[test]
fn job_hashes() {
    let (id, queue) = (JobId::new("j"), QueueName::new("q"));
    fuzz(&corpus("job-hash"), |input| {
        let fields = fields(input);
        let mut hash = JobHash::new(fields.clone());
        assert!(hash.iter().eq(fields.iter().map(|(name, value)| (&name[..], &value[..]))));
        match Job::parse(&id, &queue, &hash) {
            Ok(job) => assert!(!job.origin.as_str().is_empty()),
            Err(refusal) => assert!(refusal.to_string().len() < TOLD_BYTES_MAX),
        }
        for status in ["finished", "failed"] {
            // Others add to it.
            let _ = hash.webhook_time(status);
        }
        hash.set("status", b"queued".to_vec());
        assert_eq!(hash.get("status"), Some(&b"queued"[..]));
        assert_eq!(hash.iter().filter(|(name, _)| *name == b"status").count(), 1);
    });
}

#[test]
fn commands() {
    fuzz(&corpus("command"), |input| match Command::parse(input) {
        Ok(command) => {
            let text = match &command {
                Command::Shutdown => json!({"command": "shutdown"}),
                Command::KillHorse => json!({"command": "kill-horse"}),
                Command::StopJob(id) => json!({"command": "stop-job", "job_id": id.to_string()}),
                Command::StopExecution(id) => {
                    json!({"command": "stop-execution", "execution_id": id.to_string()})
                }
            };
            assert_eq!(Command::parse(text.to_string().as_bytes()), Ok(command));
        }
        Err(error) => assert!(error.to_string().len() < TOLD_BYTES_MAX),
    });
}

#[test]
fn urls() {
    fuzz(&corpus("url"), |input| {
        let text = String::from_utf8_lossy(input);
        let shown = url::redacted(&text);
        let Ok(endpoint) = url::parse(&text) else { return };
        let password = endpoint.login.password().unwrap_or_default();
        if password.contains(SECRET) && text.matches(SECRET).count() == 1 {
            assert!(!shown.contains(SECRET), "{text:?} is shown as {shown:?}");
        }
        // What the jobs are told leads to the same server.
        let again = url::parse(&url::for_redis_py(&text)).unwrap();
        assert_eq!(again.address, endpoint.address, "{text:?}");
        assert_eq!(again.login.password(), endpoint.login.password(), "{text:?}");
    });
}

/// An answer of Redis: a line for each value, `:1`, `+text`, `_` (nothing), `[` and `]`; else a bulk string.
fn answer(input: &[u8]) -> Value {
    let mut open = vec![Vec::new()];
    for line in input.split(|byte| *byte == b'\n') {
        let value = match line {
            b"[" if open.len() < NESTED_MAX => {
                open.push(Vec::new());
                continue;
            }
            b"]" if 1 < open.len() => Value::Array(open.pop().unwrap_or_default()),
            b"_" => Value::Nil,
            [b'+', text @ ..] => Value::SimpleString(String::from_utf8_lossy(text).into_owned()),
            [b':', number @ ..] => {
                Value::Int(String::from_utf8_lossy(number).parse().unwrap_or_default())
            }
            text => Value::BulkString(text.to_vec()),
        };
        open.last_mut().unwrap().push(value);
    }
    Value::Array(open.swap_remove(0))
}

fn start_request() -> StartRequest {
    StartRequest {
        worker: WorkerName::new("w"),
        queues: vec![QueueName::new("default")],
        execution: ExecutionId::new("x"),
        number: 1,
        code: Code { generation: 1, hash: CodeHash::new([0; 6]) },
        now: Timestamp::from_micros(1),
        monitoring_interval: Duration::from_secs(30),
        worker_ttl: Duration::from_mins(7),
    }
}

#[test]
fn answers_of_scripts() {
    fuzz(&corpus("reply"), |input| {
        let whole = answer(input);
        let Value::Array(items) = &whole else { unreachable!() };
        for item in items {
            let (number, text) = (integer(Some(item)), bytes(Some(item.clone())));
            assert_eq!(number.is_ok(), matches!(item, Value::Int(_)));
            assert_eq!(text.is_ok(), matches!(item, Value::BulkString(_) | Value::SimpleString(_)));
            assert_eq!(list(item.clone()).is_ok(), matches!(item, Value::Array(_)));
            drop(signed(item.clone()));
        }
        if let Ok(fields) = hash(Some(whole.clone())) {
            assert_eq!(fields.iter().count() * 2, items.len());
        }
        drop(finished(whole.clone()));
        if let Ok(StartReply::Job(started)) = start_reply(whole.clone(), &start_request()) {
            // Whatever it says, it is the execution that was asked for.
            assert_eq!(started.execution, start_request().execution);
            assert!(5 < items.len());
        }
    });
}
