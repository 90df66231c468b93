//! What a supervisor does beside its slots: maintenance, and the scheduler if it is wanted.
//!
//! Both begin when a slot is registered. A burst takes no job before both have been done once, so
//! that it finds what they put on its queues; they are over with the slots.

use super::{Exit, Supervisor};
use crate::clock::Moment;
use crate::incarnation::hostname;
use crate::input::Input;
use crate::maintenance::Maintenance;
use crate::scheduler::Scheduler;
use crate::shutdown::Phase;
use crate::worker::Shared;

impl Supervisor {
    /// Begins, once.
    pub(super) fn start_upkeep(&mut self) {
        let Some(shared) = self.upkeep_waiting.take() else { return };
        if self.settings.with_scheduler {
            let scheduler = Scheduler::new(shared.clone(), hostname());
            self.spawn_upkeep(shared.clone(), scheduler.run());
        }
        let maintenance = Maintenance::new(shared.clone());
        self.spawn_upkeep(shared, maintenance.run());
    }

    fn spawn_upkeep(&mut self, shared: Shared, work: impl Future<Output = ()> + Send + 'static) {
        self.upkeep_left += 1;
        self.tasks.spawn(async move {
            work.await;
            shared.tell(Input::UpkeepEnded).await;
        });
    }

    /// Lets it come to its end, which it does by itself when a stop is asked for.
    pub(super) async fn end_upkeep(&mut self, exit: &Exit) {
        // Whatever else it was that ended, nothing can be run any more.
        let phase = if matches!(exit, Exit::Done) { Phase::Warm } else { Phase::Cold };
        self.shutdown.climb_to(phase, Moment::now());
        while 0 < self.upkeep_left && !matches!(self.exit, Some(Exit::Aborted)) {
            self.settle();
            self.wait_and_handle().await;
        }
    }
}
