//! The chain of Python processes: base, generations, horses.
//!
//! [`Chain`] starts them, talks to them, and knows which live; it decides nothing.
//! A base imports libraries and forks generations; a generation imports the user's
//! modules and forks horses. What they say arrives as [`Input`]s.
//!
//! Invariants:
//! * A horse is registered here before it can be told to run.
//! * A generation reaps a horse only when told, after its pid was struck off here.
//! * Nothing of the chain outlives this process: each holds a life line (see
//!   `python/freshq_runtime/lifeline.py`) whose other end is only here.

pub mod bootstrap;
pub mod config_module;
pub mod family;
pub mod frame;
pub mod import_note;
pub mod interpreter;
pub mod link;
pub mod messages;
pub(crate) mod readiness;
pub mod reaper;
pub mod relay;
mod spawning;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use self::import_note::ImportNote;
use self::link::{Link, LinkError};
use self::messages::{BaseReady, BaseSettings, LoadOrder, ToBase, ToGeneration};
use self::reaper::{Ended, Exited, Presence};
use self::relay::{Relay, Stderr};
use crate::input::Input;
use crate::reload::machine::GenerationId;
use crate::settings::ORDERS_MAX;
use crate::worker::horse::Horse;

/// Most horses that are forked for one message; a message carries up to three descriptors for each.
pub const HORSES_PER_FORK_MAX: usize = 8;
/// Horses that may wait to be reaped before that is a message of its own.
const REAP_TOGETHER_MAX: usize = 16;

/// Has the dynamic linker look up all functions when a library is loaded. Left to their first call, many
/// would be looked up again in each horse. The base takes it out of its environment.
const LINK_AT_ONCE: &str = "LD_BIND_NOW";

/// Number of a base; they count up from 1 for the life of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseId(pub u64);

/// How bases are started.
#[derive(Debug)]
pub struct BaseCommand {
    /// The interpreter.
    pub python: PathBuf,
    /// The script that makes it a base.
    pub script: PathBuf,
}

impl BaseCommand {
    /// A command that runs the script with this socket.
    fn start(&self, theirs: OwnedFd) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).stdin(Stdio::from(theirs)).process_group(0);
        command
    }
}

/// A frame on its way to a process, with the descriptors that belong to it.
struct Order {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// A process we can talk to. Dropping `orders` hangs up, which tells it to end.
#[derive(Debug)]
struct Child {
    orders: Option<mpsc::Sender<Order>>,
    presence: Option<Presence>,
    /// Kept until the process has ended: closing it kills the process's group.
    _lifeline: OwnedFd,
}

#[derive(Debug)]
struct BaseProcess {
    child: Child,
    ready: Option<BaseReady>,
}

#[derive(Debug)]
struct HorseProcess {
    generation: GenerationId,
    presence: Presence,
    /// The slot (or nobody, for a spare) waits at the other end.
    exit: oneshot::Sender<Exited>,
    /// Its generation was asked how it has ended.
    asked: bool,
    _lifeline: OwnedFd,
}

/// Our ends of what a horse is given.
#[derive(Debug)]
struct Unborn {
    link: Link,
    lifeline: OwnedFd,
    stderr: Option<Stderr>,
}

/// Who it was that ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Who {
    /// A base, with its raw wait status.
    Base(BaseId, i32),
    /// A generation, with its raw wait status.
    Generation(GenerationId, i32),
    /// A horse of this generation.
    Horse(GenerationId),
    /// Not of the chain.
    Other,
}

/// The processes that live.
#[derive(Debug)]
pub struct Chain {
    command: BaseCommand,
    inputs: mpsc::Sender<Input>,
    /// None: horses have our own standard error.
    relay: Option<Relay>,
    /// One task per process that talks; they end when their process hangs up or we do.
    talks: JoinSet<()>,
    bases: BTreeMap<BaseId, BaseProcess>,
    generations: BTreeMap<GenerationId, Child>,
    horses: HashMap<i32, HorseProcess>,
    /// Horses that were asked for and have not reported yet.
    unborn: HashMap<u64, Unborn>,
    /// Interpreters that are to become horses of a generation; aborting the task kills one.
    starting: HashMap<i32, (GenerationId, AbortHandle)>,
    /// Pids that are struck off and wait for a message that takes them along.
    to_reap: HashMap<GenerationId, Vec<i32>>,
    last_base: u64,
    last_horse: u64,
}

