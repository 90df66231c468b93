//! How it ends: slots first, then generations, then bases, in the order of the chain.

use tokio::sync::mpsc;

use super::{Exit, Supervisor};
use crate::clock::{self, Moment};
use crate::event::Event;
use crate::input::Input;
use crate::settings::{Companion, STOP_GRACE};
use crate::shutdown::Phase;

/// Tells the loop when this is lost for good.
pub(super) async fn tell_loss(mut companion: Companion, inputs: mpsc::Sender<Input>) {
    // Whoever keeps it alive is gone only when all ends.
    if companion.lost.wait_for(|lost| *lost).await.is_ok() {
        inputs.send(Input::CompanionLost(companion.name)).await.ok();
    }
}

impl Supervisor {
    /// A signal came, or a command.
    pub(super) fn stop_requested(&mut self) {
        let now = Moment::now();
        self.stop_all_slots(now);
        if let Some(phase) = self.shutdown.request(now) {
            self.stop_has_climbed(phase);
        }
    }

    /// Warm stops that take too long go further.
    pub(super) fn tick_stops(&mut self, now: Moment) {
        if let Some(phase) = self.shutdown.tick(now) {
            self.stop_has_climbed(phase);
        }
        self.tick_slots(now);
    }

    fn stop_has_climbed(&mut self, phase: Phase) {
        let running = self.chain.awaited_count().saturating_sub(self.barrier.spares());
        // What could not even begin says only why.
        if self.listening || !self.ending {
            self.report(&Event::Stopping { phase, running });
        }
        if phase == Phase::Abort {
            self.exit = Some(Exit::Aborted);
        } else if !self.slots_started() {
            self.exit = Some(Exit::Done);
        }
    }

    /// Nothing more is to be done: ends all processes and says how it went.
    pub(super) async fn end(mut self) -> Exit {
        let exit = self.exit.take().unwrap_or(Exit::Done);
        if matches!(exit, Exit::Aborted) {
            return exit;
        }
        if matches!(exit, Exit::CompanionEnded(_)) {
            // Nothing that still runs could be recorded.
            self.shutdown.climb_to(Phase::Cold, Moment::now());
        }
        // A job that runs to its end may still need what dies meanwhile; after a failure none does.
        self.ending = !matches!(exit, Exit::Done);
        self.end_slots().await;
        self.end_upkeep(&exit).await;
        self.ending = true;
        self.barrier.close();
        self.chain.hang_up();
        self.wait_for_chain().await;
        self.chain.kill_all();
        self.wait_for_chain().await;
        self.chain.end_relay().await;
        let why = match &exit {
            Exit::Done => self.tally.why,
            Exit::CodeBroken => "the code is broken",
            Exit::RestartsUsedUp => "what it needs died too often",
            Exit::Aborted => "aborted",
            Exit::NotRegistered(_) => "not registered",
            Exit::PythonUnusable(_) => "Python cannot be used",
            Exit::CompanionEnded(_) => "a process it needs has ended",
            Exit::HookUnusable(_) => "what jobs run with cannot be used",
        };
        if matches!(exit, Exit::Done) || self.listening {
            self.report(&Event::Stopped {
                finished: self.tally.finished,
                failed: self.tally.failed,
                why,
            });
        }
        exit
    }

    /// After an end that no signal asked for: lets running jobs finish and be recorded.
    async fn end_slots(&mut self) {
        if !self.slots.is_empty() && self.shutdown.phase() == Phase::Running {
            self.stop_requested();
        }
        while !self.slots.is_empty() {
            // First of all: nothing else may come to wake the loop.
            self.settle();
            self.wait_and_handle().await;
            if matches!(self.exit, Some(Exit::Aborted)) {
                return;
            }
        }
    }

    async fn wait_for_chain(&mut self) {
        let until = Moment::now() + STOP_GRACE;
        while !self.chain.is_empty() && Moment::now() < until {
            tokio::select! {
                input = self.inputs.recv() => if let Some(input) = input { self.handle(input) },
                () = clock::sleep_until(Some(until)) => {}
            }
        }
    }
}
