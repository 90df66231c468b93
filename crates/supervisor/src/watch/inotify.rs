//! The inotify descriptor, and which watch stands for which folder.
//!
//! Without a descriptor nobody tells anything: watches are only remembered, each by the folder's
//! own identity, so that whoever looks at the disk instead learns the same of moves.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::error::WatchError;
use super::tree::{Identity, identity};

const BUFFER_BYTES: usize = 64 * 1024;
/// Least size of an event, so that a count of bytes limits the count of events.
const EVENT_BYTES_MIN: u64 = 16;
const MAX_USER_WATCHES: &str = "/proc/sys/fs/inotify/max_user_watches";

/// Asked of a folder of the tree. Without `OPEN`, `ACCESS` and `CLOSE_NOWRITE`: jobs that
/// read files must wake nobody. `EXCL_UNLINK`: a file without a name is no file of the tree.
pub(super) const TREE: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE)
    .union(APPEARING)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::EXCL_UNLINK);
/// Asked of the folders on the way of a symlink that leads to no file that counts.
pub(super) const NAMES: WatchFlags = WatchFlags::MOVE.union(WatchFlags::DELETE).union(APPEARING);
/// Asked of the folder in which a root is to appear.
pub(super) const APPEARING: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(LEAVING);
/// Asked of the folders above a root: whether they are still what they were.
pub(super) const LEAVING: WatchFlags =
    WatchFlags::MOVE_SELF.union(WatchFlags::DELETE_SELF).union(WatchFlags::ONLYDIR);
/// Asked of a file that is mounted by itself: who writes it elsewhere is not in the folder that is seen here.
pub(super) const MOUNTED_FILE: WatchFlags =
    WatchFlags::ATTRIB.union(WatchFlags::CLOSE_WRITE).union(WatchFlags::MODIFY);

/// One event as the kernel told it.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) watch: Watch,
    pub(super) flags: ReadFlags,
    /// Name in the watched folder; none if it is about what is watched itself.
    pub(super) name: Option<OsString>,
}

/// What became of a folder that was to be watched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is watched, and was not before.
    New,
    /// It was watched already.
    Same,
    /// Another folder was watched under this path; the watch is now on the one that is there.
    Replaced,
    /// It is watched already, under this path: it was moved, or is mounted twice.
    Elsewhere(PathBuf),
    /// It is not there.
    Absent,
    /// It may not be read.
    Forbidden,
}

/// By what a watch is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Watch {
    /// The kernel's number.
    Told(i32),
    /// The folder itself.
    Remembered(Identity),
}

/// A non-blocking inotify descriptor with its watches, or watches alone.
#[derive(Debug)]
pub(super) struct Inotify {
    descriptor: Option<OwnedFd>,
    paths: HashMap<Watch, PathBuf>,
    watches: BTreeMap<PathBuf, Watch>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Inotify {
    pub(super) fn new() -> Result<Self, WatchError> {
        let descriptor = match inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC) {
            Ok(descriptor) => descriptor,
            Err(Errno::MFILE | Errno::NFILE) => return Err(WatchError::TooManyInstances),
            Err(error) => return Err(WatchError::io(Path::new("inotify"), error)),
        };
        let buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        Ok(Self { descriptor: Some(descriptor), buffer, ..Self::silent() })
    }

