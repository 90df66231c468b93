//! Waiting for file events: the only place with unsafe code.

use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::watch::Watcher;

/// Registers the watcher's descriptor with the event loop.
#[expect(unsafe_code, reason = "the runtime asks for a promise that the type cannot express")]
pub(super) fn register(watcher: Watcher) -> io::Result<AsyncFd<Watcher>> {
    // SAFETY: the watcher owns its descriptor from its creation to its drop, always gives the
    // same one, and nothing else closes it.
    let registered = unsafe { AsyncFd::register_with_interest(watcher, Interest::READABLE) };
    Ok(registered?)
}

/// Resolves when file events are waiting; never when nothing is watched.
pub(super) async fn readable(watcher: Option<&AsyncFd<Watcher>>) {
    match watcher {
        Some(watcher) => {
            if let Ok(mut ready) = watcher.readable().await {
                // The drain that follows reads to the end.
                ready.clear_ready();
            }
        }
        None => std::future::pending().await,
    }
}
