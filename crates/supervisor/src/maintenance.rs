//! Maintenance: at start and from time to time, one queue after the other, beside the slots.
//!
//! What is done is in `rq`, in steps that may race with other workers; the lock of a queue only
//! keeps them from doing the same work. Jobs that were abandoned have callbacks and handlers: they
//! run in Python, as an errand, before what becomes of the job is written.
//!
//! Invariant: a lock that was taken is given back whatever comes in between; without Redis it ends
//! by itself.

use std::time::Duration;

use rq::{Abandoned, Blocked, GaveUp, JobHash, QueueName};

use crate::clock;
use crate::event::Event;
use crate::forkserver::messages::Purpose;
use crate::input::Input;
use crate::recovery;
use crate::shutdown::Phase;
use crate::worker::errand::{self, Errand, ErrandError};
use crate::worker::webhooks::Due;
use crate::worker::{SUSPENDED_PAUSE, Shared, reached};

/// RQ's timeout for callbacks that give none.
const CALLBACK_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the exception handlers of an abandoned job may take.
const HANDLERS_MAX: Duration = Duration::from_mins(1);

/// The maintenance of a supervisor.
#[derive(Debug)]
pub struct Maintenance {
    shared: Shared,
}

impl Maintenance {
    /// Maintenance of the queues of the settings; nothing is done yet.
    pub fn new(shared: Shared) -> Self {
        Self { shared }
    }

    /// Works until a stop; for a burst, once.
    pub async fn run(self) {
        let interval = self.shared.settings.maintenance_interval;
        loop {
            let suspended = self.shared.client.is_suspended().await.unwrap_or(false);
            if !suspended {
                self.pass().await;
            }
            self.shared.tell(Input::UpkeepPrepared).await;
            if self.shared.settings.burst {
                return;
            }
            tokio::select! {
                () = reached(&self.shared.orders, Phase::Warm) => return,
                () = tokio::time::sleep(if suspended { SUSPENDED_PAUSE } else { interval }) => {}
            }
        }
    }

    async fn pass(&self) {
        recovery::recover(&self.shared).await;
        let run = self.shared.incarnation.text();
        for queue in &self.shared.settings.queues {
            self.warn_if_blocked(queue).await;
            let lock = || self.shared.client.lock_registries(queue, &run);
            if self.step("lock the registries", lock).await == Some(true) {
                let (worker, queue) = (self.shared.settings.workers[0].clone(), queue.clone());
                self.shared.report(&Event::CleaningRegistries { worker, queue: queue.clone() });
                self.clean(&queue).await;
                let unlock = || self.shared.client.unlock_registries(&queue);
                self.step("unlock the registries", unlock).await;
            }
        }
        let interval = self.shared.settings.maintenance_interval;
        if self.step("lock the groups", || self.shared.client.lock_groups(interval)).await
            == Some(true)
        {
            self.shared.report(&Event::CleaningGroups);
            self.step("clean the groups", || self.shared.client.clean_groups()).await;
        }
    }

    /// A queue from which nothing can be taken would look as if it were empty.
    async fn warn_if_blocked(&self, queue: &QueueName) {
        let look = || self.shared.client.blocked(queue);
        if let Some(Some(Blocked { key, found, wanted })) = self.step("look at a queue", look).await
        {
            self.shared.warn(format!(
                "no job of queue {queue} can run: in Redis the key {key} is a {found}, not a {wanted}; \
                 delete or rename it"
            ));
        }
    }

    /// A step that Redis refuses is said, and the next ones go on.
    async fn clean(&self, queue: &QueueName) {
        let (client, worker) = (&self.shared.client, &self.shared.settings.workers[0]);
        let drop_expired = || client.drop_expired(queue, clock::wall());
        self.step("drop what is no longer kept", drop_expired).await;
        self.give_up_abandoned(queue).await;
        let enqueue_ready = || client.enqueue_ready(queue, clock::wall());
        self.step("put dependents on their queue", enqueue_ready).await;
        let mend = || client.mend_rate_limits(clock::wall());
        self.step("mend the rate limits", mend).await;
        self.step("forget dead workers", || client.forget_dead_workers(queue)).await;
        let give_up_stuck = || client.give_up_stuck(queue, worker, clock::wall());
        for gave_up in
            self.step("look after the intermediate list", give_up_stuck).await.unwrap_or_default()
        {
            self.gave_up(gave_up).await;
        }
    }

