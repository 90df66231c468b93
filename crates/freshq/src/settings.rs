//! From what was typed, the environment and the machine to what the engine is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use embedded::cache::{project_mark, socket_folders};
use rq::{FailureLeaves, OnFailure, WorkerName};
use serde_json::{Map, Value};
use supervisor::Settings;
use supervisor::forkserver::interpreter::Interpreter;
use supervisor::reload::machine::OnBroken;
use supervisor::reload::marker::Marker;
use supervisor::settings::{Companion, Control, Preload, ReloadSettings};
use supervisor::watch::Mode;
use supervisor::worker::stand_in::StandInCommand;
use supervisor::worker::strategy::Strategy;

use crate::args::{
    self, Kind, Origin, Origins, PythonArgs, ReloadArgs, Run, SharedArgs, WorkerClass,
};
use crate::env_vars;
use crate::error::Error;
use crate::told::Told;

/// A value, and why it is that one.
#[derive(Debug)]
pub(crate) struct Decision<T> {
    pub(crate) value: T,
    pub(crate) why: String,
}

/// Whether to reload: option, `FRESHQ_RELOAD`, `RQ_WORKER_AUTORELOAD`, file; default off, unless it is said
/// when.
pub(crate) fn reload(args: &ReloadArgs, origins: &Origins) -> Result<Decision<bool>, Error> {
    if args.no_reload {
        return Ok(Decision { value: false, why: "--no-reload".to_owned() });
    }
    let (option, value) = if origins.get("reload") < origins.get("reload_on") {
        ("reload_on", true)
    } else {
        ("reload", args.reload)
    };
    let origin = origins.get(option);
    let mut by_variable = None;
    if origin < Origin::CommandLine {
        for name in [env_vars::RQ_WORKER_AUTORELOAD, env_vars::FRESHQ_RELOAD] {
            by_variable = env_vars::flag(name)?.map(|value| (value, name)).or(by_variable);
        }
    }
    Ok(match by_variable {
        Some((value, name)) => Decision { value, why: name.to_owned() },
        None if origin == Origin::Default => {
            Decision { value: false, why: "default; --reload turns it on".to_owned() }
        }
        None => Decision { value, why: origins.name(option) },
    })
}

/// One name per slot; those of a pool are always random.
fn workers(run: &Run<'_>, name: Option<&String>) -> Vec<WorkerName> {
    match (run.kind, name) {
        (Kind::Worker { .. }, Some(name)) if run.count == 1 => vec![WorkerName::new(name)],
        (Kind::Worker { .. }, Some(name)) => {
            (1..=run.count).map(|n| WorkerName::new(format!("{name}-{n}"))).collect()
        }
        (Kind::Pool, _) | (_, None) => (0..run.count).map(|_| WorkerName::random()).collect(),
    }
}

/// What stands for the workers of a pool: this program.
fn pool(run: &Run<'_>) -> Result<Option<StandInCommand>, Error> {
    if !matches!(run.kind, Kind::Pool) {
        return Ok(None);
    }
    let program = std::env::current_exe()
        .map_err(|error| Error::Io { what: "find the file of this program", error })?;
    Ok(Some(StandInCommand { program, arguments: vec![args::STAND_IN.to_owned()] }))
}

/// The folders of user code: those that were named, or the import paths under `here`.
pub(crate) fn roots(
    args: &SharedArgs,
    interpreter: &Interpreter,
    here: &Path,
    reload: bool,
    marker: Option<&Marker>,
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
        let folder = marker.map_or(folder.clone(), |marker| marker.as_seen(&folder));
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
pub(crate) fn import_path(args: &SharedArgs) -> Vec<PathBuf> {
    let given = if args.python.path.is_empty() {
        vec![PathBuf::from(".")]
    } else {
        args.python.path.clone()
    };
    given.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect()
}

/// The file of `--reload-on`, as it is now: so early that a symlink leads to where this folder is.
pub(crate) fn marker(args: &ReloadArgs, here: &Path) -> Option<Marker> {
    args.reload_on.as_deref().map(|file| Marker::new(beside(here, file)))
}

/// A path as it is seen from this folder, which has no symlinks on its way; it holds when that is gone.
fn beside(here: &Path, path: &Path) -> PathBuf {
    let mut folder = here;
    let mut rest = path;
    while let Ok(further) = rest.strip_prefix("..") {
        folder = folder.parent().unwrap_or(folder);
        rest = further;
    }
    folder.join(rest)
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

/// How the order of queues changes: as the option says, or as RQ's class of workers does.
fn strategy(said: Strategy, class: &WorkerClass) -> Strategy {
    match class {
        WorkerClass::RoundRobin => Strategy::RoundRobin,
        WorkerClass::Random => Strategy::Random,
        _ => said,
    }
}

/// What has been found out before the engine can be told anything.
pub(crate) struct Found<'a> {
    /// As its option says.
    pub(crate) strategy: Strategy,
    pub(crate) interpreter: Interpreter,
    pub(crate) told: Told,
    pub(crate) redis_url: Option<String>,
    pub(crate) redis_settings: Option<Map<String, Value>>,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) preload: Preload,
    pub(crate) reload: bool,
    /// Looked at before anything else.
    pub(crate) marker: Option<Marker>,
    /// The current folder.
    pub(crate) here: &'a Path,
    pub(crate) cache: PathBuf,
    pub(crate) project_cache: PathBuf,
    pub(crate) companion: Option<Companion>,
}

