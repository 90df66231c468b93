//! Which touched paths are a change of the code that runs.
//!
//! A file that the newest attempt loaded counts when its bytes differ from those that
//! were compiled; so does one that user code read while it was imported. Another Python
//! file counts when it is new (it may shadow a module or complete an import), and, while
//! the newest code is broken, also when it was written or removed (the mend may be
//! anywhere). Data files that the user asked to watch always count. A touch, or a rewrite
//! with the same bytes, never does.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rq::CodeHash;
use sha2::{Digest, Sha256};

use crate::clock::{self, Moment};
use crate::forkserver::messages::Opened;
use crate::watch::Change;

/// Longest file that is not Python whose bytes are compared; of others size and time are.
const OPENED_HASHED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A save that is older when it is noticed is not what was noticed.
const SEEN_MAX: Duration = Duration::from_mins(1);

/// The user files of the newest generation that was tried, as it compiled them.
#[derive(Clone, Debug, Default)]
pub struct LoadedCode {
    files: BTreeMap<PathBuf, String>,
    /// What it read besides.
    opened: Opened,
}

impl LoadedCode {
    /// From a generation's report.
    pub fn new(files: BTreeMap<PathBuf, String>, opened: Opened) -> Self {
        Self { files, opened }
    }

    /// Python files that it loaded.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// Files that it read and that are not Python.
    pub fn opened(&self) -> impl Iterator<Item = &PathBuf> {
        self.opened.keys()
    }

    /// How many files it has.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no user file was loaded.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// One short hash of all of it: the proof that a reload is what it says.
    pub fn fingerprint(&self) -> CodeHash {
        let mut hasher = Sha256::new();
        for (path, hash) in &self.files {
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update(hash.as_bytes());
        }
        for (path, stamp) in &self.opened {
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update(stamp.as_deref().unwrap_or_default().as_bytes());
        }
        let hash = hasher.finalize();
        CodeHash::new([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5]])
    }

    /// Hashes of these files, if it has all of them.
    pub fn hashes(&self, paths: &BTreeSet<PathBuf>) -> Option<BTreeMap<PathBuf, String>> {
        paths.iter().map(|path| Some((path.clone(), self.files.get(path)?.clone()))).collect()
    }

    /// Takes note of other bytes that compile to the same code.
    pub fn replace(&mut self, files: BTreeMap<PathBuf, String>) {
        self.files.extend(files);
    }

    /// Files whose content on disk is no longer what was compiled.
    pub fn moved(&self) -> BTreeSet<PathBuf> {
        let all = self.files.keys().chain(self.opened.keys());
        all.filter(|path| self.differs(path)).cloned().collect()
    }

    /// Those of `touched` that change the code; `broken` tells that the newest code is.
    pub fn changes(&self, touched: &BTreeMap<PathBuf, Change>, broken: bool) -> BTreeSet<PathBuf> {
        touched
            .iter()
            .filter(|(path, change)| self.counts(path, **change, broken))
            .map(|(path, _)| path.clone())
            .collect()
    }

    fn counts(&self, path: &Path, change: Change, broken: bool) -> bool {
        if self.files.contains_key(path) || self.opened.contains_key(path) {
            return self.differs(path);
        }
        let python = path.extension().is_some_and(|extension| extension == "py");
        !python || broken || change == Change::Created
    }

    /// Why a touched path is no change.
    pub fn why_not(&self, path: &Path) -> &'static str {
        if self.files.contains_key(path) || self.opened.contains_key(path) {
            "the same bytes as those that were loaded"
        } else {
            "no generation has loaded it"
        }
    }

    fn differs(&self, path: &Path) -> bool {
        match self.opened.get(path) {
            Some(stamp) => *stamp != opened_stamp(path),
            None => self.files.get(path) != content_hash(path).as_ref(),
        }
    }
}

/// When the last of these files was saved; none if that cannot be known, or is long ago: then something
/// else was changed, such as a link to it.
pub fn saved(files: &BTreeSet<PathBuf>, now: Moment) -> Option<Moment> {
    let ages = files.iter().filter_map(|path| fs_err::symlink_metadata(path).ok());
    let age = ages.map(|file| clock::age(&file)).min()?;
    (age < SEEN_MAX).then(|| now.before(age))
}

/// What stands for the bytes of a file that was read; as in `python/freshq_runtime/opened.py`.
fn opened_stamp(path: &Path) -> Option<String> {
    let metadata = path.metadata().ok()?;
    if OPENED_HASHED_BYTES_MAX < metadata.len() {
        let time = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        return Some(format!("{} {time}", metadata.len()));
    }
    content_hash(path)
}

/// SHA-256 of a file's bytes; none if it cannot be read.
fn content_hash(path: &Path) -> Option<String> {
    fs_err::read(path).ok().map(|bytes| hex(&Sha256::digest(bytes)))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands on disk is `now`; `compiled` is what a generation loaded of it, if it did.
    fn counts(change: Change, compiled: Option<&str>, broken: bool) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.py");
        fs_err::write(&path, "now").unwrap();
        let files =
            compiled.map(|text| (path.clone(), hex(&Sha256::digest(text)))).into_iter().collect();
        let touched = BTreeMap::from([(path, change)]);
        !LoadedCode::new(files, Opened::new()).changes(&touched, broken).is_empty()
    }

    #[test]
    fn a_loaded_file_counts_by_its_bytes() {
        for change in [Change::Created, Change::Written] {
            assert!(counts(change, Some("before"), false));
            assert!(!counts(change, Some("now"), false));
            assert!(!counts(change, Some("now"), true));
        }
    }

    #[test]
    fn another_file_counts_when_new_or_while_the_code_is_broken() {
        assert!(!counts(Change::Written, None, false));
        assert!(counts(Change::Written, None, true));
        assert!(counts(Change::Created, None, false));
        assert!(!counts(Change::Removed, None, false));
    }

    #[test]
    fn a_file_that_was_read_counts_by_its_bytes_or_by_being_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let differs = |stamp: Option<String>| {
            let opened = Opened::from([(path.clone(), stamp)]);
            let code = LoadedCode::new(BTreeMap::new(), opened);
            let touched = BTreeMap::from([(path.clone(), Change::Written)]);
            assert_eq!(code.moved().len(), code.changes(&touched, false).len());
            !code.moved().is_empty()
        };
        assert!(!differs(None));
        fs_err::write(&path, "now").unwrap();
        assert!(differs(None));
        assert!(!differs(Some(hex(&Sha256::digest("now")))));
        assert!(differs(Some(hex(&Sha256::digest("before")))));
        let file = fs_err::File::create(&path).unwrap();
        file.set_len(OPENED_HASHED_BYTES_MAX + 1).unwrap();
        assert!(!differs(opened_stamp(&path)));
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(opened_stamp(&path).unwrap(), format!("{} 0", OPENED_HASHED_BYTES_MAX + 1));
    }

    #[test]
    fn a_removed_file_that_was_loaded_counts() {
        let gone = PathBuf::from("/nowhere/a.py");
        let code =
            LoadedCode::new(BTreeMap::from([(gone.clone(), "00".to_owned())]), Opened::new());
        let touched = BTreeMap::from([(gone.clone(), Change::Removed)]);
        assert_eq!(code.changes(&touched, false), BTreeSet::from([gone.clone()]));
        assert_eq!(code.moved(), BTreeSet::from([gone]));
    }
}
