//! Commands from clients, brought to the slots they name.
//!
//! One connection per supervisor, whatever the number of slots. What is for a job goes to the
//! slot, which knows what it runs; a stop of a worker goes to the loop, which knows how far
//! stops have gone. A lost connection is made anew; what was published meanwhile is lost, as
//! with RQ.
//!
//! Invariant: a command to kill the horse that an idle worker got never reaches its next job,
//! although jobs come on another connection than commands (see [`Mailbox::catch_up`]).

use std::collections::BTreeMap;
use std::time::Duration;

use rq::{Client, Command, Received, Subscription, WorkerName};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::event::{Event, Reporter};
use crate::input::{Input, StopCause};

/// Commands that may wait for one slot; what comes on top is dropped.
pub const COMMANDS_MAX: usize = 64;
/// Requests of slots that may wait.
const REQUESTS_MAX: usize = 64;
/// How long a slot waits for commands that were published before it looks for a job.
const CATCH_UP_MAX: Duration = Duration::from_millis(200);
/// First pause after the connection was lost; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a slot is told about its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobCommand {
    /// Kill the horse; the job has failed.
    KillHorse,
    /// Stop this job.
    StopJob(rq::JobId),
    /// Stop this execution.
    StopExecution(rq::ExecutionId),
}

/// Where a slot finds its commands.
#[derive(Debug)]
pub struct Mailbox {
    commands: mpsc::Receiver<JobCommand>,
    requests: mpsc::Sender<Request>,
}

impl Mailbox {
    /// Waits until all that was published before now has come, or the connection is lost.
    pub async fn catch_up(&self) {
        let (done, caught_up) = oneshot::channel();
        // If the task is gone, the process is ending.
        drop(self.requests.send(Request::CatchUp(done)).await);
        // Commands are no reason for jobs to wait long.
        drop(tokio::time::timeout(CATCH_UP_MAX, caught_up).await);
    }

    /// The next command; waits for ever when none can come any more. Safe to cancel.
    pub async fn next(&mut self) -> JobCommand {
        match self.commands.recv().await {
            Some(command) => command,
            None => std::future::pending().await,
        }
    }

    /// A command that is there already.
    pub fn waiting(&mut self) -> Option<JobCommand> {
        self.commands.try_recv().ok()
    }
}

/// The task that listens.
#[derive(Debug)]
pub struct Commands {
    requests: mpsc::Sender<Request>,
    _tasks: JoinSet<()>,
}

/// What slots ask of the task.
#[derive(Debug)]
enum Request {
    /// Listen for commands to this worker.
    Listen(Listener),
    /// Bring what was published until now, and then say so.
    CatchUp(oneshot::Sender<()>),
}

/// A slot that wants its commands.
#[derive(Debug)]
struct Listener {
    worker: WorkerName,
    mailbox: mpsc::Sender<JobCommand>,
    /// Told when commands come through; an unreachable Redis does not hold a slot up.
    listening: oneshot::Sender<()>,
}

impl Commands {
    /// Starts to listen, to nobody yet.
    pub fn start(client: Client, inputs: mpsc::Sender<Input>, reporter: Reporter) -> Self {
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let mut tasks = JoinSet::new();
        let task = Task { client, inputs, reporter, asked, mailboxes: BTreeMap::new() };
        tasks.spawn(task.run());
        Self { requests, _tasks: tasks }
    }

    /// A mailbox that nothing comes into yet.
    pub fn mailbox(&self) -> Mailbox {
        let (_, commands) = mpsc::channel(1);
        Mailbox { commands, requests: self.requests.clone() }
    }

    /// From now on commands to this worker come into its mailbox, for as long as it is kept.
    pub async fn listen(&self, worker: WorkerName) -> Mailbox {
        let (mailbox, commands) = mpsc::channel(COMMANDS_MAX);
        let (listening, listens) = oneshot::channel();
        let listener = Listener { worker, mailbox, listening };
        // If the task is gone, the process is ending.
        drop(self.requests.send(Request::Listen(listener)).await);
        drop(listens.await);
        Mailbox { commands, requests: self.requests.clone() }
    }
}

