//! Folders that come, go and move; roots.

use super::*;
use crate::watch::WatchError;
use Change::{Created, Removed, Written};

#[test]
fn folders_made_at_once_with_a_file() {
    let mut play = Play::with(&[]);
    save(&play.path("a/b/c/d.py"), "text");
    play.expect(&[("a/b/c/d.py", Created)]);
    save(&play.path("a/b/c/d.py"), "new");
    save(&play.path("a/e.py"), "text");
    play.expect(&[("a/b/c/d.py", Written), ("a/e.py", Created)]);
    assert_eq!(play.watcher.folder_count(), 4);
}

/// Goal: a package that is moved in ready made is never missed. Method: no pause, many times.
#[test]
fn a_package_that_is_moved_in() {
    let mut play = Play::with(&[]);
    for number in 0..200 {
        let outside = play.beside(&format!("package-{number}"));
        let inside = format!("package_{number}");
        save(&outside.join("__init__.py"), "");
        save(&outside.join("deep/er/module.py"), "text");
        fs::rename(&outside, play.path(&inside)).unwrap();
        let [init, module] =
            ["__init__.py", "deep/er/module.py"].map(|name| format!("{inside}/{name}"));
        play.expect(&[(&init, Created), (&module, Created)]);
        save(&play.path(&module), "new");
        play.expect(&[(&module, Written)]);
    }
    play.expect_true("after 200 packages");
}

#[test]
fn a_folder_that_is_moved_out_is_no_longer_watched() {
    let mut play = Play::with(&["pkg/a.py", "pkg/deep/b.py", "c.py"]);
    fs::rename(play.path("pkg"), play.beside("pkg")).unwrap();
    play.expect(&[("pkg/a.py", Removed), ("pkg/deep/b.py", Removed)]);
    save(&play.beside("pkg/deep/b.py"), "new");
    play.expect(&[]);
    assert_eq!(play.watcher.folder_count(), 1);
    fs::rename(play.beside("pkg"), play.path("pkg")).unwrap();
    play.expect(&[("pkg/a.py", Created), ("pkg/deep/b.py", Created)]);
}

#[test]
fn a_folder_that_is_removed() {
    let mut play = Play::with(&["pkg/a.py", "pkg/deep/b.py"]);
    fs::remove_dir_all(play.path("pkg")).unwrap();
    play.expect(&[("pkg/a.py", Removed), ("pkg/deep/b.py", Removed)]);
    save(&play.path("pkg/a.py"), "again");
    play.expect(&[("pkg/a.py", Created)]);
    play.expect_true("made again");
}

#[test]
fn a_folder_that_is_renamed_in_the_tree() {
    let mut play = Play::with(&["old/a.py", "old/deep/b.py"]);
    fs::rename(play.path("old"), play.path("new")).unwrap();
    play.expect(&[
        ("new/a.py", Created),
        ("new/deep/b.py", Created),
        ("old/a.py", Removed),
        ("old/deep/b.py", Removed),
    ]);
    save(&play.path("new/deep/b.py"), "text");
    play.expect(&[("new/deep/b.py", Written)]);
}

/// The watch on the new place is found before the event that says the old one is left.
#[test]
fn a_folder_that_is_moved_into_a_new_one() {
    let mut play = Play::with(&["old/deep/a.py"]);
    fs::create_dir(play.path("new")).unwrap();
    fs::rename(play.path("old"), play.path("new/old")).unwrap();
    save(&play.path("new/old/deep/b.py"), "text");
    play.expect(&[
        ("new/old/deep/a.py", Created),
        ("new/old/deep/b.py", Created),
        ("old/deep/a.py", Removed),
    ]);
    save(&play.path("new/old/deep/a.py"), "text");
    play.expect(&[("new/old/deep/a.py", Written)]);
    play.expect_true("moved");
}

#[test]
fn two_folders_that_change_places() {
    let mut play = Play::with(&["a/x.py", "b/x.py", "b/y.py"]);
    fs::rename(play.path("a"), play.path("c")).unwrap();
    fs::rename(play.path("b"), play.path("a")).unwrap();
    fs::rename(play.path("c"), play.path("b")).unwrap();
    play.expect(&[
        ("a/x.py", Written),
        ("a/y.py", Created),
        ("b/x.py", Written),
        ("b/y.py", Removed),
    ]);
    save(&play.path("b/x.py"), "new");
    play.expect(&[("b/x.py", Written)]);
    play.expect_true("swapped");
}

#[test]
fn a_folder_in_place_of_a_file_and_back() {
    let mut play = Play::with(&["a.py"]);
    fs::remove_file(play.path("a.py")).unwrap();
    save(&play.path("a.py/b.py"), "text");
    play.expect(&[("a.py", Removed), ("a.py/b.py", Created)]);
    fs::remove_dir_all(play.path("a.py")).unwrap();
    save(&play.path("a.py"), "text");
    play.expect(&[("a.py", Created), ("a.py/b.py", Removed)]);
}

#[test]
fn folders_of_others_are_not_entered() {
    let mut play = Play::with(&[
        "a.py",
        ".git/hooks/x.py",
        "node_modules/pkg/x.py",
        "env/pyvenv.cfg",
        "env/lib/site-packages/x.py",
        "env/x.py",
    ]);
    assert_eq!((play.watcher.file_count(), play.watcher.folder_count()), (1, 1));
    save(&play.path("env/x.py"), "new");
    save(&play.path(".git/x.py"), "new");
    save(&play.path(".tox/py/x.py"), "new");
    play.expect(&[]);
}

