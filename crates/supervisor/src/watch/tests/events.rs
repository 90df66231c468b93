//! What only events tell: who has a file open, and that nothing happened.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;
use Change::{Created, Removed, Written};

#[test]
fn a_file_that_is_not_closed_is_unfinished() {
    let mut play = Play::with(&["a.py"]);
    let unfinished = BTreeSet::from([play.path("a.py")]);
    let mut file = fs::File::create(play.path("a.py")).unwrap();
    for text in ["one", "two"] {
        file.write_all(text.as_bytes()).unwrap();
        let drained = play.drain();
        assert_eq!((drained.changed.len(), &drained.unfinished), (0, &unfinished));
    }
    assert_eq!(play.drain().unfinished, unfinished, "also when nothing more was written");
    drop(file);
    play.expect(&[("a.py", Written)]);
}

#[test]
fn a_new_file_that_is_not_closed_is_unfinished() {
    let mut play = Play::with(&[]);
    let mut file = fs::File::create(play.path("new.py")).unwrap();
    let unfinished = BTreeSet::from([play.path("new.py")]);
    assert_eq!(play.drain().unfinished, unfinished);
    file.write_all(b"text").unwrap();
    let drained = play.drain();
    assert_eq!((drained.changed.len(), drained.unfinished), (0, unfinished));
    drop(file);
    play.expect(&[("new.py", Created)]);
}

#[test]
fn an_unfinished_file_that_is_removed_or_renamed_is_not_waited_for() {
    let mut play = Play::with(&["a.py"]);
    let mut open: Vec<_> = ["a.py", "b.py", "c.py"]
        .map(|name| fs::File::create(play.path(name)).unwrap())
        .into_iter()
        .collect();
    for file in &mut open {
        file.write_all(b"half").unwrap();
    }
    assert_eq!(play.drain().unfinished.len(), 3);
    fs::remove_file(play.path("a.py")).unwrap();
    fs::rename(play.path("b.py"), play.path("d.py")).unwrap();
    fs::rename(play.path("c.py"), play.path("c.txt")).unwrap();
    play.expect(&[("a.py", Removed), ("d.py", Created)]);
    for file in &mut open {
        file.write_all(b"the rest").unwrap();
    }
    assert_eq!(play.drain().unfinished, BTreeSet::from([play.path("d.py")]));
    drop(open);
    play.expect(&[("d.py", Written)]);
}

#[test]
fn a_change_of_mode_is_no_change_and_a_touch_is_one() {
    let mut play = Play::with(&["a.py"]);
    let path = play.path("a.py");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    play.expect(&[]);
    set_time(&path, std::time::UNIX_EPOCH);
    play.expect(&[("a.py", Written)]);
}

#[test]
fn reading_wakes_nobody() {
    let mut play = Play::with(&["a.py", "pkg/b.py"]);
    for name in ["a.py", "pkg/b.py"] {
        fs::read(play.path(name)).unwrap();
    }
    assert_eq!(fs::read_dir(play.path("pkg")).unwrap().count(), 1);
    assert_eq!(play.watcher.inotify.read().unwrap().len(), 0);
}

#[test]
fn a_linked_file_is_unfinished_under_the_name_of_the_link() {
    let mut play = Play::set_up(|root| {
        save(&root.with_file_name("elsewhere").join("real.txt"), "old");
        std::os::unix::fs::symlink("../elsewhere/real.txt", root.join("a.py")).unwrap();
    });
    let real = play.beside("elsewhere/real.txt");
    let mut file = fs::OpenOptions::new().append(true).open(&real).unwrap();
    file.write_all(b"half").unwrap();
    assert_eq!(play.drain().unfinished, BTreeSet::from([play.path("a.py")]));
    drop(file);
    play.expect(&[("a.py", Written)]);
}
