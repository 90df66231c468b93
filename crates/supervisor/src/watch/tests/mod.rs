//! The watcher against the disk: every test plays with files and asks at once, without sleeping.
//! Most are played twice: told by events, and looking by itself.

mod native;
mod polled;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fs_err as fs;
use tempfile::TempDir;

use super::{Change, Drained, Extent, Filter, Mode, WatchError, Watcher, Watchers, poller};

/// A folder and its watcher.
struct Play<const POLLS: bool> {
    /// Removed at the end; the root lies in it.
    folder: TempDir,
    root: PathBuf,
    watcher: Watcher,
}

/// Paths below the root, as text, with what happened to them.
type Changes = Vec<(String, Change)>;

impl<const POLLS: bool> Play<POLLS> {
    /// A root in which each of `files` exists, and says `old`.
    fn with(files: &[&str]) -> Self {
        Self::set_up(|root| {
            for name in files {
                save(&root.join(name), "old");
            }
        })
    }

    fn set_up(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        prepare(&root);
        let watcher = started::<POLLS>(std::slice::from_ref(&root), &usual()).unwrap();
        Self { folder, root, watcher }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A path beside the root.
    fn beside(&self, name: &str) -> PathBuf {
        self.root.parent().unwrap().join(name)
    }

    fn drain(&mut self) -> Drained {
        if POLLS {
            poller::look(&mut self.watcher).found.unwrap()
        } else {
            self.watcher.drain().unwrap()
        }
    }

    /// What changed, when nothing else is to be said.
    fn changes(&mut self) -> Changes {
        let drained = self.drain();
        assert_eq!(drained.unfinished, BTreeSet::new());
        assert!(!drained.overflowed);
        assert_eq!(drained.gone_roots, Vec::<PathBuf>::new());
        self.named(&drained)
    }

    fn named(&self, drained: &Drained) -> Changes {
        let name = |path: &Path| match path.strip_prefix(&self.root) {
            Ok(relative) => relative.display().to_string(),
            Err(_) => path.strip_prefix(self.folder.path().canonicalize().unwrap()).map_or_else(
                |_| path.display().to_string(),
                |relative| format!("../{}", relative.display()),
            ),
        };
        drained.changed.iter().map(|(path, &change)| (name(path), change)).collect()
    }

    #[track_caller]
    fn expect(&mut self, expected: &[(&str, Change)]) {
        let mut expected: Changes = expected.iter().map(|&(n, c)| (n.to_owned(), c)).collect();
        let mut found = self.changes();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, expected);
    }

    /// The remembered tree is what a watcher that starts now would find.
    #[track_caller]
    fn expect_true(&self, context: &str) {
        let fresh = started::<POLLS>(self.watcher.roots(), &usual()).unwrap();
        let names = |watcher: &Watcher| watcher.tree.files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&self.watcher), names(&fresh), "files, {context}");
        let folders = |watcher: &Watcher| watcher.tree.folders.keys().cloned().collect::<Vec<_>>();
        assert_eq!(folders(&self.watcher), folders(&fresh), "folders, {context}");
        for (path, stamp) in &fresh.tree.files {
            assert!(self.watcher.tree.files[path].same_content(stamp), "{path:?}, {context}");
        }
        for (path, folder) in &fresh.tree.folders {
            let known = self.watcher.tree.folders[path].identity;
            assert_eq!(known, folder.identity, "{path:?}, {context}");
        }
        let lookouts = |watcher: &Watcher| watcher.lookouts.clone();
        assert_eq!(lookouts(&self.watcher), lookouts(&fresh), "lookouts, {context}");
        self.watcher
            .inotify
            .expect_agreement(self.watcher.tree.folders.keys().chain(self.watcher.lookouts.keys()));
    }
}

/// Python files, and one kind of data.
fn usual() -> Filter {
    Filter::new(&["**/*.json".to_owned()], &[]).unwrap()
}

/// Watches folders in one of the ways.
fn started<const POLLS: bool>(roots: &[PathBuf], filter: &Filter) -> Result<Watcher, WatchError> {
    let mode = if POLLS { Mode::Poll } else { Mode::Native };
    let watchers = Watchers::start(roots, filter, mode)?;
    Ok(watchers.polled.or(watchers.native).unwrap())
}

/// Writes in place, with the folders that are missing.
fn save(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Writes as most editors do: to another file, which then takes the name.
fn save_atomically(path: &Path, text: &str) {
    let scratch = path.with_extension("py.tmp");
    fs::write(&scratch, text).unwrap();
    fs::rename(scratch, path).unwrap();
}

/// Sets both times, as `touch` and `cp -p` do.
fn set_time(path: &Path, time: std::time::SystemTime) {
    let times = std::fs::FileTimes::new().set_accessed(time).set_modified(time);
    std::fs::File::open(path).unwrap().set_times(times).unwrap();
}

/// Numbers that look random and are the same in every run with the same seed (xorshift).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}
