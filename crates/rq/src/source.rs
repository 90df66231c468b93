//! Where Redis is, as it is told: by a URL, or by RQ's settings.

use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::error::ConnectError;
use crate::option::{text, truth};
use crate::sentinel::Sentinel;
use crate::url;

/// What says where Redis is.
#[derive(Clone, Debug)]
pub enum Source {
    /// A URL in one of redis-py's forms.
    Url(String),
    /// RQ's settings, from a configuration module or the environment: `REDIS_URL`; else `SENTINEL`;
    /// else `REDIS_HOST`, `REDIS_PORT`, `REDIS_DB`, `REDIS_PASSWORD`, `REDIS_SSL`, `REDIS_SSL_...`.
    Settings(Map<String, Value>),
}

/// Name of each setting of a single server, and of the option that it is.
const SERVER_SETTINGS: &[(&str, &str)] = &[
    ("REDIS_HOST", "host"),
    ("REDIS_PORT", "port"),
    ("REDIS_DB", "db"),
    ("REDIS_PASSWORD", "password"),
    ("REDIS_SSL_CA_CERTS", "ssl_ca_certs"),
    ("REDIS_SSL_CA_DATA", "ssl_ca_data"),
    ("REDIS_SSL_CERT_REQS", "ssl_cert_reqs"),
    ("REDIS_SSL_KEYFILE", "ssl_keyfile"),
    ("REDIS_SSL_CERTFILE", "ssl_certfile"),
];
/// The sentinel that is asked when none is named, and the master (as RQ).
const SENTINEL: (&str, u16) = ("localhost", 26379);
const MASTER: &str = "mymaster";

/// Where Redis is, understood.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Server(Endpoint),
    Sentinel(Sentinel),
}

impl Target {
    /// Understands what was told; also tells how to name it to people.
    pub(crate) fn of(source: &Source) -> Result<(Self, String), ConnectError> {
        let settings = match source {
            Source::Url(url) => return Ok((Self::Server(url::parse(url)?), url::redacted(url))),
            Source::Settings(settings) => settings,
        };
        if let Some(url) = settings.get("REDIS_URL").and_then(text) {
            return Ok((Self::Server(url::parse(&url)?), url::redacted(&url)));
        }
        if let Some(Value::Object(sentinel)) = settings.get("SENTINEL") {
            let sentinel = sentinel_of(sentinel).map_err(|reason| setting("SENTINEL", reason))?;
            let shown = sentinel.to_string();
            return Ok((Self::Sentinel(sentinel), shown));
        }
        let server = server_of(settings)?;
        let shown = server.shown();
        Ok((Self::Server(server), shown))
    }
}

fn setting(name: &str, reason: String) -> ConnectError {
    ConnectError::Setting { name: name.to_owned(), reason }
}

fn server_of(settings: &Map<String, Value>) -> Result<Endpoint, ConnectError> {
    let mut server = Endpoint::default();
    for (name, option) in SERVER_SETTINGS {
        if let Some(value) = settings.get(*name) {
            server.set(option, value).map_err(|reason| setting(name, reason))?;
        }
    }
    if let Some(value) = settings.get("REDIS_SSL") {
        server.encrypted = yes_or_no(value).map_err(|reason| setting("REDIS_SSL", reason))?;
    }
    Ok(server)
}

/// As RQ reads `REDIS_SSL`: of words only these.
fn yes_or_no(value: &Value) -> Result<bool, String> {
    let Value::String(word) = value else { return Ok(truth(value)) };
    match word.to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" => Ok(true),
        "n" | "no" | "f" | "false" | "" => Ok(false),
        _ => Err(format!("is true or false, not {word:?}")),
    }
}

fn sentinel_of(settings: &Map<String, Value>) -> Result<Sentinel, String> {
    let mut to_master = Endpoint::default();
    for option in ["DB", "USERNAME", "PASSWORD", "SOCKET_TIMEOUT", "SSL"] {
        if let Some(value) = settings.get(option) {
            to_master.set(&option.to_ascii_lowercase(), value)?;
        }
    }
    set_all(&mut to_master, settings.get("CONNECTION_KWARGS"))?;
    let mut to_sentinel = Endpoint::default();
    set_all(&mut to_sentinel, settings.get("SENTINEL_KWARGS"))?;
    let default =
        Value::from(vec![Value::from(vec![Value::from(SENTINEL.0), Value::from(SENTINEL.1)])]);
    let instances = settings.get("INSTANCES").unwrap_or(&default);
    let instances = instances.as_array().filter(|instances| !instances.is_empty());
    let instances = instances.ok_or("INSTANCES is no list of (host, port)")?;
    let instances = instances.iter().map(|instance| {
        let pair = instance.as_array().filter(|pair| pair.len() == 2);
        let [host, port] = pair.map(Vec::as_slice).unwrap_or_default() else {
            return Err("INSTANCES is no list of (host, port)".to_owned());
        };
        let mut sentinel = to_sentinel.clone();
        sentinel.set("host", host)?;
        sentinel.set("port", port)?;
        Ok(sentinel)
    });
    let master = settings.get("MASTER_NAME").and_then(text);
    Ok(Sentinel {
        master: master.unwrap_or_else(|| MASTER.to_owned()),
        instances: instances.collect::<Result<_, String>>()?,
        to_master,
    })
}

fn set_all(endpoint: &mut Endpoint, options: Option<&Value>) -> Result<(), String> {
    let Some(Value::Object(options)) = options else { return Ok(()) };
    options.iter().try_for_each(|(option, value)| endpoint.set(option, value))
}
