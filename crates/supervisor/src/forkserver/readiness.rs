//! Waiting for descriptors that the runtime has no type for: the only place with unsafe code.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::watch::Watcher;

/// What can be waited for.
pub(crate) trait Waitable: AsFd {}

impl Waitable for OwnedFd {}
impl Waitable for Watcher {}

/// Gives the runtime the number it asks for.
#[derive(Debug)]
pub(crate) struct Registered<T>(T);

impl<T: Waitable> AsRawFd for Registered<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl<T> Registered<T> {
    pub(crate) fn get(&self) -> &T {
        &self.0
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Registers a descriptor with the event loop.
#[expect(unsafe_code, reason = "the runtime asks for a promise that the type cannot express")]
pub(crate) fn register<T: Waitable>(owner: T) -> io::Result<AsyncFd<Registered<T>>> {
    // SAFETY: each of the types above owns its descriptor from its creation to its drop and
    // always gives the same one, and nothing else closes it.
    let registered =
        unsafe { AsyncFd::register_with_interest(Registered(owner), Interest::READABLE) };
    Ok(registered?)
}

/// Resolves when file events are waiting; never when nothing is watched.
pub(crate) async fn readable<T: Waitable>(watcher: Option<&AsyncFd<Registered<T>>>) {
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
