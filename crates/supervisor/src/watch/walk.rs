//! Entering folders, listing them, forgetting them, and what that does to the remembered tree.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Watcher;
use super::error::WatchError;
use super::events::is_absent;
use super::filter::{VENV_MARK, is_foreign, is_scratch};
use super::inotify::{Added, TREE};
use super::part::Why;
use super::tree::{Folder, Stamp, below, identity};

/// Folders to enter: the path, and the path below a root by which it was come to.
type Todo = Vec<(PathBuf, PathBuf)>;

impl Watcher {
    pub(super) fn is_root(&self, dir: &Path) -> bool {
        self.roots.iter().any(|root| root == dir) || self.tops.contains_key(dir)
    }

    /// Under which path below a root something in a folder of the tree is known to globs.
    pub(super) fn shown(&self, dir: &Path, path: &Path) -> Option<PathBuf> {
        Some(self.tree.folders.get(dir)?.shown.join(path.file_name()?))
    }

    /// Whether the file counts. It need not exist.
    pub(super) fn wants(&self, path: &Path) -> bool {
        let shown = path.parent().and_then(|dir| self.shown(dir, path));
        let also = self.also.contains(path);
        shown.is_some_and(|shown| {
            let mut roots = self.roots.iter();
            roots.any(|root| {
                self.filter.wants_file(root, &shown) || also && self.filter.may_want(root, &shown)
            })
        })
    }

    /// Whether the folder is to be watched.
    pub(super) fn may_enter(&self, path: &Path, shown: &Path) -> bool {
        let mut roots = self.roots.iter().filter(|root| shown.starts_with(root));
        roots.any(|root| !self.filter.skips(root, shown)) && self.filter.enters(path)
    }

    /// Watches a folder and all that is below it, and reports the files.
    pub(super) fn enter(&mut self, top: PathBuf, shown: PathBuf) -> Result<(), WatchError> {
        let mut todo = vec![(top, shown)];
        while let Some((dir, shown)) = todo.pop() {
            if self.watch(&dir, shown)? {
                self.list(&dir, &mut todo, |_, _| false)?;
            }
        }
        Ok(())
    }

    /// Puts a watch on one folder. Tells whether the folder is new, so that it must be listed.
    fn watch(&mut self, dir: &Path, shown: PathBuf) -> Result<bool, WatchError> {
        if self.is_left_to_polling(dir, &shown) {
            return Ok(false);
        }
        loop {
            match self.inotify.add(dir, TREE) {
                Ok(Added::Same) => match self.tree.folders.get(dir) {
                    // It was come to by a symlink before its own path was seen.
                    Some(known) if known.shown != shown && shown == dir => self.forget(dir),
                    Some(_) => return Ok(false),
                    None => break,
                },
                Ok(Added::New) => break,
                Ok(Added::Replaced) => {
                    // What is known of the path is of a folder that is gone; so is the watch,
                    // which was the only one of the new folder.
                    self.forget(dir);
                }
                Ok(Added::Elsewhere(other)) => {
                    let known = self.tree.folders.contains_key(&other);
                    if known && is_same_folder(&other, dir) {
                        return Ok(false);
                    }
                    self.forget(&other);
                }
                Ok(Added::Absent | Added::Forbidden) => return Ok(false),
                Err(Errno::NOSPC) => {
                    self.starve(dir);
                    self.leave_to_polling(dir, &shown, Why::NoneLeft);
                    return Ok(false);
                }
                Err(error) => return Err(WatchError::io(dir, error)),
            }
        }
        let Ok(metadata) = dir.symlink_metadata() else {
            self.inotify.remove(dir);
            return Ok(false);
        };
        self.lookouts.remove(dir);
        self.tree.folders.insert(dir.to_owned(), Folder::new(shown, &metadata));
        Ok(true)
    }

