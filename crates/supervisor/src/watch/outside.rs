//! What depends on places that are not in the tree: roots, and symlinks that lead away.
//!
//! Both are looked at again when something happened on their way. To be told of it, the
//! watcher has lookouts: watches on folders that it does not otherwise care for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;

use super::Watcher;
use super::error::WatchError;
use super::filter::has_foreign_part;
use super::inotify::{APPEARING, Added, LEAVING, NAMES, TREE};
use super::links::{Link, resolve};
use super::part::Part;
use super::tree::{Stamp, below, identity};

/// A root that is replaced again and again while it is looked at is left to the next event.
const TRIES_MAX: usize = 3;

impl Watcher {
    /// Forgets roots that are gone and enters those that are there again.
    pub(super) fn settle_roots(&mut self) -> Result<(), WatchError> {
        for _ in 0..TRIES_MAX {
            if !std::mem::take(&mut self.roots_stale) {
                break;
            }
            for (root, shown) in self.tops.clone() {
                let metadata = root.symlink_metadata().ok().filter(std::fs::Metadata::is_dir);
                let there = metadata.map(|metadata| identity(&metadata));
                let known = self.tree.folders.get(&root).map(|folder| folder.identity);
                if there == known && known.is_some() {
                    continue;
                }
                self.lookouts_stale = true;
                if known.is_some() {
                    self.forget(&root);
                }
                if there.is_some() {
                    self.enter(root, shown)?;
                }
            }
        }
        Ok(())
    }

    /// Takes note that links which lead through a place, or through something below it, have
    /// changed.
    pub(super) fn links_through(&mut self, place: &Path) {
        for link in self.links.through(place) {
            self.links_stale.insert(link, true);
        }
    }

    /// Looks at the symlinks of which something is known to have happened.
    pub(super) fn settle_links(&mut self) -> Result<(), WatchError> {
        while let Some((path, changed)) = self.links_stale.pop_first() {
            self.settle_link(&path, changed)?;
        }
        Ok(())
    }

    fn settle_link(&mut self, path: &Path, changed: bool) -> Result<(), WatchError> {
        self.lookouts_stale = true;
        let before = self.links.remove(path).and_then(|link| link.folder);
        let now = self.take_link(path, changed);
        let watched = now.as_ref().is_none_or(|dir| self.tree.folders.contains_key(dir));
        if now == before && watched {
            return Ok(());
        }
        if let Some(before) = before.filter(|before| now.as_ref() != Some(before)) {
            self.leave(&before);
        }
        if let (Some(folder), Some(shown)) = (now, self.shown_link(path)) {
            self.enter(folder.clone(), shown)?;
            self.newly_reached(&folder);
        }
        Ok(())
    }

    /// Remembers what a link leads to, and keeps or erases it as a file. Returns the folder it
    /// leads to, if it is one to follow.
    fn take_link(&mut self, path: &Path, changed: bool) -> Option<PathBuf> {
        if !path.is_symlink() {
            if path.symlink_metadata().is_err() {
                self.erase(path);
            }
            return None;
        }
        let shown = self.shown_link(path)?;
        let resolved = resolve(path);
        let counts = self.wants(path);
        let mut folder = None;
        match resolved.end {
            Some((end, metadata)) if metadata.is_file() => {
                if counts {
                    let stamp = self.tree.stamp(&metadata);
                    self.take_linked_file(path, &end, stamp, changed);
                }
            }
            Some((end, metadata)) => {
                self.erase(path);
                folder = Some(end).filter(|end| metadata.is_dir() && self.follows(end, &shown));
            }
            None => self.erase(path),
        }
        self.links.insert(path, Link { places: resolved.places, counts, folder: folder.clone() });
        folder
    }

    fn take_linked_file(&mut self, path: &Path, end: &Path, stamp: Stamp, changed: bool) {
        if self.open.contains(end) {
            // Its close will be an event of the link, too.
            return;
        }
        // Where nobody tells, what a clock may hide is found by reading.
        let same = if self.inotify.is_silent() { Stamp::same } else { Stamp::surely_same };
        match self.tree.files.get(path) {
            Some(known) if !changed && same(known, &stamp) => {}
            _ => self.keep(path, stamp),
        }
    }

    fn shown_link(&self, path: &Path) -> Option<PathBuf> {
        self.shown(path.parent()?, path)
    }

