//! Looking at the disk instead of being told: the poll, and the sweep that checks the events.
//!
//! Both compare stamps by `!=`, so that time may go backwards. A folder that looks as it did when it
//! was listed is not listed again; its files are looked at each by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::error::WatchError;
use super::filter::{is_foreign, is_scratch};
use super::inotify::MOUNTED_FILE;
use super::mounts::Mounts;
use super::tree::Stamp;
use super::{Extent, Watcher};
use crate::clock::Moment;

/// Folders that one step of the sweep looks at.
const SWEEP_FOLDERS: usize = 64;
/// Files that one step of the sweep looks at.
const SWEEP_FILES: usize = 256;
/// Steps of the sweep after which an event that has not come is missing.
const SWEEP_GRACE: u32 = 2;

/// Where the sweep is, and what it suspects.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    folder: Option<PathBuf>,
    file: Option<PathBuf>,
    /// Paths that are not what events told, and for how many steps.
    suspects: BTreeMap<PathBuf, u32>,
}

impl Watcher {
    /// Hurried looks pay heed to these Python files, and to no others that are there; without any, to all.
    pub fn heed(&mut self, files: Option<BTreeSet<PathBuf>>) {
        self.heeded = files;
        self.hurried = None;
    }

    /// Whether it is known to which files hurried looks pay heed.
    pub(super) fn heeds(&self) -> bool {
        self.heeded.is_some()
    }

    fn find_heeded(&self) -> Vec<PathBuf> {
        self.tree.files.keys().filter(|path| self.is_heeded(path)).cloned().collect()
    }

    fn is_heeded(&self, path: &Path) -> bool {
        let Some(heeded) = &self.heeded else { return true };
        let is_python = path.extension().is_some_and(|extension| extension == "py");
        // What a link leads to has another name among them.
        !is_python || heeded.contains(path) || self.links.contains(path)
    }

    /// Compares the tree with the disk, when nobody tells what happens.
    pub(super) fn scan(&mut self, extent: Extent) -> Result<(), WatchError> {
        let now = Moment::now();
        self.roots_stale = true;
        for dir in self.tree.folders.keys().cloned().collect::<Vec<_>>() {
            self.scan_folder(&dir, now)?;
        }
        let mut changed = match extent {
            Extent::Everything => self.differing(self.tree.files.iter()),
            Extent::Heeded => {
                let hurried = self.hurried.take().unwrap_or_else(|| self.find_heeded());
                let known = hurried.iter().filter_map(|path| self.tree.files.get_key_value(path));
                let differing = self.differing(known);
                self.hurried = Some(hurried);
                differing
            }
        };
        changed.extend(self.fresh.rewritten(now));
        for path in changed {
            self.complete(&path);
        }
        for link in self.links.paths() {
            self.links_stale.entry(link.clone()).or_insert(false);
        }
        Ok(())
    }

