//! One end of a connection to a Python process.
//!
//! Reading is safe to cancel: bytes stay in the decoder until a frame is whole.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use super::HORSES_PER_FORK_MAX;
use super::frame::{self, Decoder, FrameError};

/// How much is read from a socket at a time.
const READ_BYTES: usize = 64 * 1024;
/// Most descriptors that travel with one frame.
const FDS_MAX: usize = 3 * HORSES_PER_FORK_MAX;

/// Why a message could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other side is gone.
    #[error("the process has closed its connection")]
    Closed,
    /// The bytes are not frames of ours.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The header is not a message of ours.
    #[error("a message could not be understood: {0}")]
    Message(#[from] serde_json::Error),
    /// The socket failed.
    #[error("the connection to the process failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Our end of a socket pair whose other end a Python process holds.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    decoder: Decoder,
}

impl Link {
    /// A pair: our end, and the one to hand to the process.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        // Not the runtime's pair, which has the event loop watch the far end as well.
        let (ours, theirs) = net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let stream = UnixStream::from_std(ours)?;
        Ok((Self { stream, decoder: Decoder::default() }, theirs.into()))
    }

    /// Sends a message with the descriptors that belong to it.
    pub async fn send(
        &mut self,
        header: &impl Serialize,
        body: &[u8],
        fds: &[OwnedFd],
    ) -> Result<(), LinkError> {
        self.send_bytes(&frame::encode(header, body)?, fds).await
    }

    /// Sends a frame that is encoded already.
    pub async fn send_bytes(&mut self, bytes: &[u8], fds: &[OwnedFd]) -> Result<(), LinkError> {
        let mut sent = 0;
        if !fds.is_empty() {
            // Descriptors travel with the first bytes; the rest follows as ordinary data.
            sent = self
                .stream
                .async_io(Interest::WRITABLE, || send_fds(&self.stream, bytes, fds))
                .await?;
        }
        self.stream.write_all(&bytes[sent..]).await?;
        Ok(())
    }

    /// Says that no more messages will come; the process may still have something to say.
    pub async fn hang_up(&mut self) {
        // Fails only when it is gone.
        drop(self.stream.shutdown().await);
    }

    /// Waits for the next message.
    pub async fn receive<M: DeserializeOwned>(&mut self) -> Result<(M, Vec<u8>), LinkError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok((serde_json::from_slice(&frame.header)?, frame.body));
            }
            let buffer = self.decoder.buffer();
            buffer.reserve(READ_BYTES);
            if self.stream.read_buf(buffer).await? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }
}

fn send_fds(stream: &UnixStream, bytes: &[u8], fds: &[OwnedFd]) -> io::Result<usize> {
    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}
