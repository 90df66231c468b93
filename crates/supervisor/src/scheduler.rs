//! The scheduler: one for a supervisor, which puts scheduled jobs on their queues when they are due.
//!
//! It serves the queues whose locks it holds, and asks for the others from time to time. A stop
//! ends it at once: its locks are given back, so that another scheduler can go on.

use std::time::Duration;

use rq::{Held, Lock, MOVED_MAX, QueueName, SchedulerBirth};

use crate::clock::{self, Moment};
use crate::event::Event;
use crate::input::Input;
use crate::shutdown::Phase;
use crate::worker::{Shared, reached};

/// Longest time between two looks (as RQ).
pub const INTERVAL: Duration = Duration::from_secs(1);
/// How long after an attempt locks that are missing are asked for again (as RQ).
pub const MISSING_LOCKS_AFTER: Duration = Duration::from_mins(2);

/// The scheduler of a supervisor.
#[derive(Debug)]
pub struct Scheduler {
    shared: Shared,
    birth: SchedulerBirth,
    /// Queues whose locks it holds.
    held: Vec<QueueName>,
    /// When it last asked for all locks.
    asked_at: Option<Moment>,
}

impl Scheduler {
    /// A scheduler for the queues of the settings; nothing is written yet.
    pub fn new(shared: Shared, hostname: String) -> Self {
        let mut queues = shared.settings.queues.clone();
        queues.sort();
        queues.dedup();
        let birth = SchedulerBirth {
            name: SchedulerBirth::random_name(),
            queues,
            pid: std::process::id(),
            run: shared.incarnation.text(),
            hostname,
            born: clock::wall(),
        };
        Self { shared, birth, held: Vec::new(), asked_at: None }
    }

    /// Works until a stop; for a burst, once.
    pub async fn run(mut self) {
        let mut pause = self.pass().await;
        self.shared.tell(Input::UpkeepPrepared).await;
        while !self.shared.settings.burst {
            tokio::select! {
                () = reached(&self.shared.orders, Phase::Warm) => break,
                () = tokio::time::sleep(pause) => pause = self.pass().await,
            }
        }
        self.release().await;
    }

    /// Looks once; returns when to look again.
    async fn pass(&mut self) -> Duration {
        let queues = self.queues_to_lock();
        if queues.is_empty() {
            return INTERVAL;
        }
        let client = &self.shared.client;
        let lock = || client.hold_locks(&self.birth, &queues, clock::wall());
        let Some(answers) = self.shared.ask("keep the locks of the scheduler", lock).await else {
            return INTERVAL;
        };
        let mut pause = INTERVAL;
        for (queue, held) in queues.iter().zip(&answers) {
            self.note(queue, held.lock);
            if held.lock != Lock::Foreign {
                pause = pause.min(self.enqueue_due(queue, *held).await);
            }
        }
        pause
    }

    fn queues_to_lock(&mut self) -> Vec<QueueName> {
        let now = Moment::now();
        let asked = self.asked_at.is_some_and(|at| now.since(at) < MISSING_LOCKS_AFTER);
        if asked || self.held.len() == self.birth.queues.len() {
            return self.held.clone();
        }
        self.asked_at = Some(now);
        self.birth.queues.clone()
    }

    fn note(&mut self, queue: &QueueName, lock: Lock) {
        let had = self.held.contains(queue);
        match lock {
            Lock::New if had => self
                .shared
                .warn(format!("the scheduler's lock for {queue} had expired and was taken again")),
            Lock::New => self.shared.report(&Event::SchedulerLocked { queue: queue.clone() }),
            Lock::Foreign if had => self.shared.warn(format!(
                "the scheduler's lock for {queue} was taken over by another scheduler"
            )),
            Lock::Kept | Lock::Foreign => {}
        }
        self.held.retain(|other| other != queue);
        if lock != Lock::Foreign {
            self.held.push(queue.clone());
        }
    }

    /// Moves what is due; returns when the next job is.
    async fn enqueue_due(&self, queue: &QueueName, held: Held) -> Duration {
        let Some(due) = held.next_due else { return INTERVAL };
        let now = clock::wall().micros() as f64 / 1_000_000.0;
        if now < due {
            return Duration::from_secs_f64((due - now).min(INTERVAL.as_secs_f64()));
        }
        loop {
            let client = &self.shared.client;
            let enqueue = || client.enqueue_due(queue, clock::wall());
            let moved = self.shared.ask("put scheduled jobs on their queue", enqueue).await;
            let stopped = Phase::Running < self.shared.orders.borrow().phase;
            if stopped || moved.is_none_or(|moved| moved < MOVED_MAX) {
                return INTERVAL;
            }
        }
    }

    /// Best effort: without Redis the locks end when their time is over.
    async fn release(&self) {
        if self.held.is_empty() {
            return;
        }
        let release = || self.shared.client.release_locks(&self.birth.name, &self.birth.queues);
        self.shared.ask("give the locks of the scheduler back", release).await;
    }
}
