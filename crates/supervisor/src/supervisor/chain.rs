//! What base and generations say, and how they end.

use super::{Exit, Supervisor};
use crate::clock::Moment;
use crate::event::Event;
use crate::forkserver::link::LinkError;
use crate::forkserver::messages::{BaseReady, FromBase, FromGeneration};
use crate::forkserver::reaper::{self, Ended, Exited};
use crate::forkserver::{BaseId, Who};
use crate::reload::machine::{Cause, GenerationId, Input};
use crate::settings::BASE_START_MAX;

impl Supervisor {
    pub(super) fn base_said(&mut self, id: BaseId, message: FromBase) {
        match message {
            FromBase::Ready(ready) => self.base_is_ready(id, &ready),
            FromBase::Unwanted { library, imports } => self.keep_out(id, &library, &imports),
            FromBase::Unfit { library, left } => self.keep_out_unfit(id, &library, &left),
            FromBase::Unusable { problem } => self.base_is_unusable(id, &problem),
            FromBase::Forked { generation, pid } => {
                self.chain.generation_forked(GenerationId(generation), pid);
            }
            FromBase::Ended { pid, status } => {
                let exited = Exited::with(status);
                let who = self.chain.generation_ended(id, Ended { pid, exited });
                self.process_ended(&who);
            }
        }
    }

    fn base_is_ready(&mut self, id: BaseId, ready: &BaseReady) {
        self.base_starting = self.base_starting.filter(|(starting, _)| *starting != id);
        self.say_what_is_missing(ready);
        self.learned.forget_libraries(&ready.yours);
        self.learned.exclude_libraries(&ready.skipped);
        if 1 < ready.tasks && !self.learned.libraries().is_empty() {
            self.chain.discard_base(id);
            return self
                .start_bare_base("a library leaves threads behind, which a fork does not survive");
        }
        let first = self.chain.base().is_none();
        self.report(&Event::BaseReady {
            libraries: self.learned.libraries().len(),
            took: std::time::Duration::from_nanos(ready.import_ns),
        });
        self.chain.base_ready(id, ready.clone());
        self.base_deaths.is_ready();
        // It may come so far while it is waited for at the end: then nobody would see to what slots begin.
        if !self.slots_started() && !self.ending {
            self.start_slots(ready);
        }
        self.drive(Input::BaseReady);
        if !first {
            self.drive(Input::Wanted(Cause::learned(Moment::now())));
        }
    }

    fn say_what_is_missing(&self, ready: &BaseReady) {
        let yours = "it is code of yours, which generations import";
        let yours = ready.yours.iter().map(|name| format!("{name} ({yours})"));
        let names: Vec<_> = ready
            .skipped
            .iter()
            .map(|(name, why)| format!("{name} ({why})"))
            .chain(yours)
            .collect();
        if names.is_empty() {
            return;
        }
        let text = format!("not in the base: {}", names.join(", "));
        match self.settings.preload.only {
            Some(_) => self.warn(text),
            None => self.report(&Event::Detail(text)),
        }
    }

    /// The end of a worker that has no other base. One that has had rq taken away under it goes on
    /// until it is back.
    fn base_is_unusable(&mut self, id: BaseId, problem: &str) {
        let python = self.settings.interpreter.executable.display();
        let text = format!("{python}: {problem}");
        if self.chain.base().is_none() {
            self.exit = Some(Exit::PythonUnusable(text));
            return;
        }
        self.warn(format!("{text}; the base from before serves on"));
        self.base_starting = self.base_starting.filter(|(starting, _)| *starting != id);
        self.chain.discard_base(id);
    }

    /// A library in the base has imported what is to be kept out of it: starts a base without it.
    fn keep_out(&mut self, id: BaseId, library: &str, imports: &str) {
        self.report(&Event::Detail(format!("not in the base: {library} imports {imports}")));
        self.learned.keep_out(library);
        self.chain.discard_base(id);
        self.start_base();
    }

    /// Falls back to a base that imports no libraries: slower generations, but correct ones.
    fn start_bare_base(&mut self, why: &str) {
        self.warn(format!("libraries are imported by each generation from now on: {why}"));
        self.learned.import_no_libraries();
        self.start_base();
    }