struct Task {
    client: Client,
    inputs: mpsc::Sender<Input>,
    reporter: Reporter,
    asked: mpsc::Receiver<Request>,
    mailboxes: BTreeMap<WorkerName, mpsc::Sender<JobCommand>>,
}

impl Task {
    async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let error = match self.subscribe().await {
                Ok(mut subscription) => {
                    pause = PAUSE;
                    match self.serve(&mut subscription).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if pause == PAUSE {
                let text = format!("commands cannot be received: {error}");
                (self.reporter)(&Event::Detail(text));
            }
            if !self.rest(pause).await {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// A new connection that listens to all who are known.
    async fn subscribe(&mut self) -> Result<Subscription, rq::Error> {
        let mut subscription = self.client.subscribe().await?;
        self.mailboxes.retain(|_, mailbox| !mailbox.is_closed());
        for worker in self.mailboxes.keys() {
            subscription.add(worker).await?;
        }
        Ok(subscription)
    }

    /// Brings commands until the connection is lost, or nobody will ever listen again.
    async fn serve(&mut self, subscription: &mut Subscription) -> Result<(), rq::Error> {
        loop {
            tokio::select! {
                request = self.asked.recv() => match request {
                    Some(Request::Listen(Listener { worker, mailbox, listening })) => {
                        self.forget_ended(subscription).await?;
                        self.mailboxes.insert(worker.clone(), mailbox);
                        subscription.add(&worker).await?;
                        // A slot that gave up waiting is on its way out.
                        let _ = listening.send(());
                    }
                    Some(Request::CatchUp(done)) => {
                        let caught_up = subscription.catch_up().await;
                        while let Some(received) = subscription.came() {
                            self.bring(received).await;
                        }
                        // A slot that gave up waiting goes on without.
                        let _ = done.send(());
                        caught_up?;
                    }
                    None => return Ok(()),
                },
                received = subscription.next() => self.bring(received?).await,
            }
        }
    }

    async fn forget_ended(&mut self, subscription: &mut Subscription) -> Result<(), rq::Error> {
        let ended = self.mailboxes.iter().filter(|(_, mailbox)| mailbox.is_closed());
        let ended: Vec<_> = ended.map(|(worker, _)| worker.clone()).collect();
        for worker in ended {
            self.mailboxes.remove(&worker);
            subscription.remove(&worker).await?;
        }
        Ok(())
    }

    /// Waits before the next attempt; new listeners are taken note of. False: nobody is left.
    async fn rest(&mut self, pause: Duration) -> bool {
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return true,
                request = self.asked.recv() => match request {
                    Some(Request::Listen(Listener { worker, mailbox, listening })) => {
                        self.mailboxes.insert(worker, mailbox);
                        let _ = listening.send(());
                    }
                    // What was published is lost.
                    Some(Request::CatchUp(done)) => {
                        let _ = done.send(());
                    }
                    None => return false,
                },
            }
        }
    }

    async fn bring(&mut self, Received { worker, command }: Received) {
        let job_command = match command {
            Ok(Command::Shutdown) => {
                // The loop outlives this task; if it is gone, the process is ending.
                return drop(self.inputs.send(Input::StopSlot(worker, StopCause::Command)).await);
            }
            Ok(Command::KillHorse) => JobCommand::KillHorse,
            Ok(Command::StopJob(job)) => JobCommand::StopJob(job),
            Ok(Command::StopExecution(execution)) => JobCommand::StopExecution(execution),
            Err(error) => {
                let text = format!("a command to worker {worker} is ignored: {error}");
                return (self.reporter)(&Event::Warning(text));
            }
        };
        let mailbox = self.mailboxes.get(&worker);
        let full = |mailbox: &mpsc::Sender<JobCommand>| {
            matches!(mailbox.try_send(job_command.clone()), Err(TrySendError::Full(_)))
        };
        if mailbox.is_some_and(full) {
            let text = format!("a command to worker {worker} is dropped: too many are waiting");
            (self.reporter)(&Event::Warning(text));
        }
    }
}
