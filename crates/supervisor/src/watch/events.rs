//! What one event says.

use std::io;
use std::path::Path;

use rustix::fs::inotify::ReadFlags;

use super::Watcher;
use super::error::WatchError;
use super::filter::{VENV_MARK, is_scratch};
use super::inotify::Event;
use super::tree::{Stamp, below};

const APPEARED: ReadFlags = ReadFlags::CREATE.union(ReadFlags::MOVED_TO);
const DISAPPEARED: ReadFlags = ReadFlags::DELETE.union(ReadFlags::MOVED_FROM);
/// Nobody is writing a file of this name any more, or its name is that of another file now.
const FINISHED: ReadFlags = DISAPPEARED.union(ReadFlags::CLOSE_WRITE).union(ReadFlags::MOVED_TO);
const WATCH_ENDED: ReadFlags =
    ReadFlags::DELETE_SELF.union(ReadFlags::IGNORED).union(ReadFlags::UNMOUNT);

/// Files that do not count and are named once each.
const IGNORED_MAX: usize = 1_000;

impl Watcher {
    pub(super) fn handle(&mut self, event: &Event) -> Result<(), WatchError> {
        if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.compare = true;
            return Ok(());
        }
        // A watch that is not known was removed; what its events tell was found by listing.
        let Some(dir) = self.inotify.path(event.watch).map(Path::to_owned) else { return Ok(()) };
        match &event.name {
            None if self.mounted_files.contains(&dir) => {
                let folder = dir.parent().unwrap_or(&dir);
                self.about_file(folder, &dir, event.flags);
                Ok(())
            }
            None => self.about_watched_folder(&dir, event.flags),
            Some(name) if event.flags.contains(ReadFlags::ISDIR) => {
                self.about_folder(&dir, &dir.join(name), event.flags)
            }
            Some(name) => {
                self.about_file(&dir, &dir.join(name), event.flags);
                Ok(())
            }
        }
    }

    /// An event of the watched folder itself, not of something in it.
    fn about_watched_folder(&mut self, dir: &Path, flags: ReadFlags) -> Result<(), WatchError> {
        let in_tree = self.tree.folders.contains_key(dir);
        if flags.intersects(WATCH_ENDED) || (flags.contains(ReadFlags::MOVE_SELF) && !in_tree) {
            self.forget(dir);
        } else if flags.contains(ReadFlags::MOVE_SELF) {
            // The folder above tells of a move, but a root has none that is watched.
            self.roots_stale = true;
        } else if flags.contains(ReadFlags::ATTRIB) && in_tree {
            // It may be readable again.
            self.relist(dir, Stamp::same_content)?;
        }
        Ok(())
    }

    fn about_folder(
        &mut self,
        dir: &Path,
        path: &Path,
        flags: ReadFlags,
    ) -> Result<(), WatchError> {
        if !flags.contains(ReadFlags::ATTRIB) {
            self.links_through(path);
            self.roots_stale |= self.tops.keys().any(|top| top.starts_with(path));
        }
        if flags.intersects(DISAPPEARED) {
            if below(&self.tree.folders, path).next().is_some() {
                self.forget(path);
            }
            return Ok(());
        }
        let Some(shown) = self.shown(dir, path) else { return Ok(()) };
        if self.may_enter(path, &shown) {
            // Also after a change of attributes: it may not have been readable until now.
            self.enter(path.to_owned(), shown)?;
        }
        Ok(())
    }

    fn about_file(&mut self, dir: &Path, path: &Path, flags: ReadFlags) {
        let Some(name) = path.file_name() else { return };
        let in_tree = self.tree.folders.contains_key(dir);
        let on_the_way = self.links.has_place(path);
        if !in_tree {
            self.roots_stale |= self.tops.keys().any(|top| top.starts_with(path));
        } else if name == VENV_MARK && flags.intersects(APPEARED) && !self.is_root(dir) {
            // A virtual environment is being made, and until now it looked like any folder.
            return self.forget(dir);
        }
        let finished = flags.intersects(FINISHED);
        if finished {
            self.created.remove(path);
            self.open.remove(path);
        }
        if finished && in_tree {
            self.note_ignored(path);
        }
        if !on_the_way && (!in_tree || is_scratch(name)) {
            return;
        }
        if flags.intersects(DISAPPEARED) {
            self.gone(path);
        } else if finished {
            self.complete(path);
        } else if flags.contains(ReadFlags::CREATE) {
            self.created.insert(path.to_owned());
        } else if flags.contains(ReadFlags::MODIFY) && (on_the_way || self.wants(path)) {
            self.created.remove(path);
            self.open.insert(path.to_owned());
        } else if flags.contains(ReadFlags::ATTRIB) && !self.open.contains(path) {
            self.compare_attributes(path);
        }
    }

    /// Takes note of a file that does not count, once, for those who ask why nothing happens.
    fn note_ignored(&mut self, path: &Path) {
        if IGNORED_MAX <= self.ignored.len() || self.wants(path) {
            return;
        }
        if self.ignored.insert(path.to_owned()) {
            let scratch = path.file_name().is_some_and(is_scratch);
            let why = if scratch {
                "editors and tools give such names to copies"
            } else {
                "its name is none of those that are watched"
            };
            self.newly_ignored.insert(path.to_owned(), why);
        }
    }

    /// Takes a file as it is on the disk now: somebody has finished with it.
    pub(super) fn complete(&mut self, path: &Path) {
        self.links_through(path);
        if self.links.contains(path) {
            self.links_stale.insert(path.to_owned(), true);
        }
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                self.links_stale.insert(path.to_owned(), true);
            }
            Ok(metadata) if metadata.is_file() => {
                if self.wants(path) {
                    let stamp = self.tree.stamp(&metadata);
                    self.keep(path, stamp);
                }
            }
            Err(error) if !is_absent(&error) => {
                if self.wants(path) {
                    self.keep(path, Stamp::default());
                }
            }
            Ok(_) | Err(_) => self.erase(path),
        }
    }

    /// A file or a symlink is no longer there.
    fn gone(&mut self, path: &Path) {
        self.links_through(path);
        if self.links.contains(path) {
            self.links_stale.insert(path.to_owned(), true);
        }
        self.erase(path);
    }

    /// Looks at the files that were made. One that is not written while it is being made has
    /// no writer: it is a symlink, or a hard link to what was complete before. Tells whether
    /// there were any.
    pub(super) fn settle_created(&mut self) -> bool {
        let created = std::mem::take(&mut self.created);
        for path in &created {
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let linked = std::os::unix::fs::MetadataExt::nlink(&metadata) > 1;
            if !metadata.is_file() || linked || metadata.len() > 0 {
                self.complete(path);
            } else if self.wants(path) || self.links.has_place(path) {
                self.open.insert(path.clone());
            }
        }
        !created.is_empty()
    }

    /// A change of attributes is a change of the file only if more than the mode is another.
    fn compare_attributes(&mut self, path: &Path) {
        let Some(known) = self.tree.files.get(path).copied() else { return };
        let Ok(metadata) = path.metadata() else { return };
        let stamp = self.tree.stamp(&metadata);
        if known.same_content(&stamp) {
            self.tree.files.insert(path.to_owned(), stamp);
        } else {
            self.keep(path, stamp);
        }
    }
}

/// Whether the error says that there is no such file.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
