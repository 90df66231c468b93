//! A slot: one RQ worker record and the loop behind it.
//!
//! Straight-line work: take a job, stand at the barrier, run it on a horse, record the end
//! (and take the next in the same script), again. What interleaves is decided elsewhere:
//! deadlines in [`machine`], stops in `shutdown.rs`, generations in `reload/`.
//!
//! Invariants:
//! * A request to Redis that takes a job is never dropped before it is answered.
//! * A job that was taken is finished, or released, whatever comes in between.

pub mod commands;
pub mod death;
pub mod errand;
pub mod horse;
pub mod machine;
pub mod memory;
pub mod oom;
pub mod outcome;
pub mod persist;
mod pulse;
mod ride;
mod running;
pub mod stand_in;
pub mod strategy;
pub mod trial;
pub mod wakeups;
pub mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rq::{
    Client, Code, ExecutionId, Finish, FinishReply, OnFailure, RegisterError, StartReply,
    StartRequest, Started, WorkerBirth, WorkerState,
};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{mpsc, watch};

use self::commands::{Commands, Mailbox};
use self::death::Death;
use self::oom::OomWatch;
use self::outcome::{Doom, Outcome, Record};
use self::persist::Outage;
use self::running::{Passage, Run};
use self::strategy::QueueOrder;
use self::wakeups::Wakeups;
use self::webhooks::{Due, Webhooks};
use crate::clock::{self, Moment};
use crate::event::{Event, JobEnd, Reporter, WorkerEnd};
use crate::forkserver::reaper::Exited;
use crate::incarnation::Incarnation;
use crate::input::{Grant, Input};
use crate::reload::machine::Wish;
use crate::settings::Settings;
use crate::shutdown::Phase;

/// How often a suspended slot looks again (as RQ).
pub const SUSPENDED_PAUSE: Duration = Duration::from_secs(1);
/// How long the answer of a horse that has ended may still be on its way.
pub const ANSWER_GRACE: Duration = Duration::from_millis(200);
/// How long it may take to note in a worker's record that it is to stop: a running job waits for that.
const NOTE_STOP_MAX: Duration = Duration::from_secs(2);
/// How long a stop leaves a job at the barrier before it is put back.
pub const STOP_AT_BARRIER_MAX: Duration = Duration::from_secs(5);
/// How long after a stop an answer is waited for that may say that a job was taken.
pub const UNANSWERED_START_MAX: Duration = Duration::from_secs(10);
/// How long Redis may take to note that a worker has ended.
pub const DEATH_MAX: Duration = Duration::from_secs(5);
/// Horses that may die before they were given their job, in a row.
pub const HORSES_PER_JOB_MAX: u32 = 5;

/// Raw wait status of a process that was killed.
const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();

/// What the loop tells all slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// How far a stop has gone.
    pub phase: Phase,
    /// The code that serves; none: no jobs may be taken, because none serves, or jobs are held.
    pub open: Option<Code>,
}

/// Waits until a stop has gone at least this far.
pub async fn reached(orders: &watch::Receiver<Orders>, phase: Phase) {
    // A sender that is gone means that the loop is: as far as it gets.
    let _reached = orders.clone().wait_for(|orders| phase <= orders.phase).await.is_ok();
}

/// What all slots share.
#[derive(Clone)]
pub struct Shared {
    /// Redis.
    pub client: Client,
    /// To the loop.
    pub inputs: mpsc::Sender<Input>,
    /// From the loop.
    pub orders: watch::Receiver<Orders>,
    /// Wakes idle slots; none for a burst, which never waits.
    pub wakeups: Option<Arc<Wakeups>>,
    /// Commands from clients.
    pub commands: Arc<Commands>,
    /// To the front ends.
    pub reporter: Reporter,
    /// The connection's state.
    pub outage: Outage,
    /// The numbers.
    pub settings: Arc<Settings>,
    /// What the kernel kills.
    pub oom: Arc<OomWatch>,
    /// This run of the supervisor.
    pub incarnation: Arc<Incarnation>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared") // the reporter is a closure
    }
}

