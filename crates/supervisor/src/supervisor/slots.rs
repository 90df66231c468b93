//! The slots: started together, stopped together or one by one, and replaced in a pool.

use std::sync::Arc;

use rq::{RegisterError, WorkerBirth, WorkerName};
use tokio::sync::{OnceCell, watch};

use super::{Exit, Supervisor};
use crate::clock::{self, Moment};
use crate::event::{Event, WorkerEnd};
use crate::forkserver::messages::BaseReady;
use crate::incarnation::{Incarnation, hostname};
use crate::input::{Input, StopCause};
use crate::recovery;
use crate::shutdown::{Phase, Shutdown};
use crate::worker::commands::Commands;
use crate::worker::oom::OomWatch;
use crate::worker::persist::Outage;
use crate::worker::stand_in::StandIn;
use crate::worker::wakeups::Wakeups;
use crate::worker::{Orders, Shared, Slot};

/// A slot that has not ended, as the loop sees it.
#[derive(Debug)]
pub(super) struct SlotState {
    orders: watch::Sender<Orders>,
    /// How far its own stop has gone; the stop of the supervisor goes for all.
    shutdown: Shutdown,
    /// Of a pool: the process whose id is in its record.
    _stand_in: Option<StandIn>,
}

/// From which slots are made.
#[derive(Debug)]
pub(super) struct SlotKit {
    shared: Shared,
    /// The record of a worker, whose name, process and time of birth are still to come.
    birth: WorkerBirth,
    /// Set once what dead workers left was taken up: one of them may have had the name of ours.
    recovered: Arc<OnceCell<()>>,
}

impl SlotKit {
    /// The state of the connection to Redis.
    pub(super) fn outage(&self) -> &Outage {
        &self.shared.outage
    }
}

impl Supervisor {
    /// Puts one slot per worker name to work; the base knows what their records must say.
    pub(super) fn start_slots(&mut self, base: &BaseReady) {
        let reporter = self.out.0.clone();
        let inputs = self.inputs_sender.clone();
        let shared = Shared {
            client: self.client.clone(),
            inputs: inputs.clone(),
            orders: self.orders.subscribe(),
            wakeups: (!self.settings.burst)
                .then(|| Arc::new(Wakeups::start(&self.client, &self.settings.queues))),
            commands: Arc::new(Commands::start(self.client.clone(), inputs, reporter.clone())),
            outage: Outage::new(reporter.clone()),
            reporter,
            settings: self.settings.clone(),
            oom: Arc::new(OomWatch::start()),
            incarnation: Arc::new(Incarnation::begin(&self.settings.control.folders)),
        };
        self.upkeep_waiting = Some(shared.clone());
        let birth = WorkerBirth {
            name: WorkerName::new(""),
            queues: self.settings.queues.clone(),
            pid: std::process::id(),
            run: shared.incarnation.text(),
            hostname: hostname(),
            ip_address: String::new(),
            rq_version: base.rq_version.clone(),
            python_version: base.python_version.clone(),
            born: clock::wall(),
            worker_ttl: self.settings.worker_ttl,
        };
        let kit = SlotKit { shared, birth, recovered: Arc::default() };
        for name in self.settings.workers.clone() {
            self.start_slot(name, &kit);
        }
        self.slot_kit = Some(kit);
    }

    fn start_slot(&mut self, name: WorkerName, kit: &SlotKit) {
        let (orders, ordered) = watch::channel(*self.orders.borrow());
        let shared = Shared { orders: ordered, ..kit.shared.clone() };
        let stand_in = self.stand_in(&name);
        let pid = stand_in.as_ref().map_or(kit.birth.pid, StandIn::pid);
        let birth =
            WorkerBirth { name: name.clone(), pid, born: clock::wall(), ..kit.birth.clone() };
        let shutdown = Shutdown::new(self.settings.stop_timeout);
        self.slots.insert(name.clone(), SlotState { orders, shutdown, _stand_in: stand_in });
        let recovered = kit.recovered.clone();
        self.tasks.spawn(async move {
            recovered.get_or_init(|| recovery::recover(&shared)).await;
            let ip_address = shared.client.local_address().await;
            let inputs = shared.inputs.clone();
            let end = Slot::new(shared, WorkerBirth { ip_address, ..birth }).run().await;
            // The loop waits for this; it is gone only when everything is.
            drop(inputs.send(Input::SlotEnded(name, end)).await);
        });
    }

