//! One test's Redis, the client under test, and a second connection that looks and meddles.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use embedded::testing::{self, TestRedis};
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use rq::{
    Client, Code, CodeHash, Connect, Ending, ExecutionId, FailureLeaves, Finish, Finished, JobId,
    OnFailure, QueueName, Source, StartReply, StartRequest, Started, Timestamp, WorkerBirth,
    WorkerName,
};

/// 2026-01-02T03:04:05.000006Z, in microseconds.
const T0: i64 = 1_767_323_045_000_006;
/// Nothing here takes long; this ends a test that hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// So many seconds after the beginning of the tests' time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(T0 + seconds * 1_000_000)
}

/// How to connect to `url`.
pub(crate) fn options(url: &str) -> Connect {
    Connect {
        source: Source::Url(url.to_owned()),
        key_prefix: "rq".to_owned(),
        response_timeout: PATIENCE,
        connect_timeout: PATIENCE,
    }
}

/// What a hash, a sorted set or an entry of a stream holds.
type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) server: TestRedis,
    meddler: MultiplexedConnection,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_prefix("rq").await
    }

    /// Says so, for a test that has nothing to prove with an old server.
    pub(crate) fn is_older_than(&self, version: (u32, u32, u32)) -> bool {
        let server = self.client.server();
        let older = server.product == "Redis" && server.version < version;
        if older {
            let text = format!("skipped: {server:?} is older than {version:?}");
            writeln!(std::io::stderr(), "{text}").ok();
        }
        older
    }

    pub(crate) async fn with_prefix(prefix: &str) -> Self {
        let server = testing::redis();
        let url = server.url();
        let client = Client::connect(Connect { key_prefix: prefix.to_owned(), ..options(&url) })
            .await
            .unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let meddler = redis::Client::open(url)
            .unwrap()
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap();
        Self { client, server, meddler }
    }

    /// Sends a command, its words divided by blanks; `""` is the empty word.
    pub(crate) async fn ask<T: FromRedisValue>(&self, line: &str) -> T {
        let words: Vec<&[u8]> = line
            .split_whitespace()
            .map(|word| if word == "\"\"" { "" } else { word }.as_bytes())
            .collect();
        self.ask_bytes(&words).await
    }

    pub(crate) async fn ask_bytes<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut self.meddler.clone()).await.unwrap()
    }

    /// Sends commands whose answers do not matter.
    pub(crate) async fn send(&self, lines: &[&str]) {
        for line in lines {
            self.ask::<redis::Value>(line).await;
        }
    }

    /// Writes a job's hash as RQ's client does, with more fields.
    pub(crate) async fn job(&self, id: &str, queue: &str, status: &str, fields: &str) {
        let line = format!(
            "HSET rq:job:{id} created_at 2026-01-01T00:00:00.000000Z data call \
             success_callback_name \"\" failure_callback_name \"\" stopped_callback_name \"\" \
             started_at \"\" ended_at \"\" last_heartbeat \"\" worker_name \"\" group_id \"\" \
             origin {queue} description f() enqueued_at 2026-01-01T00:00:00.000000Z timeout 180 \
             status {status} {fields}"
        );
        self.send(&[&line]).await;
    }

    /// Enqueues a job as RQ's client does, with more fields.
    pub(crate) async fn enqueue(&self, id: &str, queue: &str, fields: &str) {
        self.job(id, queue, "queued", fields).await;
        let push = format!("RPUSH rq:queue:{queue} {id}");
        self.send(&[&format!("SADD rq:queues rq:queue:{queue}"), &push]).await;
    }

    /// Adds a job that waits for others, as RQ's client does.
    pub(crate) async fn defer(&self, id: &str, parents: &[&str], fields: &str) {
        self.job(id, "q", "deferred", fields).await;
        self.send(&[&format!("ZADD rq:deferred:q 1 {id}")]).await;
        for parent in parents {
            self.send(&[
                &format!("SADD rq:job:{parent}:dependents {id}"),
                &format!("SADD rq:job::{id}:dependencies {parent}"),
            ])
            .await;
        }
    }

    pub(crate) async fn start(&self, request: &StartRequest) -> StartReply {
        self.client.start(request).await.unwrap()
    }

    /// Starts the next job of queue `q`.
    pub(crate) async fn take(&self, execution: &str) -> Started {
        taken(self.start(&request(execution, &["q"])).await)
    }

    /// Enqueues a job and starts it.
    pub(crate) async fn run(&self, id: &str, fields: &str) -> Started {
        self.enqueue(id, "q", fields).await;
        let started = self.take(&format!("execution-of-{id}")).await;
        assert_eq!(started.job, JobId::new(id));
        started
    }

    pub(crate) async fn finish(&self, finish: &Finish<'_>) -> Finished {
        self.client.finish(finish, None).await.unwrap().how
    }

    pub(crate) async fn status(&self, id: &str) -> Option<String> {
        self.field(id, "status").await
    }

    pub(crate) async fn field(&self, id: &str, field: &str) -> Option<String> {
        self.ask(&format!("HGET rq:job:{id} {field}")).await
    }

    pub(crate) async fn queue(&self, queue: &str) -> Vec<String> {
        self.ask(&format!("LRANGE rq:queue:{queue} 0 -1")).await
    }

    /// Whether the job is in a registry of queue `q`.
    pub(crate) async fn is_in(&self, registry: &str, id: &str) -> bool {
        self.score(registry, id).await.is_some()
    }

    pub(crate) async fn score(&self, registry: &str, member: &str) -> Option<String> {
        self.ask(&format!("ZSCORE rq:{registry}:q {member}")).await
    }

    pub(crate) async fn worker_field(&self, field: &str) -> Option<String> {
        self.ask(&format!("HGET rq:worker:w1 {field}")).await
    }

    /// The newest result of a job.
    pub(crate) async fn result(&self, id: &str) -> BTreeMap<String, String> {
        let entries: Vec<(String, BTreeMap<String, String>)> =
            self.ask(&format!("XREVRANGE rq:results:{id} + - COUNT 1")).await;
        entries.into_iter().next().map(|(_, fields)| fields).unwrap_or_default()
    }

    pub(crate) async fn dump(&self) -> Dump {
        let keys: Vec<Vec<u8>> = self.ask("KEYS *").await;
        let mut dump = Dump(BTreeMap::new());
        for key in keys {
            dump.0.insert(shown(&key), self.entry(&key).await);
        }
        dump
    }

    async fn entry(&self, key: &[u8]) -> String {
        let kind: String = self.ask_bytes(&[b"TYPE", key]).await;
        let ttl: i64 = self.ask_bytes(&[b"PTTL", key]).await;
        let life = if ttl < 0 {
            "for ever".to_owned()
        } else {
            format!("{} min", (ttl + 59_999) / 60_000)
        };
        let lines = match kind.as_str() {
            "hash" => pairs(&self.ask_bytes::<Fields>(&[b"HGETALL", key]).await, ": "),
            "zset" => {
                let command: [&[u8]; 5] = [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"];
                pairs(&self.ask_bytes::<Fields>(&command).await, " ")
            }
            "set" => {
                let mut members: Vec<Vec<u8>> = self.ask_bytes(&[b"SMEMBERS", key]).await;
                members.sort();
                members.iter().map(|member| shown(member)).collect()
            }
            "list" => {
                let items: Vec<Vec<u8>> = self.ask_bytes(&[b"LRANGE", key, b"0", b"-1"]).await;
                items.iter().map(|item| shown(item)).collect()
            }
            "string" => vec![self.ask_bytes(&[b"GET", key]).await],
            "stream" => {
                let entries: Vec<(String, Fields)> =
                    self.ask_bytes(&[b"XRANGE", key, b"-", b"+"]).await;
                entries.iter().map(|(_, fields)| pairs(fields, "=").join(" ")).collect()
            }
            other => panic!("nobody writes a {other}"),
        };
        let heading = [format!("{kind}, {life}")];
        heading
            .into_iter()
            .chain(lines.iter().map(|line| format!("- {line}")))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn pairs(map: &Fields, between: &str) -> Vec<String> {
    map.iter()
        .map(|(name, value)| {
            format!("{}{between}{}", shown(name), shown(value)).trim_end().to_owned()
        })
        .collect()
}

/// Bytes as text, with escapes for what is no plain character.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace(r#"\""#, "\"")
}

/// All keys with their type, their time to live in begun minutes, and what they hold.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Dump(BTreeMap<String, String>);

impl Dump {
    /// Without the keys that begin so.
    pub(crate) fn without(mut self, prefix: &str) -> Self {
        self.0.retain(|key, _| !key.starts_with(prefix));
        self
    }

    /// Only the keys that are new or different since then; those that went have no content.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let gone = earlier.0.keys().filter(|key| !self.0.contains_key(*key));
        let mut changed: BTreeMap<_, _> =
            gone.map(|key| (key.clone(), "gone".to_owned())).collect();
        let new = self.0.iter().filter(|(key, entry)| earlier.0.get(*key) != Some(*entry));
        changed.extend(new.map(|(key, entry)| (key.clone(), entry.clone())));
        Self(changed)
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Compares with a text; its indentation does not count.
    #[track_caller]
    pub(crate) fn assert_is(&self, expected: &str) {
        let expected = expected.trim().lines().map(str::trim).collect::<Vec<_>>().join("\n") + "\n";
        let found = self.to_string();
        assert!(found == expected, "found:\n{found}\nexpected:\n{expected}");
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(key, entry)| writeln!(f, "{key} {entry}"))
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

/// A start of worker `w1` at second 10.
/// A version of the user's code.
pub(crate) fn code(generation: u64) -> Code {
    Code { generation, hash: CodeHash::new([0, 1, 2, 3, 4, 0xff]) }
}

pub(crate) fn request(execution: &str, queues: &[&str]) -> StartRequest {
    StartRequest {
        worker: WorkerName::new("w1"),
        queues: queues.iter().map(|queue| QueueName::new(*queue)).collect(),
        execution: ExecutionId::new(execution),
        number: 1,
        code: code(7),
        now: at(10),
        monitoring_interval: Duration::from_secs(30),
        worker_ttl: Duration::from_mins(7),
    }
}

/// The job of a reply that must have one.
#[track_caller]
pub(crate) fn taken(reply: StartReply) -> Started {
    match reply {
        StartReply::Job(started) => *started,
        other => panic!("no job: {other:?}"),
    }
}

/// The end of what was started: called at second 11, ended at second 13.5.
pub(crate) fn ended(job: &Started, ending: Ending) -> Finish<'_> {
    Finish {
        job,
        number: 1,
        started_at: at(11),
        ended_at: Timestamp::from_micros(at(13).micros() + 500_000),
        ending,
        default_result_ttl: 500,
        failure_leaves: FailureLeaves::Record,
        on_failure: OnFailure::Retry,
        changed: BTreeMap::new(),
        meta: None,
    }
}

pub(crate) fn success(started: &Started) -> Finish<'_> {
    ended(started, Ending::Finished { value: Some(b"\x80value".to_vec()) })
}

pub(crate) fn failure(started: &Started) -> Finish<'_> {
    ended(started, Ending::Failed { exc_text: "ValueError: häßlich".to_owned() })
}

/// A worker that was born at second 0 and serves `q` and `other`.
pub(crate) fn birth() -> WorkerBirth {
    WorkerBirth {
        run: "run 1".to_owned(),
        name: WorkerName::new("w1"),
        queues: vec![QueueName::new("q"), QueueName::new("other")],
        pid: 4711,
        hostname: "host".to_owned(),
        ip_address: "127.0.0.1:9".to_owned(),
        rq_version: "3.0.0".to_owned(),
        python_version: "3.11".to_owned(),
        born: at(0),
        worker_ttl: Duration::from_mins(7),
    }
}

/// What RQ writes as the text of an exception.
pub(crate) fn inflated(exc_string: &str) -> String {
    let mut text = String::new();
    let packed = BASE64.decode(exc_string).unwrap();
    flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
    text
}
