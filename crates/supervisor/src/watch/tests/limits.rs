//! Many files, and more events than the kernel keeps.

use super::*;
use Change::{Created, Removed, Written};

#[test]
fn five_thousand_files() {
    let mut play = Play::with(&[]);
    for number in 0..5_000 {
        save(&play.path(&format!("pkg{}/module{number}.py", number % 100)), "text");
    }
    let changes = play.changes();
    assert_eq!(changes.len(), 5_000);
    assert!(changes.iter().all(|(_, change)| *change == Created));
    play.expect_true("after 5,000 files");
}

/// Goal: used-up watches are said once, with numbers, and what has none is left to polling.
#[test]
fn a_folder_without_a_watch_is_polled() {
    let mut play = Play::with(&["a.py", "pkg/b.py", "env/pyvenv.cfg"]);
    fs::create_dir(play.path("new")).unwrap();
    for name in ["new", "newer"] {
        play.watcher.starve(&play.path(name));
    }
    let drained = play.drain();
    assert_eq!(drained.notices.len(), 1, "{:?}", drained.notices);
    let said = ["no inotify watch is left for", "/root/new: 3 folders", "max_user_watches="];
    assert!(said.iter().all(|text| drained.notices[0].contains(text)), "{:?}", drained.notices);
}

/// Makes more events than the kernel keeps, all of a file that does not count.
fn overflow(play: &Play) {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let [one, other] = ["one", "other"].map(|name| play.path(name));
    fs::write(&one, "").unwrap();
    for _ in 0..=limit / 4 {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
}

/// Goal: lost events lose no change and report no other. Method: let them be lost first.
#[test]
fn an_overflow_is_a_comparison_with_the_tree() {
    let files: Vec<_> = (0..50).map(|number| format!("pkg/module{number}.py")).collect();
    let mut names: Vec<&str> = files.iter().map(String::as_str).collect();
    names.extend(["a.py", "b.py", "gone/c.py", "moved/d.py", "again/e.py"]);
    let mut play = Play::set_up(|root| {
        for name in &names {
            save(&root.join(name), "old");
            set_time(&root.join(name), std::time::UNIX_EPOCH);
        }
    });
    overflow(&play);
    save(&play.path("a.py"), "new");
    save(&play.path("new/deep/f.py"), "text");
    fs::remove_dir_all(play.path("gone")).unwrap();
    fs::rename(play.path("moved"), play.path("here")).unwrap();
    fs::remove_dir_all(play.path("again")).unwrap();
    save(&play.path("again/e.py"), "again");
    let drained = play.drain();
    assert!(drained.overflowed);
    let expected: Changes = [
        ("a.py", Written),
        ("again/e.py", Written),
        ("gone/c.py", Removed),
        ("here/d.py", Created),
        ("moved/d.py", Removed),
        ("new/deep/f.py", Created),
    ]
    .map(|(name, change)| (name.to_owned(), change))
    .into();
    assert_eq!(play.named(&drained), expected);
    play.expect_true("after the overflow");
    for name in ["new/deep/f.py", "here/d.py", "again/e.py"] {
        save(&play.path(name), "newer");
        play.expect(&[(name, Written)]);
    }
}

#[test]
fn an_overflow_hides_no_write_whose_time_was_set_back() {
    let mut play = Play::with(&["a.py"]);
    let path = play.path("a.py");
    let modified = path.metadata().unwrap().modified().unwrap();
    overflow(&play);
    fs::write(&path, "new").unwrap();
    set_time(&path, modified);
    let drained = play.drain();
    assert!(drained.overflowed);
    assert_eq!(play.named(&drained), [("a.py".to_owned(), Written)]);
}

#[test]
fn an_overflow_finds_a_root_that_was_replaced_and_links_that_changed() {
    let mut play = Play::set_up(|root| {
        save(&root.join("a.py"), "old");
        save(&root.with_file_name("elsewhere").join("b.py"), "old");
        std::os::unix::fs::symlink("../elsewhere/b.py", root.join("b.py")).unwrap();
    });
    overflow(&play);
    fs::remove_dir_all(play.beside("elsewhere")).unwrap();
    save(&play.beside("elsewhere/b.py"), "new");
    let drained = play.drain();
    assert!(drained.overflowed && drained.changed.contains_key(&play.path("b.py")));
    save(&play.beside("elsewhere/b.py"), "newer");
    play.expect(&[("b.py", Written)]);
    overflow(&play);
    fs::remove_dir_all(&play.root).unwrap();
    let drained = play.drain();
    assert_eq!(drained.gone_roots, std::slice::from_ref(&play.root));
    assert_eq!(drained.changed.len(), 2);
    save(&play.path("a.py"), "new");
    play.expect(&[("a.py", Created)]);
}

/// A file that was open when events were lost must not be waited for until the end of days.
#[test]
fn an_overflow_ends_the_wait_for_a_file() {
    let mut play = Play::with(&["a.py"]);
    let mut file = fs::File::create(play.path("a.py")).unwrap();
    std::io::Write::write_all(&mut file, b"half").unwrap();
    assert_eq!(play.drain().unfinished.len(), 1);
    overflow(&play);
    drop(file);
    let drained = play.drain();
    assert!(drained.unfinished.is_empty() && drained.overflowed);
    assert_eq!(play.named(&drained), [("a.py".to_owned(), Written)]);
}

/// A program that writes without end must not hold the drain, nor hide what was saved.
#[test]
fn a_drain_ends_while_somebody_writes_without_end() {
    let mut play = Play::with(&["a.py"]);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let noise = play.path("noise.py");
    let writer = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            fs::write(&noise, "text").unwrap();
        }
    });
    for _ in 0..200 {
        save(&play.path("a.py"), "new");
        let drained = play.drain();
        assert_eq!(drained.changed.get(&play.path("a.py")), Some(&Written));
    }
    drop(stop);
    writer.join().unwrap();
    play.drain();
    play.expect_true("after the noise");
}
