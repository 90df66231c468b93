//! What people and tools ask a running supervisor, and what it answers.
//!
//! One line of JSON on the control socket asks, one line answers, and the connection ends:
//! `{"ask":"status"}`, `{"ask":"reload"}`, `{"ask":"rollback"}`. A reload is answered when it is over.
//!
//! * [`Request`] and [`Answer`] are the lines; [`status`] is the longest answer.
//! * [`history`] remembers for it what has become of the code.
//! * `socket.rs` is the shell: who may connect, for how long, and how much they may say.
//! * The loop decides (`supervisor/asked.rs`): a request is an input like any other.
//!
//! Never: an answer with a secret (URLs come without passwords), a client that keeps the loop waiting.

pub mod history;
pub mod socket;
pub mod status;
pub(crate) mod wire;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::status::Status;
use crate::event::{Broken, Serving};
use crate::reload::machine::GenerationId;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How it is.
    Status,
    /// A generation of what is on disk now.
    Reload,
    /// The generation before the newest.
    Rollback,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How it is.
    Status(Box<Status>),
    /// The reload is done: this serves.
    Serving(Box<Serving>),
    /// The reload is done: this runs jobs one by one, before it serves.
    Canary {
        /// The generation.
        canary: Box<Serving>,
        /// How many jobs it is to run.
        jobs: u32,
        /// The one that serves meanwhile.
        serving: Option<GenerationId>,
    },
    /// A generation serves again.
    RolledBack {
        /// Instead of this one.
        from: GenerationId,
        /// The one before.
        to: GenerationId,
    },
    /// The newest code cannot be imported.
    Broken(Box<Broken>),
    /// It cannot be done, or makes no sense.
    Error(String),
}

/// A request on its way to the loop.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes; whoever asked may have gone.
    pub reply: oneshot::Sender<Answer>,
}
