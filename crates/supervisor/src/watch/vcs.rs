//! Where version control says that it is at work on the files of a folder.
//!
//! Git keeps `index.lock` while it writes files, Mercurial `wlock`. The repository may begin above the
//! folder. Of a worktree or a submodule `.git` is a file that tells where the real folder is.

use std::path::{Path, PathBuf};

/// The lock of the repository that holds the folder, if one does. It need not be there now.
pub fn lock_of(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find_map(|dir| {
        let [git, mercurial] = [".git", ".hg"].map(|name| dir.join(name));
        if git.is_dir() {
            return Some(git.join("index.lock"));
        }
        if mercurial.is_dir() {
            return Some(mercurial.join("wlock"));
        }
        let text = fs_err::read_to_string(git).ok()?;
        let real = text.strip_prefix("gitdir:")?.trim();
        Some(dir.join(real).join("index.lock"))
    })
}

/// Whether the lock is held. Mercurial's is a symlink that leads nowhere.
pub fn is_held(lock: &Path) -> bool {
    lock.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn the_lock_is_that_of_the_nearest_repository() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        for dir in ["repo/.git/worktrees/w", "repo/src/pkg", "worktree/src", "hg/.hg", "hg/src"] {
            fs::create_dir_all(top.join(dir)).unwrap();
        }
        fs::write(top.join("worktree/.git"), "gitdir: ../repo/.git/worktrees/w\n").unwrap();
        let lock = |dir: &str| lock_of(&top.join(dir));
        assert_eq!(lock("repo/src/pkg"), Some(top.join("repo/.git/index.lock")));
        assert_eq!(lock("repo"), Some(top.join("repo/.git/index.lock")));
        assert_eq!(lock("hg/src"), Some(top.join("hg/.hg/wlock")));
        let worktree = lock("worktree/src").unwrap();
        assert!(!is_held(&worktree));
        fs::write(top.join("repo/.git/worktrees/w/index.lock"), "").unwrap();
        assert!(is_held(&worktree));
        std::os::unix::fs::symlink("host:1", top.join("hg/.hg/wlock")).unwrap();
        assert!(is_held(&lock("hg").unwrap()));
    }
}