    async fn give_up_abandoned(&self, queue: &QueueName) {
        let (client, on_lost) = (&self.shared.client, self.shared.settings.on_lost);
        let mut skip = 0;
        loop {
            let look = || client.expired_executions(queue, skip, clock::wall());
            let Some(expired) = self.step("look for abandoned jobs", look).await else { return };
            for abandoned in expired.abandoned {
                if self.is_stopping() {
                    return;
                }
                // Without code that could run its callbacks a job waits for the next time.
                if !self.run_callbacks(&abandoned).await {
                    skip += 1;
                    continue;
                }
                let abandon = || client.abandon(&abandoned, on_lost, clock::wall());
                match self.step("give up an abandoned job", abandon).await {
                    Some(Some(gave_up)) => self.gave_up(gave_up).await,
                    Some(None) => {}
                    None => skip += 1,
                }
            }
            if !expired.more {
                return;
            }
        }
    }

    /// Calls what is to be called for an abandoned job; false if that cannot be done now.
    async fn run_callbacks(&self, abandoned: &Abandoned) -> bool {
        let Some(timeout) = self.callbacks_timeout(&abandoned.hash) else { return true };
        let errand = Errand {
            purpose: &Purpose::Abandoned,
            job: &abandoned.job,
            hash: &abandoned.hash,
            worker: &self.shared.settings.workers[0],
            timeout,
        };
        match errand::run(errand, &self.shared.inputs, &self.shared.orders).await {
            Ok(problems) => {
                for problem in problems {
                    self.warn_of(abandoned, &problem);
                }
                true
            }
            Err(ErrandError::Held | ErrandError::Stopped) => false,
            Err(error) => {
                self.warn_of(abandoned, &error.to_string());
                true
            }
        }
    }

    fn warn_of(&self, abandoned: &Abandoned, problem: &str) {
        let job = &abandoned.job;
        self.shared.warn(format!("what is called for abandoned job {job} raised: {problem}"));
    }

    async fn gave_up(&self, gave_up: GaveUp) {
        let worker = &self.shared.settings.workers[0];
        let due = Due::after_giving_up(&gave_up, worker, clock::wall());
        let GaveUp { job, how, text, .. } = gave_up;
        self.shared.report(&Event::JobGivenUp { job, how, text });
        if let Some(due) = due {
            due.send(self.shared.clone()).await;
        }
    }

    /// One step, sent until Redis answers. None: Redis refused it, which was said, or a stop came.
    async fn step<T, F: Future<Output = Result<T, rq::Error>>>(
        &self,
        what: &str,
        request: impl Fn() -> F,
    ) -> Option<T> {
        self.shared.ask_once(what, request).await
    }

    /// How long what is to be called for an abandoned job may take; none if there is nothing.
    fn callbacks_timeout(&self, hash: &JobHash) -> Option<Duration> {
        let handlers = !self.shared.settings.hooks.exception_handlers.is_empty();
        match (callback_timeout(hash), handlers) {
            (callback, false) => callback,
            (callback, true) => Some(callback.unwrap_or_default().saturating_add(HANDLERS_MAX)),
        }
    }

    fn is_stopping(&self) -> bool {
        Phase::Running < self.shared.orders.borrow().phase
    }
}

/// How long the callback of an abandoned job may take; none if it has none.
fn callback_timeout(hash: &JobHash) -> Option<Duration> {
    if hash.text("failure_callback_name").is_none_or(|name| name.is_empty()) {
        return None;
    }
    let given = hash.text("failure_callback_timeout").and_then(|text| text.parse().ok());
    Some(given.map_or(CALLBACK_TIMEOUT, Duration::from_secs))
}