impl Chain {
    /// A chain without processes.
    pub fn new(command: BaseCommand, inputs: mpsc::Sender<Input>, relay: Option<Relay>) -> Self {
        Self {
            command,
            inputs,
            relay,
            talks: JoinSet::new(),
            bases: BTreeMap::new(),
            generations: BTreeMap::new(),
            horses: HashMap::new(),
            unborn: HashMap::new(),
            starting: HashMap::new(),
            to_reap: HashMap::new(),
            last_base: 0,
            last_horse: 0,
        }
    }

    /// Starts a base; it reports when its libraries are imported.
    pub fn start_base(&mut self, settings: &BaseSettings) -> io::Result<BaseId> {
        let (link, theirs) = Link::pair()?;
        let (lifeline, their_lifeline) = lifeline()?;
        let process = self.command.start(theirs).env(LINK_AT_ONCE, "1").spawn()?;
        self.last_base += 1;
        let id = BaseId(self.last_base);
        let orders = self.talk(
            link,
            move |message| Input::FromBase(id, message),
            move |error| Input::BaseGone(id, error),
        );
        send(&orders, settings, vec![their_lifeline]);
        let presence = Some(Presence::new(process.id() as i32));
        let child = Child { orders: Some(orders), presence, _lifeline: lifeline };
        self.bases.insert(id, BaseProcess { child, ready: None });
        Ok(id)
    }

    /// Notes that a base is ready, and tells the older ones to end: nothing is forked from
    /// them any more. Their generations live on.
    pub fn base_ready(&mut self, id: BaseId, report: BaseReady) {
        for (other, base) in &mut self.bases {
            if *other < id {
                base.child.orders = None;
            }
        }
        if let Some(base) = self.bases.get_mut(&id) {
            base.ready = Some(report);
        }
    }

    /// The newest base that can fork.
    pub fn base(&self) -> Option<&BaseReady> {
        self.usable_base().and_then(|base| base.ready.as_ref())
    }

    fn usable_base(&self) -> Option<&BaseProcess> {
        self.bases.values().rev().find(|base| base.ready.is_some() && base.child.orders.is_some())
    }

    /// Kills a base that does not answer or cannot be used.
    pub fn discard_base(&mut self, id: BaseId) {
        if let Some(base) = self.bases.get_mut(&id) {
            base.child.orders = None;
            base.child.kill();
        }
    }

    /// Tells the bases that are ready to end: nothing more is to be forked from them.
    pub fn retire_bases(&mut self) {
        for base in self.bases.values_mut().filter(|base| base.ready.is_some()) {
            base.child.orders = None;
        }
    }

    /// Forks a generation from the newest base; it reports when it has loaded.
    pub fn fork_generation(
        &mut self,
        id: GenerationId,
        order: LoadOrder,
    ) -> io::Result<ImportNote> {
        let (link, theirs) = Link::pair()?;
        let (lifeline, their_lifeline) = lifeline()?;
        let (note, their_note) = ImportNote::pair()?;
        let orders = self.talk(
            link,
            move |message| Input::FromGeneration(id, message),
            move |error| Input::GenerationGone(id, error),
        );
        let child = Child { orders: Some(orders), presence: None, _lifeline: lifeline };
        self.generations.insert(id, child);
        if let Some(base) = self.usable_base().and_then(|base| base.child.orders.as_ref()) {
            let order = ToBase::Fork { generation: id.0, order };
            send(base, &order, vec![theirs, their_lifeline, their_note]);
        }
        Ok(note)
    }

    /// Notes the process of a generation. One that was given up meanwhile is killed: it would not
    /// notice before all is imported.
    pub fn generation_forked(&mut self, id: GenerationId, pid: i32) {
        if let Some(child) = self.generations.get_mut(&id) {
            child.presence = Some(Presence::new(pid));
            if child.orders.is_none() {
                child.kill();
            }
        }
    }

