//! The real parts, for tests of all our crates: a Python with rq and eyecite, a Redis server per
//! test.
//!
//! Nothing here is part of the product. Functions panic where they cannot help: a test without its
//! parts has not passed.

mod fuzz;
mod proxy;
mod special;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fs_err as fs;

pub use self::fuzz::fuzz;
pub use self::proxy::{Proxy, Way};
pub use self::special::{Clients, SpecialServer, replica_of, sentinel_of, tls_server};
use crate::cache;
use crate::python::{self, DEMO_PACKAGES, Step};

/// What people use beside RQ. six: rq-dashboard imports it and does not say so.
const NEIGHBOURS: &[&str] = &[
    "rq==3.0.0",
    "redis==8.1.0",
    "Django==5.2.19",
    "django-rq==4.2.0",
    "prometheus_client==0.26.0",
    "rq-dashboard==0.9.0",
    "six==1.17.0",
    "rq-scheduler==0.14.0",
];
use crate::redis::{Access, Options, RedisServer, ServerBinary, find_server};

/// A library with threads that end when they see a fork coming, and with random numbers of its own.
const NUMBERS: &[&str] = &["rq==3.0.0", "redis==8.1.0", "numpy==2.2.6"];

/// The oldest RQ whose worker freshq stands in for.
const OLDEST: &[&str] = &["rq==2.0.0", "redis==8.1.0"];

/// Returns a Python that has [`DEMO_PACKAGES`], and prepares it once per machine.
///
/// That takes a while the first time, so it says on standard error what it does; past the capture
/// of the test runner, since otherwise the tests would just seem to hang.
///
/// # Panics
///
/// If it cannot be prepared, with what is missing and what to do.
pub fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| prepare(DEMO_PACKAGES)).clone()
}

/// Returns a Python that has rq and its neighbours: Django, dashboards, another scheduler.
///
/// # Panics
///
/// As [`python()`].
pub fn neighbours() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| prepare(NEIGHBOURS)).clone()
}

/// Returns a Python that has rq and numpy.
///
/// # Panics
///
/// As [`python()`].
pub fn with_numpy() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| prepare(NUMBERS)).clone()
}

/// Returns a Python that has the oldest RQ with which freshq runs jobs.
///
/// # Panics
///
/// As [`python()`].
pub fn oldest_python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| prepare(OLDEST)).clone()
}

/// Starts a Redis server for one test. It keeps nothing and is killed when dropped.
///
/// # Panics
///
/// If no server is found or it does not start.
pub fn redis() -> TestRedis {
    let folder = cache::temporary_folder().expect("a temporary folder for a Redis server");
    let options = Options { append_only: false };
    match RedisServer::start_for(Access::Open, &binary(), &folder, options) {
        Ok(server) => TestRedis { server: Some(server), folder },
        Err(error) => panic!("the tests need a Redis server: {error}"),
    }
}

/// The server program of the tests.
fn binary() -> ServerBinary {
    static BINARY: OnceLock<ServerBinary> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        // On PATH first: the Python environment is not needed for that.
        find_server(None)
            .or_else(|_| find_server(Some(&python())))
            .unwrap_or_else(|error| panic!("the tests need a Redis server: {error}"))
    });
    binary.clone()
}

/// A server of its own for one test.
#[derive(Debug)]
pub struct TestRedis {
    /// `None` only while it is dropped.
    server: Option<RedisServer>,
    folder: PathBuf,
}

impl TestRedis {
    /// The address for clients; it has no password.
    pub fn url(&self) -> String {
        self.server().url().to_owned()
    }

    /// Its Unix socket.
    ///
    /// # Panics
    ///
    /// Never: it was started here.
    pub fn socket(&self) -> &Path {
        self.server().socket().expect("a server that was started here has a socket")
    }

    /// Its port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.server().port()
    }

    /// The number of its process.
    pub fn pid(&self) -> i32 {
        self.server().pid()
    }

    fn server(&self) -> &RedisServer {
        self.server.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().ok();
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn prepare(packages: &[&str]) -> PathBuf {
    let folder = cache::cache_folder().join("test-env");
    let environment = python::prepare(&folder, packages, &mut |step| match step {
        Step::Waiting => say("waiting for another process that prepares the Python environment"),
        Step::Creating { python, version } => {
            say(&format!("preparing {} from {} ({version})", folder.display(), python.display()));
        }
        Step::LeftOut { package, why } => say(&format!("leaving out {package}: {why}")),
        Step::Installing { line } if line.starts_with("Collecting") => say(line),
        Step::Installing { .. } | Step::Ready { .. } => {}
    });
    match environment {
        Ok(environment) => environment.python,
        Err(error) => panic!("the tests need a Python environment: {error}"),
    }
}

fn say(what: &str) {
    writeln!(std::io::stderr(), "[test environment] {what}").ok();
}
