//! `freshq worker`: the start-up trace, then the engine, then an exit code.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use embedded::cache::{cache_folder, project_folder};
use embedded::redis::{Options, RedisServer, find_server, running_url};
use rq::{Client, Connect};
use supervisor::event::Event;
use supervisor::forkserver::interpreter::{self, Interpreter};
use supervisor::settings::Companion;
use supervisor::{Exit, Supervisor};

use crate::args::WorkerArgs;
use crate::console::Console;
use crate::error::Error;
use crate::settings::{self, Found, RedisChoice};
use crate::{env_vars, exit, python};

/// How long Redis may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long Redis may take to answer a command that does not wait.
const RESPONSE_MAX: Duration = Duration::from_secs(30);

/// Runs the command; returns the exit code.
pub(crate) fn run(args: &WorkerArgs) -> Result<u8, Error> {
    let here = std::env::current_dir()
        .map_err(|error| Error::Io { what: "find the current folder", error })?;
    let console = Arc::new(Console::new(args.log.logging()?, here.clone()));
    console.title();
    let candidates = python::candidates(args.python.python.as_deref(), &here);
    let interpreter = interpreter::find(&candidates)?;
    trace_python(&console, &interpreter);
    // One thread: the loop owns the state, and what it forks is forked by Python.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Io { what: "start the event loop", error })?;
    let server = start_embedded(args, &interpreter, &here)?;
    let result = runtime.block_on(work(args, &console, interpreter, &here, server.as_ref()));
    // Stopped with the worker, and after it: it holds what the last jobs returned.
    drop(server);
    result
}

async fn work(
    args: &WorkerArgs,
    console: &Arc<Console>,
    interpreter: Interpreter,
    here: &Path,
    server: Option<&RedisServer>,
) -> Result<u8, Error> {
    let choice = settings::redis(&args.redis);
    let url = match (&choice.value, server) {
        (RedisChoice::Url(url), _) => url.clone(),
        (RedisChoice::Embedded, Some(server)) => server.url().to_owned(),
        (RedisChoice::Embedded, None) => return Err(Error::NoEmbedded(here.to_path_buf())),
    };
    let client = connect(&url).await?;
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
            if server.is_some() { "embedded" } else { choice.why },
        ),
    );
    if client.is_suspended().await.unwrap_or(false) {
        return Err(Error::Suspended);
    }
    let reload = settings::reload(&args.reload);
    trace_reload(console, args, reload.value, reload.why);
    let roots = settings::roots(args, &interpreter, here, reload.value)?;
    let found = Found {
        interpreter,
        redis_url: url,
        roots,
        reload: reload.value,
        cache: cache_folder(),
        project_cache: project_folder(here),
        companions: companions(server),
    };
    let printer = console.clone();
    let reporter = Arc::new(move |event: &Event| printer.print(event));
    let supervisor = Supervisor::new(settings::resolve(args, found), client, reporter)?;
    exit_code(supervisor.run().await, server)
}

async fn connect(url: &str) -> Result<Client, Error> {
    let options = Connect {
        url: url.to_owned(),
        key_prefix: env_vars::text(env_vars::RQ_KEY_PREFIX).unwrap_or_else(|| "rq".to_owned()),
        response_timeout: RESPONSE_MAX,
        connect_timeout: CONNECT_MAX,
    };
    Ok(Client::connect(options).await?)
}

fn exit_code(exit: Exit, server: Option<&RedisServer>) -> Result<u8, Error> {
    match exit {
        Exit::Done => Ok(exit::OK),
        Exit::Aborted => Ok(exit::ABORTED),
        Exit::CodeBroken => Err(Error::Broken),
        Exit::NotRegistered(error) => Err(Error::Register(error)),
        Exit::PythonUnusable(problem) => Err(Error::Python(problem)),
        Exit::HookUnusable(problem) => Err(Error::Hook(problem)),
        Exit::CompanionEnded(name) => {
            let folder = server.map_or(Path::new(""), RedisServer::folder).to_path_buf();
            Err(Error::EmbeddedEnded { name, folder })
        }
    }
}

/// Starts the private Redis of this project, if that is what was asked for.
fn start_embedded(
    args: &WorkerArgs,
    interpreter: &Interpreter,
    here: &Path,
) -> Result<Option<RedisServer>, Error> {
    if !matches!(settings::redis(&args.redis).value, RedisChoice::Embedded) {
        return Ok(None);
    }
    let folder = redis_folder(here);
    let binary = find_server(Some(&interpreter.executable))?;
    Ok(Some(RedisServer::start(&binary, &folder, Options { append_only: true })?))
}

/// Where the embedded Redis of a project keeps its data.
pub(crate) fn redis_folder(here: &Path) -> PathBuf {
    project_folder(here).join("redis")
}

/// The URL of the embedded Redis of a project, if it runs.
pub(crate) fn embedded_url(here: &Path) -> Option<String> {
    running_url(&redis_folder(here))
}

fn companions(server: Option<&RedisServer>) -> Vec<Companion> {
    let owned = server.filter(|server| !server.is_joined());
    owned
        .map(|server| Companion { name: "the embedded Redis".to_owned(), pid: server.pid() })
        .into_iter()
        .collect()
}

fn trace_python(console: &Console, interpreter: &Interpreter) {
    let choice = format!("{} with rq {}", interpreter.version, interpreter.rq_version);
    let why = format!("{} ({})", interpreter.executable.display(), interpreter.found_by);
    decided(console, "python", choice, &why);
}

fn trace_reload(console: &Console, args: &WorkerArgs, on: bool, why: &str) {
    if on {
        let broken = match args.reload.on_broken {
            crate::args::OnBroken::Keep => "broken code: the last good code serves on",
            crate::args::OnBroken::Hold => "broken code: jobs wait until it is mended",
        };
        decided(console, "reload", "on".to_owned(), &format!("{why}; {broken}"));
    } else {
        decided(console, "reload", "off".to_owned(), why);
    }
}

fn decided(console: &Console, topic: &'static str, choice: String, why: &str) {
    console.print(&Event::Decided { topic, choice, why: why.to_owned() });
}
