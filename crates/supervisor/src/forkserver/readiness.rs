//! Waiting for descriptors that the runtime has no type for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the event loop.
#[expect(unsafe_code, reason = "the runtime asks for a promise that the type cannot express")]
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it owns its descriptor from its creation to its drop and always gives the same one,
    // and nothing else closes it.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(registered?)
}

/// Resolves when file events are waiting; never when nothing is watched.
pub(crate) async fn readable(events: Option<&AsyncFd<OwnedFd>>) {
    match events {
        Some(events) => {
            if let Ok(mut ready) = events.readable().await {
                // The drain that follows reads to the end.
                ready.clear_ready();
            }
        }
        None => std::future::pending().await,
    }
}
