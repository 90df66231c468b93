//! Code that cannot be imported, and generations that die.

use std::collections::BTreeMap;
use std::mem;

use super::{Exit, Supervisor};
use crate::clock::Moment;
use crate::event::{self, AfterDeath, Event};
use crate::forkserver::import_note::ImportNote;
use crate::forkserver::messages::Broken;
use crate::forkserver::reaper;
use crate::reload::machine::{Availability, BrokenBy, Cause, Effect, GenerationId, Input};
use crate::reload::relevance::LoadedCode;
use crate::settings::LAST_WORDS_MAX;
use crate::shutdown::Phase;

impl Supervisor {
    /// The loading generation could not import the user's modules, and says why.
    pub(super) fn generation_broken(&mut self, generation: GenerationId, broken: Broken) {
        if self.machine.loading() == Some(generation) {
            self.is_broken(broken, BrokenBy::Itself);
        }
    }

    fn is_broken(&mut self, mut broken: Broken, by: BrokenBy) {
        let (files, opened) = (mem::take(&mut broken.files), mem::take(&mut broken.opened));
        self.take_code(LoadedCode::new(files, opened));
        if let Some(loading) = &mut self.loading {
            loading.broken = Some((broken, by));
            self.drain_watcher();
            self.note_tree();
            self.judge_broken();
        }
    }

    /// Half of a file that is being written is no broken code.
    pub(super) fn judge_broken(&mut self) {
        if self.is_writing() {
            return;
        }
        let Some(loading) = self.loading.take_if(|loading| loading.broken.is_some()) else {
            return;
        };
        let moved = loading.moved(&self.code);
        let generation = loading.generation;
        let Some((broken, by)) = loading.broken else { return };
        let certain = self.machine.is_final(&moved);
        if let Some(problem) = broken.hook.filter(|_| certain && !self.listening) {
            // As RQ, whose command ends. Once jobs could be run it is broken code like any other.
            self.exit = Some(Exit::HookUnusable(problem));
            return;
        }
        let effects = self.machine.handle(Moment::now(), Input::Broken { generation, moved, by });
        if certain {
            self.announce(&Event::GenerationBroken(event::Broken {
                generation,
                error: broken.error,
                traceback: broken.traceback,
                place: broken.file.map(|file| (file, broken.line)),
                serving: self.machine.serving().filter(|_| self.may_serve_old()),
            }));
        }
        self.carry_out(effects);
    }

    fn may_serve_old(&self) -> bool {
        self.machine.availability() != Availability::Hold
    }

    /// Where nothing can mend the code: RQ's way without reloading, an end for a burst.
    pub(super) fn nothing_serves_if(&mut self, serving: Option<GenerationId>) {
        if serving.is_some() || self.shutdown.phase() != Phase::Running {
            return;
        }
        let learned = !self.learned.modules().is_empty();
        if self.settings.reload.is_none() && learned {
            // As RQ: each job imports what it needs, and fails by itself if that is broken.
            self.learned.forget_all_modules();
            self.drive(Input::Wanted(Cause::requested(Moment::now())));
        } else if self.settings.burst || self.settings.reload.is_none() && !self.machine.goes_on() {
            self.exit = Some(Exit::CodeBroken);
        }
    }

    pub(super) fn give_up_overdue_loading(&mut self, now: Moment) {
        let Some(loading) = self.loading.as_mut().filter(|it| it.until <= now && !it.has_said())
        else {
            return;
        };
        let generation = loading.generation;
        if !mem::replace(&mut loading.overdue, true) && self.chain.ask_for_last_words(generation) {
            // Its end brings the rest.
            loading.until = now + LAST_WORDS_MAX;
            return;
        }
        self.chain.kill_generation(generation);
        self.generation_failed(None);
    }

    /// The loading generation is no more, and has not said why.
    fn generation_failed(&mut self, status: Option<i32>) {
        let Some(loading) = self.loading.as_ref().filter(|loading| !loading.has_said()) else {
            return;
        };
        let importing = loading.note.as_ref().and_then(ImportNote::read);
        let at = importing.as_ref().map(|importing| importing.module.as_str());
        let (error, by) = if loading.overdue {
            let limit = self.settings.load_max.as_secs();
            let at = at.map_or(String::new(), |module| format!("; it was importing {module}"));
            (
                format!("importing your modules and warming up took longer than {limit} s{at}"),
                BrokenBy::Itself,
            )
        } else {
            let how = status.map_or(String::new(), |raw| format!(" ({})", reaper::describe(raw)));
            let at = at.map_or("your modules", |module| module);
            (format!("the process ended{how} while it imported {at}"), BrokenBy::Crash)
        };
        let broken = Broken {
            error,
            traceback: String::new(),
            file: importing.map(|importing| importing.file),
            line: None,
            hook: None,
            files: BTreeMap::new(),
            opened: BTreeMap::new(),
        };
        self.is_broken(broken, by);
    }

    /// A generation has ended; a surprise unless it was told to.
    pub(super) fn generation_ended(&mut self, generation: GenerationId, status: Option<i32>) {
        if self.ending || self.exit.is_some() {
            return;
        }
        if self.machine.loading() == Some(generation) {
            return self.generation_failed(status);
        }
        if !self.machine.is_alive(generation) {
            return;
        }
        let now = Moment::now();
        let effects = self.machine.handle(now, Input::Died(generation));
        let given_up = effects.iter().any(|effect| matches!(effect, Effect::GiveUp { .. }));
        let then = match (self.machine.serving(), self.machine.retry()) {
            (Some(serving), _) => AfterDeath::Serving(serving),
            (None, Some(at)) => AfterDeath::Pause(at.since(now)),
            (None, None) if given_up => AfterDeath::Nothing,
            (None, None) => AfterDeath::Loading,
        };
        self.report(&Event::GenerationDied { generation, status, then });
        self.carry_out(effects);
    }

    /// Too many died in a row: the next save is waited for, or it ends where none is looked for.
    pub(super) fn give_up(&mut self, what: &'static str, deaths: u32) {
        let waits_for_save = self.settings.reload.is_some() && !self.settings.burst;
        self.report(&Event::GivenUp { what, deaths, waits_for_save });
        if !waits_for_save {
            self.exit = Some(Exit::RestartsUsedUp);
        }
    }
}