    /// The process that stands for a worker, if this is a pool.
    fn stand_in(&self, worker: &WorkerName) -> Option<StandIn> {
        let command = self.settings.pool.as_ref()?;
        let started = StandIn::start(command, worker, self.inputs_sender.clone());
        // The worker works without one all the same.
        started
            .map_err(|error| self.warn(format!("worker {worker} has no pid of its own: {error}")))
            .ok()
    }

    pub(super) fn slot_ended(
        &mut self,
        worker: &WorkerName,
        end: Result<WorkerEnd, RegisterError>,
    ) {
        self.slots.remove(worker);
        self.tally.why = match end {
            Ok(WorkerEnd::Stopped) => "as asked",
            Ok(WorkerEnd::Drained) => "the queues are empty",
            Ok(WorkerEnd::Suspended) => "the queues are suspended",
            Ok(WorkerEnd::MaxIdleTime(_)) => "there was no job for too long",
            Ok(WorkerEnd::MaxJobs(_)) => "the most jobs allowed were run",
            Err(error) => {
                self.exit = Some(Exit::NotRegistered(error));
                "not registered"
            }
        };
        if self.replaces_slots()
            && let Some(kit) = self.slot_kit.take()
        {
            let name = WorkerName::random();
            self.report(&Event::WorkerReplaced { worker: worker.clone(), by: name.clone() });
            self.start_slot(name, &kit);
            self.slot_kit = Some(kit);
        }
    }

    /// Whether this is a pool that goes on.
    fn replaces_slots(&self) -> bool {
        let goes_on = self.shutdown.phase() == Phase::Running && self.exit.is_none();
        self.settings.pool.is_some() && !self.settings.burst && goes_on
    }

    /// Whether there were slots and all of them have ended.
    pub(super) fn slots_are_done(&self) -> bool {
        self.slots_started() && self.slots.is_empty()
    }

    pub(super) fn slots_started(&self) -> bool {
        self.slot_kit.is_some()
    }

    /// One worker is asked to stop.
    pub(super) fn stop_slot(&mut self, worker: &WorkerName, cause: StopCause) {
        let now = Moment::now();
        let Some(slot) = self.slots.get_mut(worker) else { return };
        if let Some(phase) = slot.shutdown.request(now) {
            self.report(&Event::WorkerStopping { worker: worker.clone(), phase, cause });
        }
        let all = self.slots.values().all(|slot| Phase::Warm <= slot.shutdown.phase());
        if all && !self.replaces_slots() {
            // Nobody is left to work for: so that the scheduler stops too.
            self.shutdown.climb_to(Phase::Warm, now);
        }
    }

    /// The process that stands for a worker was killed, and with that the worker.
    pub(super) fn stand_in_gone(&mut self, worker: &WorkerName) {
        let Some(slot) = self.slots.get_mut(worker) else { return };
        slot.shutdown.climb_to(Phase::Cold, Moment::now());
        self.warn(format!("the process of worker {worker} was killed; so is its job"));
    }

    /// Warm stops of single workers that take too long go further.
    pub(super) fn tick_slots(&mut self, now: Moment) {
        let all = self.shutdown.phase();
        for (worker, slot) in &mut self.slots {
            // What goes for all was said for all.
            if let Some(phase) = slot.shutdown.tick(now).filter(|phase| all < *phase) {
                let (worker, cause) = (worker.clone(), StopCause::Overdue);
                (self.out.0)(&Event::WorkerStopping { worker, phase, cause });
            }
        }
    }

    pub(super) fn slots_deadline(&self) -> Option<Moment> {
        self.slots.values().filter_map(|slot| slot.shutdown.next_deadline()).min()
    }

    /// A signal asks for a stop of all: whoever was asked before by a command is asked again.
    pub(super) fn stop_all_slots(&mut self, now: Moment) {
        for slot in self.slots.values_mut() {
            slot.shutdown.request(now);
        }
    }

    /// Tells each slot what is to be done now.
    pub(super) fn give_orders(&mut self, orders: Orders) {
        self.orders.send_if_modified(|current| std::mem::replace(current, orders) != orders);
        for slot in self.slots.values() {
            let orders = Orders { phase: orders.phase.max(slot.shutdown.phase()), ..orders };
            slot.orders.send_if_modified(|now| std::mem::replace(now, orders) != orders);
        }
    }
}
