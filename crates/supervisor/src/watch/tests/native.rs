//! Told by events.

#![allow(clippy::duplicate_mod, reason = "the same tests are played in two ways")]

use super::*;

/// A folder and its watcher.
type Play = super::Play<false>;

/// How often the promise is tried.
const SAVES: usize = 20_000;

fn start(roots: &[PathBuf]) -> Watcher {
    start_with(roots, &usual()).unwrap()
}

fn start_with(roots: &[PathBuf], filter: &Filter) -> Result<Watcher, WatchError> {
    started::<false>(roots, filter)
}

#[path = "barrier.rs"]
mod barrier;
#[path = "events.rs"]
mod events;
#[path = "files.rs"]
mod files;
#[path = "folders.rs"]
mod folders;
#[path = "limits.rs"]
mod limits;
#[path = "outside.rs"]
mod outside;
#[path = "random.rs"]
mod random;
