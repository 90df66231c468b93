//! The connection to Redis, and sending scripts through it.
//!
//! One multiplexed connection for everything that answers at once. It is made anew after a
//! failure, at the next request; nothing is sent twice by itself, because only the caller
//! knows that its request is idempotent. A peek has a connection of its own, since it blocks.
//! Whoever needs a connection asks [`Client::reach`] where to: with sentinels that changes.

use std::io::ErrorKind::TimedOut;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Script, Value};
use tokio::sync::Mutex;

use crate::error::{ConnectError, Error};
use crate::keys::Keys;
use crate::names::{QueueName, WorkerName};
use crate::sentinel::{NoMaster, Sentinel};
use crate::source::{Source, Target};

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Where it is.
    pub source: Source,
    /// Prefix of all keys; RQ's default is `rq`.
    pub key_prefix: String,
    /// Longest wait for the answer to a command that does not block.
    pub response_timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}

/// What answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `Redis` or `Valkey`.
    pub product: &'static str,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
}

impl Server {
    /// Whether it has `BLMOVE`, with which a queue can be watched without taking from it.
    pub fn has_blmove(&self) -> bool {
        self.product == "Valkey" || (6, 2, 0) <= self.version
    }
}

/// Oldest Redis that RQ promises to work with.
const OLDEST: u32 = 5;
/// `BLMOVE` waits for ever when asked to wait for no time; Redis 6.2 rounds a millisecond down to that.
const PEEK_MIN: Duration = Duration::from_millis(10);
/// How often a server is asked that has no `BLMOVE`.
const PEEK_POLL: Duration = Duration::from_millis(100);

/// RQ's data in one Redis. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    route: Route,
    keys: Keys,
    server: Server,
    display_url: String,
    config: AsyncConnectionConfig,
    response_timeout: Duration,
    current: Mutex<Current>,
    /// What the connection is called in the list of clients.
    name: OnceLock<WorkerName>,
}

/// How to come by the server to connect to.
#[derive(Debug)]
enum Route {
    /// Always the same one.
    Server(redis::Client),
    /// The one that sentinels name now; each is asked for so long.
    Sentinel(Sentinel, Duration),
}

impl Route {
    async fn reach(&self) -> Result<redis::Client, Lost> {
        match self {
            Self::Server(client) => Ok(client.clone()),
            Self::Sentinel(sentinel, limit) => {
                let master = sentinel.find(*limit).await.map_err(Lost::NoMaster)?;
                master.client().map_err(Lost::Unusable)
            }
        }
    }
}

/// Why there is no server to connect to.
enum Lost {
    NoMaster(NoMaster),
    /// Its certificates can no longer be read.
    Unusable(ConnectError),
}

impl From<Lost> for ConnectError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::NoMaster(NoMaster { master, tried }) => Self::NoMaster { master, tried },
            Lost::Unusable(error) => error,
        }
    }
}

impl From<Lost> for Error {
    /// No connection: it will be tried again.
    fn from(lost: Lost) -> Self {
        let reason = match lost {
            Lost::NoMaster(error) => error.to_string(),
            Lost::Unusable(error) => error.to_string(),
        };
        Self::unsent(redis::RedisError::from(std::io::Error::other(reason)))
    }
}

/// The connection that requests go through now.
#[derive(Clone, Debug)]
struct Current {
    /// None after a failure, until the next request.
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that a late failure of an old one does not end its successor.
    number: u64,
}

