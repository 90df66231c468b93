//! Which files count and which folders are entered.
//!
//! Names decide, and globs that are relative to a root. As in `.gitignore`, a glob without
//! a slash matches at any depth, one that begins with a slash only at the top, and an
//! ignored folder is not entered.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// What always counts: code.
const CODE: &str = "**/*.py";

/// Marks a virtual environment.
pub(super) const VENV_MARK: &str = "pyvenv.cfg";

/// Folders of others' code, of version control and of tools: nobody edits there.
const NEVER_ENTERED: &[&str] = &[
    "__pycache__",
    "site-packages",
    "dist-packages",
    "node_modules",
    ".git",
    ".hg",
    ".svn",
    ".bzr",
    ".jj",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
];

/// Ends of names that editors give to copies and locks.
const NEVER_WANTED_ENDS: &[&str] =
    &["~", "___jb_tmp___", "___jb_old___", ".pyc", ".pyo", ".kate-swp", ".crswap", ".swpx", ".un~"];

/// Beginnings of names that editors and file systems give to copies and locks.
const NEVER_WANTED_STARTS: &[&str] =
    &[".#", ".goutputstream-", ".nfs0", ".fuse_hidden", "flycheck_"];

/// Which paths count.
#[derive(Clone, Debug)]
pub struct Filter {
    include: GlobSet,
    ignore: GlobSet,
    /// Folders in which everything is ignored.
    skip: GlobSet,
}

impl Filter {
    /// Takes globs relative to a root; `include` names what counts besides Python files.
    pub fn new(include: &[String], ignore: &[String]) -> Result<Self, globset::Error> {
        let include = include.iter().map(String::as_str).chain([CODE]);
        let mut ignored = Vec::new();
        let mut skipped = Vec::new();
        for pattern in ignore.iter().map(|pattern| anchored(pattern)) {
            let folder = pattern.strip_suffix("/**").unwrap_or(&pattern);
            skipped.extend([folder.to_owned(), format!("{folder}/**")]);
            ignored.push(format!("{folder}/**"));
            ignored.push(pattern);
        }
        Ok(Self {
            include: globs(include.map(anchored))?,
            ignore: globs(ignored)?,
            skip: globs(skipped)?,
        })
    }

    /// Whether a change of this file is a change.
    pub fn wants_file(&self, root: &Path, path: &Path) -> bool {
        self.may_want(root, path)
            && path.strip_prefix(root).is_ok_and(|relative| self.include.is_match(relative))
    }

    /// Whether a change of this file is a change if somebody has read it.
    pub(super) fn may_want(&self, root: &Path, path: &Path) -> bool {
        let Ok(relative) = path.strip_prefix(root) else { return false };
        let Some(name) = relative.file_name() else { return false };
        !is_scratch(name)
            && !self.ignore.is_match(relative)
            && relative.parent().is_none_or(|folder| !has_foreign_part(folder))
    }

    /// Whether anything in this folder can count; looks for a virtual environment in it.
    pub fn enters(&self, dir: &Path) -> bool {
        !dir.file_name().is_some_and(is_foreign) && dir.join(VENV_MARK).symlink_metadata().is_err()
    }

    /// Whether the ignore globs cover the whole folder.
    pub(super) fn skips(&self, root: &Path, dir: &Path) -> bool {
        dir.strip_prefix(root).is_ok_and(|relative| self.skip.is_match(relative))
    }
}

/// Whether the name is that of an editor's copy, swap or lock file.
pub(super) fn is_scratch(name: &OsStr) -> bool {
    let name = name.as_bytes();
    // Vim's swap files count down from `.swp`; `4913` is how it tries whether it may write.
    let swap = name.len() > 4 && name[name.len() - 4..].starts_with(b".sw");
    swap || name == b"4913"
        || name == b".DS_Store"
        || (name.len() > 1 && name.starts_with(b"#") && name.ends_with(b"#"))
        || NEVER_WANTED_ENDS.iter().any(|end| name.ends_with(end.as_bytes()))
        || NEVER_WANTED_STARTS.iter().any(|start| name.starts_with(start.as_bytes()))
}

/// Whether a folder of this name is never entered.
pub(super) fn is_foreign(name: &OsStr) -> bool {
    NEVER_ENTERED.iter().any(|foreign| name == *foreign)
}

/// Whether the path leads through a folder that is never entered.
pub(super) fn has_foreign_part(path: &Path) -> bool {
    path.components().any(|part| matches!(part, Component::Normal(name) if is_foreign(name)))
}

/// The glob as it is matched against a path relative to a root.
fn anchored(pattern: &str) -> String {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
    match pattern.strip_prefix('/') {
        Some(top) => top.to_owned(),
        None if pattern.contains('/') => pattern.to_owned(),
        None => format!("**/{pattern}"),
    }
}

