//! Looking at the disk.

#![allow(clippy::duplicate_mod, reason = "the same tests are played in two ways")]

use super::*;

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