impl Client {
    /// Connects, and makes sure that what answers can be used.
    pub async fn connect(options: Connect) -> Result<Self, ConnectError> {
        let keys = Keys::new(options.key_prefix)?;
        let (target, display_url) = Target::of(&options.source)?;
        let (endpoint, route) = match target {
            Target::Server(server) => (server.clone(), Route::Server(server.client()?)),
            Target::Sentinel(sentinel) => {
                let endpoint = sentinel.to_master.clone();
                (endpoint, Route::Sentinel(sentinel, options.connect_timeout))
            }
        };
        let failed = |error: redis::RedisError| ConnectError::of(&display_url, &endpoint, &error);
        let limit = endpoint.connect_timeout().unwrap_or(options.connect_timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(options.response_timeout));
        let client = route.reach().await?;
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        let info: String =
            redis::cmd("INFO").arg("server").query_async(&mut connection).await.map_err(failed)?;
        let server = parse_server(&info);
        if server.version.0 < OLDEST {
            let (major, minor, patch) = server.version;
            let version = format!("{major}.{minor}.{patch}");
            return Err(ConnectError::TooOld { url: display_url, version });
        }
        let current = Mutex::new(Current { connection: Some(connection), number: 0 });
        let response_timeout = options.response_timeout;
        let name = OnceLock::new();
        let shared =
            Shared { route, keys, server, display_url, config, response_timeout, current, name };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What answers.
    pub fn server(&self) -> &Server {
        &self.shared.server
    }

    /// The URL without its password.
    pub fn display_url(&self) -> &str {
        &self.shared.display_url
    }

    /// Gives the connection the name of a worker (as RQ), also when it is made anew. Workers that
    /// share it show up as the first of them.
    pub async fn introduce(&self, worker: &WorkerName) {
        if self.shared.name.set(worker.clone()).is_ok()
            && let Ok((mut connection, _)) = self.connection().await
        {
            self.say_name(&mut connection).await;
        }
    }

    /// For people only: a name that Redis refuses, for a space in it, is no reason not to work.
    async fn say_name(&self, connection: &mut MultiplexedConnection) {
        if let Some(name) = self.shared.name.get() {
            let mut command = redis::cmd("CLIENT");
            command.arg("SETNAME").arg(name.as_str());
            let _refused = command.query_async::<()>(connection).await;
        }
    }

    /// Our own address as Redis sees it; `unknown` if it does not say (as RQ).
    pub async fn local_address(&self) -> String {
        // Since Redis 6.2; before that we find ourselves in the list of all.
        let info = match self.client_command::<String>("INFO").await {
            Some(info) => Some(info),
            None => self.listed().await,
        };
        let address = info
            .as_deref()
            .and_then(|info| info.split_whitespace().find_map(|word| word.strip_prefix("addr=")));
        address.unwrap_or("unknown").to_owned()
    }

    async fn listed(&self) -> Option<String> {
        let id: u64 = self.client_command("ID").await?;
        let all: String = self.client_command("LIST").await?;
        let ours = format!("id={id} ");
        all.lines().find(|line| line.starts_with(&ours)).map(str::to_owned)
    }

    async fn client_command<T: FromRedisValue>(&self, command: &str) -> Option<T> {
        let reply = self.query(redis::cmd("CLIENT").arg(command)).await.ok()?;
        redis::from_redis_value(reply).ok()
    }

    /// Whether workers are suspended.
    pub async fn is_suspended(&self) -> Result<bool, Error> {
        let exists = self.query(redis::cmd("EXISTS").arg(self.keys().suspended())).await?;
        Ok(redis::from_redis_value(exists).map_err(redis::RedisError::from)?)
    }

    /// How many jobs wait in a queue.
    pub async fn queue_length(&self, queue: &QueueName) -> Result<u64, Error> {
        let length = self.query(redis::cmd("LLEN").arg(self.keys().queue(queue))).await?;
        Ok(redis::from_redis_value(length).map_err(redis::RedisError::from)?)
    }

    /// A connection that waits for a queue to have an element.
    pub async fn peek(&self, queue: &QueueName) -> Result<Peek, Error> {
        // The server limits the wait; a limit here would only abandon it half way.
        let config = self.shared.config.clone().set_response_timeout(None);
        let client = self.reach().await?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let blocks = self.server().has_blmove();
        let grace = self.shared.response_timeout;
        Ok(Peek { connection, key: self.keys().queue(queue), blocks, grace })
    }

    /// A connection for publish and subscribe.
    pub(crate) async fn pubsub(&self) -> Result<redis::aio::PubSub, Error> {
        Ok(self.reach().await?.get_async_pubsub().await?)
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// Runs a script; `keys` say where it belongs.
    pub(crate) async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Value, Error> {
        let (mut connection, number) = self.connection().await?;
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for arg in args {
            invocation.arg(*arg);
        }
        // By hash; the script itself is sent only if the server does not know it.
        let result = invocation.invoke_async(&mut connection).await;
        self.checked(result, number).await
    }

    pub(crate) async fn query(&self, command: &Cmd) -> Result<Value, Error> {
        let (mut connection, number) = self.connection().await?;
        let result = command.query_async(&mut connection).await;
        self.checked(result, number).await
    }

    /// The server to connect to now.
    pub(crate) async fn reach(&self) -> Result<redis::Client, Error> {
        Ok(self.shared.route.reach().await?)
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), Error> {
        let mut current = self.shared.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((connection.clone(), current.number));
        }
        let client = self.reach().await?;
        let mut made = client
            .get_multiplexed_async_connection_with_config(&self.shared.config)
            .await
            .map_err(Error::unsent)?;
        self.say_name(&mut made).await;
        current.connection = Some(made.clone());
        current.number += 1;
        Ok((made, current.number))
    }

    /// Passes a result on; a connection that failed is not used again.
    async fn checked(
        &self,
        result: redis::RedisResult<Value>,
        number: u64,
    ) -> Result<Value, Error> {
        let result = result.map_err(Error::from);
        if result.as_ref().is_err_and(Error::is_outage) {
            let mut current = self.shared.current.lock().await;
            if current.number == number {
                current.connection = None;
            }
        }
        result
    }
}

/// A connection that waits for one queue. Dropping it, also in the middle of a wait, leaves the
/// queue as it is.
#[derive(Debug)]
pub struct Peek {
    connection: MultiplexedConnection,
    key: String,
    /// Whether the server can wait for us.
    blocks: bool,
    /// How much longer than asked for a wait may take, before the server counts as gone.
    grace: Duration,
}

impl Peek {
    /// Waits until the queue has an element, for at most `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<bool, Error> {
        if !self.blocks {
            return self.poll(limit).await;
        }
        // The head of a list moved to its head: a blocking look.
        let limit = limit.max(PEEK_MIN);
        let mut command = redis::cmd("BLMOVE");
        command.arg(&self.key).arg(&self.key).arg("LEFT").arg("LEFT").arg(limit.as_secs_f64());
        Ok(self.ask::<Value>(&command, limit + self.grace).await? != Value::Nil)
    }

