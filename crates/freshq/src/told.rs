//! What is told in several places: which Redis, which queues, which name.
//!
//! RQ's order. Redis: `--url` or `RQ_REDIS_URL`; else the configuration module or Django's settings, or
//! the environment when there is none. Queues and name: the command line, else the configuration module.

use std::path::PathBuf;

use rq::{QueueName, Source};
use serde_json::{Map, Value};
use supervisor::forkserver::config_module::{self, Module};
use supervisor::forkserver::interpreter::Interpreter;

use crate::args::{Origin, Origins, RedisArgs};
use crate::env_vars;
use crate::error::Error;
use crate::settings::Decision;

/// Where Redis is when nobody says.
const DEFAULT_URL: &str = "redis://localhost:6379/0";
/// The URL of a private server.
const EMBEDDED: &str = "embedded";

/// How addresses of a Redis begin.
const REDIS_SCHEMES: &[&str] = &["redis", "rediss", "unix", "valkey", "valkeys"];

/// Where Redis is.
#[derive(Debug)]
pub(crate) enum RedisChoice {
    /// There.
    At(Source),
    /// A private server of this project.
    Embedded,
}

impl RedisChoice {
    fn of(settings: Map<String, Value>) -> Self {
        match settings.get(env_vars::REDIS_URL).and_then(Value::as_str) {
            Some(url) if !url.is_empty() => Self::at(url),
            _ => Self::At(Source::Settings(settings)),
        }
    }

    fn at(url: &str) -> Self {
        if url == EMBEDDED { Self::Embedded } else { Self::At(Source::Url(url.to_owned())) }
    }
}

/// The options of a command that say such things.
pub(crate) struct Asked<'a> {
    pub(crate) redis: &'a RedisArgs,
    pub(crate) django: Option<&'a str>,
    pub(crate) queues: &'a [String],
    pub(crate) name: Option<&'a String>,
}

/// The answers.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) redis: Decision<RedisChoice>,
    pub(crate) queues: Vec<QueueName>,
    pub(crate) name: Option<String>,
    /// The configuration module.
    pub(crate) config: Option<String>,
    /// What this module or Django's settings say.
    pub(crate) settings: Map<String, Value>,
}

impl Told {
    /// Imports the configuration module or Django's settings, if there are any, and puts everything
    /// together; `path` is appended to their `sys.path`.
    pub(crate) fn of(
        asked: &Asked<'_>,
        origins: &Origins,
        interpreter: &Interpreter,
        path: &[PathBuf],
    ) -> Result<Self, Error> {
        let read = |module| config_module::read(interpreter, module, path);
        let mut said = Said::default();
        if let Some(name) = &asked.redis.config {
            let module = Module::Config(name);
            said = Said { by: Some(module.to_string()), settings: read(module)? };
        }
        let queues = queues(asked.queues, origins, &said)?;
        if let Some(name) = asked.django {
            let module = Module::Django(name, &queues);
            let settings = read(module)?;
            // A project without django-rq says nothing.
            said = Said { by: (!settings.is_empty()).then(|| module.to_string()), settings };
        }
        Ok(Self {
            redis: redis(asked.redis, origins, &said),
            name: name_of(asked.name, origins, &said)?,
            queues,
            config: asked.redis.config.clone(),
            settings: said.settings,
        })
    }
}

/// What the configuration module or Django's settings say; nothing if there are none.
#[derive(Default)]
struct Said {
    by: Option<String>,
    settings: Map<String, Value>,
}

/// Which Redis.
fn redis(args: &RedisArgs, origins: &Origins, said: &Said) -> Decision<RedisChoice> {
    let environment = environment();
    // A URL goes before a module, but the file goes after the command line and the environment.
    let by_module = origins.get("config").max(origins.get("django"));
    let elsewhere = Origin::File < by_module || !environment.is_empty();
    let overruled = origins.get("url") == Origin::File && elsewhere;
    if let Some(url) = args.url.as_deref().filter(|_| !overruled) {
        return Decision { value: RedisChoice::at(url), why: origins.name("url") };
    }
    if let Some(why) = &said.by {
        return Decision { value: RedisChoice::of(said.settings.clone()), why: why.clone() };
    }
    match environment.keys().next() {
        Some(name) => Decision { why: name.clone(), value: RedisChoice::of(environment) },
        None => Decision { value: RedisChoice::at(DEFAULT_URL), why: "default".to_owned() },
    }
}

/// RQ's settings that stand in the environment.
fn environment() -> Map<String, Value> {
    let set =
        env_vars::REDIS_SETTINGS.iter().filter_map(|name| Some((*name, env_vars::text(name)?)));
    set.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// The queues that were named, or RQ's default.
fn queues(asked: &[String], origins: &Origins, said: &Said) -> Result<Vec<QueueName>, Error> {
    let typed = origins.get("queues") > Origin::File;
    let names = match said.settings.get("QUEUES") {
        Some(value) if !typed => names(value)?,
        _ => Vec::new(),
    };
    let names = if names.is_empty() {
        let variable = env_vars::text(env_vars::RQ_QUEUE_NAME).filter(|_| !typed);
        match variable {
            Some(names) => {
                names.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
            }
            None if asked.is_empty() => vec!["default".to_owned()],
            None => asked.to_vec(),
        }
    } else {
        names
    };
    match names.iter().find(|name| is_url(name)) {
        Some(url) => Err(Error::UrlAsQueue(rq::redacted(url))),
        None => Ok(names.into_iter().map(QueueName::new).collect()),
    }
}

/// Whether this is the address of a Redis. As the name of a queue it would be shown and kept everywhere, with
/// its password.
fn is_url(name: &str) -> bool {
    REDIS_SCHEMES.iter().any(|scheme| {
        name.split_once("://").is_some_and(|(start, _)| start.eq_ignore_ascii_case(scheme))
    })
}

fn names(value: &Value) -> Result<Vec<String>, Error> {
    let wrong = || Error::Setting { name: "QUEUES", expected: "a list of names" };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(name) => Ok(vec![name.clone()]),
        Value::Array(names) => {
            names.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

/// The name that was given to the worker.
fn name_of(
    asked: Option<&String>,
    origins: &Origins,
    said: &Said,
) -> Result<Option<String>, Error> {
    match said.settings.get("NAME") {
        Some(Value::String(name)) if origins.get("name") <= Origin::File && !name.is_empty() => {
            Ok(Some(name.clone()))
        }
        // An empty one is none, as for RQ.
        None | Some(Value::String(_) | Value::Null) => {
            Ok(asked.filter(|name| !name.is_empty()).cloned())
        }
        Some(_) => Err(Error::Setting { name: "NAME", expected: "a text" }),
    }
}