fn globs(patterns: impl IntoIterator<Item = String>) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(&pattern).literal_separator(true).build()?);
    }
    set.build()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn filter(include: &[&str], ignore: &[&str]) -> Filter {
        let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(ignore)).unwrap()
    }

    fn check(include: &[&str], ignore: &[&str], path: &str, expected: bool) {
        let wanted = filter(include, ignore).wants_file(Path::new("/app"), Path::new(path));
        assert_eq!(wanted, expected, "{path} include={include:?} ignore={ignore:?}");
    }

    #[test]
    fn python_files_count_and_what_else_is_asked_for() {
        check(&[], &[], "/app/a.py", true);
        check(&[], &[], "/app/pkg/sub/a.py", true);
        check(&[], &[], "/app/a.txt", false);
        check(&[], &[], "/elsewhere/a.py", false);
        check(&[], &[], "/app", false);
        check(&["templates/**"], &[], "/app/templates/x/a.html", true);
        check(&["templates/**"], &[], "/app/a.py", true);
        check(&["templates/**"], &[], "/app/pkg/templates/a.html", false);
    }

    #[test]
    fn globs_read_as_in_gitignore() {
        check(&["*.html"], &[], "/app/deep/down/a.html", true);
        check(&["/*.html"], &[], "/app/a.html", true);
        check(&["/*.html"], &[], "/app/deep/a.html", false);
        check(&["./a/*.html"], &[], "/app/a/b.html", true);
        check(&["./a/*.html"], &[], "/app/a/b/c.html", false);
        check(&[], &["migrations"], "/app/pkg/migrations/0001.py", false);
        check(&[], &["migrations/"], "/app/migrations/0001.py", false);
        check(&[], &["/migrations"], "/app/pkg/migrations/0001.py", true);
        check(&[], &["data/**"], "/app/data/deep/a.py", false);
        check(&[], &["test_*.py"], "/app/pkg/test_a.py", false);
        check(&[], &["test_*.py"], "/app/pkg/a.py", true);
    }

    #[test]
    fn an_ignored_folder_is_skipped_as_a_whole() {
        let filter = filter(&[], &["data/**", "cache", "*.py", "/a/*"]);
        let skips = |dir: &str| filter.skips(Path::new("/app"), Path::new(dir));
        assert!(skips("/app/data") && skips("/app/data/x") && skips("/app/pkg/cache"));
        assert!(skips("/app/a/b"));
        assert!(!skips("/app") && !skips("/app/a") && !skips("/app/pkg"));
    }

    #[test]
    fn editors_leave_files_that_never_count() {
        for name in [
            ".a.py.swp",
            ".a.py.swo",
            ".a.py.swx",
            "4913",
            "a.py~",
            ".#a.py",
            "#a.py#",
            "a.py___jb_tmp___",
            "a.py___jb_old___",
            "flycheck_a.py",
            "a.pyc",
            ".goutputstream-X1",
        ] {
            check(&["**"], &[], &format!("/app/{name}"), false);
        }
        check(&["**"], &[], "/app/a.swift", true);
        check(&["**"], &[], "/app/#", true);
    }

    #[test]
    fn nothing_counts_in_a_folder_that_is_never_entered() {
        check(&[], &[], "/app/.git/hooks/a.py", false);
        check(&[], &[], "/app/pkg/__pycache__/a.py", false);
        check(&[], &[], "/app/lib/site-packages/a.py", false);
        let filter = filter(&[], &[]);
        assert!(!filter.enters(Path::new("/app/node_modules")));
        assert!(filter.enters(Path::new("/app/pkg")));
        let venv = tempfile::tempdir().unwrap();
        assert!(filter.enters(venv.path()));
        fs_err::write(venv.path().join(VENV_MARK), "").unwrap();
        assert!(!filter.enters(venv.path()));
    }

    #[test]
    fn a_root_may_lie_in_a_folder_that_is_never_entered() {
        let filter = filter(&[], &[]);
        let root = Path::new("/venv/lib/site-packages/mine");
        assert!(filter.wants_file(root, &root.join("a.py")));
    }

    #[test]
    fn names_need_not_be_utf8() {
        let name = OsString::from_vec(b"caf\xe9.py".to_vec());
        assert!(filter(&[], &[]).wants_file(Path::new("/app"), &Path::new("/app").join(name)));
    }

    #[test]
    fn a_glob_that_makes_no_sense_is_an_error() {
        assert!(Filter::new(&["[".to_owned()], &[]).is_err());
        assert!(Filter::new(&[], &["{a".to_owned()]).is_err());
    }
}