    /// Has a generation that is stuck in an import print where, and end; tells whether it could
    /// be asked to.
    pub fn ask_for_last_words(&self, id: GenerationId) -> bool {
        let presence = self.generations.get(&id).and_then(|child| child.presence.as_ref());
        presence.is_some_and(Presence::abort)
    }

    /// Tells a generation to end, once it has nothing more to do. Its horses live on.
    pub fn retire(&mut self, id: GenerationId) {
        self.to_reap.remove(&id);
        self.stop_starting(id);
        if let Some(child) = self.generations.get_mut(&id) {
            child.orders = None;
        }
    }

    /// Kills a generation that does not answer; tells whether its process is known. Its horses
    /// live on.
    pub fn kill_generation(&mut self, id: GenerationId) -> bool {
        self.stop_starting(id);
        let Some(child) = self.generations.get_mut(&id) else { return false };
        child.orders = None;
        child.kill();
        child.presence.is_some()
    }

    /// Strikes off a generation that was never forked.
    pub fn forget_generation(&mut self, id: GenerationId) {
        self.generations.remove(&id);
    }

    /// Asks a generation for horses, all in one message.
    pub fn fork_horses(&mut self, generation: GenerationId, count: usize) -> io::Result<()> {
        let mut fds = Vec::new();
        let mut horses = Vec::new();
        for _ in 0..count.min(HORSES_PER_FORK_MAX) {
            let (link, theirs) = Link::pair()?;
            let (lifeline, their_lifeline) = lifeline()?;
            let (stderr, their_stderr) = self.open_stderr()?.unzip();
            self.last_horse += 1;
            horses.push(self.last_horse);
            fds.extend([theirs, their_lifeline]);
            fds.extend(their_stderr);
            self.unborn.insert(self.last_horse, Unborn { link, lifeline, stderr });
        }
        let reap = self.to_reap.remove(&generation).unwrap_or_default();
        let relayed = self.relay.is_some();
        self.tell_generation(generation, &ToGeneration::Fork { horses, reap, relayed }, fds);
        Ok(())
    }

    fn open_stderr(&mut self) -> io::Result<Option<(Stderr, OwnedFd)>> {
        self.relay.as_mut().map(Relay::open).transpose()
    }