    /// Whether the folder that a link leads to is to be watched. Never one that holds a root:
    /// that would be the whole disk sooner or later.
    fn follows(&self, end: &Path, shown: &Path) -> bool {
        let relative = self.roots.iter().find_map(|root| end.strip_prefix(root).ok());
        !has_foreign_part(relative.unwrap_or(end))
            && !self.roots.iter().any(|root| root.starts_with(end))
            && self.may_enter(end, shown)
    }

    /// A link leads elsewhere now. What cannot be reached in another way is gone, also what
    /// is linked from there.
    fn leave(&mut self, folder: &Path) {
        let tops: Vec<_> = self.tops.keys().cloned().collect();
        let mut folders = self.links.folders();
        folders.insert(folder.to_owned());
        for folder in folders {
            let known = self.tree.folders.get(&folder).map(|known| &known.shown);
            let by_link =
                known.or(self.elsewhere.get(&folder)).is_some_and(|shown| *shown != folder);
            if !by_link || self.links.reach(&tops, &folder) {
                continue;
            }
            self.forget(&folder);
            if self.elsewhere.remove(&folder).is_some() {
                self.parts.push(Part::Left(folder));
            }
        }
    }

    /// A link was made to lead here: to those who go by the link, all files are new.
    fn newly_reached(&mut self, folder: &Path) {
        for path in below(&self.tree.files, folder) {
            if let Entry::Vacant(entry) = self.touched.entry(path.clone()) {
                entry.insert(true);
                self.reached.insert(path.clone());
            }
        }
    }

    /// Watches all places that roots and links depend on, and no others. Tells whether a watch
    /// was put or could not be: then something may have happened between the last look and the
    /// watch, and roots and links are stale.
    pub(super) fn place_lookouts(&mut self) -> Result<bool, WatchError> {
        if !std::mem::take(&mut self.lookouts_stale) || self.inotify.is_silent() {
            return Ok(false);
        }
        let needed = self.needed_lookouts();
        let superfluous = self.lookouts.keys().filter(|path| !needed.contains_key(*path));
        for path in superfluous.cloned().collect::<Vec<_>>() {
            self.take_back_lookout(&path);
        }
        let mut again = false;
        for (path, flags) in needed {
            match self.lookouts.get(&path) {
                Some(placed) if *placed == flags => continue,
                // So that it asks for less than before, if that is what is needed now.
                Some(_) => self.take_back_lookout(&path),
                None => {}
            }
            match self.inotify.add(&path, flags | WatchFlags::MASK_ADD) {
                Ok(Added::New | Added::Same | Added::Replaced) => {
                    self.lookouts.insert(path, flags);
                    again = true;
                }
                // Something happened since the last look, and there was no watch to tell it.
                Ok(Added::Absent) => again = true,
                Ok(Added::Forbidden | Added::Elsewhere(_)) => {}
                Err(Errno::NOSPC) => self.starve(&path),
                Err(error) => return Err(WatchError::io(&path, error)),
            }
        }
        if again {
            self.lookouts_stale = true;
            self.roots_stale = true;
            let links: Vec<_> = self.links.paths().cloned().collect();
            for link in links {
                self.links_stale.entry(link).or_insert(false);
            }
        }
        Ok(again)
    }

    pub(super) fn take_back_lookout(&mut self, dir: &Path) {
        self.lookouts.remove(dir);
        self.inotify.remove(dir);
        // Their close would not be told any more.
        self.open.retain(|path| path.parent() != Some(dir));
    }

    /// The folders to look out from that are not watched anyway.
    fn needed_lookouts(&self) -> BTreeMap<PathBuf, WatchFlags> {
        let mut needed: BTreeMap<PathBuf, WatchFlags> = BTreeMap::new();
        let mut need = |dir: &Path, flags| {
            if !self.tree.folders.contains_key(dir) {
                needed.entry(dir.to_owned()).or_default().insert(flags);
            }
        };
        for root in self.tops.keys() {
            let mut present = self.tree.folders.contains_key(root);
            for dir in root.ancestors().skip(1) {
                if present {
                    need(dir, LEAVING);
                } else if dir.is_dir() {
                    need(dir, APPEARING);
                    present = true;
                }
            }
        }
        for (dir, counts) in self.links.folders_on_the_way() {
            need(dir, if counts { TREE } else { NAMES });
            for above in dir.ancestors().skip(1) {
                need(above, LEAVING);
            }
        }
        needed
    }
}
