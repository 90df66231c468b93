//! A private Redis server, run as a child.
//!
//! [`RedisServer::start`] is asked for a server on a folder. If none runs there it starts one: on a
//! Unix socket in the folder and on a free port of the loopback interface, with a random password,
//! keeping its data in an append-only file. If one runs there already (another freshq of the same
//! project has it) it is joined. The last one to leave stops it. One that died is started again where it was,
//! with its password and its data, by [`RedisServer::start_again`].
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

mod address;
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

use self::address::Address;
pub use self::binary::{FindError, ServerBinary, ServerKind, find_server};
use self::process::{Place, Process, Start};
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
const APPEND_ONLY_FOLDER: &str = "appendonlydir";
const APPEND_ONLY_FILE: &str = "appendonly.aof";
const LOG_FILE: &str = "redis.log";

/// How a server is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Keep the data in an append-only file, to which all is written before it is answered; [`sync`] brings
    /// it to the disk.
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

impl StartError {
    /// Whether somebody else listens on its port.
    fn is_taken_port(&self) -> bool {
        matches!(self, Self::Ended { output, .. } if output.contains("Address already in use"))
    }
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
    address: Address,
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
        let _turn = take_turn(&folder)?;
        let enter = |place| Self::enter(binary, &folder, options, place);
        match last_address(&folder).map(Place::Kept).map(enter) {
            Some(Err(error)) if error.is_taken_port() => enter(Place::Free(access)),
            Some(result) => result,
            None => enter(Place::Free(access)),
        }
    }

    /// Starts a server in place of this one, which has died: on its data, at its address. If somebody else
    /// has done so already, joins that one.
    pub fn start_again(&self, binary: &ServerBinary, options: Options) -> Result<Self, StartError> {
        let Running { folder, address, .. } = self.running();
        let _turn = take_turn(folder)?;
        Self::enter(binary, folder, options, Place::Kept(address.clone()))
    }

    /// Starts a server, or joins the one that holds this folder's lock. Only who has the turn calls this.
    ///
    /// That one may have been left behind by a freshq that was killed in the middle of a start, so it is
    /// waited for; or the lock is held for a moment by somebody who waits for its end.
    fn enter(
        binary: &ServerBinary,
        folder: &Path,
        options: Options,
        place: Place,
    ) -> Result<Self, StartError> {
        let life = lock::open(&folder.join(LOCK_FILE))?;
        let start = Start { binary, folder, life: &life, options, place };
        let deadline = Instant::now() + Duration::from_secs(ANSWER_SECONDS_MAX);
        loop {
            if lock::try_exclusive(&life)? {
                let (process, address) = Process::start(&start)?;
                return Ok(Self::Owned(Running::new(
                    folder.to_owned(),
                    address,
                    process.pid(),
                    Some(process),
                )?));
            }
            if let Some(address) = last_address(folder)
                && let Some(pid) = pid_at(&address)
            {
                return Ok(Self::Joined(Running::new(folder.to_owned(), address, pid, None)?));
            }
            if deadline <= Instant::now() {
                return Err(StartError::Unreachable { folder: folder.to_owned() });
            }
            thread::sleep(Duration::from_millis(ASK_AGAIN_MS));
        }
    }

    /// The address for clients, with the password.
    pub fn url(&self) -> &str {
        &self.running().url
    }

    /// Its port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.running().address.port
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

    /// Forgets a server that has died, and in whose place another runs.
    pub fn bury(mut self) {
        match &mut self {
            Self::Owned(running) | Self::Joined(running) => running.bury(),
        }
    }

    fn running(&self) -> &Running {
        match self {
            Self::Owned(running) | Self::Joined(running) => running,
        }
    }
}

impl Running {
    fn new(
        folder: PathBuf,
        address: Address,
        pid: i32,
        process: Option<Process>,
    ) -> io::Result<Self> {
        let share = lock::open(&folder.join(USERS_FILE))?;
        // It cannot be refused: who leaves holds the turn, which is ours now.
        lock::try_shared(&share)?;
        Ok(Self { folder, url: address.url(), address, pid, process, share: Some(share) })
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
            shut_down(&self.address, &life)?
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

    fn bury(&mut self) {
        self.share = None;
        if let Some(process) = &mut self.process {
            process.bury();
        }
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
    let address = last_address(folder)?;
    address.connect().is_ok().then(|| address.url())
}

/// Waits until no server runs on this folder any more, however long that takes.
pub fn wait_for_end(folder: &Path) -> io::Result<()> {
    lock::exclusive(&lock::open(&folder.join(LOCK_FILE))?)
}

/// Brings to the disk what the server of this folder has written.
pub fn sync(folder: &Path) -> io::Result<()> {
    // A single file before Redis 7.
    let old = Ok(folder.join(APPEND_ONLY_FILE));
    let files = fs::read_dir(folder.join(APPEND_ONLY_FOLDER)).into_iter().flatten();
    let files = files.map(|entry: io::Result<_>| entry.map(|entry| entry.path()));
    for file in files.chain([old]) {
        match File::open(file?) {
            Ok(file) => file.sync_data()?,
            // The server has never written it, or rewritten it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Where the server of this folder listens, or did when it died.
fn last_address(folder: &Path) -> Option<Address> {
    Address::parse(&fs::read_to_string(folder.join(URL_FILE)).ok()?)
}

fn take_turn(folder: &Path) -> Result<File, StartError> {
    let turn = lock::open(&folder.join(TURN_FILE))?;
    let deadline = Instant::now() + Duration::from_secs(TURN_SECONDS_MAX);
    if lock::exclusive_until(&turn, deadline)? {
        return Ok(turn);
    }
    Err(StartError::Busy { folder: folder.to_owned(), seconds: TURN_SECONDS_MAX })
}

fn pid_at(address: &Address) -> Option<i32> {
    address.connect().ok()?.process_id().ok()?
}

/// Ends a server that is not our child. It is never killed: its number may mean another process
/// here.
fn shut_down(address: &Address, life: &File) -> io::Result<Stopped> {
    address.connect()?.shutdown()?;
    let deadline = Instant::now() + Duration::from_secs(STOP_SECONDS_MAX);
    if lock::exclusive_until(life, deadline)? {
        return Ok(Stopped::Calmly);
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "the Redis server did not end when it was asked to",
    ))
}