    /// One that is never told anything.
    pub(super) fn silent() -> Self {
        Self {
            descriptor: None,
            paths: HashMap::new(),
            watches: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.descriptor.is_none()
    }

    /// Another descriptor of the same queue, to wait for.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        match &self.descriptor {
            Some(descriptor) => descriptor.try_clone(),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Everything that is queued now. What is queued meanwhile may be left for the next call,
    /// so that a program that writes without end cannot hold the reader.
    pub(super) fn read(&mut self) -> Result<Vec<Event>, Errno> {
        let mut events = Vec::new();
        let Some(descriptor) = &self.descriptor else { return Ok(events) };
        let queued = rustix::io::ioctl_fionread(descriptor)? / EVENT_BYTES_MIN;
        let mut reader = Reader::new(descriptor, &mut self.buffer);
        while (events.len() as u64) < queued || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => events.push(Event {
                    watch: Watch::Told(event.wd()),
                    flags: event.events(),
                    name: event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).into()),
                }),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(events)
    }

    /// Watches a folder or a mounted file, or asks more of its watch. No watch left is [`Errno::NOSPC`].
    pub(super) fn add(&mut self, path: &Path, flags: WatchFlags) -> Result<Added, Errno> {
        let watch = match self.watch(path, flags) {
            Ok(watch) => watch,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE) => {
                return Ok(Added::Absent);
            }
            Err(Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG) => return Ok(Added::Forbidden),
            Err(error) => return Err(error),
        };
        match self.paths.get(&watch) {
            Some(known) if known == path => return Ok(Added::Same),
            Some(other) => return Ok(Added::Elsewhere(other.clone())),
            None => self.paths.insert(watch, path.to_owned()),
        };
        let Some(replaced) = self.watches.insert(path.to_owned(), watch) else {
            return Ok(Added::New);
        };
        self.remove_watch(replaced);
        Ok(Added::Replaced)
    }

    fn watch(&self, path: &Path, flags: WatchFlags) -> Result<Watch, Errno> {
        let flags = flags | WatchFlags::DONT_FOLLOW;
        match &self.descriptor {
            Some(descriptor) => inotify::add_watch(descriptor, path, flags).map(Watch::Told),
            None => match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => Ok(Watch::Remembered(identity(&metadata))),
                Ok(_) => Err(Errno::NOTDIR),
                Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            },
        }
    }

    /// Stops watching; events that are still queued for it name no folder any more.
    pub(super) fn remove(&mut self, path: &Path) {
        if let Some(watch) = self.watches.remove(path) {
            self.remove_watch(watch);
        }
    }

    fn remove_watch(&mut self, watch: Watch) {
        self.paths.remove(&watch);
        if let (Some(descriptor), Watch::Told(number)) = (&self.descriptor, watch) {
            // An error says that the folder is gone, and its watch with it.
            let _gone = inotify::remove_watch(descriptor, number);
        }
    }

    /// Both maps hold these folders and no others.
    #[cfg(test)]
    pub(super) fn expect_agreement<'a>(&self, folders: impl Iterator<Item = &'a PathBuf>) {
        let folders: std::collections::BTreeSet<_> = folders.collect();
        assert_eq!(self.watches.keys().collect::<std::collections::BTreeSet<_>>(), folders);
        assert_eq!(self.paths.len(), self.watches.len());
        for (path, watch) in &self.watches {
            assert_eq!(self.path(*watch), Some(path.as_path()));
        }
    }

    /// The folder that a watch stands for.
    pub(super) fn path(&self, watch: Watch) -> Option<&Path> {
        self.paths.get(&watch).map(PathBuf::as_path)
    }
}

/// How many folders one user may watch; 0 if that cannot be read.
pub(super) fn watch_limit() -> usize {
    let text = fs_err::read_to_string(MAX_USER_WATCHES).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_files_is_not_asked_for() {
        let reading = WatchFlags::ACCESS | WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE;
        assert!(!TREE.intersects(reading));
        assert!(TREE.contains(APPEARING) && APPEARING.contains(LEAVING));
    }

    #[test]
    fn a_folder_that_was_moved_or_replaced_is_known_by_its_watch() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
        fs_err::create_dir(&old).unwrap();
        let mut inotify = Inotify::new().unwrap();
        assert_eq!(inotify.add(&old, TREE), Ok(Added::New));
        assert_eq!(inotify.add(&old, TREE), Ok(Added::Same));
        fs_err::rename(&old, &new).unwrap();
        assert_eq!(inotify.add(&new, TREE), Ok(Added::Elsewhere(old.clone())));
        assert_eq!(inotify.add(&old, TREE), Ok(Added::Absent));
        fs_err::create_dir(&old).unwrap();
        assert_eq!(inotify.add(&old, TREE), Ok(Added::Replaced));
        assert_eq!(inotify.add(&new, TREE), Ok(Added::New));
    }

    #[test]
    fn only_what_was_queued_is_read_and_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut inotify = Inotify::new().unwrap();
        inotify.add(folder.path(), TREE).unwrap();
        assert_eq!(inotify.read().unwrap().len(), 0);
        for number in 0..3_000 {
            fs_err::write(folder.path().join(format!("file-{number}.py")), "").unwrap();
        }
        let events = inotify.read().unwrap();
        assert_eq!(events.len(), 6_000, "two events for each file");
        assert_eq!(events[5_999].name.as_deref(), Some(OsStr::new("file-2999.py")));
    }
}
