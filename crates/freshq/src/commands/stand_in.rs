//! `freshq stand-in`: the process that stands for one worker of a pool; people do not start it.
//!
//! The other side is the engine's `worker/stand_in.rs`.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;
use crate::exit;

/// Passes signals on until the supervisor hangs up; returns the exit code.
pub(crate) fn run() -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let stood = runtime.and_then(|runtime| runtime.block_on(stand_in()));
    stood.map_err(|error| Error::Io { what: "stand for a worker", error })?;
    Ok(exit::OK)
}

async fn stand_in() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let supervisor = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    supervisor.set_nonblocking(true)?;
    let mut supervisor = UnixStream::from_std(supervisor)?;
    let mut nothing = [0];
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
            _ = supervisor.read(&mut nothing) => return Ok(()),
        }
        supervisor.write_all(&nothing).await?;
    }
}
