//! Every environment variable that freshq reads, and the only place that reads one.

use std::ffi::OsString;

use crate::error::Error;

/// URL of Redis (RQ's name for it, before [`REDIS_URL`]); read by the command line itself.
pub(crate) const RQ_REDIS_URL: &str = "RQ_REDIS_URL";
/// URL of Redis.
pub(crate) const REDIS_URL: &str = "REDIS_URL";
/// RQ's settings of Redis, read when no URL and no configuration module is given.
pub(crate) const REDIS_SETTINGS: &[&str] = &[
    REDIS_URL,
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_DB",
    "REDIS_PASSWORD",
    "REDIS_SSL",
    "REDIS_SSL_CA_CERTS",
    "REDIS_SSL_CA_DATA",
    "REDIS_SSL_CERT_REQS",
    "REDIS_SSL_KEYFILE",
    "REDIS_SSL_CERTFILE",
];
/// Queue to work on when none is named.
pub(crate) const RQ_QUEUE_NAME: &str = "RQ_QUEUE_NAME";
/// Prefix of all keys (RQ's).
pub(crate) const RQ_KEY_PREFIX: &str = "RQ_KEY_PREFIX";
/// Whether to reload.
pub(crate) const FRESHQ_RELOAD: &str = "FRESHQ_RELOAD";
/// Whether to reload, as the hand-made scripts call it.
pub(crate) const RQ_WORKER_AUTORELOAD: &str = "RQ_WORKER_AUTORELOAD";
/// Most jobs of a reused horse, as the hand-made scripts call it.
pub(crate) const MAX_JOBS_BEFORE_RESTART: &str = "MAX_JOBS_BEFORE_RESTART";
/// Most memory of a reused horse, as the hand-made scripts call it.
pub(crate) const WORKER_MAX_MEMORY_MB: &str = "WORKER_MAX_MEMORY_MB";
/// Root of the active virtual environment.
pub(crate) const VIRTUAL_ENV: &str = "VIRTUAL_ENV";
/// The user's folder, to show paths below it as people write them.
pub(crate) const HOME: &str = "HOME";
/// Where the cache is kept (read by `embedded`); what the demo starts gets it too.
pub(crate) const FRESHQ_CACHE_DIR: &str = "FRESHQ_CACHE_DIR";
/// Set: no colours.
pub(crate) const NO_COLOR: &str = "NO_COLOR";

/// The value of a variable; an empty one counts as unset.
pub(crate) fn get(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The names of all variables that are set.
pub(crate) fn names() -> impl Iterator<Item = String> {
    std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned())
}

/// The value of a variable as text.
pub(crate) fn text(name: &str) -> Option<String> {
    get(name).map(|value| value.to_string_lossy().into_owned())
}

/// The value of a variable as it is; an empty one is empty.
pub(crate) fn raw(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Whether a variable says yes; none if it is unset. A word that is neither yes nor no is refused:
/// it would turn on by mistake what was meant to be off, or off what was meant to be on.
pub(crate) fn flag(name: &str) -> Result<Option<bool>, Error> {
    let Some(text) = text(name) else { return Ok(None) };
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(Some(true)),
        "0" | "false" | "no" | "off" => Ok(Some(false)),
        _ => Err(Error::Usage(format!("{name} is {text:?}, which is neither true nor false"))),
    }
}

/// A limit of a hand-made script; 0 is its way to say that there is none.
pub(crate) fn limit(name: &str) -> Result<Option<u64>, Error> {
    let Some(text) = text(name) else { return Ok(None) };
    let number: u64 = text
        .trim()
        .parse()
        .map_err(|_| Error::Usage(format!("{name} is {text:?}, which is not a whole number")))?;
    Ok(Some(number).filter(|number| 0 < *number))
}