    /// Waits until all that horses have written, and what they had started, is passed on.
    pub async fn end_relay(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.end().await;
        }
    }

    /// A horse was forked: registers it, watches for its end, and hands it out.
    pub fn horse_forked(
        &mut self,
        generation: GenerationId,
        number: u64,
        pid: i32,
    ) -> Option<Horse> {
        let ours = self.unborn.remove(&number)?;
        self.watch_end(generation, pid);
        Some(self.register(generation, pid, ours))
    }

    fn register(&mut self, generation: GenerationId, pid: i32, ours: Unborn) -> Horse {
        let Unborn { link, lifeline, stderr } = ours;
        let presence = Presence::new(pid);
        let (exit, exited) = oneshot::channel();
        let process = HorseProcess {
            generation,
            presence: presence.clone(),
            exit,
            asked: false,
            _lifeline: lifeline,
        };
        self.horses.insert(pid, process);
        Horse {
            generation,
            presence,
            link,
            exit: exited,
            exited: None,
            stderr,
            position: None,
            trial: None,
            has_alternative: false,
        }
    }

    /// A horse has ended and is not reaped yet. Whether somebody waits for its status decides
    /// whether its generation is asked, or just told to reap it some time.
    pub fn horse_ended(&mut self, generation: GenerationId, pid: i32) {
        let Some(horse) = self.horses.get_mut(&pid) else { return };
        if horse.exit.is_closed() {
            self.strike_off(pid, Exited::with(0));
            let waiting = self.to_reap.entry(generation).or_default();
            waiting.push(pid);
            if REAP_TOGETHER_MAX <= waiting.len() {
                let pids = std::mem::take(waiting);
                self.tell_generation(generation, &ToGeneration::Reap { pids }, Vec::new());
            }
        } else if !std::mem::replace(&mut horse.asked, true) {
            horse.presence.kill_rest();
            horse.presence.clear();
            self.tell_generation(generation, &ToGeneration::Report { pid }, Vec::new());
        }
    }

    /// A generation says how a horse has ended.
    pub fn horse_exited(&mut self, pid: i32, exited: Exited) {
        self.strike_off(pid, exited);
    }

    fn tell_generation(&self, id: GenerationId, message: &ToGeneration, fds: Vec<OwnedFd>) {
        // One that is gone leaves its horses to the reaper.
        if let Some(orders) = self.generations.get(&id).and_then(|child| child.orders.as_ref()) {
            send(orders, message, fds);
        }
    }

    /// Has the loop told when a horse ends, whatever its generation is doing.
    fn watch_end(&mut self, generation: GenerationId, pid: i32) {
        let inputs = self.inputs.clone();
        let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
        self.talks.spawn(async move {
            if let Some(pidfd) = pidfd.and_then(|pidfd| readiness::register(pidfd).ok()) {
                // An error means that it cannot be waited for: the same as ended.
                drop(pidfd.readable().await);
            }
            drop(inputs.send(Input::HorseEnded(generation, pid)).await);
        });
        // Tasks of horses that ended earlier.
        while self.talks.try_join_next().is_some() {}
    }

    /// A base says that a generation has ended: strikes it off, then lets it be reaped.
    pub fn generation_ended(&mut self, base: BaseId, ended: Ended) -> Who {
        let who = self.ended(ended);
        if let Some(orders) = self.bases.get(&base).and_then(|base| base.child.orders.as_ref()) {
            send(orders, &ToBase::Reap { pid: ended.pid }, Vec::new());
        }
        who
    }

    fn strike_off(&mut self, pid: i32, exited: Exited) -> Option<GenerationId> {
        let horse = self.horses.remove(&pid)?;
        horse.presence.clear();
        // Nobody listens for the end of a spare, or of a horse that has answered.
        let _ = horse.exit.send(exited);
        Some(horse.generation)
    }

    /// A process has ended: strikes it off, and tells which one it was.
    pub fn ended(&mut self, ended: Ended) -> Who {
        let is = |child: &Child| child.presence.as_ref().is_some_and(|p| p.pid() == ended.pid);
        if let Some(generation) = self.strike_off(ended.pid, ended.exited) {
            return Who::Horse(generation);
        }
        let generation = self.generations.iter().find(|(_, child)| is(child)).map(|(id, _)| *id);
        if let Some(child) = generation.and_then(|id| self.generations.remove(&id).map(|c| (id, c)))
        {
            child.1.clear();
            return Who::Generation(child.0, ended.exited.status);
        }
        let base = self.bases.iter().find(|(_, base)| is(&base.child)).map(|(id, _)| *id);
        if let Some(base) = base.and_then(|id| self.bases.remove(&id).map(|base| (id, base))) {
            base.1.child.clear();
            return Who::Base(base.0, ended.exited.status);
        }
        Who::Other
    }

    /// Horses that somebody waits for and that are not of `serving`.
    pub fn draining(&self, serving: GenerationId) -> usize {
        self.awaited().filter(|horse| horse.generation != serving).count()
    }

    /// Horses that somebody waits for: those with a job, and the spares.
    pub fn awaited_count(&self) -> usize {
        self.awaited().count()
    }

    /// The same, by generation.
    pub fn awaited_by_generation(&self) -> BTreeMap<GenerationId, usize> {
        self.awaited().fold(BTreeMap::new(), |mut counts, horse| {
            *counts.entry(horse.generation).or_default() += 1;
            counts
        })
    }

    fn awaited(&self) -> impl Iterator<Item = &HorseProcess> {
        // Whoever had it has dropped it, once it has answered or is not needed.
        let horses = self.horses.iter().filter(|(pid, _)| !self.starting.contains_key(pid));
        horses.map(|(_, horse)| horse).filter(|horse| !horse.exit.is_closed())
    }

    /// Whether nothing of the chain lives any more.
    pub fn is_empty(&self) -> bool {
        self.bases.is_empty() && self.generations.is_empty() && self.horses.is_empty()
    }

    /// Tells everything to end.
    pub fn hang_up(&mut self) {
        self.unborn.clear();
        self.starting.drain().for_each(|(_, (_, task))| task.abort());
        for child in self.generations.values_mut() {
            child.orders = None;
        }
        for base in self.bases.values_mut() {
            base.child.orders = None;
        }
    }

    /// Kills everything that lives.
    pub fn kill_all(&self) {
        self.horses.values().for_each(|horse| horse.presence.kill_group());
        self.generations.values().for_each(Child::kill);
        self.bases.values().for_each(|base| base.child.kill());
    }

    /// Gives a process its own task, which passes on what it says and what it is told.
    fn talk<M: DeserializeOwned + Send + 'static>(
        &mut self,
        mut link: Link,
        said: impl Fn(M) -> Input + Send + 'static,
        gone: impl FnOnce(LinkError) -> Input + Send + 'static,
    ) -> mpsc::Sender<Order> {
        let (sender, mut orders) = mpsc::channel::<Order>(ORDERS_MAX);
        let inputs = self.inputs.clone();
        self.talks.spawn(async move {
            let mut hung_up = false;
            let error = loop {
                tokio::select! {
                    order = orders.recv(), if !hung_up => {
                        let Some(order) = order else {
                            // What it was asked last it still answers.
                            link.hang_up().await;
                            hung_up = true;
                            continue;
                        };
                        if let Err(error) = link.send_bytes(&order.bytes, &order.fds).await {
                            break error;
                        }
                    }
                    message = link.receive::<M>() => match message {
                        Ok((message, _)) => if inputs.send(said(message)).await.is_err() { return },
                        Err(_) if hung_up => return,
                        Err(error) => break error,
                    },
                }
            };
            // The loop has ended; nobody needs to know.
            drop(inputs.send(gone(error)).await);
        });
        sender
    }
}

