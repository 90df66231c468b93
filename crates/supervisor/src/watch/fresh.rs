//! Files that may be written again without looking different, and what stands in them.
//!
//! A file system has one time for all that happens within a tick of its clock. Where nobody tells of
//! writes, a second write of the same length within the tick of the first would never be seen. So
//! files that were just found changed are read, until the clock must have ticked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::tree::CLOCK_TICK_MAX;
use crate::clock::Moment;

/// Most files that are read; of more that change at once, the others are told by their times alone.
const FILES_MAX: usize = 1_000;
/// Most of a file that is read.
const BYTES_MAX: u64 = 1024 * 1024;

type Hash = [u8; 32];

/// Files that were just found changed.
#[derive(Debug, Default)]
pub(super) struct Fresh(BTreeMap<PathBuf, (Moment, Option<Hash>)>);

impl Fresh {
    /// Takes note of files that have a new stamp.
    pub(super) fn note(&mut self, paths: &BTreeSet<PathBuf>, now: Moment) {
        for path in paths {
            if self.0.len() < FILES_MAX || self.0.contains_key(path) {
                self.0.insert(path.clone(), (now, hash(path)));
            }
        }
    }

    /// Files that are not what they were, and takes note of what they are now.
    pub(super) fn rewritten(&mut self, now: Moment) -> Vec<PathBuf> {
        let mut found = Vec::new();
        self.0.retain(|path, (since, known)| {
            let seen = hash(path);
            if seen != *known {
                *known = seen;
                found.push(path.clone());
            }
            now.since(*since) < CLOCK_TICK_MAX
        });
        found
    }
}

fn hash(path: &Path) -> Option<Hash> {
    let mut bytes = Vec::new();
    fs_err::File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_until_the_clock_must_have_ticked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.py");
        fs_err::write(&path, "one").unwrap();
        let mut fresh = Fresh::default();
        let begin = Moment::from_nanos(1);
        fresh.note(&BTreeSet::from([path.clone()]), begin);
        assert!(fresh.rewritten(begin).is_empty());
        fs_err::write(&path, "two").unwrap();
        assert_eq!(fresh.rewritten(begin), std::slice::from_ref(&path));
        assert!(fresh.rewritten(begin + CLOCK_TICK_MAX).is_empty(), "read for the last time");
        fs_err::write(&path, "six").unwrap();
        assert!(fresh.rewritten(begin + CLOCK_TICK_MAX).is_empty());
    }
}
