//! A private Redis server, run as a child.
//!
//! [`RedisServer::start`] is asked for a server on a folder. If none runs there it starts one: on a
//! Unix socket in the folder and on a free port of the loopback interface, with a random password,
//! keeping its data in an append-only file. If one runs there already (another freshq of the same
//! project has it) it is joined. The last one to leave stops it.
//!
//! Three files in the folder are locks, so that this holds between processes, and between
//! containers too:
//!
//! | file | who holds it |
//! | --- | --- |
//! | `redis.lock` | the server, as its standard input, for as long as it lives |
//! | `redis.users` | everybody who uses it, together |
//! | `redis.start` | who is just starting, joining or leaving, alone |
//!
//! A number of a process is never trusted: somebody else may have reaped the child (freshq has one
//! reaper), and numbers are given anew. Signals are sent only while `redis.lock` is held, which
//! proves that the server lives.
//!
//! Read on in `binary.rs` (which program), `config.rs` (what it is told), `process.rs` (start and
//! stop).

mod binary;
mod config;
mod process;
mod resp;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;

pub use self::binary::{FindError, ServerBinary, ServerKind, find_server};
use self::process::{Process, Start};
use self::resp::{Connection, Ping};
use crate::{cache, lock};

/// A server that is up answers within this time.
const ANSWER_SECONDS_MAX: u64 = 10;
/// A server that reads a large append-only file says so, and is waited for longer.
const LOADING_SECONDS_MAX: u64 = 300;
/// How long a server may take to end after SIGTERM; it writes its last second of data.
const STOP_SECONDS_MAX: u64 = 10;
/// Starting, joining and leaving take turns; nobody takes longer than a start.
const TURN_SECONDS_MAX: u64 = LOADING_SECONDS_MAX + STOP_SECONDS_MAX;
/// Joining and leaving a server that runs take less than this.
const LEAVE_SECONDS_MAX: u64 = ANSWER_SECONDS_MAX + STOP_SECONDS_MAX;
/// Between two questions whether a server is there yet.
const ASK_AGAIN_MS: u64 = 1;

const URL_FILE: &str = "redis.url";
const LOCK_FILE: &str = "redis.lock";
const USERS_FILE: &str = "redis.users";
const TURN_FILE: &str = "redis.start";
const LOG_FILE: &str = "redis.log";

/// How a server is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Keep the data in an append-only file, written to disk every second.
    pub append_only: bool,
}

/// Who may ask a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Who has its random password, on the port and on the socket.
    Password,
    /// Everybody on this machine: for tests.
    Open,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It ended before it answered.
    #[error(
        "{} ended before it answered; the end of its log {}:\n{output}",
        binary.display(), log.display()
    )]
    Ended {
        /// The program.
        binary: PathBuf,
        /// Where it writes.
        log: PathBuf,
        /// The last lines it wrote.
        output: String,
    },

    /// It lives but did not answer in time.
    #[error(
        "{} did not answer within {seconds} s; the end of its log {}:\n{output}",
        binary.display(), log.display()
    )]
    Silent {
        /// The program.
        binary: PathBuf,
        /// Where it writes.
        log: PathBuf,
        /// The last lines it wrote.
        output: String,
        /// How long it was waited for.
        seconds: u64,
    },

    /// Another server has this folder and cannot be reached from here.
    #[error(
        "a Redis server already runs on {} and does not answer here\n\
         it may run in another container that shares this folder: stop it, or set FRESHQ_CACHE_DIR \
         to a folder of its own",
        folder.display()
    )]
    Unreachable {
        /// The folder.
        folder: PathBuf,
    },

    /// Another process has been starting or stopping a server here for too long.
    #[error(
        "another process has been starting or stopping the Redis server on {} for {seconds} s",
        folder.display()
    )]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },

    /// A file or process could not be handled.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What became of a server that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It ended as it was asked to.
    Calmly,
    /// It did not end in time, and was killed.
    Killed,
    /// Others still use it.
    LeftToOthers,
    /// It was not there any more.
    AlreadyGone,
}

