//! Watches folders with inotify, and answers at any time: what was saved until now?
//!
//! The kernel queues an event before the `write`, `rename` or `close` that caused it returns.
//! So [`Watcher::drain`], which reads the queue to its end, reports every save that was
//! complete before it was called. A library with a thread of its own cannot promise that.
//!
//! Where nobody tells what happens, a watcher without events looks at the disk instead
//! ([`Watcher::look`]); `poller.rs` has it in a thread of its own, since that can take long.
//!
//! Never: blocks (with events), starts a thread (but `poller.rs`), asks for events of reading, takes a
//! write for complete before it is closed, changes anything on the disk.
//!
//! One event: `inotify` (which folder?) → `events` (what does it say?) → `walk` (new folder:
//! watch, then list; gone folder: forget) → `tree` (what was there?) → [`Drained`]. Names and
//! globs are in `filter`; symlinks, and roots that come and go, in `links` and `outside`. A look at
//! the disk goes through `scan` and `fresh`. `mounts` tells where events can be trusted, `scan` also
//! finds out where they cannot, and `part` is what one watcher then leaves to the other.
//!
//! Invariants:
//! * A folder is watched before it is listed, so that nothing falls in between.
//! * A path is reported relative to the drain before: what was made and removed since is silent.
//! * Watches and the remembered tree agree: no folder without its watch.
//! * An error loses nothing: what was seen stays for the next drain, which compares everything.
//! * Paths are canonical; a symlinked folder is followed once, a symlinked file has its own path.
//!
//! Left to a comparison with the disk: writes through `mmap`, through a hard link from outside. A file
//! that is cut or dated by its path (`truncate`, a time of writing alone) has no close, and stays
//! unfinished until the next.

mod also;
mod error;
mod events;
mod filter;
mod fresh;
mod inotify;
mod links;
mod mounts;
mod outside;
pub mod pace;
mod part;
pub mod poller;
mod scan;
#[cfg(test)]
mod tests;
mod tree;
pub mod vcs;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;

pub use self::error::WatchError;
pub use self::filter::Filter;
pub use self::part::{Part, Place, Why};

use self::fresh::Fresh;
use self::inotify::Inotify;
use self::links::Links;
use self::scan::Sweep;
use self::tree::Tree;
use crate::clock::Moment;

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
    /// Files that events told of and that do not count, with the reason; each said once.
    pub ignored: BTreeMap<PathBuf, &'static str>,
    /// What people are to be told about the watching; each said once.
    pub notices: Vec<String>,
}

/// How changes are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By events, and by polling where the file system has none that can be trusted.
    Auto,
    /// By events, until they are found missing.
    Native,
    /// By polling.
    Poll,
}

/// How much of what is there a look takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All files.
    Everything,
    /// What was made and what is gone, data files, and the Python files that are [heeded](Watcher::heed).
    Heeded,
}

/// Watchers of all folders, each kind if there is something for it to do.
#[derive(Debug)]
pub struct Watchers {
    /// Is told by events.
    pub native: Option<Watcher>,
    /// Has to look.
    pub polled: Option<Watcher>,
}

/// Watches folders; see the module's text.
#[derive(Debug)]
pub struct Watcher {
    /// What was asked for; globs are relative to them.
    roots: Vec<PathBuf>,
    /// Where this watcher begins, by canonical path, and the path below a root that is shown.
    tops: BTreeMap<PathBuf, PathBuf>,
    /// Why these of the tops are polled.
    polled: BTreeMap<PathBuf, Why>,
    /// Folders that the other watcher has, and the paths that are shown.
    elsewhere: BTreeMap<PathBuf, PathBuf>,
    /// What the other watcher is to take.
    parts: Vec<Part>,
    mode: Mode,
    filter: Filter,
    /// Files that count though no glob includes them.
    also: BTreeSet<PathBuf>,
    /// Python files to which a hurried look pays heed; until they are known, all.
    heeded: Option<BTreeSet<PathBuf>>,
    /// What a hurried look looks at; none, if that is to be found out.
    hurried: Option<Vec<PathBuf>>,
    /// The silent file system that is on a device, if it is one.
    devices: BTreeMap<u64, Option<String>>,
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
    /// Files that were touched by the last look.
    recent: BTreeSet<PathBuf>,
    /// Files that were still changing when they were to be reported.
    moving: BTreeSet<PathBuf>,
    fresh: Fresh,
    sweep: Sweep,
    /// Files that are mounted by themselves.
    mounted_files: Vec<PathBuf>,
    notices: Vec<String>,
    /// Files that do not count and were named.
    ignored: BTreeSet<PathBuf>,
    newly_ignored: BTreeMap<PathBuf, &'static str>,
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

impl Watchers {
    /// Watches the folders and all that is below them, and remembers what is there.
    pub fn start(roots: &[PathBuf], filter: &Filter, mode: Mode) -> Result<Self, WatchError> {
        let roots = canonical(roots)?;
        for root in &roots {
            fs_err::read_dir(root).map_err(|error| WatchError::io(root, error))?;
        }
        let new = |inotify, mode| Watcher::new(roots.clone(), filter.clone(), inotify, mode);
        let mut polled = new(Inotify::silent(), Mode::Poll);
        let (inotify, why) = match mode {
            Mode::Poll => (None, Why::Asked),
            Mode::Auto | Mode::Native => match Inotify::new() {
                Ok(inotify) => (Some(inotify), Why::Asked),
                Err(error @ WatchError::TooManyInstances) => {
                    polled.notices.push(format!("{error}; until then, all folders are polled"));
                    (None, Why::NoneLeft)
                }
                Err(error) => return Err(error),
            },
        };
        let mut parts = Vec::new();
        let mut native = inotify.map(|inotify| new(inotify, mode));
        match &mut native {
            Some(native) => {
                native.begin(roots.iter().map(|root| Part::unknown(root, root, Why::Asked)))?;
                parts.extend(native.take_parts());
            }
            None => parts.extend(roots.iter().map(|root| Part::unknown(root, root, why.clone()))),
        }
        let polls = !parts.is_empty();
        polled.begin(parts)?;
        Ok(Self {
            native: native.filter(|native| !native.tops.is_empty()),
            polled: polls.then_some(polled),
        })
    }
}

impl Watcher {
    fn new(roots: Vec<PathBuf>, filter: Filter, inotify: Inotify, mode: Mode) -> Self {
        Self {
            roots,
            tops: BTreeMap::new(),
            polled: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            parts: Vec::new(),
            mode,
            filter,
            also: BTreeSet::new(),
            heeded: None,
            hurried: None,
            devices: BTreeMap::new(),
            inotify,
            tree: Tree::default(),
            links: Links::default(),
            lookouts: BTreeMap::new(),
            lookouts_stale: true,
            roots_stale: false,
            links_stale: BTreeMap::new(),
            created: BTreeSet::new(),
            open: BTreeSet::new(),
            touched: BTreeMap::new(),
            recent: BTreeSet::new(),
            moving: BTreeSet::new(),
            fresh: Fresh::default(),
            sweep: Sweep::default(),
            mounted_files: Vec::new(),
            notices: Vec::new(),
            ignored: BTreeSet::new(),
            newly_ignored: BTreeMap::new(),
            reached: BTreeSet::new(),
            compare: false,
            compared: false,
            starved: false,
            gone: BTreeSet::new(),
        }
    }

