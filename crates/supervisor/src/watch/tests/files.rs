//! Files: every way to write, replace, remove one.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use super::*;
use Change::{Created, Removed, Written};

#[test]
fn nothing_happened() {
    let mut play = Play::with(&["a.py"]);
    assert_eq!((play.watcher.file_count(), play.watcher.folder_count()), (1, 1));
    play.expect(&[]);
}

#[test]
fn a_write_in_place() {
    let mut play = Play::with(&["a.py", "b.py"]);
    save(&play.path("a.py"), "new text");
    play.expect(&[("a.py", Written)]);
    play.expect(&[]);
}

#[test]
fn a_write_of_the_same_length_in_the_same_second() {
    let mut play = Play::with(&["a.py"]);
    for text in ["1", "2", "3", "4"] {
        save(&play.path("a.py"), text);
        play.expect(&[("a.py", Written)]);
    }
}

#[test]
fn a_write_whose_time_is_set_back() {
    let mut play = Play::with(&["a.py"]);
    let path = play.path("a.py");
    let modified = path.metadata().unwrap().modified().unwrap();
    save(&path, "new");
    set_time(&path, modified);
    play.expect(&[("a.py", Written)]);
}

#[test]
fn a_rename_over_the_file() {
    let mut play = Play::with(&["a.py"]);
    save_atomically(&play.path("a.py"), "new");
    play.expect(&[("a.py", Written)]);
    save_atomically(&play.path("b.py"), "new");
    play.expect(&[("b.py", Created)]);
}

#[test]
fn a_new_file_and_an_empty_one() {
    let mut play = Play::with(&[]);
    save(&play.path("a.py"), "text");
    save(&play.path("__init__.py"), "");
    play.expect(&[("a.py", Created), ("__init__.py", Created)]);
    assert_eq!(play.watcher.file_count(), 2);
}

#[test]
fn a_removed_file() {
    let mut play = Play::with(&["a.py"]);
    fs::remove_file(play.path("a.py")).unwrap();
    play.expect(&[("a.py", Removed)]);
    save(&play.path("a.py"), "again");
    play.expect(&[("a.py", Created)]);
}

#[test]
fn removed_and_made_again_is_written() {
    let mut play = Play::with(&["a.py"]);
    fs::remove_file(play.path("a.py")).unwrap();
    save(&play.path("a.py"), "new");
    play.expect(&[("a.py", Written)]);
}

#[test]
fn made_and_removed_again_is_nothing() {
    let mut play = Play::with(&[]);
    save(&play.path("a.py"), "new");
    fs::remove_file(play.path("a.py")).unwrap();
    save(&play.path("pkg/b.py"), "new");
    fs::remove_dir_all(play.path("pkg")).unwrap();
    play.expect(&[]);
}

#[test]
fn a_renamed_file_is_two_changes() {
    let mut play = Play::with(&["a.py", "b.py"]);
    fs::rename(play.path("a.py"), play.path("c.py")).unwrap();
    play.expect(&[("a.py", Removed), ("c.py", Created)]);
    fs::rename(play.path("c.py"), play.path("b.py")).unwrap();
    play.expect(&[("b.py", Written), ("c.py", Removed)]);
}

#[test]
fn two_files_that_change_places() {
    let mut play = Play::with(&["a.py", "b.py"]);
    let paths = [play.path("a.py"), play.path("b.py"), play.path("c.py")];
    fs::rename(&paths[0], &paths[2]).unwrap();
    fs::rename(&paths[1], &paths[0]).unwrap();
    fs::rename(&paths[2], &paths[1]).unwrap();
    play.expect(&[("a.py", Written), ("b.py", Written)]);
}

#[test]
fn a_file_that_takes_a_name_that_counts_and_loses_it() {
    let mut play = Play::with(&["a.txt"]);
    fs::rename(play.path("a.txt"), play.path("a.py")).unwrap();
    play.expect(&[("a.py", Created)]);
    fs::rename(play.path("a.py"), play.path("a.py.bak")).unwrap();
    play.expect(&[("a.py", Removed)]);
}