/// A private server in use. Dropping it stops the server, if nobody else uses it.
#[derive(Debug)]
pub enum RedisServer {
    /// Started here.
    Owned(Running),
    /// Somebody else had started it.
    Joined(Running),
}

/// A server that answers.
#[derive(Debug)]
pub struct Running {
    folder: PathBuf,
    url: String,
    pid: i32,
    /// The child, if it is ours.
    process: Option<Process>,
    /// Our share of `redis.users`. `None` once we have left.
    share: Option<File>,
}

impl RedisServer {
    /// Starts a server on this folder, or joins the one that runs there.
    pub fn start(
        binary: &ServerBinary,
        folder: &Path,
        options: Options,
    ) -> Result<Self, StartError> {
        Self::start_for(Access::Password, binary, folder, options)
    }

    pub(crate) fn start_for(
        access: Access,
        binary: &ServerBinary,
        folder: &Path,
        options: Options,
    ) -> Result<Self, StartError> {
        cache::create_private(folder)?;
        let folder = fs::canonicalize(folder)?;
        let turn = take_turn(&folder)?;
        let lock = lock::open(&folder.join(LOCK_FILE))?;
        let server = if lock::try_exclusive(&lock)? {
            let (process, url) =
                Process::start(&Start { binary, folder: &folder, life: &lock, options, access })?;
            Self::Owned(Running::new(folder, url, process.pid(), Some(process))?)
        } else {
            let (url, pid) = join(&folder)?;
            Self::Joined(Running::new(folder, url, pid, None)?)
        };
        drop(turn);
        Ok(server)
    }

    /// The address for clients, with the password.
    pub fn url(&self) -> &str {
        &self.running().url
    }

    /// Its port on the loopback interface.
    pub fn port(&self) -> u16 {
        port_of(self.url()).unwrap_or_default()
    }

    /// The number of its process, as the server sees it.
    pub fn pid(&self) -> i32 {
        self.running().pid
    }

    /// The folder it works in.
    pub fn folder(&self) -> &Path {
        &self.running().folder
    }

    /// The Unix socket it listens on, if it was started here.
    pub fn socket(&self) -> Option<&Path> {
        self.running().process.as_ref().map(Process::socket)
    }

    /// Whether somebody else had started it.
    pub fn is_joined(&self) -> bool {
        matches!(self, Self::Joined(_))
    }

    /// Leaves the server, and stops it if nobody else uses it.
    pub fn stop(mut self) -> io::Result<Stopped> {
        match &mut self {
            Self::Owned(running) | Self::Joined(running) => running.leave(),
        }
    }

    /// Kills the server, also if others use it; one that was joined is only left. For tests of a
    /// crash.
    pub fn kill(mut self) -> io::Result<Stopped> {
        match &mut self {
            Self::Owned(running) | Self::Joined(running) => running.kill(),
        }
    }

    fn running(&self) -> &Running {
        match self {
            Self::Owned(running) | Self::Joined(running) => running,
        }
    }
}

impl Running {
    fn new(folder: PathBuf, url: String, pid: i32, process: Option<Process>) -> io::Result<Self> {
        let share = lock::open(&folder.join(USERS_FILE))?;
        // It cannot be refused: who leaves holds the turn, which is ours now.
        lock::try_shared(&share)?;
        Ok(Self { folder, url, pid, process, share: Some(share) })
    }

    fn leave(&mut self) -> io::Result<Stopped> {
        let Some(share) = self.share.take() else {
            return Ok(Stopped::AlreadyGone);
        };
        let turn = lock::open(&self.folder.join(TURN_FILE))?;
        // Whoever has it only joins or leaves, and is quick; if not, stopping is still right.
        lock::exclusive_until(&turn, Instant::now() + Duration::from_secs(LEAVE_SECONDS_MAX))?;
        if !lock::try_exclusive(&share)? {
            return Ok(Stopped::LeftToOthers);
        }
        let life = lock::open(&self.folder.join(LOCK_FILE))?;
        let stopped = if lock::try_exclusive(&life)? {
            Stopped::AlreadyGone
        } else if let Some(process) = &self.process {
            process.terminate(&life)?
        } else {
            shut_down(&self.url, &life)?
        };
        self.clean_up();
        Ok(stopped)
    }

