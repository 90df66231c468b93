//! One server process: started, waited for until it answers, ended.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use super::address::Address;
use super::config::{Config, write_private};
use super::resp::{Connection, Ping};
use super::{
    ANSWER_SECONDS_MAX, ASK_AGAIN_MS, Access, LOADING_SECONDS_MAX, LOG_FILE, Options,
    STOP_SECONDS_MAX, ServerBinary, StartError, Stopped, URL_FILE,
};
use crate::{cache, lock};

const CONFIG_FILE: &str = "redis.conf";
const SOCKET_FILE: &str = "redis.sock";

/// Between asking for a free port and using it somebody else may take it.
const PORTS_TRIED_MAX: u32 = 5;
/// The kernel takes 107 bytes; Redis adds nothing.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// How many lines of the log a message quotes.
const LOG_LINES_QUOTED_MAX: usize = 6;

/// What it takes to start a server.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) binary: &'a ServerBinary,
    pub(super) folder: &'a Path,
    /// The folder's lock, held. It becomes the server's.
    pub(super) life: &'a File,
    pub(super) options: Options,
    pub(super) place: Place,
}

/// Where a server is to listen.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Where one that died was, and with its password: its clients look for it there.
    Kept(Address),
    /// On a free port.
    Free(Access),
}

impl Start<'_> {
    fn attempts(&self, socket: &Path) -> Result<(Child, Address), StartError> {
        let access = match &self.place {
            Place::Kept(address) => return self.attempt(socket, address.clone()),
            Place::Free(access) => *access,
        };
        let mut result = self.attempt(socket, Address::new(access)?);
        for _ in 1..PORTS_TRIED_MAX {
            match &result {
                Err(error) if error.is_taken_port() => {
                    result = self.attempt(socket, Address::new(access)?);
                }
                _ => break,
            }
        }
        result
    }

    fn attempt(&self, socket: &Path, address: Address) -> Result<(Child, Address), StartError> {
        let folder = self.folder;
        let config = Config {
            folder: folder.to_owned(),
            socket: socket.to_owned(),
            log: folder.join(LOG_FILE),
            address,
            options: self.options,
        };
        let file = folder.join(CONFIG_FILE);
        write_private(&file, &config.text())?;
        fs::remove_file(socket).ok();
        let log = fs::OpenOptions::new().create(true).append(true).open(&config.log)?;
        let log = log.into_parts().0;
        let mut command = Command::new(&self.binary.path);
        command.arg(&file).current_dir(folder);
        // Its own group: Ctrl-C in a terminal is for freshq, which then stops the server in order.
        command.process_group(0);
        command.stdin(self.life.try_clone()?).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        if let Err(error) = wait_for_answer(self.binary, &mut child, &config) {
            child.kill().ok();
            child.wait().ok();
            return Err(error);
        }
        let address = config.address;
        write_private(&folder.join(URL_FILE), &format!("{}\n", address.url()))?;
        Ok((child, address))
    }
}

/// A server that was started here. Dropping it does not stop it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    socket: PathBuf,
    /// Holds the socket, where the path of the server's folder is too long for one.
    socket_folder: Option<PathBuf>,
}

impl Process {
    /// Starts a server and waits until it answers.
    pub(super) fn start(start: &Start<'_>) -> Result<(Self, Address), StartError> {
        let (socket, socket_folder) = socket_for(start.folder)?;
        match start.attempts(&socket) {
            Ok((child, address)) => Ok((Self { child, socket, socket_folder }, address)),
            Err(error) => {
                socket_folder.map(fs::remove_dir_all);
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends the server, which lives: its lock `life` was found held.
    pub(super) fn terminate(&self, life: &File) -> io::Result<Stopped> {
        self.signal(Signal::TERM)?;
        if lock::exclusive_until(life, Instant::now() + Duration::from_secs(STOP_SECONDS_MAX))? {
            return Ok(Stopped::Calmly);
        }
        self.kill(life)?;
        Ok(Stopped::Killed)
    }

    /// Kills the server, which lives: its lock `life` was found held.
    pub(super) fn kill(&self, life: &File) -> io::Result<()> {
        self.signal(Signal::KILL)?;
        lock::exclusive_until(life, Instant::now() + Duration::from_secs(STOP_SECONDS_MAX))?;
        Ok(())
    }

    /// Reaps the child, unless somebody else did, and removes what it leaves.
    pub(super) fn clean_up(&mut self) {
        fs::remove_file(&self.socket).ok();
        self.bury();
    }

    /// Reaps a child that has ended. Its socket may be that of the next server.
    pub(super) fn bury(&mut self) {
        self.child.wait().ok();
        if let Some(folder) = self.socket_folder.take() {
            fs::remove_dir_all(folder).ok();
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(group) = Pid::from_raw(self.pid()) else {
            return Ok(());
        };
        match kill_process_group(group, signal) {
            Err(Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Where the socket is: in the folder, or in a short one if that path is too long for a socket.
fn socket_for(folder: &Path) -> io::Result<(PathBuf, Option<PathBuf>)> {
    let socket = folder.join(SOCKET_FILE);
    if socket.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok((socket, None));
    }
    let short = cache::temporary_folder()?;
    Ok((short.join(SOCKET_FILE), Some(short)))
}

pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn wait_for_answer(
    binary: &ServerBinary,
    child: &mut Child,
    config: &Config,
) -> Result<(), StartError> {
    let begun = Instant::now();
    let mut seconds = ANSWER_SECONDS_MAX;
    let password = config.address.password.as_deref();
    loop {
        match Connection::unix(&config.socket).and_then(|mut connection| connection.ping(password))
        {
            Ok(Ping::Pong) => return Ok(()),
            Ok(Ping::Loading) => seconds = LOADING_SECONDS_MAX,
            // Nobody else knows the socket, so an odd answer is a server that is just coming up.
            Ok(Ping::Stranger(_)) | Err(_) => {}
        }
        let (binary, log) = (binary.path.clone(), config.log.clone());
        if has_ended(child) {
            let output = end_of(&log);
            return Err(StartError::Ended { binary, log, output });
        }
        if Duration::from_secs(seconds) <= begun.elapsed() {
            let output = end_of(&log);
            return Err(StartError::Silent { binary, log, output, seconds });
        }
        thread::sleep(Duration::from_millis(ASK_AGAIN_MS));
    }
}

/// Whether the child is gone; also when somebody else reaped it (`ECHILD`).
fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

fn end_of(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LOG_LINES_QUOTED_MAX));
    last.map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
