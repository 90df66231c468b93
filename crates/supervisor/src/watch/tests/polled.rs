//! Looking at the disk.

#![allow(clippy::duplicate_mod, reason = "the same tests are played in two ways")]

use rustix::fs::AtFlags;

use super::*;
use crate::watch::tree::{Folder, Stamp};

/// A folder and its watcher.
type Play = super::Play<true>;

/// How often the promise is tried; each look waits until the disk has come to rest.
const SAVES: usize = 500;

fn start(roots: &[PathBuf]) -> Watcher {
    start_with(roots, &usual()).unwrap()
}

fn start_with(roots: &[PathBuf], filter: &Filter) -> Result<Watcher, WatchError> {
    started::<true>(roots, filter)
}

#[path = "barrier.rs"]
mod barrier;
#[path = "files.rs"]
mod files;
#[path = "folders.rs"]
mod folders;
#[path = "outside.rs"]
mod outside;
#[path = "random.rs"]
mod random;

/// Folders that were changed a moment ago are listed by each look, with all their files.
fn let_folders_rest(play: &mut Play) {
    let begun = std::time::Instant::now();
    let rests = |(path, folder): (&PathBuf, &Folder)| {
        let stamp = Stamp::ask(path, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        folder.is_listed(&stamp)
    };
    while !play.watcher.tree.folders.iter().all(rests) {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(5));
        play.drain();
    }
}

#[test]
fn a_hurried_look_passes_over_python_files_that_are_not_heeded_and_nothing_else() {
    let mut play =
        Play::with(&["first.py", "loaded.py", "idle.py", "last.py", "gone.py", "data.json"]);
    std::os::unix::fs::symlink(play.beside("real.py"), play.path("link.py")).unwrap();
    save(&play.beside("real.py"), "old");
    let hurried = |play: &mut Play| {
        if play.watcher.look_at(Extent::Heeded).unwrap() {
            play.watcher.look().unwrap();
        }
        let found = play.watcher.report();
        play.named(&found).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    play.drain();
    let_folders_rest(&mut play);
    save(&play.path("first.py"), "new 1");
    assert_eq!(hurried(&mut play), ["first.py"], "nobody has said what is heeded");
    play.watcher.heed(Some([play.path("loaded.py")].into()));
    save(&play.path("idle.py"), "new 1");
    assert!(hurried(&mut play).is_empty());
    save(&play.path("data.json"), "new 1");
    assert_eq!(hurried(&mut play), ["data.json", "idle.py"], "then at everything");
    save(&play.beside("real.py"), "new 1");
    assert_eq!(hurried(&mut play), ["link.py"]);
    save(&play.path("loaded.py"), "new 1");
    assert_eq!(hurried(&mut play), ["loaded.py"]);
    save(&play.path("made.py"), "new");
    assert_eq!(hurried(&mut play), ["made.py"]);
    fs::remove_file(play.path("gone.py")).unwrap();
    assert_eq!(hurried(&mut play), ["gone.py"]);
    let_folders_rest(&mut play);
    save(&play.path("last.py"), "new 1");
    assert!(hurried(&mut play).is_empty());
    play.expect(&[("last.py", Change::Written)]);
}
