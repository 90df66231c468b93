//! One run of a supervisor, and whether another one is certainly over.
//!
//! A pid alone says nothing: it is used again, and in a container it is always 1. So a run is named by
//! machine, boot, namespaces, pid and start time. In the same namespaces the kernel is asked whether that
//! process is there. In others (a container that was restarted has new ones) the lock tells that each run
//! holds on its state file, where both see the same folder. What neither can tell counts as alive.
//!
//! When a supervisor is over nothing of its chain does anything any more: the life lines were cut before
//! its process went, and what is being killed does not return to its code.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use embedded::cache::{create_private, is_private};
use embedded::lock;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::clock;

/// State files of dead runs are kept this long: longer than anything that names them is in Redis.
const KEPT_SECONDS: i64 = 24 * 60 * 60;
const EXTENSION: &str = "run";

/// This run of the supervisor, and what it needs to judge others.
#[derive(Debug)]
pub struct Incarnation {
    identity: Option<Identity>,
    folders: Vec<PathBuf>,
    _file: Option<StateFile>,
}

impl Incarnation {
    /// This run; its state file is in the first of these folders that can be used.
    pub fn begin(folders: &[PathBuf]) -> Self {
        let identity = Identity::own();
        let file = identity
            .as_ref()
            .and_then(|own| folders.iter().find_map(|folder| StateFile::hold(folder, own).ok()));
        Self { identity, folders: folders.to_vec(), _file: file }
    }

    /// What others know it by; empty where processes cannot be told apart.
    pub fn text(&self) -> String {
        self.identity.as_ref().map_or_else(String::new, Identity::to_string)
    }

    /// Whether the run that another supervisor has noted as this text is certainly over.
    pub fn is_over(&self, text: &str) -> bool {
        let (Some(own), Some(other)) = (&self.identity, Identity::parse(text)) else {
            return false;
        };
        own.is_over(&other, |name| look(&self.folders, name))
    }
}

/// What is known of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    Held,
    Free,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    host: String,
    boot: String,
    /// Of pids, and of times, by which a start time is shown.
    namespaces: String,
    pid: i32,
    /// In ticks since the boot.
    started: u64,
}

