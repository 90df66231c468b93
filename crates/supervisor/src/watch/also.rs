//! Files that count though no glob includes them: user code has read them while it was imported.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Watcher;
use super::tree::Stamp;

impl Watcher {
    /// From now on these files count too, instead of those that were named before; the next drain may report
    /// what happened until now. None that is ignored counts, or that lies where nothing is watched.
    pub fn also_watch(&mut self, files: BTreeSet<PathBuf>) {
        let before = std::mem::replace(&mut self.also, files);
        for path in &before {
            if !self.wants(path) {
                self.tree.files.remove(path);
            }
        }
        for path in self.also.clone().difference(&before) {
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_symlink() {
                // It is looked at again, as one that counts.
                self.links_stale.entry(path.clone()).or_insert(false);
            } else if metadata.is_file() && self.wants(path) {
                // What was not looked at while it changed is reported by the next look.
                let looks = self.inotify.is_silent();
                let stamp = if looks { Stamp::default() } else { self.tree.stamp(&metadata) };
                self.tree.files.entry(path.clone()).or_insert(stamp);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Change, Filter, Mode, Watchers};

    fn files_count_from_when_they_are_named_until_others_are(mode: Mode) {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let [a, b, ignored] = ["a.json", "b.json", "c.json"].map(|name| top.join(name));
        let filter = Filter::new(&[], &["c.json".to_owned()]).unwrap();
        let Watchers { native, polled } = Watchers::start(&[top], &filter, mode).unwrap();
        let mut watcher = native.or(polled).unwrap();
        fs_err::write(&a, "0").unwrap();
        fs_err::write(&b, "0").unwrap();
        watcher.also_watch([a.clone(), ignored.clone()].into());
        assert!(watcher.drain().unwrap().changed.contains_key(&a), "what happened just before");
        let save = |watcher: &mut Watcher, text| {
            for path in [&a, &b, &ignored] {
                fs_err::write(path, text).unwrap();
            }
            watcher.drain().unwrap().changed
        };
        assert_eq!(save(&mut watcher, "1"), [(a.clone(), Change::Written)].into());
        watcher.also_watch([b.clone()].into());
        watcher.drain().unwrap();
        assert_eq!(save(&mut watcher, "2"), [(b.clone(), Change::Written)].into());
    }

    #[test]
    fn where_events_tell() {
        files_count_from_when_they_are_named_until_others_are(Mode::Native);
    }

    #[test]
    fn where_nobody_tells() {
        files_count_from_when_they_are_named_until_others_are(Mode::Poll);
    }
}