impl Shared {
    /// Sends a request until it is answered, or a stop makes it needless.
    pub async fn ask<T, F: Future<Output = Result<T, rq::Error>>>(
        &self,
        what: &str,
        request: impl Fn() -> F,
    ) -> Option<T> {
        self.outage.insist(&self.orders, Phase::Warm, what, request).await
    }

    /// The same for a step of upkeep: what it meets will not change by itself, so a refusal is said and
    /// not asked for again, unlike an answer that was lost.
    pub async fn ask_once<T, F: Future<Output = Result<T, rq::Error>>>(
        &self,
        what: &str,
        request: impl Fn() -> F,
    ) -> Option<T> {
        let once = || async {
            match request().await {
                Err(error) if !error.is_outage() => Ok(Err(error)),
                answer => answer.map(Ok),
            }
        };
        match self.ask(what, once).await? {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.warn(format!("maintenance cannot {what}: {error}"));
                None
            }
        }
    }

    /// Tells the loop.
    pub async fn tell(&self, input: Input) {
        // The loop outlives its tasks; if it is gone, the process is ending.
        drop(self.inputs.send(input).await);
    }

    /// Tells the front ends.
    pub fn report(&self, event: &Event) {
        (self.reporter)(event);
    }

    /// Tells people what they should know.
    pub fn warn(&self, text: String) {
        self.report(&Event::Warning(text));
    }
}

/// One slot.
#[expect(missing_debug_implementations, reason = "it holds what all share")]
pub struct Slot {
    shared: Shared,
    /// What clients tell this worker; it listens from its registration on.
    commands: Mailbox,
    birth: WorkerBirth,
    order: QueueOrder,
    jobs_run: u64,
    /// The number of the last request about jobs.
    number: u64,
    next_heartbeat: Moment,
    /// Outages of Redis after which the record was looked after.
    outages_met: u64,
    /// The end of its last job could not be recorded.
    has_left_job: bool,
    webhooks: Webhooks,
}

enum Take {
    Job(Box<Started>),
    End(WorkerEnd),
}

impl Slot {
    /// A slot with this worker record; nothing is written yet.
    pub fn new(shared: Shared, birth: WorkerBirth) -> Self {
        // Nobody sends anything before it is registered.
        let commands = shared.commands.mailbox();
        let order =
            QueueOrder::new(shared.settings.strategy, birth.queues.clone(), Moment::now().nanos());
        let (next_heartbeat, webhooks) = (Moment::now(), Webhooks::default());
        Self {
            shared,
            commands,
            birth,
            order,
            jobs_run: 0,
            number: 0,
            next_heartbeat,
            outages_met: 0,
            has_left_job: false,
            webhooks,
        }
    }

    /// Registers, works until told otherwise, and registers the worker's death. It fails only if
    /// it cannot be registered.
    pub async fn run(mut self) -> Result<WorkerEnd, RegisterError> {
        // An outage is waited for: a worker of a pool may be born in one.
        let register = || async {
            match self.shared.client.register(&self.birth, clock::wall()).await {
                Err(RegisterError::Redis(error)) if error.is_outage() => Err(error),
                result => Ok(result),
            }
        };
        match self.ask("register a worker", register).await {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(error),
            None => return Ok(WorkerEnd::Stopped),
        }
        self.shared.client.introduce(&self.birth.name).await;
        self.commands = self.shared.commands.listen(self.birth.name.clone()).await;
        self.tell(Input::SlotReady).await;
        let mut next = None;
        let end = loop {
            let job = match next.take() {
                Some(job) => job,
                None => match self.take().await {
                    Take::Job(job) => job,
                    Take::End(end) => break end,
                },
            };
            next = self.execute(&job).await;
        };
        self.report(&Event::WorkerEnded { worker: self.birth.name.clone(), end });
        self.webhooks.settle(&self.shared).await;
        if self.has_left_job {
            // Its record leads the next worker to the job, as that of a worker that was killed.
            return Ok(end);
        }
        // Best effort: an unreachable Redis forgets the record when its time to live is over.
        let death = || self.shared.client.death(&self.birth, clock::wall());
        let noted = self.insist("record the end of a worker", death);
        if !matches!(tokio::time::timeout(DEATH_MAX, noted).await, Ok(Some(()))) {
            let name = &self.birth.name;
            self.shared.warn(format!("the end of worker {name} could not be recorded"));
        }
        Ok(end)
    }

