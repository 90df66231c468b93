//! What is remembered of the watched tree: its folders, and the stamp of each file that counts.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time stamps of file systems come from a clock that ticks at most this slowly. A file
/// stamped within one tick of its last write may be written again without a new stamp.
const SLOWEST_TICK: Duration = Duration::from_millis(20);

/// By what a file that was written is told from what it was. The default is that of a file
/// that could not be looked at: it equals no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    identity: Identity,
    /// Taken so soon after the last write that an equal stamp proves nothing.
    young: bool,
}

/// Device and inode.
pub(super) type Identity = (u64, u64);

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let mtime = (metadata.mtime(), metadata.mtime_nsec());
        Self {
            size: metadata.size(),
            mtime,
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
            identity: identity(metadata),
            young: is_young(mtime),
        }
    }

    /// Whether the content was not touched; the mode or the owner may have been.
    pub(super) fn same_content(&self, newer: &Self) -> bool {
        (self.size, self.mtime, self.identity) == (newer.size, newer.mtime, newer.identity)
    }

    /// Whether nothing can have happened in between, also nothing that hides behind a
    /// time stamp that was set back.
    pub(super) fn surely_same(&self, newer: &Self) -> bool {
        self.same_content(newer) && self.ctime == newer.ctime && !self.young
    }
}

pub(super) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Whether a write now could get this very time stamp; true if the stamp is of the future.
fn is_young((seconds, nanos): (i64, i64)) -> bool {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
        return false;
    };
    let written = UNIX_EPOCH + Duration::new(seconds, nanos);
    SystemTime::now().duration_since(written).is_ok_and(|age| age < SLOWEST_TICK)
        || SystemTime::now() < written
}

/// A folder that is watched.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// The path below a root by which it was come to. It differs from its own path if that
    /// led through a symlink; globs are matched against it.
    pub(super) shown: PathBuf,
    pub(super) identity: Identity,
}

/// The folders that are watched and the files that count, by canonical path. A symlink to
/// a file is a file under the link's own path, with the stamp of what it leads to.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    pub(super) folders: BTreeMap<PathBuf, Folder>,
}

impl Tree {
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
    fn a_stamp_taken_within_a_tick_of_the_write_proves_nothing() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seconds = now.as_secs() as i64;
        assert!(is_young((seconds, i64::from(now.subsec_nanos()))));
        assert!(is_young((seconds + 100, 0)));
        assert!(!is_young((seconds - 2, 0)));
        assert!(!is_young((-1, 0)));
        let old = Stamp { size: 1, ..Stamp::default() };
        assert!(old.surely_same(&old));
        let young = Stamp { young: true, ..old };
        assert!(young.same_content(&young) && !young.surely_same(&young));
        let moded = Stamp { ctime: (1, 0), ..old };
        assert!(old.same_content(&moded) && !old.surely_same(&moded));
    }
}
