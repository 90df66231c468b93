//! The slots: started together, counted, and stopped together or one by one.

use std::sync::Arc;

use rq::{WorkerBirth, WorkerName};
use tokio::sync::watch;

use super::{Exit, Supervisor};
use crate::clock::{self, Moment};
use crate::event::Event;
use crate::forkserver::messages::BaseReady;
use crate::input::Input;
use crate::shutdown::{Phase, Shutdown};
use crate::worker::commands::Commands;
use crate::worker::persist::Outage;
use crate::worker::wakeups::Wakeups;
use crate::worker::{Orders, Shared, Slot, SlotEnd};

/// A slot that has not ended, as the loop sees it.
#[derive(Debug)]
pub(super) struct SlotState {
    orders: watch::Sender<Orders>,
    /// How far its own stop has gone; the stop of the supervisor goes for all.
    shutdown: Shutdown,
}

impl Supervisor {
    /// Puts one slot per worker name to work; the base knows what their records must say.
    pub(super) fn start_slots(&mut self, base: &BaseReady) {
        self.slots_started = true;
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
        };
        self.upkeep_waiting = Some(shared.clone());
        for name in self.settings.workers.clone() {
            self.start_slot(name, &shared, base);
        }
    }

    fn start_slot(&mut self, name: WorkerName, shared: &Shared, base: &BaseReady) {
        let (orders, ordered) = watch::channel(*self.orders.borrow());
        let shared = Shared { orders: ordered, ..shared.clone() };
        self.slots.insert(name.clone(), SlotState { orders, shutdown: Shutdown::default() });
        let birth = WorkerBirth {
            name: name.clone(),
            queues: self.settings.queues.clone(),
            pid: std::process::id(),
            hostname: hostname(),
            ip_address: String::new(),
            rq_version: base.rq_version.clone(),
            python_version: base.python_version.clone(),
            born: clock::wall(),
            worker_ttl: self.settings.worker_ttl,
        };
        self.tasks.spawn(async move {
            let ip_address = shared.client.local_address().await;
            let inputs = shared.inputs.clone();
            let end = Slot::new(shared, WorkerBirth { ip_address, ..birth }).run().await;
            // The loop waits for this; it is gone only when everything is.
            drop(inputs.send(Input::SlotEnded(name, end)).await);
        });
    }

    pub(super) fn slot_ended(&mut self, worker: &WorkerName, end: SlotEnd) {
        self.slots.remove(worker);
        self.tally.why = match end {
            SlotEnd::Stopped => "as asked",
            SlotEnd::Drained => "the queues are empty",
            SlotEnd::Suspended => "the queues are suspended",
            SlotEnd::MaxIdleTime => "there was no job for too long",
            SlotEnd::MaxJobs => "the most jobs allowed were run",
            SlotEnd::NotRegistered(error) => {
                self.exit = Some(Exit::NotRegistered(error));
                "not registered"
            }
        };
    }

    /// Whether there were slots and all of them have ended.
    pub(super) fn slots_are_done(&self) -> bool {
        self.slots_started && self.slots.is_empty()
    }

    /// A command asks one worker to stop.
    pub(super) fn stop_slot(&mut self, worker: &WorkerName) {
        let Some(slot) = self.slots.get_mut(worker) else { return };
        if let Some(phase) = slot.shutdown.request(Moment::now()) {
            self.report(&Event::StopCommanded { worker: worker.clone(), phase });
        }
        if self.slots.values().all(|slot| Phase::Warm <= slot.shutdown.phase()) {
            // Nobody is left to work for: so that the scheduler stops too.
            self.shutdown.climb_to(Phase::Warm);
        }
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

pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
