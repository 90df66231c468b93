//! What is remembered of the watched tree: its folders, and the stamp of each file that counts.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use crate::clock::Moment;

/// By what a file that was written is told from what it was. The default is that of a file
/// that could not be looked at: it equals no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    mtime: Time,
    ctime: Time,
    identity: Identity,
    /// The file may be written again without a new time of writing, since the clock of the
    /// file system need not have ticked when the stamp was taken.
    young: bool,
}

/// Longest tick of the clock of a file system (FAT); most have milliseconds or less.
pub(super) const CLOCK_TICK_MAX: Duration = Duration::from_secs(2);

/// Seconds and nanoseconds by the clock of the file system, which ticks slowly.
type Time = (i64, i64);

/// Device and inode.
pub(super) type Identity = (u64, u64);

impl Stamp {
    /// Asks the file system, which must not answer from a memory of its own.
    pub(super) fn ask(path: &Path, flags: AtFlags) -> Result<Self, Errno> {
        let flags = flags | AtFlags::STATX_FORCE_SYNC;
        let told = rustix::fs::statx(CWD, path, flags, StatxFlags::BASIC_STATS)?;
        let time = |time: StatxTimestamp| (time.tv_sec, i64::from(time.tv_nsec));
        Ok(Self {
            size: told.stx_size,
            mtime: time(told.stx_mtime),
            ctime: time(told.stx_ctime),
            identity: (rustix::fs::makedev(told.stx_dev_major, told.stx_dev_minor), told.stx_ino),
            young: false,
        })
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the content was not touched; the mode or the owner may have been.
    pub(super) fn same_content(&self, newer: &Self) -> bool {
        (self.size, self.mtime, self.identity) == (newer.size, newer.mtime, newer.identity)
    }

    /// Whether nothing can have happened in between, also nothing that hides behind a
    /// time stamp that was set back.
    pub(super) fn surely_same(&self, newer: &Self) -> bool {
        self.same(newer) && !self.young
    }

    /// Whether all that a file system tells is the same. Two writes within one tick of its clock
    /// look so, too; see `fresh.rs`.
    pub(super) fn same(&self, newer: &Self) -> bool {
        self.same_content(newer) && self.ctime == newer.ctime
    }
}

pub(super) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// A folder that is watched.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// The path below a root by which it was come to. It differs from its own path if that
    /// led through a symlink; globs are matched against it.
    pub(super) shown: PathBuf,
    pub(super) identity: Identity,
    /// What the folder was like when it was listed, if that need not be done again while it is.
    pub(super) listed: Option<Listed>,
}

/// When a folder was listed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    /// Taken before the listing.
    pub(super) stamp: Stamp,
    /// When this stamp was seen for the first time.
    pub(super) since: Moment,
    /// The clock of the file system had ticked by then: what came after the listing shows.
    pub(super) certain: bool,
}

impl Folder {
    pub(super) fn new(shown: PathBuf, metadata: &Metadata) -> Self {
        Self { shown, identity: identity(metadata), listed: None }
    }

    /// Whether a folder that looks like this holds the names that it held when it was listed.
    pub(super) fn is_listed(&self, stamp: &Stamp) -> bool {
        self.listed.is_some_and(|listed| listed.certain && listed.stamp.same(stamp))
    }

    /// Takes note that it looked like this before a listing that begins `now`.
    pub(super) fn note_listing(&mut self, stamp: Stamp, now: Moment) {
        let before = self.listed.filter(|listed| listed.stamp.same(&stamp));
        let since = before.map_or(now, |listed| listed.since);
        let certain = CLOCK_TICK_MAX <= now.since(since);
        self.listed = Some(Listed { stamp, since, certain });
    }
}

/// The folders that are watched and the files that count, by canonical path. A symlink to
/// a file is a file under the link's own path, with the stamp of what it leads to.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    pub(super) folders: BTreeMap<PathBuf, Folder>,
    /// The latest change that was seen on each device: its clock shows at least that.
    latest: BTreeMap<u64, Time>,
}

impl Tree {
    pub(super) fn stamp(&mut self, metadata: &Metadata) -> Stamp {
        let mut stamp = Stamp {
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
            identity: identity(metadata),
            young: false,
        };
        let latest = self.latest.entry(metadata.dev()).or_insert(stamp.ctime);
        *latest = stamp.ctime.max(*latest);
        stamp.young = *latest <= stamp.mtime;
        stamp
    }

    /// Files directly in the folder.
    pub(super) fn files_in(&self, dir: &Path) -> Vec<PathBuf> {
        below(&self.files, dir).filter(|path| path.parent() == Some(dir)).cloned().collect()
    }
}

/// Keys that are `top` or lie below it. Paths are ordered by component, so they are neighbours.
pub(super) fn below<'a, V>(
    map: &'a BTreeMap<PathBuf, V>,
    top: &'a Path,
) -> impl Iterator<Item = &'a PathBuf> {
    map.range::<Path, _>((Bound::Included(top), Bound::Unbounded))
        .map(|(path, _)| path)
        .take_while(move |path| path.starts_with(top))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_folder_are_neighbours() {
        let paths = ["/a", "/a/b", "/a/b!", "/a/b/c", "/a/b/c/d", "/a/b-x/c", "/a/bc", "/b"];
        let map: BTreeMap<PathBuf, usize> =
            paths.iter().map(|&path| (path.into(), path.len())).collect();
        let found: Vec<_> = below(&map, Path::new("/a/b")).collect();
        assert_eq!(found, [Path::new("/a/b"), Path::new("/a/b/c"), Path::new("/a/b/c/d")]);
    }

    #[test]
    fn a_stamp_of_the_latest_write_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.py");
        fs_err::write(&path, "text").unwrap();
        let metadata = path.metadata().unwrap();
        let mut tree = Tree::default();
        let first = tree.stamp(&metadata);
        assert!(first.same_content(&first) && !first.surely_same(&first));
        tree.latest.insert(metadata.dev(), (metadata.ctime() + 1, 0));
        let later = tree.stamp(&metadata);
        assert!(first.same_content(&later) && later.surely_same(&later));
        let touched = Stamp { ctime: (1, 0), ..later };
        assert!(later.same_content(&touched) && !later.surely_same(&touched));
    }
}