    pub(super) fn base_gone(&mut self, id: BaseId, error: &LinkError) {
        // Only a base that was not told to end says this. Its own end follows.
        self.report(&Event::Detail(format!("a base hung up: {error}")));
        self.chain.discard_base(id);
    }

    fn base_ended(&mut self, id: BaseId, status: i32) {
        let starting = self.base_starting.is_some_and(|(starting, _)| starting == id);
        if starting {
            self.base_starting = None;
            if self.chain.base().is_some() {
                self.warn(
                    "the new base ended while it started; the one before serves on".to_owned(),
                );
            } else if !self.learned.libraries().is_empty() {
                self.start_bare_base("the base ended while it imported them");
            } else if self.slots_started() || reaper::was_killed(status) {
                self.base_died();
            } else {
                let python = self.settings.interpreter.executable.display();
                let how = reaper::describe(status);
                let text = format!("{python}: the base process ended while it started ({how})");
                self.exit = Some(Exit::PythonUnusable(text));
            }
        } else if self.chain.base().is_none() {
            self.drive(Input::BaseGone);
            if self.base_starting.is_none() && self.exit.is_none() {
                self.base_died();
            }
        }
    }

    pub(super) fn give_up_overdue_base(&mut self, now: Moment) {
        if let Some((id, _)) = self.base_starting.filter(|(_, until)| *until <= now) {
            let limit = BASE_START_MAX.as_secs();
            self.warn(format!("the base has not imported its libraries within {limit} s"));
            // Its end brings the next attempt.
            self.base_starting = Some((id, now + BASE_START_MAX));
            self.chain.discard_base(id);
        }
    }

    pub(super) fn generation_said(&mut self, id: GenerationId, message: FromGeneration) {
        match message {
            FromGeneration::Ready(loaded) => self.generation_loaded(id, loaded),
            FromGeneration::Same(same) => self.generation_is_same(id, same.files),
            FromGeneration::Broken(broken) => self.generation_broken(id, broken),
            FromGeneration::Shadowed { names } => self.renew_shadowed_base(id, &names),
            FromGeneration::Unfit { module, left } => self.hold_back(id, &module, &left),
            FromGeneration::Forked { horses } => {
                for (horse, pid) in horses {
                    if let Some(horse) = self.chain.horse_forked(id, horse, pid) {
                        self.barrier.horse_came(horse);
                    }
                }
            }
            FromGeneration::Exited { pid, how } => self.chain.horse_exited(pid, how),
        }
    }

    pub(super) fn generation_gone(&mut self, id: GenerationId, error: &LinkError) {
        // Only one that was not told to end says this, or one that is broken. Its end follows,
        // unless its base died before it could fork it.
        self.report(&Event::Detail(format!("generation {id} hung up: {error}")));
        let lives = self.chain.kill_generation(id);
        let loading = self.loading.as_mut().filter(|loading| loading.generation == id);
        let status = loading.and_then(|loading| {
            loading.hung_up = true;
            loading.status
        });
        if !lives {
            self.chain.forget_generation(id);
            self.generation_ended(id, status);
        }
    }

    /// A generation's process has ended. What it said before may still be on its way: a generation
    /// that cannot be loaded says so and ends.
    fn generation_process_ended(&mut self, id: GenerationId, status: i32) {
        let loading = self.loading.as_mut().filter(|loading| loading.generation == id);
        if let Some(loading) = loading.filter(|loading| !loading.hung_up) {
            loading.status = Some(status);
            return;
        }
        self.generation_ended(id, Some(status));
    }

    /// Reaps what has ended below this process.
    pub(super) fn reap(&mut self) {
        while let Some(ended) = reaper::reap_next() {
            let who = self.chain.ended(ended);
            self.process_ended(&who);
        }
    }

    fn process_ended(&mut self, who: &Who) {
        if self.ending {
            return;
        }
        match *who {
            Who::Base(id, status) => self.base_ended(id, status),
            Who::Generation(id, status) => self.generation_process_ended(id, status),
            Who::Horse(_) | Who::Other => {}
        }
    }
}
