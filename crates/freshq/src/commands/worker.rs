//! `freshq worker` and `freshq worker-pool`: the start-up trace, then the engine, then an exit code.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use embedded::cache::{cache_folder, project_folder};
use embedded::redis::{find_server, running_url};
use rq::{Client, Connect, Source};
use supervisor::clock::{Moment, sleep_until};
use supervisor::event::Event;
use supervisor::forkserver::interpreter::{self, Candidate, Interpreter, InterpreterError};
use supervisor::reload::backoff::{Attempt, Backoff};
use supervisor::reload::marker::Marker;
use supervisor::shutdown::Phase;
use supervisor::signals::Signals;
use supervisor::worker::strategy::Strategy;
use supervisor::{Exit, Supervisor};

use crate::args::{Kind, Origins, Run, SharedArgs};
use crate::console::Console;
use crate::embedded_redis::EmbeddedRedis;
use crate::error::Error;
use crate::pid_file::PidFile;
use crate::settings::{self, Decision, Found};
use crate::told::{Asked, RedisChoice, Told};
use crate::{env_vars, exit, python};

/// How long Redis may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long Redis may take to answer a command that does not wait.
const RESPONSE_MAX: Duration = Duration::from_secs(30);

/// Runs the command; returns the exit code.
pub(crate) fn run(run: &Run<'_>, origins: &Origins) -> Result<u8, Error> {
    let args = run.shared;
    let _pid_file = run.pid().map(PidFile::write).transpose()?;
    let strategy = run.life.dequeue_strategy.parse()?;
    let here = std::env::current_dir()
        .map_err(|error| Error::Io { what: "find the current folder", error })?;
    let marker = settings::marker(&args.reload, &here);
    // One thread: the loop owns the state, and what it forks is forked by Python.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Io { what: "start the event loop", error })?;
    let mut signals = {
        let _within = runtime.enter();
        Signals::listen().map_err(|error| Error::Io { what: "listen to signals", error })?
    };
    let console = Arc::new(Console::new(args.log.logging()?, here.clone()));
    console.title();
    let by = origins.name("python");
    let named = args.python.python.as_deref().map(|path| (path, by.as_str()));
    let candidates = python::candidates(named, &here);
    let asking = find_python(&candidates, args.trouble.max_restarts, &mut signals, &console);
    let Some(interpreter) = runtime.block_on(asking)? else { return Ok(exit::OK) };
    trace_python(&console, &interpreter);
    let asked = Asked {
        redis: &args.redis,
        django: args.python.classes.django(),
        queues: &args.queues,
        name: run.name(),
    };
    let told = Told::of(&asked, origins, &interpreter, &settings::import_path(args))?;
    let server = match told.redis.value {
        RedisChoice::Embedded => {
            let binary = find_server(Some(&interpreter.executable))?;
            let restarts_max = args.trouble.max_restarts;
            let console = console.clone();
            Some(EmbeddedRedis::start(binary, &redis_folder(&here), restarts_max, console)?)
        }
        RedisChoice::At(_) => None,
    };
    let start = Start { run, strategy, origins, interpreter, told, here: &here, marker, signals };
    let result = runtime.block_on(work(start, &console, server.as_ref()));
    // Stopped with the worker, and after it: it holds what the last jobs returned.
    drop(server);
    result
}

/// Looks for the Python; gives none after a stop. One that was killed while it was asked is asked again: at
/// once, then after pauses, and not for ever.
async fn find_python(
    candidates: &[Candidate],
    restarts_max: u32,
    signals: &mut Signals,
    console: &Console,
) -> Result<Option<Interpreter>, Error> {
    let mut backoff = Backoff::new(restarts_max);
    loop {
        let killed = match interpreter::find(candidates) {
            Ok(found) => return Ok(Some(found)),
            Err(killed @ InterpreterError::Killed(_)) => killed,
            Err(error) => return Err(error.into()),
        };
        let now = Moment::now();
        let at = match backoff.died(now, Duration::ZERO) {
            Attempt::AtOnce => now,
            Attempt::At(at) => at,
            Attempt::Never => {
                console.print(&Event::Warning(killed.to_string()));
                return Err(Error::RestartsUsedUp);
            }
        };
        let pause = at.since(now).as_secs_f64();
        console.print(&Event::Warning(format!("{killed}; the next attempt is in {pause:.1} s")));
        tokio::select! {
            biased;
            () = signals.stop() => {
                console.print(&Event::Stopping { phase: Phase::Warm, running: 0 });
                return Ok(None);
            }
            () = sleep_until(Some(at)) => {}
        }
    }
}

/// What is known before Redis has been asked.
struct Start<'a> {
    run: &'a Run<'a>,
    strategy: Strategy,
    origins: &'a Origins,
    interpreter: Interpreter,
    told: Told,
    here: &'a Path,
    marker: Option<Marker>,
    signals: Signals,
}