    async fn poll(&mut self, limit: Duration) -> Result<bool, Error> {
        let rounds = limit.as_millis() / PEEK_POLL.as_millis();
        for _ in 0..=rounds {
            let mut command = redis::cmd("LLEN");
            command.arg(&self.key);
            if 0 < self.ask::<u64>(&command, self.grace).await? {
                return Ok(true);
            }
            tokio::time::sleep(PEEK_POLL).await;
        }
        Ok(false)
    }

    /// A server that vanished without a word answers neither yes nor no.
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd, limit: Duration) -> Result<T, Error> {
        match tokio::time::timeout(limit, command.query_async(&mut self.connection)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(redis::RedisError::from(std::io::Error::from(TimedOut)).into()),
        }
    }
}

fn parse_server(info: &str) -> Server {
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let (product, version) = match field("valkey_version") {
        Some(version) => ("Valkey", version),
        None => ("Redis", field("redis_version").unwrap_or_default()),
    };
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    Server { product, version: (next(), next(), next()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_recognized() {
        let redis = parse_server("# Server\r\nredis_version:7.0.15\r\n");
        assert_eq!(redis, Server { product: "Redis", version: (7, 0, 15) });
        let valkey =
            parse_server("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n");
        assert_eq!(valkey, Server { product: "Valkey", version: (8, 0, 1) });
        assert!(!parse_server("redis_version:6.0.16").has_blmove());
        assert!(parse_server("redis_version:6.2.0").has_blmove());
    }
}