/// `python -m venv` makes the folder first and its mark later.
#[test]
fn a_virtual_environment_that_is_being_made() {
    let mut play = Play::with(&["a.py"]);
    save(&play.path("env/bin/x.py"), "text");
    play.expect(&[("env/bin/x.py", Created)]);
    save(&play.path("env/pyvenv.cfg"), "home = /usr/bin");
    save(&play.path("env/bin/y.py"), "text");
    play.expect(&[("env/bin/x.py", Removed)]);
    save(&play.path("env/bin/x.py"), "new");
    play.expect(&[]);
    assert_eq!(play.watcher.folder_count(), 1);
}

#[test]
fn globs_choose_files_and_ignored_folders_are_not_watched() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for name in ["a.py", "templates/x/a.html", "data/big/a.py", "data/a.html"] {
        save(&root.join(name), "old");
    }
    let globs = |list: &[&str]| list.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
    let filter =
        Filter::new(&globs(&["**/*.py", "templates/**"]), &globs(&["data/**", "test_*.py"]))
            .unwrap();
    let mut watcher = start_with(std::slice::from_ref(&root), &filter).unwrap();
    assert_eq!((watcher.file_count(), watcher.folder_count()), (2, 3));
    for name in ["templates/x/b.html", "data/big/a.py", "data/new/a.py", "test_a.py", "b.html"] {
        save(&root.join(name), "new");
    }
    let changed: Vec<_> = watcher.drain().unwrap().changed.into_keys().collect();
    assert_eq!(changed, [root.join("templates/x/b.html")]);
}

#[test]
fn a_root_that_is_removed_and_made_again() {
    let mut play = Play::with(&["a.py", "pkg/b.py"]);
    fs::remove_dir_all(&play.root).unwrap();
    let drained = play.drain();
    assert_eq!(drained.gone_roots, std::slice::from_ref(&play.root));
    assert_eq!(play.named(&drained), [("a.py".into(), Removed), ("pkg/b.py".into(), Removed)]);
    play.expect(&[]);
    save(&play.path("pkg/b.py"), "again");
    play.expect(&[("pkg/b.py", Created)]);
    save(&play.path("pkg/b.py"), "new");
    play.expect(&[("pkg/b.py", Written)]);
    play.expect_true("made again");
}

#[test]
fn a_root_that_is_replaced_between_two_drains() {
    let mut play = Play::with(&["a.py", "b.py"]);
    save(&play.beside("next/a.py"), "next");
    fs::rename(&play.root, play.beside("before")).unwrap();
    fs::rename(play.beside("next"), &play.root).unwrap();
    play.expect(&[("a.py", Written), ("b.py", Removed)]);
    save(&play.path("c.py"), "new");
    save(&play.beside("before/a.py"), "new");
    play.expect(&[("c.py", Created)]);
    play.expect_true("replaced");
}

#[test]
fn a_root_whose_parents_go_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().canonicalize().unwrap();
    let root = top.join("x/y/root");
    save(&root.join("a.py"), "old");
    let mut watcher = start(std::slice::from_ref(&root));
    for (from, to) in [("x", "moved"), ("moved", "x")] {
        fs::rename(top.join(from), top.join(to)).unwrap();
        let drained = watcher.drain().unwrap();
        let gone = from == "x";
        assert_eq!(drained.gone_roots.len(), usize::from(gone));
        let change = if gone { Removed } else { Created };
        assert_eq!(drained.changed.into_iter().collect::<Vec<_>>(), [(root.join("a.py"), change)]);
    }
    fs::remove_dir_all(top.join("x")).unwrap();
    assert_eq!(watcher.drain().unwrap().gone_roots, std::slice::from_ref(&root));
    fs::create_dir(top.join("x")).unwrap();
    assert_eq!(watcher.drain().unwrap().changed.len(), 0);
    fs::create_dir(top.join("x/y")).unwrap();
    save(&root.join("a.py"), "new");
    let changed: Vec<_> = watcher.drain().unwrap().changed.into_iter().collect();
    assert_eq!(changed, [(root.join("a.py"), Created)]);
}

#[test]
fn roots_in_each_other_and_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let outer = folder.path().canonicalize().unwrap();
    let inner = outer.join("node_modules/inner");
    save(&inner.join("a.py"), "old");
    save(&outer.join("b.py"), "old");
    let given = [outer.clone(), inner.clone(), outer.join("."), inner.clone()];
    let mut watcher = start(&given);
    assert_eq!(watcher.roots(), [outer.clone(), inner.clone()]);
    assert_eq!((watcher.file_count(), watcher.folder_count()), (2, 2));
    fs::remove_dir_all(outer.join("node_modules")).unwrap();
    assert_eq!(watcher.drain().unwrap().gone_roots, std::slice::from_ref(&inner));
    save(&inner.join("a.py"), "new");
    let changed: Vec<_> = watcher.drain().unwrap().changed.into_iter().collect();
    assert_eq!(changed, [(inner.join("a.py"), Created)]);
}

#[test]
fn a_root_must_be_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let start = |path: PathBuf| start_with(&[path], &usual()).unwrap_err();
    let missing = start(folder.path().join("missing"));
    assert!(matches!(missing, WatchError::MissingFolder { .. }), "{missing}");
    save(&folder.path().join("file"), "");
    let file = start(folder.path().join("file"));
    assert!(matches!(file, WatchError::NotAFolder { .. }), "{file}");
}
