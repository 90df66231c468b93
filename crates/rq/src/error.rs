//! What can go wrong between us and Redis.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use redis::ErrorKind;

use crate::endpoint::Endpoint;

/// What a server says that cannot serve us just now, but will, or whose successor will: it starts, is
/// no master, is full, cannot keep what it is told, or does not let us in.
const REFUSED_FOR_NOW: &[&str] = &[
    "LOADING",
    "BUSY",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "OOM",
    "NOREPLICAS",
    "MISCONF",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
];
/// The same, said without a code of its own.
const REFUSED_IN_WORDS: &[&str] = &[
    "max number of clients reached",
    // It does not even read a long request of somebody who has not logged in.
    "Protocol error: unauthenticated",
    "The user executing the script can't",
];

const NO_TLS: &str = "does it speak TLS there, or is it redis:// and not rediss://?";

/// A request that was not carried out, or whose answer did not come.
#[derive(Clone, Debug)]
pub struct Error {
    error: redis::RedisError,
    /// Whether there was a connection to send it on.
    sent: bool,
}

impl Error {
    /// No connection came about.
    pub(crate) fn unsent(error: redis::RedisError) -> Self {
        Self { error, sent: false }
    }

    /// Whether the connection is what failed, or the server as a whole refuses: then the request
    /// is to be sent again until that is over.
    pub fn is_outage(&self) -> bool {
        !self.sent || self.is_lost() || self.is_refused_for_now()
    }

    /// Whether the request may have been carried out all the same, although no answer came.
    pub fn may_be_carried_out(&self) -> bool {
        self.sent && self.is_lost()
    }

    fn is_lost(&self) -> bool {
        let error = &self.error;
        error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
    }

    fn is_refused_for_now(&self) -> bool {
        self.said().is_some_and(|(code, words)| {
            REFUSED_FOR_NOW.contains(&code)
                || REFUSED_IN_WORDS.iter().any(|refused| words.contains(refused))
        })
    }

    /// What the server said, as code and words; without the place in our script where it said it.
    fn said(&self) -> Option<(&str, &str)> {
        let (code, words) = (self.error.code()?, self.error.detail().unwrap_or_default());
        // Before Redis 7 the place came first.
        if words.starts_with("Error running script")
            && let Some((_, inner)) = words.split_once(": -")
        {
            return Some(inner.trim_end().split_once(' ').unwrap_or((inner, "")));
        }
        Some((code, words.split_once(" script: ").map_or(words, |(words, _)| words)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.said() {
            Some((code, words)) if !words.is_empty() => write!(f, "{code} {words}"),
            _ => self.error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        Self { error, sent: true }
    }
}

/// Why Redis cannot be used at all. `url` is always without its password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one.
    #[error(
        "{url:?} is not a Redis URL: {reason}; it looks like redis://host:6379/0 or \
         unix:///path/to/socket"
    )]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Keys cannot begin so.
    #[error(
        "RQ_KEY_PREFIX is {prefix:?}; only letters, digits and _ . : - {{ }} are allowed, and it \
         has to have one"
    )]
    KeyPrefix {
        /// What was given.
        prefix: String,
    },
    /// A setting has a value that makes no sense.
    #[error("the setting {name}: {reason}")]
    Setting {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or a key cannot be used.
    #[error("the TLS certificate or key in {place} cannot be used: {reason}")]
    Certificate {
        /// The file, or the option it came in.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No encrypted connection comes about.
    #[error("no TLS connection to Redis at {url}: {reason}")]
    Tls {
        /// The URL.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The sentinels do not answer or do not know the master.
    #[error("no sentinel knows the master {master:?}:\n{}", tried.join("\n"))]
    NoMaster {
        /// Its name.
        master: String,
        /// A line for each sentinel.
        tried: Vec<String>,
    },
    /// Nobody answers there.
    #[error("cannot connect to Redis at {url}: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What came back.
        reason: String,
    },
    /// It wants a password, or another one.
    #[error(
        "Redis at {url} refuses the login: {reason}; the URL takes one as redis://user:password@host"
    )]
    Login {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no such database.
    #[error("Redis at {url} has no database {db}: {reason}")]
    Database {
        /// The URL.
        url: String,
        /// The number asked for.
        db: i64,
        /// What it said.
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

impl ConnectError {
    /// Says what an error means that came while connecting.
    pub(crate) fn of(url: &str, endpoint: &Endpoint, error: &redis::RedisError) -> Self {
        let (url, db) = (url.to_owned(), endpoint.db());
        if let Some(reason) = tls_trouble(error) {
            return Self::Tls { url, reason };
        }
        if error.is_timeout() && endpoint.encrypted {
            // A server without TLS waits for the end of what it takes for a command.
            return Self::Tls { url, reason: format!("no answer in time; {NO_TLS}") };
        }
        if error.is_io_error() || error.is_connection_dropped() {
            return Self::Unreachable { url, reason: error.to_string() };
        }
        let said = error.detail().unwrap_or("it did not say why");
        match (error.kind(), error.code()) {
            // redis-rs does not pass on what the server said.
            (ErrorKind::AuthenticationFailed, _) => {
                Self::Login { url, reason: "it does not accept this user and password".to_owned() }
            }
            // Choosing the database is refused as well, and first.
            _ if said.starts_with("Authentication required") => {
                Self::Login { url, reason: "it wants a password".to_owned() }
            }
            (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
                Self::Login { url, reason: said.trim_end_matches('.').to_owned() }
            }
            _ if error.to_string().contains("switch database") => {
                Self::Database { url, db, reason: said.to_owned() }
            }
            (_, Some(code)) => Self::Refused { url, reason: format!("{code} {said}") },
            _ => Self::Refused { url, reason: error.to_string() },
        }
    }
}

/// What is wrong with an encrypted connection, if that is what failed.
fn tls_trouble(error: &redis::RedisError) -> Option<String> {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls};

    // redis-rs keeps it so.
    let shared = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    let io = shared.downcast_ref::<std::io::Error>()?;
    let reason = match io.get_ref()?.downcast_ref::<Tls>()? {
        Tls::InvalidCertificate(Bad::UnknownIssuer) => {
            "its certificate is not signed by an authority that is known here; name the \
             authority's certificate with ssl_ca_certs=FILE"
        }
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name; use the name that it is for, or \
             ssl_check_hostname=false"
        }
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Tls::InvalidMessage(_) => NO_TLS,
        Tls::AlertReceived(Alert::CertificateRequired) => {
            "it wants a certificate from us; name it with ssl_certfile=FILE and ssl_keyfile=FILE"
        }
        other => return Some(other.to_string()),
    };
    Some(reason.to_owned())
}

/// Why a worker could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// An active worker has the name.
    #[error("There exists an active worker named '{0}' already; stop it, or give another name")]
    NameTaken(String),
    /// Redis did not answer.
    #[error("the worker could not be registered: {0}")]
    Redis(#[from] Error),
}