#[test]
fn a_file_whose_old_writer_outlives_its_replacement() {
    let mut play = Play::with(&["a.py"]);
    let mut old = fs::OpenOptions::new().append(true).open(play.path("a.py")).unwrap();
    save_atomically(&play.path("a.py"), "new");
    old.write_all(b"to nobody").unwrap();
    play.expect(&[("a.py", Written)]);
}

#[test]
fn a_hard_link_is_complete_when_it_is_made() {
    let mut play = Play::with(&["a.txt"]);
    fs::hard_link(play.path("a.txt"), play.path("b.py")).unwrap();
    play.expect(&[("b.py", Created)]);
    save(&play.path("c.txt"), "text");
    fs::hard_link(play.path("c.txt"), play.path("c.py")).unwrap();
    fs::remove_file(play.path("c.txt")).unwrap();
    play.expect(&[("c.py", Created)]);
}

#[test]
fn permission_given_back_does_not_hide_a_change() {
    let mut play = Play::with(&["pkg/a.py"]);
    let mode =
        |mode| fs::set_permissions(play.path("pkg"), PermissionsExt::from_mode(mode)).unwrap();
    mode(0o000);
    mode(0o755);
    save(&play.path("pkg/a.py"), "new");
    fs::set_permissions(play.path("pkg/a.py"), PermissionsExt::from_mode(0o000)).unwrap();
    fs::set_permissions(play.path("pkg/a.py"), PermissionsExt::from_mode(0o644)).unwrap();
    play.expect(&[("pkg/a.py", Written)]);
    play.expect_true("after permissions");
}

#[test]
fn editors_files_and_bytecode_are_nothing() {
    let mut play = Play::with(&["a.py", "__pycache__/old.py"]);
    for name in [".a.py.swp", ".a.py.swx", "4913", "a.py~", "#a.py#", "a.py___jb_tmp___"] {
        save(&play.path(name), "scratch");
    }
    std::os::unix::fs::symlink("me@host.1:2", play.path(".#a.py")).unwrap();
    save(&play.path("__pycache__/a.cpython-313.pyc"), "code");
    save(&play.path("__pycache__/a.py"), "code");
    save(&play.path("pkg/__pycache__/a.py"), "code");
    play.expect(&[]);
    assert_eq!((play.watcher.file_count(), play.watcher.folder_count()), (1, 2));
}

#[test]
fn a_save_as_vim_does_it() {
    let mut play = Play::with(&["a.py"]);
    save(&play.path("4913"), "");
    fs::remove_file(play.path("4913")).unwrap();
    fs::rename(play.path("a.py"), play.path("a.py~")).unwrap();
    save(&play.path("a.py"), "new");
    fs::remove_file(play.path("a.py~")).unwrap();
    play.expect(&[("a.py", Written)]);
}

#[test]
fn a_save_as_pycharm_does_it() {
    let mut play = Play::with(&["a.py"]);
    save(&play.path("a.py___jb_tmp___"), "new");
    fs::rename(play.path("a.py"), play.path("a.py___jb_old___")).unwrap();
    fs::rename(play.path("a.py___jb_tmp___"), play.path("a.py")).unwrap();
    fs::remove_file(play.path("a.py___jb_old___")).unwrap();
    play.expect(&[("a.py", Written)]);
}

#[test]
fn names_that_are_not_utf8() {
    let mut play = Play::with(&[]);
    let folder = play.root.join(OsStr::from_bytes(b"caf\xe9"));
    let file = folder.join(OsStr::from_bytes(b"\xff\xfe.py"));
    save(&file, "text");
    let drained = play.drain();
    assert_eq!(drained.changed.into_iter().collect::<Vec<_>>(), [(file.clone(), Created)]);
    fs::remove_dir_all(folder).unwrap();
    assert_eq!(play.drain().changed.into_iter().collect::<Vec<_>>(), [(file, Removed)]);
}

#[test]
fn what_is_no_regular_file_is_nothing() {
    let mut play = Play::with(&[]);
    let socket = std::os::unix::net::UnixListener::bind(play.path("socket.py")).unwrap();
    play.expect(&[]);
    drop(socket);
    fs::create_dir(play.path("folder.py")).unwrap();
    play.expect(&[]);
}