    /// Waits for a job.
    async fn take(&mut self) -> Take {
        let mut idle_since = Moment::now();
        loop {
            let orders = *self.shared.orders.borrow_and_update();
            if Phase::Running < orders.phase {
                return Take::End(WorkerEnd::Stopped);
            }
            if self.has_run_enough() {
                return Take::End(WorkerEnd::MaxJobs(self.jobs_run));
            }
            let Some(code) = orders.open else {
                self.rest(None, None).await;
                idle_since = Moment::now();
                continue;
            };
            let outages = self.shared.outage.count();
            if self.outages_met < outages {
                // Redis may have come back without our record.
                self.outages_met = outages;
                self.heartbeat(WorkerState::Idle).await;
            }
            // Listening begins before looking, so that a push in between is not missed.
            let woken = self.shared.wakeups.as_ref().map(|wakeups| wakeups.listen());
            self.commands.catch_up().await;
            match self.start(code).await {
                Some(StartReply::Job(job)) => return Take::Job(job),
                Some(StartReply::Suspended) => {
                    if self.shared.settings.burst {
                        return Take::End(WorkerEnd::Suspended);
                    }
                    self.suspended().await;
                    idle_since = Moment::now();
                }
                Some(StartReply::Empty) if self.shared.settings.burst => {
                    return Take::End(WorkerEnd::Drained);
                }
                Some(StartReply::Empty) => {
                    let max_idle_time = self.shared.settings.max_idle_time;
                    let idle_until = max_idle_time.map(|most| idle_since + most);
                    if let Some(most) = max_idle_time
                        && idle_since + most <= Moment::now()
                    {
                        return Take::End(WorkerEnd::MaxIdleTime(most));
                    }
                    if let Some(wakeups) = &self.shared.wakeups {
                        wakeups.arm();
                    }
                    self.rest(woken, idle_until).await;
                }
                None => self.rest(None, None).await,
            }
        }
    }