impl Child {
    fn kill(&self) {
        if let Some(presence) = &self.presence {
            presence.kill_group();
        }
    }

    fn clear(&self) {
        if let Some(presence) = &self.presence {
            presence.clear();
        }
    }
}

/// Queues a message. A full queue is a process that reads nothing: it is then as good as
/// gone, and its silence is noticed by the limits on what it was asked.
fn send(orders: &mpsc::Sender<Order>, header: &impl Serialize, fds: Vec<OwnedFd>) {
    if let Ok(bytes) = frame::encode(header, b"") {
        drop(orders.try_send(Order { bytes, fds }));
    }
}

/// A life line: our end, and the one for the process.
fn lifeline() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours.into(), theirs.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::forkserver::messages::FromGeneration;

    /// How its last horse died, for one.
    #[tokio::test]
    async fn what_is_said_after_we_have_hung_up_is_heard() {
        let (inputs, mut came) = mpsc::channel(1);
        let command = BaseCommand { python: PathBuf::new(), script: PathBuf::new() };
        let mut chain = Chain::new(command, inputs, None);
        let (link, theirs) = Link::pair().unwrap();
        let id = GenerationId(1);
        let said = move |message| Input::FromGeneration(id, message);
        drop(chain.talk(link, said, move |error| Input::GenerationGone(id, error)));
        let mut theirs = UnixStream::from(theirs);
        let end = tokio::task::spawn_blocking(move || {
            let end = theirs.read(&mut [0]).unwrap();
            let exited = serde_json::json!({"kind": "exited", "pid": 7, "status": 9});
            theirs.write_all(&frame::encode(&exited, b"").unwrap()).unwrap();
            end
        });
        assert_eq!(end.await.unwrap(), 0);
        let Some(Input::FromGeneration(_, FromGeneration::Exited { pid, how })) = came.recv().await
        else {
            panic!("something else came");
        };
        assert_eq!((pid, how), (7, Exited::with(9)));
        // It was told to end, so nobody has to know that it did.
        drop(chain);
        assert!(came.recv().await.is_none());
    }
}
