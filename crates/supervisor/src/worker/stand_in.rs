//! The process that stands for one worker of a pool.
//!
//! RQ's pool has a process for each worker, and people signal the one whose pid is in the worker's
//! record. Here all workers live in one process, so each has a stand-in: it does nothing but pass
//! signals on, and be there. It ends when its worker does, or the supervisor: its standard input
//! is a socket whose other end is only here.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rq::WorkerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::input::{Input, StopCause};

/// How stand-ins are started; the worker's name is appended, for people who look at processes.
#[derive(Clone, Debug)]
pub struct StandInCommand {
    /// The program. It writes a byte into its standard input for each signal that asks for a
    /// stop, and ends when nothing can be read from there any more.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A stand-in that lives for as long as this does.
#[derive(Debug)]
pub struct StandIn {
    pid: u32,
    _listening: JoinSet<()>,
}

impl StandIn {
    /// Starts a process that stands for this worker.
    pub fn start(
        command: &StandInCommand,
        worker: &WorkerName,
        inputs: mpsc::Sender<Input>,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = theirs.into_std()?;
        theirs.set_nonblocking(false)?;
        // Out of the terminal's group: its Ctrl-C is for the supervisor, which tells all. Our
        // reaper waits for it, as for every child.
        let process = Command::new(&command.program)
            .args(&command.arguments)
            .arg(worker.as_str())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let mut listening = JoinSet::new();
        listening.spawn(listen(ours, worker.clone(), inputs));
        Ok(Self { pid: process.id(), _listening: listening })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

async fn listen(mut stand_in: UnixStream, worker: WorkerName, inputs: mpsc::Sender<Input>) {
    let mut signal = [0];
    while let Ok(1) = stand_in.read(&mut signal).await {
        // The loop outlives its slots; if it is gone, the process is ending.
        drop(inputs.send(Input::StopSlot(worker.clone(), StopCause::Signal)).await);
    }
    drop(inputs.send(Input::StandInGone(worker)).await);
}
