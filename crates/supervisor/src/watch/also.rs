//! Files that count though no glob includes them: user code has read them while it was imported.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Watcher;

impl Watcher {
    /// From now on these files count too, instead of those that were named before; what happened to them
    /// until now is not reported. None that is ignored, or that lies where nothing is watched.
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
                let stamp = self.tree.stamp(&metadata);
                self.tree.files.entry(path.clone()).or_insert(stamp);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Change, Filter};

    #[test]
    fn files_count_from_when_they_are_named_until_others_are() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let [a, b, ignored] = ["a.json", "b.json", "c.json"].map(|name| top.join(name));
        let filter = Filter::new(&[], &["c.json".to_owned()]).unwrap();
        let mut watcher = Watcher::start(&[top], filter).unwrap();
        fs_err::write(&a, "0").unwrap();
        watcher.also_watch([a.clone(), ignored.clone()].into());
        let save = |watcher: &mut Watcher| {
            for path in [&a, &b, &ignored] {
                fs_err::write(path, "1").unwrap();
            }
            watcher.drain().unwrap().changed
        };
        let changed = save(&mut watcher);
        assert_eq!(changed, [(a.clone(), Change::Written)].into());
        watcher.also_watch([b.clone()].into());
        assert_eq!(save(&mut watcher), [(b.clone(), Change::Written)].into());
    }
}