    /// One that knows nothing, for what the watcher of these folders will leave to it.
    #[must_use]
    pub fn silent_twin(&self) -> Self {
        let twin =
            Self::new(self.roots.clone(), self.filter.clone(), Inotify::silent(), Mode::Poll);
        Self { also: self.also.clone(), heeded: self.heeded.clone(), ..twin }
    }

    /// Enters the parts. All that is in them was there before.
    fn begin(&mut self, parts: impl IntoIterator<Item = Part>) -> Result<(), WatchError> {
        for part in parts {
            self.adopt(part)?;
        }
        self.gather(Extent::Everything)?;
        self.find_mounted_files();
        self.touched.clear();
        self.reached.clear();
        self.compared = false;
        Ok(())
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

    /// A descriptor that is readable when events wait.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.inotify.descriptor()
    }

    /// Reports everything that happened since the last drain; with events it never blocks.
    ///
    /// Whatever was saved before the call is in the answer. After an error call it again:
    /// what was found is kept, and the whole tree is compared.
    pub fn drain(&mut self) -> Result<Drained, WatchError> {
        self.look()?;
        Ok(self.report())
    }

    /// Takes note of everything that has happened. Tells whether something that is to be reported was
    /// among it.
    pub fn look(&mut self) -> Result<bool, WatchError> {
        self.look_at(Extent::Everything)
    }

    /// As [`Self::look`], where nobody tells what happens perhaps not at everything.
    pub fn look_at(&mut self, extent: Extent) -> Result<bool, WatchError> {
        self.recent.clear();
        self.moving.clear();
        if let Err(error) = self.gather(extent) {
            self.compare = !self.inotify.is_silent();
            return Err(error);
        }
        if self.inotify.is_silent() {
            self.fresh.note(&self.recent, Moment::now());
        }
        if !self.recent.is_empty() {
            self.hurried = None; // there may be more files, or fewer
        }
        Ok(!self.recent.is_empty())
    }

    /// What the last look found is changing all the time: it is reported as unfinished.
    pub fn is_moving(&mut self) {
        self.moving = std::mem::take(&mut self.recent);
    }

    fn gather(&mut self, extent: Extent) -> Result<(), WatchError> {
        if self.inotify.is_silent() {
            self.scan(extent)?;
        }
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

    /// What has been found since the last report.
    pub fn report(&mut self) -> Drained {
        self.open.retain(|path| path.symlink_metadata().is_ok());
        let mut drained = Drained {
            overflowed: std::mem::take(&mut self.compared),
            unfinished: self.unfinished(),
            notices: std::mem::take(&mut self.notices),
            ignored: std::mem::take(&mut self.newly_ignored),
            ..Drained::default()
        };
        let reached = std::mem::take(&mut self.reached);
        for (path, existed) in std::mem::take(&mut self.touched) {
            if self.moving.contains(&path) && self.tree.files.contains_key(&path) {
                self.touched.insert(path, existed);
                continue;
            }
            let change = match (existed, self.tree.files.contains_key(&path)) {
                (true, true) if reached.contains(&path) => Change::Created,
                (false, true) => Change::Created,
                (true, true) => Change::Written,
                (true, false) => Change::Removed,
                (false, false) => continue,
            };
            drained.changed.insert(path, change);
        }
        for root in self.roots.iter().filter(|root| self.tops.contains_key(*root)) {
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
        let open = through.chain(self.open.iter().cloned()).filter(|path| self.wants(path));
        let moving = self.moving.iter().filter(|path| self.tree.files.contains_key(*path));
        open.chain(moving.cloned()).collect()
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
