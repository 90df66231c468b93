//! What is installed for an interpreter: what stands in the folders of its packages, and what changed.
//!
//! Packages come and go whole, with a `*.dist-info` folder that an installer writes last. So only names
//! are looked at, and the times of the files beside them and of each record of what was installed: a
//! library that somebody edits in place is not noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::relevance::hex;

/// What says that a package is installed.
const INFO: &str = ".dist-info";
/// Written last into it.
const RECORD: &str = "RECORD";
/// How pip names what it takes away, until it is done.
const AWAY: char = '~';
/// Written by Python itself.
const BYTECODE: &str = "__pycache__";

/// What tells two versions of a file apart: time of change, size, number.
type Stamp = (i64, i64, u64, u64);

/// One look into the folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// What stands there; none for folders, which are known by their name.
    entries: BTreeMap<PathBuf, Option<Stamp>>,
    /// Something is on its way out.
    going: bool,
}

impl Installed {
    /// Looks into the folders; one that cannot be read has nothing in it.
    pub fn look(folders: &[PathBuf]) -> Self {
        let mut found = Self::default();
        let listed = folders.iter().filter_map(|folder| fs_err::read_dir(folder).ok());
        for entry in listed.flatten().filter_map(Result::ok) {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(AWAY) {
                found.going = true;
            } else if name != BYTECODE {
                let path = entry.path();
                let told_by = if name.ends_with(INFO) { path.join(RECORD) } else { path.clone() };
                let stamp = fs_err::metadata(told_by).ok().filter(Metadata::is_file);
                found.entries.insert(path, stamp.map(|data| stamp_of(&data)));
            }
        }
        found
    }

    /// Whether an installer is not done: something is on its way out, or has come since `before` and
    /// has no record yet.
    pub fn is_unfinished(&self, before: &Self) -> bool {
        let lacks_record = |(path, stamp): (&PathBuf, &Option<Stamp>)| {
            stamp.is_none() && is_info(path) && !before.entries.contains_key(path)
        };
        self.going || self.entries.iter().any(lacks_record)
    }

    /// What changed since `before`, for people: packages by name and version, else names of files.
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let differs = |path: &&PathBuf| self.entries.get(*path) != before.entries.get(*path);
        let paths: BTreeSet<_> =
            self.entries.keys().chain(before.entries.keys()).filter(differs).collect();
        let (infos, others): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| is_info(path));
        if infos.is_empty() {
            return others.into_iter().map(|path| file_name(path)).collect();
        }
        let mut versions = BTreeMap::<String, (Option<String>, Option<String>)>::new();
        for path in infos {
            let (name, version) = package(path);
            let (old, new) = versions.entry(name).or_default();
            if before.entries.contains_key(path) {
                *old = Some(version.clone());
            }
            if self.entries.contains_key(path) {
                *new = Some(version);
            }
        }
        versions.into_iter().map(described).collect()
    }

    /// Hash over the packages and their versions.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for path in self.entries.keys().filter(|path| is_info(path)) {
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update([0]);
        }
        hex(&hasher.finalize())
    }
}

fn stamp_of(data: &Metadata) -> Stamp {
    (data.mtime(), data.mtime_nsec(), data.size(), data.ino())
}

fn is_info(path: &Path) -> bool {
    file_name(path).ends_with(INFO)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Name and version of an installed package.
fn package(info: &Path) -> (String, String) {
    let name = file_name(info);
    let name = name.strip_suffix(INFO).unwrap_or(&name);
    let (name, version) = name.split_once('-').unwrap_or((name, ""));
    (name.to_owned(), version.to_owned())
}

fn described((name, versions): (String, (Option<String>, Option<String>))) -> String {
    match versions {
        (Some(old), Some(new)) if old == new => format!("{name} {new} again"),
        (Some(old), Some(new)) => format!("{name} {old} -> {new}"),
        (None, Some(new)) => format!("{name} {new}"),
        (old, None) => format!("{name} {} removed", old.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }

        fn remove(&self, name: &str) {
            fs_err::remove_dir_all(self.0.path().join(name)).unwrap();
        }

        fn look(&self) -> Installed {
            Installed::look(&[self.0.path().to_owned(), PathBuf::from("/nowhere")])
        }
    }

    #[test]
    fn packages_that_come_change_and_go_are_named() {
        let folder = Folder::new();
        folder.write("old-1.0.dist-info/RECORD", "");
        folder.write("yaml/__init__.py", "");
        folder.write("PyYAML-6.0.dist-info/RECORD", "one");
        let before = folder.look();
        folder.remove("old-1.0.dist-info");
        folder.write("new/__init__.py", "");
        folder.write("new-2.0.dist-info/RECORD", "");
        let after = folder.look();
        assert_eq!(after.changes_since(&before), ["new 2.0", "old 1.0 removed"]);
        assert_ne!(after.fingerprint(), before.fingerprint());
        folder.remove("PyYAML-6.0.dist-info");
        folder.write("PyYAML-6.1.dist-info/RECORD", "");
        let upgraded = folder.look();
        assert_eq!(upgraded.changes_since(&after), ["PyYAML 6.0 -> 6.1"]);
        folder.write("PyYAML-6.1.dist-info/RECORD", "reinstalled");
        assert_eq!(folder.look().changes_since(&upgraded), ["PyYAML 6.1 again"]);
        assert_eq!(folder.look().fingerprint(), upgraded.fingerprint());
    }

    #[test]
    fn what_has_no_record_of_itself_is_known_by_its_file() {
        let folder = Folder::new();
        folder.write("six.py", "one");
        let before = folder.look();
        folder.write("six.py", "another");
        folder.write("mine.pth", "/src");
        assert_eq!(folder.look().changes_since(&before), ["mine.pth", "six.py"]);
    }

    #[test]
    fn what_python_writes_itself_is_no_change() {
        let folder = Folder::new();
        folder.write("yaml/__init__.py", "");
        let before = folder.look();
        folder.write("__pycache__/six.cpython-311.pyc", "");
        folder.write("yaml/__pycache__/__init__.cpython-311.pyc", "");
        assert_eq!(folder.look().changes_since(&before), [""; 0]);
    }

    #[test]
    fn an_installer_is_done_when_nothing_is_on_its_way() {
        let folder = Folder::new();
        folder.write("odd-1.0.dist-info/METADATA", "without a record, as some systems install it");
        let before = folder.look();
        assert!(!folder.look().is_unfinished(&before));
        folder.write("~aml/__init__.py", "");
        assert!(folder.look().is_unfinished(&before));
        folder.remove("~aml");
        folder.write("yaml-1.0.dist-info/METADATA", "");
        assert!(folder.look().is_unfinished(&before));
        folder.write("yaml-1.0.dist-info/RECORD", "");
        assert!(!folder.look().is_unfinished(&before));
    }
}
