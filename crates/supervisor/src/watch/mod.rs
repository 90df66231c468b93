//! Watches folders with inotify, and answers at any time: what was saved until now?
//!
//! The kernel queues an event before the `write`, `rename` or `close` that caused it returns.
//! So [`Watcher::drain`], which reads the queue to its end, reports every save that was
//! complete before it was called. A library with a thread of its own cannot promise that.
//!
//! Never: blocks, starts a thread, asks for events of reading, takes a write for complete
//! before it is closed, changes anything on the disk.
//!
//! One event: `inotify` (which folder?) → `events` (what does it say?) → `walk` (new folder:
//! watch, then list; gone folder: forget) → `tree` (what was there?) → [`Drained`]. Names and
//! globs are in `filter`; symlinks, and roots that come and go, in `links` and `outside`.
//!
//! Invariants:
//! * A folder is watched before it is listed, so that nothing falls in between.
//! * A path is reported relative to the drain before: what was made and removed since is silent.
//! * Watches and the remembered tree agree: no folder without its watch.
//! * An error loses nothing: what was seen stays for the next drain, which compares everything.
//! * Paths are canonical; a symlinked folder is followed once, a symlinked file has its own path.
//!
//! Left to a comparison with the disk: writes through `mmap`, through a hard link from outside,
//! on another machine of a network file system. A file that is cut or dated by its path
//! (`truncate`, a time of writing alone) has no close, and stays unfinished until the next.

mod also;
mod error;
mod events;
mod filter;
mod inotify;
mod links;
mod outside;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;

pub use self::error::WatchError;
pub use self::filter::Filter;

use self::inotify::Inotify;
use self::links::Links;
use self::tree::Tree;

/// How often a drain looks for more. The first look sees all that was there before the call;
/// the others end when nothing is new, or here if somebody writes without end.
const ROUNDS_MAX: usize = 1_000;

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there before, or is reached through a folder's symlink that is new.
    Created,
    /// It was written or replaced, or is a symlink of which that is true on its way.
    Written,
    /// It is no longer there.
    Removed,
}

/// What a drain has found.
#[derive(Debug, Default)]
pub struct Drained {
    /// Files whose change is complete.
    pub changed: BTreeMap<PathBuf, Change>,
    /// Files that somebody has begun to write and not closed; also in later drains, until
    /// they are closed, removed or renamed.
    pub unfinished: BTreeSet<PathBuf>,
    /// Events were lost, or the drain before was an error, so the whole tree was compared with
    /// what was remembered. A file that was written just before it was remembered may be
    /// reported though nothing happened since.
    pub overflowed: bool,
    /// Roots that are no longer there, or are symlinks now; said once. Their files are reported
    /// when they are back.
    pub gone_roots: Vec<PathBuf>,
}

/// Watches folders; see the module's text.
#[derive(Debug)]
pub struct Watcher {
    roots: Vec<PathBuf>,
    filter: Filter,
    /// Files that count though no glob includes them.
    also: BTreeSet<PathBuf>,
    inotify: Inotify,
    tree: Tree,
    links: Links,
    /// Watched folders that are not of the tree: above roots, and on the way of symlinks.
    lookouts: BTreeMap<PathBuf, WatchFlags>,
    /// Whether roots or symlinks have changed so that other lookouts may be needed.
    lookouts_stale: bool,
    /// Whether a root may have come, gone or been replaced.
    roots_stale: bool,
    /// Symlinks to look at; true if what they lead to was certainly changed.
    links_stale: BTreeMap<PathBuf, bool>,
    /// Files that were made and not yet seen to be written.
    created: BTreeSet<PathBuf>,
    /// Files that were written and not yet closed.
    open: BTreeSet<PathBuf>,
    /// Files to report, and whether each was there at the end of the last drain.
    touched: BTreeMap<PathBuf, bool>,
    /// Files that were there, but are reached through a symlink that is new.
    reached: BTreeSet<PathBuf>,
    /// Whether the events do not tell everything, so that the tree must be compared.
    compare: bool,
    compared: bool,
    /// Whether it was said that the watches are used up.
    starved: bool,
    /// Roots that were reported as gone.
    gone: BTreeSet<PathBuf>,
}

