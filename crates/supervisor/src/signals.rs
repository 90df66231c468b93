//! Signals of the operating system, as inputs.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::input::Input;

/// The streams; made before anything is started, so that no signal is missed. The first process of a
/// container gets none that it does not listen to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    child: Signal,
}

impl Signals {
    /// Listens from now on. Call within a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// Waits for a signal that asks for a stop.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Passes signals on, for as long as somebody takes them.
    pub(crate) async fn forward(mut self, inputs: mpsc::Sender<Input>) {
        loop {
            let input = tokio::select! {
                _ = self.terminate.recv() => Input::Stop,
                _ = self.interrupt.recv() => Input::Stop,
                // A terminal that goes away sends the same signal as `kill -HUP`.
                _ = self.hang_up.recv() => if has_terminal() { Input::Stop } else { Input::Reload },
                _ = self.child.recv() => Input::ChildEnded,
            };
            if inputs.send(input).await.is_err() {
                return;
            }
        }
    }
}

fn has_terminal() -> bool {
    fs_err::File::open("/dev/tty").is_ok()
}
