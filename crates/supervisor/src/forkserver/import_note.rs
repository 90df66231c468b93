//! What a process imports right now, for the case that it does not survive that.
//!
//! A file in memory that both have open: the process writes, this side reads when the process has
//! died or is stuck. It costs one system call when a module of the user's begins, and one when it ends.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// More is not read: no path is longer.
const NOTE_BYTES_MAX: usize = 8 * 1024;

/// This side of the note.
#[derive(Debug)]
pub struct ImportNote(File);

/// A module that was being imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Importing {
    /// Its name.
    pub module: String,
    /// Its file.
    pub file: PathBuf,
}

impl ImportNote {
    /// An empty note, and the descriptor for the process.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let ours = memfd_create("freshq-importing", MemfdFlags::CLOEXEC)?;
        let theirs = ours.try_clone()?;
        Ok((Self(File::from(ours)), theirs))
    }

    /// The module that was begun last and has not ended.
    pub fn read(&self) -> Option<Importing> {
        let mut bytes = vec![0; NOTE_BYTES_MAX];
        let count = self.0.read_at(&mut bytes, 0).ok()?;
        let mut parts = bytes.get(..count)?.split(|byte| *byte == 0);
        let (module, file) = (parts.next()?, parts.next()?);
        let module = String::from_utf8_lossy(module).into_owned();
        let file = PathBuf::from(OsString::from_vec(file.to_vec()));
        (!module.is_empty()).then_some(Importing { module, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_last_is_read() {
        let (note, theirs) = ImportNote::pair().unwrap();
        let theirs = File::from(theirs);
        assert_eq!(note.read(), None);
        theirs.write_all_at(b"app.longer\0/app/longer.py\0", 0).unwrap();
        theirs.write_all_at(b"app\0/app.py\0", 0).unwrap();
        let expected = Importing { module: "app".to_owned(), file: PathBuf::from("/app.py") };
        assert_eq!(note.read(), Some(expected));
        theirs.write_all_at(b"\0\0", 0).unwrap();
        assert_eq!(note.read(), None);
    }
}