    /// Takes up what is in a folder of the tree: files, unless `same` says of the remembered
    /// stamp and the new one that there is no change; symlinks, to be looked at later; and
    /// folders, which are added to `todo`. Returns all files and symlinks; none if the folder
    /// cannot be read.
    fn list(
        &mut self,
        dir: &Path,
        todo: &mut Todo,
        same: fn(&Stamp, &Stamp) -> bool,
    ) -> Result<Option<BTreeSet<PathBuf>>, WatchError> {
        let entries = match fs_err::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if is_out_of_reach(&error) => return Ok(None),
            Err(error) => return Err(WatchError::io(dir, error)),
        };
        let mut found = BTreeSet::new();
        let others = todo.len();
        for entry in entries {
            let entry = entry.map_err(|error| WatchError::io(dir, error))?;
            let (path, name) = (entry.path(), entry.file_name());
            // What vanishes while it is listed has an event that says so.
            let Ok(kind) = entry.file_type() else { continue };
            if name == VENV_MARK && !self.is_root(dir) {
                // It was made between the look for it and the watch.
                todo.truncate(others);
                self.forget(dir);
                return Ok(None);
            }
            if kind.is_dir() {
                let shown = self.shown(dir, &path).filter(|shown| self.may_enter(&path, shown));
                todo.extend(shown.map(|shown| (path, shown)));
            } else if kind.is_symlink() && !is_scratch(&name) && !is_foreign(&name) {
                self.links_stale.entry(path.clone()).or_insert(false);
                found.insert(path);
            } else if kind.is_file() && self.wants(&path) {
                let Ok(metadata) = path.symlink_metadata() else { continue };
                let stamp = self.tree.stamp(&metadata);
                match self.tree.files.get(&path) {
                    Some(known) if same(known, &stamp) => {}
                    _ => self.keep(&path, stamp),
                }
                found.insert(path);
            }
        }
        Ok(Some(found))
    }

    /// Compares what is in a folder of the tree with what is remembered of it.
    pub(super) fn relist(
        &mut self,
        dir: &Path,
        same: fn(&Stamp, &Stamp) -> bool,
    ) -> Result<(), WatchError> {
        let Some(Folder { shown, .. }) = self.tree.folders.get(dir).cloned() else { return Ok(()) };
        if self.inotify.add(dir, TREE) != Ok(Added::Same) {
            self.forget(dir);
            return self.enter(dir.to_owned(), shown);
        }
        let mut todo = Vec::new();
        if let Some(found) = self.list(dir, &mut todo, same)? {
            for path in self.tree.files_in(dir) {
                if !found.contains(&path) {
                    self.erase(&path);
                }
            }
        }
        for (path, shown) in todo {
            self.enter(path, shown)?;
        }
        Ok(())
    }

    /// Compares the whole tree with what is remembered of it, after events were lost.
    pub(super) fn compare_everything(&mut self) -> Result<(), WatchError> {
        self.compared = true;
        self.roots_stale = true;
        // Whether these were closed was among what was lost.
        for path in
            std::mem::take(&mut self.created).into_iter().chain(std::mem::take(&mut self.open))
        {
            self.complete(&path);
        }
        let folders: Vec<_> = self.tree.folders.keys().cloned().collect();
        for dir in folders {
            self.relist(&dir, Stamp::surely_same)?;
        }
        for link in self.links.paths() {
            self.links_stale.entry(link.clone()).or_insert(false);
        }
        for path in self.lookouts.keys().cloned().collect::<Vec<_>>() {
            self.take_back_lookout(&path);
        }
        self.lookouts_stale = true;
        Ok(())
    }

    /// Takes back the watches of a folder and all that is below it; its files are removed.
    pub(super) fn forget(&mut self, top: &Path) {
        let folders: Vec<_> = below(&self.tree.folders, top).cloned().collect();
        for dir in &folders {
            self.inotify.remove(dir);
            self.tree.folders.remove(dir);
        }
        // A file of the same name as the folder came after it.
        let files: Vec<_> =
            below(&self.tree.files, top).filter(|path| *path != top).cloned().collect();
        for path in &files {
            self.erase(path);
        }
        for link in self.links.below(top) {
            self.links_stale.insert(link, true);
        }
        // Their close would not be told any more.
        self.open.retain(|path| !path.starts_with(top));
        self.inotify.remove(top);
        self.lookouts.remove(top);
        self.lookouts_stale = true;
        self.roots_stale = true;
        self.links_through(top);
    }

    /// Remembers a file and reports it.
    pub(super) fn keep(&mut self, path: &Path, stamp: Stamp) {
        self.touch(path);
        self.tree.files.insert(path.to_owned(), stamp);
    }

    /// Forgets a file and reports it, if it was known.
    pub(super) fn erase(&mut self, path: &Path) {
        if self.tree.files.contains_key(path) {
            self.touch(path);
            self.tree.files.remove(path);
        }
    }

    fn touch(&mut self, path: &Path) {
        let existed = self.tree.files.contains_key(path);
        self.recent.insert(path.to_owned());
        self.touched.entry(path.to_owned()).or_insert(existed);
    }

    /// How many folders are watched or are to be.
    pub(super) fn count_folders(&self) -> usize {
        let mut todo = self.roots.clone();
        let mut count = 0;
        while let Some(dir) = todo.pop() {
            count += 1;
            let Ok(entries) = fs_err::read_dir(&dir) else { continue };
            let folders =
                entries.flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()));
            todo.extend(folders.map(|e| e.path()).filter(|path| self.may_enter(path, path)));
        }
        count.max(self.tree.folders.len() + 1)
    }
}

/// Whether two paths lead to one folder: it is mounted twice, and not moved.
fn is_same_folder(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.symlink_metadata().ok().map(|metadata| identity(&metadata));
    identity(one).is_some() && identity(one) == identity(other)
}

/// Whether the error says that a folder is gone or not ours to read.
fn is_out_of_reach(error: &io::Error) -> bool {
    is_absent(error) || error.kind() == io::ErrorKind::PermissionDenied
}
