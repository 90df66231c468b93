//! The promise: what was saved before a drain is in its answer.

use std::os::unix::fs::symlink;

use super::*;

const KINDS: usize = 10;

/// Saves a file in one of many ways; returns what the drain must tell of.
fn save_somehow(play: &Play, kind: usize, number: usize) -> PathBuf {
    let text = format!("{number:08}");
    let path = play.path(&format!("pkg/file{}.py", number % 7));
    match kind {
        0 => fs::write(&path, text).unwrap(),
        1 => save_atomically(&path, &text),
        2 => {
            let exists = path.exists();
            fs::write(&path, if exists { "same len" } else { "text" }).unwrap();
        }
        3 => {
            let _missing = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
        }
        4 => {
            let _missing = fs::remove_file(&path);
            let source = play.beside(&format!("source{number}"));
            fs::write(&source, text).unwrap();
            fs::hard_link(&source, &path).unwrap();
        }
        5 => {
            let _missing = fs::remove_file(&path);
            let source = play.beside(&format!("target{number}"));
            fs::write(&source, text).unwrap();
            symlink(&source, &path).unwrap();
        }
        6 => {
            let path = play.path(&format!("new{number}/deep/file.py"));
            save(&path, &text);
            return path;
        }
        7 => {
            save(&play.beside("ready/file.py"), &text);
            fs::rename(play.beside("ready"), play.path(&format!("moved{number}"))).unwrap();
            return play.path(&format!("moved{number}/file.py"));
        }
        8 => {
            fs::write(&path, text).unwrap();
            fs::rename(&path, play.path("pkg/other.py")).unwrap();
            return play.path("pkg/other.py");
        }
        _ => {
            fs::write(&path, &text).unwrap();
            fs::copy(&path, play.path("pkg/copy.py")).unwrap();
            return play.path("pkg/copy.py");
        }
    }
    path
}

#[test]
fn ten_thousand_saves_are_each_in_the_drain_that_follows() {
    let seed = 0x5eed_0001;
    let mut random = Random(seed);
    let mut play = Play::with(&["pkg/a.py"]);
    for number in 0..10_000 {
        let kind = random.below(KINDS);
        let path = save_somehow(&play, kind, number);
        let drained = play.drain();
        let context = format!("seed {seed:#x}, number {number}, kind {kind}");
        assert!(drained.changed.contains_key(&path), "{path:?} {context}");
        assert!(!drained.unfinished.contains(&path), "{path:?} {context}");
        if kind >= 6 && path.starts_with(play.path("pkg")) {
            continue;
        }
        let top = path.strip_prefix(&play.root).unwrap().iter().next().unwrap();
        if top != "pkg" {
            fs::remove_dir_all(play.root.join(top)).unwrap();
        }
    }
    play.drain();
    play.expect_true("after ten thousand saves");
}

/// Goal: the same while others keep the watcher busy. Method: threads that make, move and
/// remove folders all the time.
#[test]
fn saves_are_seen_amid_other_changes() {
    let mut play = Play::with(&["pkg/a.py"]);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let root = play.root.clone();
    let storm = std::thread::spawn(move || {
        let mut random = Random(7);
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let [one, other] =
                [random.below(5), random.below(5)].map(|n| root.join(format!("storm{n}")));
            save(&one.join("deep/a.py"), "text");
            let _busy = fs::rename(&one, &other);
            if random.below(3) == 0 {
                let _absent = fs::remove_dir_all(&other);
            }
        }
    });
    let mut random = Random(11);
    for number in 0..2_000 {
        let kind = random.below(KINDS);
        let path = save_somehow(&play, kind, number);
        let drained = play.drain();
        assert!(drained.changed.contains_key(&path), "{path:?} number {number}, kind {kind}");
    }
    drop(stop);
    storm.join().unwrap();
    play.drain();
    play.expect_true("after the storm");
}