async fn work(
    start: Start<'_>,
    console: &Arc<Console>,
    server: Option<&EmbeddedRedis>,
) -> Result<u8, Error> {
    let Start { run, strategy, origins, interpreter, told, here, marker, mut signals } = start;
    let source = match (&told.redis.value, server) {
        (RedisChoice::At(source), _) => source.clone(),
        (RedisChoice::Embedded, Some(server)) => Source::Url(server.url().to_owned()),
        (RedisChoice::Embedded, None) => return Err(Error::NoEmbedded(here.to_path_buf())),
    };
    let (redis_url, redis_settings) = match &source {
        Source::Url(url) => (Some(rq::for_redis_py(url)), None),
        Source::Settings(settings) => (None, Some(settings.clone())),
    };
    let client = tokio::select! {
        biased;
        () = signals.stop() => {
            console.print(&Event::Stopping { phase: Phase::Warm, running: 0 });
            return Ok(exit::OK);
        }
        client = connect(source, &interpreter.rq_version) => client?,
    };
    let server_version = client.server();
    decided(
        console,
        "redis",
        client.display_url().to_owned(),
        &format!(
            "{} {}.{}.{}, {}",
            server_version.product,
            server_version.version.0,
            server_version.version.1,
            server_version.version.2,
            if server.is_some() { "embedded" } else { &told.redis.why },
        ),
    );
    // A pool waits until it is resumed, as RQ's.
    let may_wait = matches!(run.kind, Kind::Pool);
    if !may_wait && client.is_suspended().await.unwrap_or(false) {
        return Err(Error::Suspended);
    }
    let args = run.shared;
    let reload = settings::reload(&args.reload, origins)?;
    trace_reload(console, args, &reload);
    let roots = settings::roots(args, &interpreter, here, reload.value, marker.as_ref())?;
    let found = Found {
        strategy,
        interpreter,
        told,
        redis_url,
        redis_settings,
        roots,
        preload: settings::preload(&args.python, origins),
        reload: reload.value,
        marker,
        here,
        cache: cache_folder(),
        project_cache: project_folder(here),
        companion: server.map(EmbeddedRedis::companion),
    };
    let printer = console.clone();
    let reporter = Arc::new(move |event: &Event| printer.print(event));
    let settings = settings::resolve(run, origins, found)?;
    let supervisor = Supervisor::new(settings, client, signals, reporter)?;
    exit_code(Box::pin(supervisor.run()).await, server)
}

async fn connect(source: Source, rq_version: &str) -> Result<Client, Error> {
    let options = Connect {
        source,
        key_prefix: settings::key_prefix(rq_version, env_vars::raw(env_vars::RQ_KEY_PREFIX)),
        response_timeout: RESPONSE_MAX,
        connect_timeout: CONNECT_MAX,
    };
    Ok(Client::connect(options).await?)
}

fn exit_code(exit: Exit, server: Option<&EmbeddedRedis>) -> Result<u8, Error> {
    match exit {
        Exit::Done => Ok(exit::OK),
        Exit::Aborted => Ok(exit::ABORTED),
        Exit::CodeBroken => Err(Error::Broken),
        Exit::RestartsUsedUp => Err(Error::RestartsUsedUp),
        Exit::NotRegistered(error) => Err(Error::Register(error)),
        Exit::PythonUnusable(problem) => Err(Error::Python(problem)),
        Exit::HookUnusable(problem) => Err(Error::Hook(problem)),
        Exit::CompanionEnded(name) => {
            let folder = server.map_or(Path::new(""), EmbeddedRedis::folder).to_path_buf();
            Err(Error::EmbeddedEnded { name, folder })
        }
    }
}

/// Where the embedded Redis of a project keeps its data.
pub(crate) fn redis_folder(here: &Path) -> PathBuf {
    project_folder(here).join("redis")
}

/// The URL of the embedded Redis of a project, if it runs.
pub(crate) fn embedded_url(here: &Path) -> Option<String> {
    running_url(&redis_folder(here))
}

fn trace_python(console: &Console, interpreter: &Interpreter) {
    let choice = format!("{} with rq {}", interpreter.version, interpreter.rq_version);
    let why = format!("{} ({})", interpreter.executable.display(), interpreter.found_by);
    decided(console, "python", choice, &why);
}

fn trace_reload(console: &Console, args: &SharedArgs, reload: &Decision<bool>) {
    let why = &reload.why;
    if reload.value {
        let broken = match args.reload.on_broken {
            crate::args::OnBroken::Keep => "broken code: the last good code serves on",
            crate::args::OnBroken::Hold => "broken code: jobs wait until it is mended",
        };
        let choice = match &args.reload.reload_on {
            Some(file) if file.exists() => format!("when {} changes", file.display()),
            Some(file) => format!("when {} is made or changes", file.display()),
            None => "on".to_owned(),
        };
        decided(console, "reload", choice, &format!("{why}; {broken}"));
    } else {
        decided(console, "reload", "off".to_owned(), why);
    }
}

fn decided(console: &Console, topic: &'static str, choice: String, why: &str) {
    console.print(&Event::Decided { topic, choice, why: why.to_owned() });
}