    fn scan_folder(&mut self, dir: &Path, now: Moment) -> Result<(), WatchError> {
        let Some(folder) = self.tree.folders.get_mut(dir) else { return Ok(()) };
        match Stamp::ask(dir, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stamp) if stamp.identity() == folder.identity => {
                if folder.is_listed(&stamp) {
                    return Ok(());
                }
                folder.note_listing(stamp, now);
                self.relist(dir, Stamp::same)
            }
            Ok(_) => self.relist(dir, Stamp::same),
            Err(error) if is_gone(error) => self.relist(dir, Stamp::same),
            // It cannot be looked at now; what is known of it stays.
            Err(_) => Ok(()),
        }
    }

    /// Those that are not what they were when they were remembered.
    fn differing<'a>(&self, files: impl Iterator<Item = (&'a PathBuf, &'a Stamp)>) -> Vec<PathBuf> {
        files.filter(|(path, known)| self.differs(path, known)).map(|(p, _)| p.clone()).collect()
    }

    fn differs(&self, path: &Path, known: &Stamp) -> bool {
        match self.ask(path) {
            Ok(stamp) => !known.same(&stamp),
            Err(error) if is_gone(error) => true,
            Err(_) => *known != Stamp::default(),
        }
    }

    fn ask(&self, path: &Path) -> Result<Stamp, Errno> {
        let follow = self.links.contains(path);
        Stamp::ask(path, if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW })
    }

    /// One step of the comparison of the tree with what events told, a slice at a time. Where an
    /// event is missing, everything around is left to the watcher that polls. Drain afterwards.
    pub fn sweep(&mut self) -> Result<(), WatchError> {
        self.look()?;
        for (path, steps) in std::mem::take(&mut self.sweep.suspects) {
            if !self.is_suspicious(&path) {
                continue;
            }
            if steps < SWEEP_GRACE {
                self.sweep.suspects.insert(path, steps + 1);
            } else {
                self.distrust(&path);
            }
        }
        let folders = after(&self.tree.folders, &mut self.sweep.folder, SWEEP_FOLDERS);
        let files = after(&self.tree.files, &mut self.sweep.file, SWEEP_FILES);
        for path in folders.into_iter().chain(files) {
            if !self.sweep.suspects.contains_key(&path) && self.is_suspicious(&path) {
                self.sweep.suspects.insert(path, 1);
            }
        }
        self.find_blind_mounts();
        Ok(())
    }

    /// Whether a path is not what events told of it.
    fn is_suspicious(&mut self, path: &Path) -> bool {
        if self.open.contains(path) || self.created.contains(path) {
            return false;
        }
        if let Some(known) = self.tree.files.get(path) {
            return match self.ask(path) {
                // Another mode or another name elsewhere is no change, and need have no event.
                Ok(stamp) => !known.same_content(&stamp) && *known != Stamp::default(),
                Err(error) => is_gone(error),
            };
        }
        let Some(folder) = self.tree.folders.get_mut(path) else { return false };
        match Stamp::ask(path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stamp) if stamp.identity() != folder.identity => true,
            Ok(stamp) if folder.is_listed(&stamp) => false,
            Ok(stamp) => {
                let other_names = self.has_other_names(path);
                if !other_names && let Some(folder) = self.tree.folders.get_mut(path) {
                    folder.note_listing(stamp, Moment::now());
                }
                other_names
            }
            Err(error) => is_gone(error),
        }
    }

    /// Whether something that counts is in a folder of the tree and not known to be.
    fn has_other_names(&self, dir: &Path) -> bool {
        let Ok(entries) = fs_err::read_dir(dir) else { return false };
        entries.flatten().any(|entry| {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { return false };
            if kind.is_dir() {
                let shown = self.shown(dir, &path);
                return shown.is_some_and(|shown| self.may_enter(&path, &shown))
                    && !self.has_folder(&path);
            }
            if self.created.contains(&path) || self.open.contains(&path) {
                return false;
            }
            if kind.is_symlink() {
                return !is_scratch(&name) && !is_foreign(&name) && !self.links.contains(&path);
            }
            kind.is_file() && self.wants(&path) && !self.tree.files.contains_key(&path)
        })
    }

    /// Whether a folder is known, perhaps by another path, or may not be.
    fn has_folder(&self, path: &Path) -> bool {
        if self.tree.folders.contains_key(path) || self.elsewhere.contains_key(path) {
            return true;
        }
        let Ok(stamp) = Stamp::ask(path, AtFlags::SYMLINK_NOFOLLOW) else { return true };
        fs_err::read_dir(path).is_err()
            || self.tree.folders.values().any(|folder| folder.identity == stamp.identity())
    }

    /// Takes note of files that are mounted by themselves.
    pub(super) fn find_mounted_files(&mut self) {
        let mounts = Mounts::read();
        for file in
            self.tops.keys().flat_map(|top| mounts.files_below(top)).collect::<BTreeSet<_>>()
        {
            if self.wants(&file) {
                self.notices.push(format!(
                    "{} is mounted by itself: when an editor on the host replaces it, which most do, \
                     the change does not arrive here; mount the folder that it is in",
                    file.display()
                ));
                if !self.inotify.is_silent() {
                    // Without a watch the sweep sees what happens to it.
                    let _added = self.inotify.add(&file, MOUNTED_FILE);
                }
                self.mounted_files.push(file);
            }
        }
    }

    /// Says which of the files that are mounted by themselves have lost their name on the host.
    pub(super) fn find_blind_mounts(&mut self) {
        let notices = &mut self.notices;
        self.mounted_files.retain(|file| {
            let metadata = file.metadata();
            let blind = metadata
                .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::nlink(&metadata) == 0);
            if blind {
                notices.push(format!(
                    "{} was replaced or removed on the host; what is mounted here is the old file, \
                     for ever: mount the folder that it is in, and start again",
                    file.display()
                ));
            }
            !blind
        });
    }
}

/// The next keys after a place, which moves on, and begins again at the end.
fn after<V>(map: &BTreeMap<PathBuf, V>, place: &mut Option<PathBuf>, count: usize) -> Vec<PathBuf> {
    let begin = place.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let found: Vec<_> = map
        .range::<PathBuf, _>((begin, Bound::Unbounded))
        .take(count)
        .map(|(path, _)| path.clone())
        .collect();
    *place = if found.len() < count { None } else { found.last().cloned() };
    found
}

fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::STALE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sweep_comes_to_everything_and_begins_again() {
        let map: BTreeMap<PathBuf, u8> = ["/a", "/b", "/c"].map(|path| (path.into(), 0)).into();
        let mut place = None;
        let mut next = || after(&map, &mut place, 2);
        assert_eq!(next(), [PathBuf::from("/a"), "/b".into()]);
        assert_eq!(next(), [PathBuf::from("/c")]);
        assert_eq!(next(), [PathBuf::from("/a"), "/b".into()]);
    }
}
