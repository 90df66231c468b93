//! Locks between processes: `flock` on a file, held until the [`File`] is dropped.
//!
//! `flock` belongs to the open file, not to the process, so a child that inherits the file holds
//! the lock too. [`crate::redis`] relies on that.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How long to wait between two looks at a lock that has a time limit.
const LOOK_AGAIN_MS: u64 = 2;

/// Opens (and creates, readable by its owner only) a file that is used as a lock.
pub fn open(path: &Path) -> io::Result<File> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    Ok(file.into_parts().0)
}

/// Takes the lock for this holder alone if nobody has it.
pub(crate) fn try_exclusive(file: &File) -> io::Result<bool> {
    attempt(file, FlockOperation::NonBlockingLockExclusive)
}

/// Takes the lock together with others, unless somebody has it alone.
pub fn try_shared(file: &File) -> io::Result<bool> {
    attempt(file, FlockOperation::NonBlockingLockShared)
}

/// Takes the lock for this holder alone, however long that takes.
pub fn exclusive(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Takes the lock for this holder alone if it becomes free before `deadline`.
pub(crate) fn exclusive_until(file: &File, deadline: Instant) -> io::Result<bool> {
    loop {
        if try_exclusive(file)? {
            return Ok(true);
        }
        if deadline <= Instant::now() {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
    }
}

fn attempt(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