/// What all keys begin with. As RQ: before its version 3 the variable says nothing; one that is set and
/// empty is not allowed.
pub(crate) fn key_prefix(rq_version: &str, variable: Option<String>) -> String {
    let major = rq_version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let known = major.is_none_or(|major| 3 <= major);
    variable.filter(|_| known).unwrap_or_else(|| "rq".to_owned())
}

/// What bases import: an option that is given counts, also when it names nothing.
pub(crate) fn preload(args: &PythonArgs, origins: &Origins) -> Preload {
    let named = |names: &[String]| names.iter().filter(|name| !name.is_empty()).cloned().collect();
    let given = Origin::Default < origins.get("preload");
    Preload { only: given.then(|| named(&args.preload)), never: named(&args.no_preload) }
}

/// All of it together.
pub(crate) fn resolve(
    run: &Run<'_>,
    origins: &Origins,
    found: Found<'_>,
) -> Result<Settings, Error> {
    let (args, life) = (run.shared, run.life);
    let project = &found.told.settings;
    let class = args.python.classes.worker_class(project);
    let on_broken = match args.reload.on_broken {
        args::OnBroken::Keep => OnBroken::Keep,
        args::OnBroken::Hold => OnBroken::Hold,
    };
    Ok(Settings {
        workers: workers(run, found.told.name.as_ref()),
        queues: found.told.queues,
        burst: args.burst,
        pool: pool(run)?,
        max_jobs: life.max_jobs,
        max_idle_time: life.max_idle_time.map(|seconds| Duration::from_secs(seconds.into())),
        timeout_grace: args.limits.timeout_grace(),
        max_job_memory: args.limits.max_job_memory(),
        stop_timeout: args.limits.stop_timeout(),
        strategy: strategy(found.strategy, &class),
        worker_ttl: Duration::from_secs(life.worker_ttl.into()),
        monitoring_interval: Duration::from_secs(life.job_monitoring_interval.into()),
        result_ttl: life.results_ttl,
        failure_leaves: if life.disable_default_exception_handler {
            FailureLeaves::Status
        } else {
            FailureLeaves::Record
        },
        on_lost: match args.trouble.on_lost {
            args::OnLost::Fail => OnFailure::Retry,
            args::OnLost::Requeue => OnFailure::Requeue,
        },
        maintenance_interval: Duration::from_secs(life.maintenance_interval.into()),
        with_scheduler: life.with_scheduler,
        interpreter: found.interpreter,
        redis_url: found.redis_url,
        redis_settings: found.redis_settings,
        config: found.told.config,
        path: import_path(args),
        roots: found.roots,
        preload: found.preload,
        imports: args.python.import.clone(),
        warmups: args.python.warmup.clone(),
        hooks: args.python.classes.hooks(&class, project),
        logging: args.log.python(),
        isolation: args.isolation.isolation(&class, origins)?,
        reload: found.reload.then(|| ReloadSettings {
            on_broken,
            on: found.marker,
            canary_jobs: args.reload.canary.unwrap_or(0),
            mode: match args.reload.watch_mode {
                args::WatchMode::Auto => Mode::Auto,
                args::WatchMode::Native => Mode::Native,
                args::WatchMode::Poll => Mode::Poll,
            },
            poll_interval: args.reload.poll_interval,
            include: args.reload.watch_include.clone(),
            ignore: args.reload.watch_ignore.clone(),
        }),
        load_max: Duration::from_secs(args.trouble.load_timeout.into()),
        restarts_max: args.trouble.max_restarts,
        control: Control {
            project: project_mark(found.here),
            here: found.here.to_path_buf(),
            folders: socket_folders(),
        },
        cache: found.cache,
        project_cache: found.project_cache,
        companion: found.companion,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_beside_a_folder_does_not_lead_through_it() {
        let here = Path::new("/srv/releases/one");
        for (path, seen) in [
            ("../../current", "/srv/current"),
            ("deployed", "/srv/releases/one/deployed"),
            ("/run/deployed", "/run/deployed"),
        ] {
            assert_eq!(beside(here, Path::new(path)), Path::new(seen));
        }
    }

    #[test]
    fn the_key_prefix_is_read_where_rq_reads_it() {
        for (version, prefix) in [("3.0.0", "x"), ("12.1", "x"), ("unknown", "x"), ("2.12.0", "rq")]
        {
            assert_eq!(key_prefix(version, Some("x".to_owned())), prefix, "{version}");
        }
        assert_eq!(key_prefix("3.0.0", None), "rq");
    }
}
