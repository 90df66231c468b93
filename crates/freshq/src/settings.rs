//! From what was typed, the environment and the machine to what the engine is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rq::{FailureLeaves, QueueName, WorkerName};
use supervisor::Settings;
use supervisor::forkserver::interpreter::Interpreter;
use supervisor::reload::machine::OnBroken;
use supervisor::settings::{Companion, ReloadSettings};

use crate::args::{self, RedisArgs, ReloadArgs, WorkerArgs};
use crate::env_vars;
use crate::error::Error;

/// A value, and why it is that one.
pub(crate) struct Decision<T> {
    pub(crate) value: T,
    pub(crate) why: &'static str,
}

/// Where Redis is.
pub(crate) enum RedisChoice {
    /// At this URL.
    Url(String),
    /// A private server of this project.
    Embedded,
}

/// Which Redis, in the order: option, `RQ_REDIS_URL`, `REDIS_URL`, default.
pub(crate) fn redis(args: &RedisArgs) -> Decision<RedisChoice> {
    let (value, why) = if let Some(url) = &args.url {
        (url.clone(), "--url")
    } else if let Some(url) = env_vars::text(env_vars::RQ_REDIS_URL) {
        (url, env_vars::RQ_REDIS_URL)
    } else if let Some(url) = env_vars::text(env_vars::REDIS_URL) {
        (url, env_vars::REDIS_URL)
    } else {
        ("redis://localhost:6379/0".to_owned(), "default")
    };
    let value = if value == "embedded" { RedisChoice::Embedded } else { RedisChoice::Url(value) };
    Decision { value, why }
}

/// Whether to reload: option, `FRESHQ_RELOAD`, `RQ_WORKER_AUTORELOAD`, default off.
pub(crate) fn reload(args: &ReloadArgs) -> Decision<bool> {
    let by_variable = |name| env_vars::flag(name).map(|value| Decision { value, why: name });
    if args.reload {
        return Decision { value: true, why: "--reload" };
    }
    if args.no_reload {
        return Decision { value: false, why: "--no-reload" };
    }
    by_variable(env_vars::FRESHQ_RELOAD)
        .or_else(|| by_variable(env_vars::RQ_WORKER_AUTORELOAD))
        .unwrap_or(Decision { value: false, why: "default; --reload turns it on" })
}

/// The queues that were named, or RQ's default.
pub(crate) fn queues(args: &WorkerArgs) -> Vec<QueueName> {
    if args.queues.is_empty() {
        let name = env_vars::text(env_vars::RQ_QUEUE_NAME).unwrap_or_else(|| "default".to_owned());
        return name.split([',', ' ']).filter(|n| !n.is_empty()).map(QueueName::new).collect();
    }
    args.queues.iter().map(QueueName::new).collect()
}

/// One name per slot.
pub(crate) fn workers(args: &WorkerArgs) -> Vec<WorkerName> {
    match (&args.name, args.num_workers) {
        (Some(name), 1) => vec![WorkerName::new(name)],
        (Some(name), count) => {
            (1..=count).map(|n| WorkerName::new(format!("{name}-{n}"))).collect()
        }
        (None, count) => (0..count).map(|_| WorkerName::random()).collect(),
    }
}

/// The folders of user code: those that were named, or the import paths under `here`.
pub(crate) fn roots(
    args: &WorkerArgs,
    interpreter: &Interpreter,
    here: &Path,
    reload: bool,
) -> Result<Vec<PathBuf>, Error> {
    let named = !args.reload.watch.is_empty();
    let folders = if named {
        args.reload.watch.clone()
    } else {
        let below = interpreter.import_path.iter().filter(|path| path.starts_with(here));
        below
            .filter(|path| path.is_dir() && !is_library(path, here))
            .cloned()
            .chain(import_path(args))
            .collect()
    };
    let mut roots: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let root = canonical_folder(&folder)?;
        if reload && !named && root.parent().is_none() {
            return Err(Error::WatchesTooMuch { path: root });
        }
        roots.push(root);
    }
    roots.sort();
    // A folder inside another is watched with that.
    roots.dedup_by(|inner, outer| inner.starts_with(outer));
    Ok(roots)
}

/// Folders to import from, as RQ's `--path`.
pub(crate) fn import_path(args: &WorkerArgs) -> Vec<PathBuf> {
    let given = if args.python.path.is_empty() {
        vec![PathBuf::from(".")]
    } else {
        args.python.path.clone()
    };
    given.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect()
}

fn canonical_folder(folder: &Path) -> Result<PathBuf, Error> {
    let refuse = |reason: String| Error::Folder { path: folder.to_path_buf(), reason };
    let path = fs_err::canonicalize(folder).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            refuse("there is no such folder".to_owned())
        } else {
            refuse(error.to_string())
        }
    })?;
    if path.is_dir() { Ok(path) } else { Err(refuse("it is not a folder".to_owned())) }
}

/// Whether a folder below `here` belongs to a virtual environment or is where packages are installed.
fn is_library(path: &Path, here: &Path) -> bool {
    path.ancestors().take_while(|folder| folder.starts_with(here)).any(|folder| {
        folder.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages")
            || folder.join("pyvenv.cfg").exists()
    })
}

/// What has been found out before the engine can be told anything.
pub(crate) struct Found {
    pub(crate) interpreter: Interpreter,
    pub(crate) redis_url: String,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) reload: bool,
    pub(crate) cache: PathBuf,
    pub(crate) project_cache: PathBuf,
    pub(crate) companions: Vec<Companion>,
}

/// All of it together.
pub(crate) fn resolve(args: &WorkerArgs, found: Found) -> Settings {
    let on_broken = match args.reload.on_broken {
        args::OnBroken::Keep => OnBroken::Keep,
        args::OnBroken::Hold => OnBroken::Hold,
    };
    Settings {
        workers: workers(args),
        queues: queues(args),
        burst: args.burst,
        max_jobs: args.max_jobs,
        worker_ttl: Duration::from_secs(args.worker_ttl.into()),
        monitoring_interval: Duration::from_secs(args.job_monitoring_interval.into()),
        result_ttl: args.results_ttl,
        failure_leaves: if args.disable_default_exception_handler {
            FailureLeaves::Status
        } else {
            FailureLeaves::Record
        },
        maintenance_interval: Duration::from_secs(args.maintenance_interval.into()),
        with_scheduler: args.with_scheduler,
        interpreter: found.interpreter,
        redis_url: found.redis_url,
        path: import_path(args),
        roots: found.roots,
        imports: args.python.import.clone(),
        hooks: args.python.classes.hooks(),
        logging: args.log.python(),
        reload: found.reload.then(|| ReloadSettings {
            on_broken,
            include: args.reload.watch_include.clone(),
            ignore: args.reload.watch_ignore.clone(),
        }),
        cache: found.cache,
        project_cache: found.project_cache,
        companions: found.companions,
    }
}
