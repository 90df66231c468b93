//! What can go wrong between us and Redis.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use redis::ErrorKind;

use crate::endpoint::Endpoint;

/// What a server says that cannot serve us just now, but will, or whose successor will.
const REFUSED_FOR_NOW: &[&str] =
    &["LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"];

const NO_TLS: &str = "does it speak TLS there, or is it redis:// and not rediss://?";

/// A request that was not carried out, or whose answer did not come.
#[derive(Clone, Debug)]
pub struct Error(redis::RedisError);

impl Error {
    /// Whether the connection is what failed, or the server as a whole: then the request may or
    /// may not have been carried out, and is to be sent again.
    pub fn is_connection(&self) -> bool {
        self.0.is_io_error()
            || self.0.is_connection_dropped()
            || self.0.is_unrecoverable_error()
            || self.0.code().is_some_and(|code| REFUSED_FOR_NOW.contains(&code))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.detail()) {
            // As the server says it.
            (Some(code), Some(detail)) => write!(f, "{code} {detail}"),
            _ => self.0.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        Self(error)
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