    /// Waits for a push, for other orders, until the next heartbeat is due, or for at most so long.
    async fn rest(&mut self, woken: Option<OwnedNotified>, until: Option<Moment>) {
        let woken = async {
            match woken {
                Some(woken) => woken.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = woken => {}
            _ = self.shared.orders.changed() => {}
            command = self.commands.next() => self.ignore(&command),
            () = clock::sleep_until(until) => {}
            () = clock::sleep_until(Some(self.next_heartbeat)) => self.heartbeat(WorkerState::Idle).await,
        }
    }

    async fn suspended(&mut self) {
        self.report(&Event::Suspended(true));
        loop {
            self.heartbeat(WorkerState::Suspended).await;
            tokio::select! {
                () = tokio::time::sleep(SUSPENDED_PAUSE) => {}
                () = reached(&self.shared.orders, Phase::Warm) => return,
            }
            if let Ok(false) = self.shared.client.is_suspended().await {
                return self.report(&Event::Suspended(false));
            }
        }
    }

    async fn heartbeat(&mut self, state: WorkerState) {
        self.next_heartbeat = Moment::now() + self.shared.settings.idle_heartbeat_interval();
        let beat = || self.shared.client.heartbeat(&self.birth, state, clock::wall());
        if self.ask("store a heartbeat", beat).await == Some(true) {
            self.report(&Event::Registered { worker: self.birth.name.clone() });
        }
    }

    /// Asks for a job. The same request is sent until it is answered.
    async fn start(&mut self, code: Code) -> Option<StartReply> {
        self.next_heartbeat = Moment::now() + self.shared.settings.idle_heartbeat_interval();
        let request = self.start_request(code);
        let perhaps = AtomicBool::new(false);
        let send = || async {
            // Also if it is not answered before a stop gives it up.
            let before = perhaps.swap(true, Ordering::Relaxed);
            let reply = self.shared.client.start(&request).await;
            if reply.as_ref().is_err_and(|error| !error.may_be_carried_out()) {
                perhaps.store(before, Ordering::Relaxed);
            }
            reply
        };
        let reply = self.ask("start a job", send).await;
        if reply.is_some() || !perhaps.load(Ordering::Relaxed) {
            return reply;
        }
        // A stop has come. A job that was taken must be known, to be put back.
        let learn = self.insist("learn whether a job was taken", send);
        tokio::time::timeout(UNANSWERED_START_MAX, learn).await.ok().flatten()
    }

    fn start_request(&mut self, code: Code) -> StartRequest {
        // What came before the next job does not mean it.
        while let Some(command) = self.commands.waiting() {
            self.ignore(&command);
        }
        StartRequest {
            worker: self.birth.name.clone(),
            queues: self.order.queues().to_vec(),
            execution: ExecutionId::random(),
            number: self.next_number(),
            code,
            now: clock::wall(),
            monitoring_interval: self.shared.settings.monitoring_interval,
            worker_ttl: self.shared.settings.worker_ttl,
        }
    }

    /// Higher than all before, also than those of a worker that had the name before.
    fn next_number(&mut self) -> u64 {
        let now = u64::try_from(clock::wall().micros()).unwrap_or_default();
        self.number = now.max(self.number + 1);
        self.number
    }

    /// Runs a job that was taken; returns the next one if it came with the end of this.
    async fn execute(&mut self, job: &Started) -> Option<Box<Started>> {
        self.order.taken_from(&job.queue);
        let parsed = match job.parse() {
            Ok(parsed) => parsed,
            Err(refusal) => {
                let description = job.hash.text("description").unwrap_or_default().into_owned();
                return self
                    .conclude(job, &description, Outcome::Refused(refusal), Moment::now())
                    .await;
            }
        };
        let mut wish = Wish::Job;
        let mut horses = 0;
        while horses < HORSES_PER_JOB_MAX {
            let (horse, ticket) = match self.stand_at_the_barrier(job, wish).await {
                Passage::Granted(Grant::Horse(horse, ticket)) => (*horse, ticket),
                Passage::Granted(Grant::Hold) => {
                    return self.release(job, "the newest code is broken and jobs are held").await;
                }
                Passage::Stopping => return self.release(job, "a stop was asked for").await,
                Passage::JobStopped => {
                    let outcome = self.stopped(job, &parsed, clock::wall()).await;
                    return self.conclude(job, &parsed.description, outcome, Moment::now()).await;
                }
                Passage::HorseKilled => {
                    // As if it had been there already.
                    let exited = Some(Exited::with(SIGKILL));
                    let death = Death { exited, why: Some(Doom::KillHorse), account: None };
                    let outcome = Outcome::died(death, clock::wall());
                    return self.conclude(job, &parsed.description, outcome, Moment::now()).await;
                }
            };
            let began = Moment::now();
            match self.run_on((horse, ticket), job, &parsed).await {
                Run::Ended(outcome) => {
                    return self.conclude(job, &parsed.description, outcome, began).await;
                }
                Run::HorseWasDead => horses += 1,
                // Only a horse that has run a job does, and it ends: there are not many.
                Run::Declined => {}
                Run::Unknown(generation) => {
                    horses += 1;
                    // Once to another; if that does not know it either it fails where it belongs.
                    wish = match wish {
                        Wish::Job => Wish::OtherThan(generation),
                        Wish::OtherThan(_) | Wish::Settled => Wish::Settled,
                    };
                }
            }
        }
        let death = Death { exited: None, why: None, account: None };
        let outcome = Outcome::died(death, clock::wall());
        self.conclude(job, &parsed.description, outcome, Moment::now()).await
    }

    /// Records the end of an execution and, if this slot goes on, takes the next job with it.
    async fn conclude(
        &mut self,
        job: &Started,
        description: &str,
        outcome: Outcome,
        began: Moment,
    ) -> Option<Box<Started>> {
        self.jobs_run += 1;
        let on_failure =
            if outcome.is_lost() { self.shared.settings.on_lost } else { OnFailure::Retry };
        let mut record = outcome.into_record(clock::wall());
        if self.shared.settings.hooks.worker_class.is_some() {
            record = record.by_rqs_code();
        }
        let Record { ending, meta, changed, started_at, ended_at, failure } = record;
        let orders = *self.shared.orders.borrow();
        let goes_on = orders.phase == Phase::Running && !self.has_run_enough();
        let next = orders.open.filter(|_| goes_on).map(|code| self.start_request(code));
        let number = next.as_ref().map_or_else(|| self.next_number(), |next| next.number);
        let finish = Finish {
            job,
            number,
            started_at,
            ended_at,
            ending,
            default_result_ttl: self.shared.settings.result_ttl,
            failure_leaves: self.shared.settings.failure_leaves,
            on_failure,
            changed,
            meta,
        };
        let send = || self.shared.client.finish(&finish, next.as_ref());
        let reply = self.insist("record the end of a job", send).await;
        self.next_heartbeat = Moment::now() + self.shared.settings.idle_heartbeat_interval();
        self.has_left_job = reply.is_none();
        let Some(FinishReply { how, next }) = reply else {
            self.report(&Event::Warning(format!(
                "the end of job {} could not be recorded; it is left to the next worker on this host",
                job.job
            )));
            return None;
        };
        if let Some(due) = Due::after(&finish, how) {
            self.webhooks.send(due, &self.shared).await;
        }
        let how = outcome::job_end(how, &finish.ending, failure);
        let finished = matches!(how, JobEnd::Finished | JobEnd::Repeated { .. });
        self.tell(Input::JobEnded { finished }).await;
        self.report(&Event::JobEnded {
            worker: self.birth.name.clone(),
            job: job.job.clone(),
            description: description.to_owned(),
            how,
            queue: job.queue.clone(),
            took: Moment::now().since(began),
            result_ttl: job.result_ttl().unwrap_or(self.shared.settings.result_ttl),
        });
        match next {
            Some(StartReply::Job(job)) => Some(job),
            Some(StartReply::Empty | StartReply::Suspended) | None => None,
        }
    }

    /// Puts a job that has not begun back to the front of its queue.
    async fn release(&mut self, job: &Started, why: &'static str) -> Option<Box<Started>> {
        let name = self.birth.name.clone();
        let send = || self.shared.client.release(&name, job, clock::wall());
        if self.insist("put a job back", send).await.is_some() {
            self.report(&Event::JobReleased { job: job.job.clone(), why });
        }
        None
    }

    fn has_run_enough(&self) -> bool {
        self.shared.settings.max_jobs.is_some_and(|most| most <= self.jobs_run)
    }

    /// Sends a request until it is answered, or a stop makes it needless.
    async fn ask<T, F: Future<Output = Result<T, rq::Error>>>(
        &self,
        what: &str,
        request: impl Fn() -> F,
    ) -> Option<T> {
        self.shared.ask(what, request).await
    }

    /// Sends a request about a job that this slot holds, until it is answered; only a cold stop
    /// ends that.
    async fn insist<T, F: Future<Output = Result<T, rq::Error>>>(
        &self,
        what: &str,
        request: impl Fn() -> F,
    ) -> Option<T> {
        self.shared.outage.insist(&self.shared.orders, Phase::Cold, what, request).await
    }

    async fn tell(&self, input: Input) {
        self.shared.tell(input).await;
    }

    fn report(&self, event: &Event) {
        self.shared.report(event);
    }
}
