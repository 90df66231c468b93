//! Random play: after any sequence of operations the watcher knows what a new one would find,
//! and has told each difference.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use super::*;
use crate::watch::tree::Stamp;

/// Few names, so that operations meet each other.
const FOLDERS: [&str; 8] =
    ["root/a", "root/b", "root/a/c", "root/b/d", "root/a/c/e", "out/x", "out/y", "out/x/z"];

fn place(top: &Path, random: &mut Random) -> PathBuf {
    let folder = top.join(FOLDERS[random.below(FOLDERS.len())]);
    match random.below(4) {
        0 => folder,
        1 => folder.join("m.py"),
        2 => folder.join("n.py"),
        _ => folder.join("link"),
    }
}

/// Does something, and says what; much of it cannot be done.
fn meddle(top: &Path, random: &mut Random) -> Option<String> {
    let path = place(top, random);
    let other = place(top, random);
    let (what, result) = match random.below(9) {
        0 | 1 => ("write", fs::write(&path, random.below(1_000).to_string())),
        2 => ("mkdir", fs::create_dir_all(&path)),
        3 => ("rename", fs::rename(&path, &other)),
        4 => ("rm", fs::remove_file(&path)),
        5 => ("rm -r", fs::remove_dir_all(&path)),
        6 => ("symlink", symlink(&path, &other)),
        // Only one name stays: a write under another is not seen, which is no news.
        7 => ("hard link", fs::hard_link(&path, &other).and_then(|()| fs::remove_file(&path))),
        _ => {
            let scratch = top.join("scratch");
            let swapped = symlink(&path, &scratch).and_then(|()| fs::rename(&scratch, &other));
            let _moved = fs::remove_file(&scratch);
            ("swap link", swapped)
        }
    };
    let name = |path: &Path| path.strip_prefix(top).unwrap().display().to_string();
    result.ok().map(|()| format!("{what} {} [{}]", name(&path), name(&other)))
}

type Stamps = BTreeMap<PathBuf, Stamp>;

/// Each difference is told, and nothing that is none could be.
#[track_caller]
fn expect_told(before: &Stamps, after: &Stamps, told: &BTreeMap<PathBuf, Change>, context: &str) {
    for (path, stamp) in after {
        match before.get(path) {
            None => assert_eq!(told.get(path), Some(&Change::Created), "{path:?} {context}"),
            Some(known) if !known.same_content(stamp) => {
                assert!(told.contains_key(path), "{path:?} {context}");
            }
            Some(_) => assert_ne!(told.get(path), Some(&Change::Removed), "{path:?} {context}"),
        }
    }
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        assert_eq!(told.get(path), Some(&Change::Removed), "{path:?} {context}");
    }
    for path in told.keys() {
        assert!(before.contains_key(path) || after.contains_key(path), "{path:?} {context}");
    }
}

/// Plays from many seeds; `lose` may do something before a drain.
fn play_at_random(lose: impl Fn(&mut Watcher, &mut Random)) {
    for seed in 1..=seeds(15) {
        let mut random = Random::new(seed);
        let mut play = Play::with(&["a/m.py", "b/d/n.py"]);
        let top = play.root.parent().unwrap().to_owned();
        fs::create_dir(top.join("out")).unwrap();
        let mut done = Vec::new();
        for _ in 0..60 {
            let before = play.watcher.tree.files.clone();
            for _ in 0..=random.below(6) {
                done.extend(meddle(&top, &mut random));
            }
            lose(&mut play.watcher, &mut random);
            let drained = play.drain();
            let context = format!("seed {seed}:\n{}", done.join("\n"));
            assert_eq!(drained.unfinished, BTreeSet::new(), "{context}");
            expect_told(&before, &play.watcher.tree.files, &drained.changed, &context);
            play.expect_true(&context);
            done.push("drain".to_owned());
        }
    }
}

/// More than by default with `WATCH_SEEDS=1000`.
fn seeds(default: u64) -> u64 {
    std::env::var("WATCH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn random_play() {
    play_at_random(|_, _| {});
}

/// The same as an overflow does it: events vanish, and the watcher is told so.
#[test]
fn random_play_with_lost_events() {
    play_at_random(|watcher, random| {
        if random.below(3) == 0 {
            watcher.inotify.read().unwrap();
            watcher.compare = true;
        }
    });
}

/// The same with drains in the midst of it, from another thread.
#[test]
fn random_play_while_it_is_watched() {
    for seed in 1..=seeds(10) {
        let mut play = Play::with(&["a/m.py", "b/d/n.py"]);
        let top = play.root.parent().unwrap().to_owned();
        fs::create_dir(top.join("out")).unwrap();
        let player = std::thread::spawn(move || {
            let mut random = Random::new(seed);
            (0..600).filter_map(|_| meddle(&top, &mut random)).collect::<Vec<_>>()
        });
        let mut before = play.watcher.tree.files.clone();
        while !player.is_finished() {
            let drained = play.watcher.drain().unwrap();
            let after = play.watcher.tree.files.clone();
            expect_told(&before, &after, &drained.changed, &format!("seed {seed}"));
            before = after;
        }
        let done = player.join().unwrap();
        play.drain();
        play.expect_true(&format!("seed {seed}:\n{}", done.join("\n")));
    }
}
