//! What one watcher leaves to another: folders where events do not tell, to the one that polls.
//!
//! The one that listens meets such a folder while it enters what is above, runs out of watches, or
//! learns from its sweep that events were missing. What it knows of the folder goes along, so that
//! nothing is reported twice and no change falls in between.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::WatchError;
use super::inotify::{TREE, watch_limit};
use super::mounts::{Mounts, tells};
use super::tree::{Folder, Stamp, below};
use super::{Mode, Watcher};

/// Why a folder is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The user wants it so.
    Asked,
    /// Its file system, of this name, does not tell what others do.
    FileSystem(String),
    /// There is no inotify watch, or no instance, left.
    NoneLeft,
    /// This path was changed, and no event said so.
    Missed(PathBuf),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("as asked for"),
            Self::FileSystem(kind) => write!(f, "{kind} does not tell of changes from elsewhere"),
            Self::NoneLeft => f.write_str("the limit of inotify is reached"),
            Self::Missed(path) => write!(f, "no event told of a change of {}", path.display()),
        }
    }
}

/// What goes from one watcher to the other.
#[derive(Debug)]
pub enum Part {
    /// A folder, with all that is below it.
    Folder(Box<Known>),
    /// A folder that was left to the other one before is not reached any more.
    Left(PathBuf),
}

/// A folder and what is known of it.
#[derive(Debug)]
pub struct Known {
    pub(super) top: PathBuf,
    /// Its path below a root by which it was come to.
    pub(super) shown: PathBuf,
    pub(super) why: Why,
    /// Empty if it was never entered: then all that is in it is new.
    pub(super) folders: BTreeMap<PathBuf, Folder>,
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    /// Files to report, as [`Watcher::touched`] has them.
    pub(super) news: BTreeMap<PathBuf, bool>,
}

impl Part {
    /// A folder that was never entered.
    pub(super) fn unknown(top: &Path, shown: &Path, why: Why) -> Self {
        Self::Folder(Box::new(Known {
            top: top.to_owned(),
            shown: shown.to_owned(),
            why,
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
            news: BTreeMap::new(),
        }))
    }
}

/// The folder from which on something is watched in one way.
#[derive(Debug)]
pub struct Place {
    /// Its canonical path.
    pub folder: PathBuf,
    /// Why it is polled; none if events tell.
    pub polled: Option<Why>,
    /// How many files in it count.
    pub files: usize,
}

impl Watcher {
    /// Where this watcher begins.
    pub fn places(&self) -> Vec<Place> {
        let place = |top: &PathBuf| Place {
            folder: top.clone(),
            polled: self.polled.get(top).cloned(),
            files: below(&self.tree.files, top).count(),
        };
        self.tops.keys().map(place).collect()
    }

    /// What the other watcher is to take.
    pub fn take_parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    /// Whether the other watcher has the folder, or must have it.
    pub(super) fn is_left_to_polling(&mut self, dir: &Path, shown: &Path) -> bool {
        if self.elsewhere.contains_key(dir) {
            return true;
        }
        if self.inotify.is_silent() || self.mode == Mode::Native {
            return false;
        }
        let Ok(metadata) = dir.symlink_metadata() else { return false };
        let device = std::os::unix::fs::MetadataExt::dev(&metadata);
        let silent = self.devices.entry(device).or_insert_with(|| {
            let mounts = Mounts::read();
            mounts.kind(dir).filter(|kind| !tells(kind)).map(str::to_owned)
        });
        let Some(kind) = silent.clone() else { return false };
        self.leave_to_polling(dir, shown, Why::FileSystem(kind));
        true
    }

    /// Leaves a folder that was not entered to the other watcher.
    pub(super) fn leave_to_polling(&mut self, top: &Path, shown: &Path, why: Why) {
        self.hand_over(top, shown, Part::unknown(top, shown, why));
    }

    fn hand_over(&mut self, top: &Path, shown: &Path, part: Part) {
        self.tops.remove(top);
        self.elsewhere.insert(top.to_owned(), shown.to_owned());
        self.lookouts_stale = true;
        self.parts.push(part);
    }

    /// No watch is left; said once.
    pub(super) fn starve(&mut self, path: &Path) {
        if std::mem::replace(&mut self.starved, true) {
            return;
        }
        let needed = self.count_folders();
        let (path, limit) = (path.to_owned(), watch_limit());
        let error = WatchError::TooManyWatches { path, needed, limit };
        self.notices.push(format!("{error}; until then, what has none is polled"));
    }

    /// An event was missing: everything around the path on the same file system is left to the
    /// other watcher, and what links in it lead to.
    pub(super) fn distrust(&mut self, path: &Path) {
        let Some(mut top) = path.ancestors().find(|dir| self.tree.folders.contains_key(*dir))
        else {
            return;
        };
        let device = |dir: &Path| self.tree.folders.get(dir).map(|folder| folder.identity.0);
        while let Some(above) = top.parent().filter(|above| device(above) == device(top)) {
            top = above;
        }
        let mut tops = vec![top.to_owned()];
        let mut next = 0;
        while let Some(top) = tops.get(next).cloned() {
            next += 1;
            for link in self.links.below(&top) {
                let folder = self.links.folder(&link).filter(|dir| {
                    !tops.iter().any(|top| dir.starts_with(top)) && !self.is_root(dir)
                });
                tops.extend(folder.map(Path::to_owned));
            }
        }
        self.notices.push(format!(
            "{} is polled from now on: inotify did not tell of a change of {}",
            top.display(),
            path.display()
        ));
        for top in tops {
            self.hand_over_known(&top, &Why::Missed(path.to_owned()));
        }
    }

    fn hand_over_known(&mut self, top: &Path, why: &Why) {
        let Some(folder) = self.tree.folders.get(top) else { return };
        let shown = folder.shown.clone();
        let folders = below(&self.tree.folders, top).cloned().collect::<Vec<_>>();
        let folders = folders.into_iter().map(|dir| (dir.clone(), self.tree.folders[&dir].clone()));
        let files = below(&self.tree.files, top).map(|path| (path.clone(), self.tree.files[path]));
        let mut touched = std::mem::take(&mut self.touched);
        let known = Known {
            top: top.to_owned(),
            shown: shown.clone(),
            why: why.clone(),
            folders: folders.collect(),
            files: files.collect(),
            news: touched.extract_if(.., |path, _| path.starts_with(top)).collect(),
        };
        self.forget(top);
        // What is only left to somebody else is not gone.
        self.touched = touched;
        for link in self.links.below(top) {
            self.links.remove(&link);
            self.links_stale.remove(&link);
        }
        self.hand_over(top, &shown, Part::Folder(Box::new(known)));
    }

    /// Takes what another watcher has left.
    pub(super) fn adopt(&mut self, part: Part) -> Result<(), WatchError> {
        match part {
            Part::Left(top) => {
                self.tops.remove(&top);
                self.polled.remove(&top);
                self.forget(&top);
                Ok(())
            }
            Part::Folder(known) => {
                let Known { top, shown, why, folders, files, news } = *known;
                self.tops.insert(top.clone(), shown.clone());
                if self.inotify.is_silent() {
                    self.polled.insert(top.clone(), why);
                }
                if folders.is_empty() {
                    return self.enter(top, shown);
                }
                for (dir, folder) in folders {
                    // One that is gone by now is found missing by the next look.
                    let _added = self.inotify.add(&dir, TREE);
                    self.tree.folders.insert(dir, Folder { listed: None, ..folder });
                }
                self.tree.files.extend(files);
                self.touched.extend(news);
                Ok(())
            }
        }
    }
}
