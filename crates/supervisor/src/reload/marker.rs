//! The one file whose change is a reload, where that is asked for: a deploy marker, or the symlink to a
//! release folder.
//!
//! It is looked at, not watched: some calls of the system, so that it may lie on any file system and
//! outside of all watched folders. While it is not there nothing changes: a symlink that is replaced
//! is gone for a moment.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is looked at while no job comes.
pub const MARKER_INTERVAL: Duration = Duration::from_millis(500);

/// What is known of a file: device, inode, size, times of writing and of change.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    itself: Stamp,
    /// Where it leads.
    end: PathBuf,
    /// What is there.
    at_end: Stamp,
    /// Where the symlink to a folder leads, if there is one on the way.
    release: Option<PathBuf>,
}

/// The file, and what was seen of it.
#[derive(Clone, Debug)]
pub struct Marker {
    path: PathBuf,
    link: Option<PathBuf>,
    seen: Option<Seen>,
}

impl Marker {
    /// Takes it as it is now.
    pub fn new(path: PathBuf) -> Self {
        let link = path.ancestors().find(|place| place.is_symlink() && place.is_dir());
        let link = link.map(Path::to_owned);
        let seen = look(&path, link.as_deref());
        Self { path, link, seen }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The symlink to a folder that it is, or the last on the way to it.
    pub fn link(&self) -> Option<&Path> {
        self.link.as_deref()
    }

    /// The folder that this leads to.
    pub fn release(&self) -> Option<&PathBuf> {
        self.seen.as_ref()?.release.as_ref()
    }

    /// A path through the symlink, as it leads where that was seen to lead.
    pub fn as_seen(&self, path: &Path) -> PathBuf {
        let rest = self.link().and_then(|link| path.strip_prefix(link).ok());
        self.release().zip(rest).map_or(path.to_owned(), |(release, rest)| release.join(rest))
    }

    /// Whether it is another than when this was asked before. A touch, and the same bytes once more,
    /// are how somebody says so.
    pub fn has_changed(&mut self) -> bool {
        let now = look(&self.path, self.link.as_deref());
        let changed = now.is_some() && now != self.seen;
        if changed {
            self.seen = now;
        }
        changed
    }
}

fn look(path: &Path, link: Option<&Path>) -> Option<Seen> {
    let release = link.map(Path::canonicalize).transpose().ok()?;
    let end = path.canonicalize().ok()?;
    Some(Seen {
        itself: stamp(&path.symlink_metadata().ok()?),
        at_end: stamp(&end.metadata().ok()?),
        end,
        release,
    })
}

/// Of a folder only which one it is: its content is not what is meant.
fn stamp(metadata: &Metadata) -> Stamp {
    if metadata.is_dir() {
        return (metadata.dev(), metadata.ino(), 0, (0, 0), (0, 0));
    }
    (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_changes_when_it_is_written_touched_or_replaced_and_not_while_it_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("deployed");
        let mut marker = Marker::new(path.clone());
        assert!(!marker.has_changed());
        fs_err::write(&path, "1").unwrap();
        assert!(marker.has_changed() && !marker.has_changed());
        fs_err::write(&path, "22").unwrap();
        assert!(marker.has_changed() && !marker.has_changed());
        fs_err::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(marker.has_changed() && !marker.has_changed());
        fs_err::remove_file(&path).unwrap();
        assert!(!marker.has_changed());
        fs_err::write(&path, "22").unwrap();
        assert!(marker.has_changed() && !marker.has_changed());
        assert_eq!((marker.link(), marker.release()), (None, None));
    }

    #[test]
    fn a_symlink_changes_when_it_leads_elsewhere_and_not_when_something_is_written_there() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let current = top.join("current");
        for release in ["one", "two"] {
            fs_err::create_dir(top.join(release)).unwrap();
            fs_err::write(top.join(release).join("REVISION"), "").unwrap();
        }
        symlink("one", &current).unwrap();
        let mut marker = Marker::new(current.clone());
        let mut within = Marker::new(current.join("REVISION"));
        for marker in [&marker, &within] {
            assert_eq!(marker.link(), Some(current.as_path()));
            assert_eq!(marker.release(), Some(&top.join("one")));
            assert_eq!(marker.as_seen(&current.join("app")), top.join("one/app"));
            assert_eq!(marker.as_seen(&top), top);
        }
        fs_err::write(top.join("one/a.py"), "").unwrap();
        assert!(!marker.has_changed() && !within.has_changed());
        fs_err::remove_file(&current).unwrap();
        assert!(!marker.has_changed() && !within.has_changed());
        symlink("two", &current).unwrap();
        for marker in [&mut marker, &mut within] {
            assert!(marker.has_changed() && !marker.has_changed());
            assert_eq!(marker.release(), Some(&top.join("two")));
        }
    }
}
