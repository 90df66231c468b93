//! What survives no fork is kept out of bases and generations; horses import it themselves.

use super::Supervisor;
use crate::clock::Moment;
use crate::event::Event;
use crate::forkserver::BaseId;
use crate::forkserver::messages::Learned;
use crate::reload::machine::{Cause, GenerationId, Input};

impl Supervisor {
    /// A library has left threads or connections in a base: starts a base without it.
    pub(super) fn keep_out_unfit(&mut self, id: BaseId, library: &str, left: &str) {
        self.warn(format!(
            "not in the base: {library}, which leaves {left} behind when it is imported; no fork survives that"
        ));
        self.learned.keep_out_unfit(library);
        self.save_learned();
        self.chain.discard_base(id);
        self.start_base();
    }

    /// A user module has left threads or connections in a generation: loads one without it.
    pub(super) fn hold_back(&mut self, generation: GenerationId, module: &str, left: &str) {
        if self.machine.loading() != Some(generation) {
            return;
        }
        self.warn(format!(
            "{module} leaves {left} behind when it is imported, and no fork survives that: each job that \
             needs it imports it by itself from now on, which takes longer"
        ));
        self.loading = None;
        self.learned.held_back().hold(module);
        self.save_learned();
        self.drive(Input::Unfit(generation));
    }

    /// A job has imported modules; those that were held back may be for generations again.
    pub(super) fn let_go(&mut self, learned: &Learned) {
        if self.learned.held_back().imported(&learned.modules, &learned.unfit) {
            let text = "a module that was left to jobs leaves nothing behind any more";
            self.report(&Event::Detail(text.to_owned()));
            self.save_learned();
            self.drive(Input::Wanted(Cause::learned(Moment::now())));
        }
    }
}
