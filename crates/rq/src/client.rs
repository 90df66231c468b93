//! The connection to Redis, and sending scripts through it.
//!
//! One multiplexed connection for everything that answers at once. It is made anew after a
//! failure, at the next request; nothing is sent twice by itself, because only the caller
//! knows that its request is idempotent. A peek has a connection of its own, since it blocks.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, IntoConnectionInfo as _, Script, Value};
use tokio::sync::Mutex;

use crate::error::{ConnectError, Error};
use crate::keys::Keys;
use crate::names::QueueName;

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct Connect {
    /// `redis://[user:password@]host[:port][/db]`, `unix:///path?db=0`.
    pub url: String,
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

/// RQ's data in one Redis. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: redis::Client,
    keys: Keys,
    server: Server,
    display_url: String,
    config: AsyncConnectionConfig,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Client {
    /// Connects, and makes sure that what answers can be used.
    pub async fn connect(options: Connect) -> Result<Self, ConnectError> {
        let url = redacted(&options.url);
        if options.url.starts_with("rediss:") || options.url.starts_with("valkeys:") {
            return Err(ConnectError::Tls { url });
        }
        let bad_url = |error: redis::RedisError| ConnectError::Url {
            url: url.clone(),
            reason: error.detail().unwrap_or("it cannot be understood").to_owned(),
        };
        let info = normalized(&options.url).into_connection_info().map_err(bad_url)?;
        let client = redis::Client::open(info).map_err(bad_url)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout));
        let refused = |error: redis::RedisError| connect_error(&url, &error);
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(refused)?;
        let info: String =
            redis::cmd("INFO").arg("server").query_async(&mut connection).await.map_err(refused)?;
        let server = parse_server(&info);
        if server.version.0 < OLDEST {
            let (major, minor, patch) = server.version;
            return Err(ConnectError::TooOld { url, version: format!("{major}.{minor}.{patch}") });
        }
        let keys = Keys::new(options.key_prefix);
        let connection = Mutex::new(Some(connection));
        let shared = Shared { client, keys, server, display_url: url, config, connection };
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

    /// Our own address as Redis sees it; `unknown` if it does not say (as RQ).
    pub async fn local_address(&self) -> String {
        let info = self.query(redis::cmd("CLIENT").arg("INFO")).await;
        let address = match &info {
            Ok(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes)
                .split_whitespace()
                .find_map(|word| word.strip_prefix("addr=").map(str::to_owned)),
            Ok(Value::VerbatimString { text, .. }) => text
                .split_whitespace()
                .find_map(|word| word.strip_prefix("addr=").map(str::to_owned)),
            _ => None,
        };
        address.unwrap_or_else(|| "unknown".to_owned())
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
        let connection =
            self.shared.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Peek { connection, key: self.keys().queue(queue) })
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
        let mut connection = self.connection().await?;
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for arg in args {
            invocation.arg(*arg);
        }
        let result = invocation.invoke_async(&mut connection).await;
        self.checked(result).await
    }

    pub(crate) async fn query(&self, command: &redis::Cmd) -> Result<Value, Error> {
        let mut connection = self.connection().await?;
        let result = command.query_async(&mut connection).await;
        self.checked(result).await
    }

    async fn connection(&self) -> Result<MultiplexedConnection, Error> {
        let mut connection = self.shared.connection.lock().await;
        if let Some(connection) = connection.as_ref() {
            return Ok(connection.clone());
        }
        let config = &self.shared.config;
        let made = self.shared.client.get_multiplexed_async_connection_with_config(config).await?;
        Ok(connection.insert(made).clone())
    }

    /// Passes a result on; a connection that failed is not used again.
    async fn checked(&self, result: redis::RedisResult<Value>) -> Result<Value, Error> {
        let result = result.map_err(Error::from);
        if result.as_ref().is_err_and(Error::is_connection) {
            self.shared.connection.lock().await.take();
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
}

impl Peek {
    /// Waits until the queue has an element, for at most `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<bool, Error> {
        // The head of a list moved to its head: a blocking look.
        let mut command = redis::cmd("BLMOVE");
        command.arg(&self.key).arg(&self.key).arg("LEFT").arg("LEFT").arg(limit.as_secs_f64());
        let head: Value = command.query_async(&mut self.connection).await?;
        Ok(head != Value::Nil)
    }
}

fn connect_error(url: &str, error: &redis::RedisError) -> ConnectError {
    let (url, reason) = (url.to_owned(), error.to_string());
    let transport = error.is_io_error()
        || error.is_connection_refusal()
        || error.is_connection_dropped()
        || error.is_timeout();
    if transport {
        ConnectError::Unreachable { url, reason }
    } else {
        ConnectError::Refused { url, reason }
    }
}

/// redis-py's forms of a URL that redis-rs spells otherwise.
fn normalized(url: &str) -> String {
    url.strip_prefix("valkey://").map_or_else(|| url.to_owned(), |rest| format!("redis://{rest}"))
}

/// The URL with its password hidden.
fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => format!("{login}@{host}"),
        },
        None => authority.to_owned(),
    };
    let path = match path.split_once("password=") {
        Some((before, after)) => {
            format!("{before}password=***{}", after.find('&').map_or("", |at| &after[at..]))
        }
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
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
    fn passwords_are_hidden() {
        for (url, shown) in [
            ("redis://localhost:6379/0", "redis://localhost:6379/0"),
            ("redis://:secret@h:1/2", "redis://:***@h:1/2"),
            ("redis://user:p@ss@h/0", "redis://user:***@h/0"),
            ("unix:///tmp/s?db=1&password=secret&x=1", "unix:///tmp/s?db=1&password=***&x=1"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }

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