    fn kill(&mut self) -> io::Result<Stopped> {
        let Some(process) = &self.process else {
            return self.leave();
        };
        let life = lock::open(&self.folder.join(LOCK_FILE))?;
        if !lock::try_exclusive(&life)? {
            process.kill(&life)?;
        }
        self.share = None;
        self.clean_up();
        Ok(Stopped::Killed)
    }

    fn clean_up(&mut self) {
        if let Some(process) = &mut self.process {
            process.clean_up();
        }
        fs::remove_file(self.folder.join(URL_FILE)).ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody is left to be told; the next start finds whatever remains.
        self.leave().ok();
    }
}

/// The address of the server that runs on this folder, if it answers.
pub fn running_url(folder: &Path) -> Option<String> {
    let url = fs::read_to_string(folder.join(URL_FILE)).ok()?.trim().to_owned();
    let mut connection = connect(&url).ok()?;
    matches!(connection.ping(password_of(&url)), Ok(Ping::Pong)).then_some(url)
}

fn take_turn(folder: &Path) -> Result<File, StartError> {
    let turn = lock::open(&folder.join(TURN_FILE))?;
    let deadline = Instant::now() + Duration::from_secs(TURN_SECONDS_MAX);
    if lock::exclusive_until(&turn, deadline)? {
        return Ok(turn);
    }
    Err(StartError::Busy { folder: folder.to_owned(), seconds: TURN_SECONDS_MAX })
}

/// Finds the server that holds this folder's lock.
///
/// It may have been left behind by a freshq that was killed in the middle of a start, so it is
/// waited for.
fn join(folder: &Path) -> Result<(String, i32), StartError> {
    let deadline = Instant::now() + Duration::from_secs(ANSWER_SECONDS_MAX);
    loop {
        if let Some(url) = running_url(folder)
            && let Some(pid) = pid_of(&url)
        {
            return Ok((url, pid));
        }
        if deadline <= Instant::now() {
            return Err(StartError::Unreachable { folder: folder.to_owned() });
        }
        thread::sleep(Duration::from_millis(ASK_AGAIN_MS));
    }
}

fn pid_of(url: &str) -> Option<i32> {
    let mut connection = connect(url).ok()?;
    connection.ping(password_of(url)).ok()?;
    connection.process_id().ok()?
}

/// Ends a server that is not our child. It is never killed: its number may mean another process
/// here.
fn shut_down(url: &str, life: &File) -> io::Result<Stopped> {
    let mut connection = connect(url)?;
    connection.ping(password_of(url))?;
    connection.shutdown()?;
    let deadline = Instant::now() + Duration::from_secs(STOP_SECONDS_MAX);
    if lock::exclusive_until(life, deadline)? {
        return Ok(Stopped::Calmly);
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "the Redis server did not end when it was asked to",
    ))
}

fn connect(url: &str) -> io::Result<Connection<std::net::TcpStream>> {
    let strange =
        || io::Error::new(io::ErrorKind::InvalidData, "no port in the address of the server");
    Connection::loopback(port_of(url).ok_or_else(strange)?)
}

fn port_of(url: &str) -> Option<u16> {
    url.rsplit_once(':')?.1.split('/').next()?.parse().ok()
}

fn password_of(url: &str) -> Option<&str> {
    let (user, _) = url.strip_prefix("redis://")?.rsplit_once('@')?;
    user.strip_prefix(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        assert_eq!(port_of("redis://:secret@127.0.0.1:7001/0"), Some(7001));
        assert_eq!(port_of("redis://127.0.0.1:7001/0"), Some(7001));
        assert_eq!(password_of("redis://:secret@127.0.0.1:7001/0"), Some("secret"));
        assert_eq!(password_of("redis://127.0.0.1:7001/0"), None);
    }
}