impl Watcher {
    /// Watches the folders and all that is below them, and remembers what is there.
    pub fn start(roots: &[PathBuf], filter: Filter) -> Result<Self, WatchError> {
        let mut watcher = Self {
            roots: canonical(roots)?,
            filter,
            also: BTreeSet::new(),
            inotify: Inotify::new()?,
            tree: Tree::default(),
            links: Links::default(),
            lookouts: BTreeMap::new(),
            lookouts_stale: true,
            roots_stale: false,
            links_stale: BTreeMap::new(),
            created: BTreeSet::new(),
            open: BTreeSet::new(),
            touched: BTreeMap::new(),
            reached: BTreeSet::new(),
            compare: false,
            compared: false,
            starved: false,
            gone: BTreeSet::new(),
        };
        for root in watcher.roots.clone() {
            fs_err::read_dir(&root).map_err(|error| WatchError::io(&root, error))?;
            watcher.enter(root.clone(), root)?;
        }
        watcher.gather()?;
        // All of it was there before.
        watcher.touched.clear();
        watcher.reached.clear();
        watcher.compared = false;
        Ok(watcher)
    }

    /// The folders that were asked for, as canonical paths.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The files that count.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.tree.files.keys()
    }

    /// How many files count.
    pub fn file_count(&self) -> usize {
        self.tree.files.len()
    }

    /// How many folders are watched for them.
    pub fn folder_count(&self) -> usize {
        self.tree.folders.len()
    }

    /// Reports everything that happened since the last drain; never blocks.
    ///
    /// Whatever was saved before the call is in the answer. After an error call it again:
    /// what was found is kept, and the whole tree is compared.
    pub fn drain(&mut self) -> Result<Drained, WatchError> {
        if let Err(error) = self.gather() {
            self.compare = true;
            return Err(error);
        }
        Ok(self.report())
    }

    fn gather(&mut self) -> Result<(), WatchError> {
        for _ in 0..ROUNDS_MAX {
            let events =
                self.inotify.read().map_err(|error| WatchError::io(Path::new("inotify"), error))?;
            for event in &events {
                self.handle(event)?;
            }
            if std::mem::take(&mut self.compare) {
                self.compare_everything()?;
            }
            self.settle_roots()?;
            self.settle_links()?;
            if events.is_empty() && !self.settle_created() && !self.place_lookouts()? {
                return Ok(());
            }
        }
        self.settle_created();
        self.settle_links()
    }

    fn report(&mut self) -> Drained {
        self.open.retain(|path| path.symlink_metadata().is_ok());
        let mut drained = Drained {
            overflowed: std::mem::take(&mut self.compared),
            unfinished: self.unfinished(),
            ..Drained::default()
        };
        let reached = std::mem::take(&mut self.reached);
        for (path, existed) in std::mem::take(&mut self.touched) {
            let change = match (existed, self.tree.files.contains_key(&path)) {
                (true, true) if reached.contains(&path) => Change::Created,
                (false, true) => Change::Created,
                (true, true) => Change::Written,
                (true, false) => Change::Removed,
                (false, false) => continue,
            };
            drained.changed.insert(path, change);
        }
        for root in &self.roots {
            if self.tree.folders.contains_key(root) || (root.is_dir() && !root.is_symlink()) {
                self.gone.remove(root);
            } else if self.gone.insert(root.clone()) {
                drained.gone_roots.push(root.clone());
            }
        }
        drained
    }

    /// Files that are being written, by their own path and by that of links to them.
    fn unfinished(&self) -> BTreeSet<PathBuf> {
        let through = self.open.iter().flat_map(|path| self.links.through(path));
        through.chain(self.open.iter().cloned()).filter(|path| self.wants(path)).collect()
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// For event loops that register raw descriptors.
impl AsRawFd for Watcher {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// The folders as canonical paths, each once.
fn canonical(roots: &[PathBuf]) -> Result<Vec<PathBuf>, WatchError> {
    let mut found: Vec<PathBuf> = Vec::new();
    for given in roots {
        let path = given.clone();
        match given.canonicalize() {
            Ok(root) if !root.is_dir() => return Err(WatchError::NotAFolder { path }),
            Ok(root) if found.contains(&root) => {}
            Ok(root) => found.push(root),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(WatchError::MissingFolder { path });
            }
            Err(error) => return Err(WatchError::io(given, error)),
        }
    }
    Ok(found)
}
