//! Commands that clients publish on a worker's channel.
//!
//! Nothing is answered, and what is published while nobody listens is lost, as with RQ. A message
//! that makes no sense is an error of its own: it must never end the subscription.

use std::fmt;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use redis::aio::{PubSubSink, PubSubStream};
use redis::{ErrorKind, RedisError};
use serde_json::{Map, Value as Json};

use crate::client::Client;
use crate::error::Error;
use crate::names::{ExecutionId, JobId, WorkerName};

/// How long nothing may come before the server is asked whether it is still there.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long it may take to answer that, or to accept a connection or a subscription.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How much of a message that makes no sense is shown.
const SHOWN_CHARS: usize = 200;

/// What a worker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// End, as by a signal.
    Shutdown,
    /// Kill the horse that runs; its job has failed.
    KillHorse,
    /// Stop this job, if it runs.
    StopJob(JobId),
    /// Stop this attempt at a job, if it runs.
    StopExecution(ExecutionId),
}

/// A message that is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    reason: &'static str,
    message: String,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.reason, self.message)
    }
}

impl std::error::Error for CommandError {}

impl Command {
    /// Reads a message of RQ's client.
    pub fn parse(message: &[u8]) -> Result<Self, CommandError> {
        Self::read(message).map_err(|reason| CommandError {
            reason,
            message: String::from_utf8_lossy(message).chars().take(SHOWN_CHARS).collect(),
        })
    }

    fn read(message: &[u8]) -> Result<Self, &'static str> {
        let fields: Map<String, Json> =
            serde_json::from_slice(message).map_err(|_| "it is no JSON object")?;
        // An id of another type names nothing: RQ compares without converting, too.
        let text = |name: &str| fields.get(name).and_then(Json::as_str);
        match text("command") {
            Some("shutdown") => Ok(Self::Shutdown),
            Some("kill-horse") => Ok(Self::KillHorse),
            Some("stop-job") => {
                text("job_id").map(|id| Self::StopJob(JobId::new(id))).ok_or("it names no job")
            }
            Some("stop-execution") => text("execution_id")
                .map(|id| Self::StopExecution(ExecutionId::new(id)))
                .ok_or("it names no execution"),
            Some(_) => Err("there is no such command"),
            None => Err("it has no command"),
        }
    }
}

/// A message for one worker.
#[derive(Clone, Debug)]
pub struct Received {
    /// Whose channel it came on.
    pub worker: WorkerName,
    /// What it says.
    pub command: Result<Command, CommandError>,
}

/// A connection that listens for commands to any number of workers.
#[expect(missing_debug_implementations, reason = "the stream has no such thing")]
pub struct Subscription {
    client: Client,
    sink: PubSubSink,
    stream: PubSubStream,
}

impl Client {
    /// Opens a connection for commands; it listens to nobody's yet.
    pub async fn subscribe(&self) -> Result<Subscription, Error> {
        let (sink, stream) = within(self.pubsub()).await??.split();
        Ok(Subscription { client: self.clone(), sink, stream })
    }
}

impl Subscription {
    /// Listens for commands to this worker as well.
    pub async fn add(&mut self, worker: &WorkerName) -> Result<(), Error> {
        let channel = self.client.keys().pubsub(worker);
        Ok(within(self.sink.subscribe(channel)).await??)
    }

    /// Listens for commands to this worker no longer.
    pub async fn remove(&mut self, worker: &WorkerName) -> Result<(), Error> {
        let channel = self.client.keys().pubsub(worker);
        Ok(within(self.sink.unsubscribe(channel)).await??)
    }

    /// Makes sure that all that was published before now has come: [`Self::came`] has it.
    pub async fn catch_up(&mut self) -> Result<(), Error> {
        within(self.sink.ping::<redis::Value>()).await?.map(drop)?;
        Ok(())
    }

    /// The next message that has come already, if there is one.
    pub fn came(&mut self) -> Option<Received> {
        self.stream.next().now_or_never().flatten().map(|message| self.received(&message))
    }

    /// Waits for the next message. Safe to cancel. An error is the end of the connection.
    pub async fn next(&mut self) -> Result<Received, Error> {
        loop {
            match tokio::time::timeout(SILENCE_MAX, self.stream.next()).await {
                Ok(Some(message)) => return Ok(self.received(&message)),
                Ok(None) => return Err(closed().into()),
                // A connection can die without a word.
                Err(_) => self.catch_up().await?,
            }
        }
    }

    fn received(&self, message: &redis::Msg) -> Received {
        let channel: String = message.get_channel().unwrap_or_default();
        let prefix = self.client.keys().pubsub(&WorkerName::new(""));
        let worker = channel.strip_prefix(&prefix).unwrap_or_default();
        Received {
            worker: WorkerName::new(worker),
            command: Command::parse(message.get_payload_bytes()),
        }
    }
}

async fn within<T>(request: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(ANSWER_MAX, request).await.map_err(|_| closed().into())
}

fn closed() -> RedisError {
    RedisError::from((ErrorKind::Io, "the connection for commands was lost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        for (message, expected) in [
            (r#"{"command": "shutdown"}"#, Command::Shutdown),
            (r#"{"command": "kill-horse", "more": [1]}"#, Command::KillHorse),
            (r#"{"command": "stop-job", "job_id": "j\u00e4"}"#, Command::StopJob(JobId::new("jä"))),
            (
                r#"{"command": "stop-execution", "job_id": "j", "execution_id": "e"}"#,
                Command::StopExecution(ExecutionId::new("e")),
            ),
        ] {
            assert_eq!(Command::parse(message.as_bytes()), Ok(expected), "{message}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error_that_shows_it() {
        for message in [
            "",
            "shutdown",
            "\"shutdown\"",
            "[\"shutdown\"]",
            "null",
            "7",
            "{}",
            "{\"command\": 1}",
            "{\"command\": null}",
            "{\"command\": [\"shutdown\"]}",
            "{\"command\": \"SHUTDOWN\"}",
            "{\"command\": \"stop-job\"}",
            "{\"command\": \"stop-job\", \"job_id\": 1}",
            "{\"command\": \"stop-job\", \"job_id\": null}",
            "{\"command\": \"stop-execution\", \"job_id\": \"j\"}",
            "{\"command\": \"shutdown\"} trailing",
            &"[".repeat(100_000),
        ] {
            let error = Command::parse(message.as_bytes()).unwrap_err();
            let shown: String = message.chars().take(SHOWN_CHARS).collect();
            assert_eq!(error.message, shown, "{error}");
        }
        assert!(Command::parse(b"{\"command\": \"shut\xffdown\"}").is_err());
        assert!(Command::parse(b"\xff\xfe\0").is_err());
    }
}
