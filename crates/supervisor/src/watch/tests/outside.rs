//! Symlinks.

use std::os::unix::fs::symlink;

use super::*;
use Change::{Created, Removed, Written};

/// A mounted configuration as Kubernetes makes it.
fn kubernetes(root: &Path, version: u32) {
    let folder = format!("..2024_{version}");
    save(&root.join(&folder).join("settings.py"), &format!("VERSION = {version}"));
    symlink(&folder, root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    if version > 1 {
        fs::remove_dir_all(root.join(format!("..2024_{}", version - 1))).unwrap();
    }
}

#[test]
fn a_configuration_that_kubernetes_swaps() {
    let mut play = Play::set_up(|root| {
        kubernetes(root, 1);
        symlink("..data/settings.py", root.join("settings.py")).unwrap();
    });
    assert_eq!(play.watcher.file_count(), 2);
    for version in 2..10 {
        kubernetes(&play.root, version);
        let [old, new] = [version - 1, version].map(|v| format!("..2024_{v}/settings.py"));
        play.expect(&[(&old, Removed), (&new, Created), ("settings.py", Written)]);
        play.expect_true("swapped");
    }
}

/// As above, but what the project links to is mounted elsewhere.
#[test]
fn a_link_to_a_file_that_kubernetes_swaps_elsewhere() {
    let mut play = Play::set_up(|root| {
        kubernetes(&root.with_file_name("mount"), 1);
        symlink("../mount/..data/settings.py", root.join("settings.py")).unwrap();
    });
    assert_eq!((play.watcher.file_count(), play.watcher.folder_count()), (1, 1));
    for version in 2..10 {
        kubernetes(&play.beside("mount"), version);
        play.expect(&[("settings.py", Written)]);
    }
    play.expect_true("swapped");
}

#[test]
fn a_link_to_a_file_elsewhere() {
    let mut play = Play::set_up(|root| {
        save(&root.with_file_name("elsewhere").join("real.txt"), "old");
        symlink("../elsewhere/real.txt", root.join("a.py")).unwrap();
    });
    let real = play.beside("elsewhere/real.txt");
    for text in ["1", "2"] {
        save(&real, text);
        play.expect(&[("a.py", Written)]);
    }
    save_atomically(&real, "3");
    play.expect(&[("a.py", Written)]);
    save(&real.with_file_name("unrelated.py"), "text");
    play.expect(&[]);
    fs::remove_dir_all(play.beside("elsewhere")).unwrap();
    play.expect(&[("a.py", Removed)]);
    save(&real, "again");
    play.expect(&[("a.py", Created)]);
    play.expect_true("made again");
}

#[test]
fn a_link_in_the_tree_changes_with_what_it_leads_to() {
    let mut play = Play::with(&["real/a.py"]);
    symlink("real/a.py", play.path("b.py")).unwrap();
    play.expect(&[("b.py", Created)]);
    save(&play.path("real/a.py"), "new");
    play.expect(&[("b.py", Written), ("real/a.py", Written)]);
    fs::rename(play.path("real"), play.path("other")).unwrap();
    play.expect(&[("b.py", Removed), ("other/a.py", Created), ("real/a.py", Removed)]);
    fs::rename(play.path("other"), play.path("real")).unwrap();
    play.expect(&[("b.py", Created), ("other/a.py", Removed), ("real/a.py", Created)]);
    fs::remove_file(play.path("b.py")).unwrap();
    save(&play.path("b.py"), "a file of its own");
    play.expect(&[("b.py", Written)]);
    save(&play.path("real/a.py"), "newer");
    play.expect(&[("real/a.py", Written)]);
}

#[test]
fn a_linked_folder_is_followed_once_under_its_own_path() {
    let mut play = Play::set_up(|root| {
        save(&root.with_file_name("elsewhere").join("deep/a.py"), "old");
        symlink("../elsewhere", root.join("one")).unwrap();
        symlink("../elsewhere/deep", root.join("two")).unwrap();
        symlink("..", root.with_file_name("elsewhere").join("loop")).unwrap();
        symlink(".", root.join("self")).unwrap();
        symlink("/", root.join("disk")).unwrap();
    });
    assert_eq!((play.watcher.file_count(), play.watcher.folder_count()), (1, 3));
    save(&play.beside("elsewhere/deep/a.py"), "new");
    save(&play.beside("elsewhere/new/b.py"), "new");
    play.expect(&[("../elsewhere/deep/a.py", Written), ("../elsewhere/new/b.py", Created)]);
    fs::remove_file(play.path("one")).unwrap();
    play.expect(&[("../elsewhere/deep/a.py", Written), ("../elsewhere/new/b.py", Removed)]);
    play.expect_true("one link is left");
    fs::remove_file(play.path("two")).unwrap();
    play.expect(&[("../elsewhere/deep/a.py", Removed)]);
    play.expect_true("no link is left");
}

#[test]
fn a_linked_folder_that_goes_and_comes_back() {
    let mut play = Play::set_up(|root| {
        save(&root.with_file_name("elsewhere").join("a.py"), "old");
        symlink("../elsewhere", root.join("pkg")).unwrap();
    });
    fs::rename(play.beside("elsewhere"), play.beside("away")).unwrap();
    play.expect(&[("../elsewhere/a.py", Removed)]);
    fs::rename(play.beside("away"), play.beside("elsewhere")).unwrap();
    play.expect(&[("../elsewhere/a.py", Created)]);
    fs::remove_dir_all(play.beside("elsewhere")).unwrap();
    save(&play.beside("elsewhere/a.py"), "new");
    play.expect(&[("../elsewhere/a.py", Written)]);
    fs::rename(play.beside("elsewhere"), play.beside("away")).unwrap();
    save(&play.beside("elsewhere/b.py"), "new");
    play.expect(&[("../elsewhere/a.py", Removed), ("../elsewhere/b.py", Created)]);
    fs::rename(play.beside("away/a.py"), play.beside("elsewhere/a.py")).unwrap();
    play.expect(&[("../elsewhere/a.py", Created)]);
    save(&play.beside("elsewhere/a.py"), "newer");
    play.expect(&[("../elsewhere/a.py", Written)]);
    play.expect_true("back");
}

/// All releases stay where they are: nothing but the link says that other code runs now.
#[test]
fn a_link_to_the_current_release() {
    let mut play = Play::set_up(|root| {
        save(&root.join("releases/1/a.py"), "1");
        save(&root.join("releases/2/a.py"), "2");
        symlink("releases/1", root.join("current")).unwrap();
    });
    symlink("releases/2", play.path("next")).unwrap();
    fs::rename(play.path("next"), play.path("current")).unwrap();
    play.expect(&[("releases/2/a.py", Created)]);
    save(&play.path("releases/2/a.py"), "new");
    play.expect(&[("releases/2/a.py", Written)]);
    fs::remove_file(play.path("current")).unwrap();
    play.expect(&[]);
}

#[test]
fn a_link_that_leads_nowhere_yet() {
    let mut play = Play::set_up(|root| {
        symlink("../later/deep/a.py", root.join("a.py")).unwrap();
        symlink("../later/pkg", root.join("pkg")).unwrap();
        symlink("a", root.join("b")).unwrap();
        symlink("b", root.join("a")).unwrap();
    });
    play.expect(&[]);
    save(&play.beside("later/deep/a.py"), "text");
    save(&play.beside("later/pkg/b.py"), "text");
    play.expect(&[("../later/pkg/b.py", Created), ("a.py", Created)]);
    play.expect_true("there now");
}

#[test]
fn a_linked_virtual_environment_is_not_entered() {
    let mut play = Play::set_up(|root| {
        let env = root.with_file_name("env");
        save(&env.join("pyvenv.cfg"), "");
        save(&env.join("lib/site-packages/pkg/a.py"), "old");
        symlink("../env", root.join("env")).unwrap();
        symlink("../env/lib/site-packages/pkg", root.join("pkg")).unwrap();
    });
    assert_eq!((play.watcher.file_count(), play.watcher.folder_count()), (0, 1));
    save(&play.beside("env/lib/site-packages/pkg/a.py"), "new");
    play.expect(&[]);
}

#[test]
fn a_root_that_is_given_as_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().canonicalize().unwrap();
    save(&top.join("real/a.py"), "old");
    symlink("real", top.join("link")).unwrap();
    let mut watcher = start(&[top.join("link")]);
    assert_eq!(watcher.roots(), [top.join("real")]);
    save(&top.join("link/a.py"), "new");
    let changed: Vec<_> = watcher.drain().unwrap().changed.into_keys().collect();
    assert_eq!(changed, [top.join("real/a.py")]);
}
