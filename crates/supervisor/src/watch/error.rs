//! What keeps folders from being watched.

use std::io;
use std::path::{Path, PathBuf};

/// Folders cannot be watched; the message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A folder that was asked for does not exist.
    #[error("the folder to watch does not exist: {}", path.display())]
    MissingFolder {
        /// As it was given.
        path: PathBuf,
    },
    /// What was asked for is a file.
    #[error("not a folder, so it cannot be watched: {}", path.display())]
    NotAFolder {
        /// As it was given.
        path: PathBuf,
    },
    /// The user's inotify watches are used up.
    #[error(
        "no inotify watch is left for {}: {needed} folders are to be watched, and the limit \
         for all programs of this user is {limit}; raise it with \
         `sysctl fs.inotify.max_user_watches={}`, or ignore large folders that hold no code",
        path.display(),
        roomy(*needed, *limit)
    )]
    TooManyWatches {
        /// The first folder without a watch.
        path: PathBuf,
        /// How many folders are to be watched.
        needed: usize,
        /// The limit in force, 0 if it cannot be read.
        limit: usize,
    },
    /// The user's inotify instances are used up.
    #[error(
        "no inotify instance is left for this user, or no file descriptor for this process; \
         raise the limit with `sysctl fs.inotify.max_user_instances=1024` (or `ulimit -n`)"
    )]
    TooManyInstances,
    /// Anything else.
    #[error("cannot watch {}", path.display())]
    Io {
        /// What was being looked at.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl WatchError {
    pub(super) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.to_owned(), source: source.into() }
    }
}

/// A limit that leaves room for this tree beside what other programs watch.
fn roomy(needed: usize, limit: usize) -> usize {
    needed.saturating_mul(2).max(limit.saturating_mul(2)).max(65_536).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_limit_and_a_larger_one() {
        let error = WatchError::TooManyWatches { path: "/app".into(), needed: 9_000, limit: 8_192 };
        let text = error.to_string();
        assert!(text.contains("9000 folders") && text.contains("is 8192"), "{text}");
        assert!(text.contains("max_user_watches=65536"), "{text}");
        assert_eq!(roomy(100_000, 192_536), 524_288);
    }
}