impl Identity {
    /// None where there is no `/proc` as on Linux.
    fn own() -> Option<Self> {
        let namespace = |kind: &str| {
            let link = fs_err::read_link(format!("/proc/self/ns/{kind}")).ok()?;
            let number: String = link.to_str()?.chars().filter(char::is_ascii_digit).collect();
            Some(number).filter(|number| !number.is_empty())
        };
        let pid = i32::try_from(std::process::id()).ok()?;
        let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        // Older kernels have no namespace of times.
        let times = namespace("time").unwrap_or_default();
        Some(Self {
            host: hostname(),
            boot: boot.trim().to_owned(),
            namespaces: format!("{}.{times}", namespace("pid")?),
            pid,
            started: process(pid)?.started,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let mut next = || parts.next().map(str::to_owned);
        let (boot, namespaces) = (next()?, next()?);
        let (pid, started) = (next()?.parse().ok()?, next()?.parse().ok()?);
        Some(Self { host: next()?, boot, namespaces, pid, started })
    }

    fn is_over(&self, other: &Self, look: impl FnOnce(&str) -> Lock) -> bool {
        if (&self.host, &self.boot) != (&other.host, &other.boot) {
            return false;
        }
        if self.namespaces == other.namespaces {
            return is_gone(other.pid, other.started);
        }
        look(&other.file_name()) == Lock::Free
    }

    fn file_name(&self) -> String {
        let boot: String = self.boot.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        let namespaces: String =
            self.namespaces.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
        format!("{boot}-{namespaces}-{}-{}.{EXTENSION}", self.pid, self.started)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, boot, namespaces, pid, started } = self;
        write!(f, "{boot} {namespaces} {pid} {started} {host}")
    }
}

/// The name of this host.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What `/proc` says of a process.
struct Process {
    started: u64,
    is_zombie: bool,
    threads: u64,
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(Process {
        started: fields.get(19)?.parse().ok()?,
        is_zombie: fields.first() == Some(&"Z"),
        threads: fields.get(17)?.parse().ok()?,
    })
}

/// Whether no process has this pid, or another one by now, or only its status is left.
fn is_gone(pid: i32, started: u64) -> bool {
    let Some(id) = Pid::from_raw(pid).filter(|_| 0 < pid) else { return false };
    // Not by `/proc` alone, where processes of others may be hidden.
    if test_kill_process(id) == Err(Errno::SRCH) {
        return true;
    }
    process(pid)
        .is_some_and(|found| found.started != started || found.is_zombie && found.threads <= 1)
}

/// A file whose lock is held for as long as this run lasts.
#[derive(Debug)]
struct StateFile {
    path: PathBuf,
    _locked: File,
}

impl StateFile {
    fn hold(folder: &Path, own: &Identity) -> io::Result<Self> {
        create_private(folder)?;
        if !is_private(folder) {
            return Err(io::Error::other("others may enter this folder, or it is not yours"));
        }
        sweep(folder);
        let path = folder.join(own.file_name());
        let locked = lock::open(&path)?;
        lock::exclusive(&locked)?;
        fs_err::write(&path, own.to_string())?;
        Ok(Self { path, _locked: locked })
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // One that stays is no worse than that of a run that was killed.
        drop(fs_err::remove_file(&self.path));
    }
}

/// The lock of a state file that may be in one of these folders.
fn look(folders: &[PathBuf], name: &str) -> Lock {
    let path = folders.iter().filter(|folder| is_private(folder)).map(|folder| folder.join(name));
    path.filter(|path| path.exists()).map(|path| lock_of(&path)).next().unwrap_or(Lock::Unknown)
}

fn lock_of(path: &Path) -> Lock {
    // Shared, so that two who look do not take each other for the holder.
    match lock::open(path).and_then(|file| lock::try_shared(&file)) {
        Ok(true) => Lock::Free,
        Ok(false) => Lock::Held,
        Err(_) => Lock::Unknown,
    }
}

/// Removes what runs have left that ended long ago.
fn sweep(folder: &Path) {
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let written = fs_err::metadata(&path).map_or(i64::MAX, |found| found.mtime());
        let is_old = KEPT_SECONDS < (clock::wall().micros() / 1_000_000).saturating_sub(written);
        let is_state = path.extension().is_some_and(|extension| extension == EXTENSION);
        if is_state && is_old && lock_of(&path) == Lock::Free {
            drop(fs_err::remove_file(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Identity {
        Identity::own().expect("this is Linux")
    }

    fn unasked(_: &str) -> Lock {
        panic!("the lock need not be looked at")
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let own = Identity { host: "a b".to_owned(), ..own() };
        assert_eq!(Identity::parse(&own.to_string()), Some(own));
        for text in ["", "1", "a b c d e", "boot ns 1 x host"] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_process_that_runs_is_not_over_and_one_that_was_reaped_is() {
        let own = own();
        assert!(!own.is_over(&own, unasked));
        // The same pid, another start: it was used again.
        assert!(own.is_over(&Identity { started: own.started - 1, ..own.clone() }, unasked));
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id() as i32;
        let other = Identity { pid, started: process(pid).unwrap().started, ..own.clone() };
        assert!(!own.is_over(&other, unasked));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own.is_over(&other, unasked));
    }

    #[test]
    fn what_cannot_be_told_counts_as_alive() {
        let own = own();
        let gone = Identity { started: own.started - 1, ..own.clone() };
        let elsewhere = Identity { host: "elsewhere".to_owned(), ..gone.clone() };
        let rebooted = Identity { boot: "another".to_owned(), ..gone.clone() };
        assert!(!own.is_over(&elsewhere, unasked));
        assert!(!own.is_over(&rebooted, unasked));
        let contained = Identity { namespaces: "1.1".to_owned(), ..gone };
        for (lock, over) in [(Lock::Held, false), (Lock::Free, true), (Lock::Unknown, false)] {
            assert_eq!(own.is_over(&contained, |_| lock), over, "{lock:?}");
        }
    }

    #[test]
    fn the_lock_of_a_run_is_held_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join("run");
        let folders = [private.clone()];
        let own = own();
        assert_eq!(look(&folders, &own.file_name()), Lock::Unknown);
        let file = StateFile::hold(&private, &own).unwrap();
        assert_eq!(look(&folders, &own.file_name()), Lock::Held);
        let kept = fs_err::read_to_string(&file.path).unwrap();
        assert_eq!(kept, own.to_string());
        drop(file);
        assert_eq!(look(&folders, &own.file_name()), Lock::Unknown);
        // Of a run that was killed.
        fs_err::write(private.join(own.file_name()), "").unwrap();
        assert_eq!(look(&folders, &own.file_name()), Lock::Free);
    }
}
