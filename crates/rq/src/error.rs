//! What can go wrong between us and Redis.

use std::fmt;

/// A request that was not carried out, or whose answer did not come.
#[derive(Debug)]
pub struct Error(redis::RedisError);

impl Error {
    /// Whether the connection is what failed: then the request may or may not have been
    /// carried out, and is to be sent again.
    pub fn is_connection(&self) -> bool {
        self.0.is_connection_dropped()
            || self.0.is_connection_refusal()
            || self.0.is_io_error()
            || self.0.is_timeout()
            || self.0.is_unrecoverable_error()
            || self.0.code() == Some("LOADING")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        Self(error)
    }
}

/// Why Redis cannot be used at all. `url` is always without its password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one.
    #[error(
        "{url:?} is not a Redis URL: {reason}; it looks like redis://host:6379/0 or unix:///path/to/socket"
    )]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Encrypted connections are not supported by this build.
    #[error("{url} asks for TLS, which this version of freshq does not support yet")]
    Tls {
        /// The URL.
        url: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to Redis at {url}: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What came back.
        reason: String,
    },
    /// It answers, but not to us.
    #[error("Redis at {url} refuses us: {reason}")]
    Refused {
        /// The URL.
        url: String,
        /// What it said.
        reason: String,
    },
    /// It is older than RQ needs.
    #[error("Redis at {url} is version {version}; RQ needs 5 or newer")]
    TooOld {
        /// The URL.
        url: String,
        /// Its version.
        version: String,
    },
}

/// Why a worker could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// An active worker has the name.
    #[error("there exists an active worker named {0:?} already")]
    NameTaken(String),
    /// Redis did not answer.
    #[error("the worker could not be registered: {0}")]
    Redis(#[from] Error),
}
