//! Interpreters that become horses without a fork.
//!
//! One imports everything itself, reports what that loaded, and waits for a job. It is a child of
//! this process, so the reaper has its exit status; its task here ends when it has reported.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use super::import_note::ImportNote;
use super::link::LinkError;
use super::messages::{FromSpawned, SpawnSettings};
use super::{Chain, Link, Unborn, frame, lifeline};
use crate::input::Input;
use crate::reload::machine::GenerationId;
use crate::settings::{EXIT_STATUS_MAX, STOP_GRACE};
use crate::worker::horse::{Horse, Leash};

/// The argument that has the script become one.
const SPAWNED: &str = "spawned";

impl Chain {
    /// Starts an interpreter of a generation; it says when it has loaded.
    pub fn spawn(
        &mut self,
        generation: GenerationId,
        settings: &SpawnSettings<'_>,
        load_max: Duration,
    ) -> io::Result<ImportNote> {
        let (link, theirs) = Link::pair()?;
        let (ours, their_lifeline) = lifeline()?;
        let (note, their_note) = ImportNote::pair()?;
        let order = frame::encode(settings, b"").map_err(io::Error::other)?;
        let (stderr, their_stderr) = self.open_stderr()?.unzip();
        let mut command = self.command.start(theirs);
        command.arg(SPAWNED).stderr(their_stderr.map_or_else(Stdio::inherit, Stdio::from));
        let pid = command.spawn()?.id() as i32;
        drop(command); // it has descriptors of the process
        let mut horse = self.register(generation, pid, Unborn { link, lifeline: ours, stderr });
        let inputs = self.inputs.clone();
        let task = self.talks.spawn(async move {
            let leash = Leash::new(&horse);
            // The loop gives up a generation that does not load; this is for those that follow.
            let load = load(&mut horse, &order, [their_lifeline, their_note]);
            let said = tokio::time::timeout(load_max + STOP_GRACE, load).await;
            let input = match said {
                Ok(Ok(said)) => {
                    leash.let_go();
                    Input::Spawned(horse, said)
                }
                Ok(Err(_)) => {
                    // It hung up, so it is about to end.
                    let exited = tokio::time::timeout(EXIT_STATUS_MAX, &mut horse.exit).await;
                    let exited = exited.ok().and_then(Result::ok);
                    Input::SpawnFailed(generation, pid, exited.map(|exited| exited.status))
                }
                Err(_) => Input::SpawnFailed(generation, pid, None),
            };
            // The loop has ended; nobody needs to know.
            drop(inputs.send(input).await);
        });
        self.starting.insert(pid, (generation, task));
        Ok(note)
    }

    /// Notes that an interpreter has reported or ended.
    pub fn has_started(&mut self, pid: i32) {
        self.starting.remove(&pid);
        while self.talks.try_join_next().is_some() {}
    }

    /// Ends the interpreters of a generation that have not loaded yet.
    pub(super) fn stop_starting(&mut self, id: GenerationId) {
        self.starting.retain(|_, (generation, task)| {
            if *generation == id {
                task.abort();
            }
            *generation != id
        });
    }
}

async fn load(
    horse: &mut Horse,
    order: &[u8],
    fds: [OwnedFd; 2],
) -> Result<FromSpawned, LinkError> {
    horse.link.send_bytes(order, &fds).await?;
    Ok(horse.link.receive().await?.0)
}
