//! A change that compiles to the code that serves is no reload: a comment at the end, spaces after a line.
//!
//! A generation that is forked for a save first compiles what changed, which it would have to do anyway,
//! and compares. Line numbers, docstrings and constants are part of the code. If all of it is equal, it says
//! so and ends, and the one that serves goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Supervisor;
use crate::event::Event;
use crate::reload::machine::{Availability, Cause, GenerationId, Input};

/// So many files are compared; a larger change is loaded.
const EQUAL_CODE_FILES_MAX: usize = 100;

impl Supervisor {
    /// What changed, as the generation that serves has it; empty if there is more to it than a save of
    /// files that are loaded.
    pub(super) fn compiled_before(&self, cause: &Cause) -> BTreeMap<PathBuf, String> {
        let may_be_equal = cause.is_only_a_save()
            && cause.changed.len() <= EQUAL_CODE_FILES_MAX
            && !self.machine.newest_is_broken();
        let serving = self.machine.serving().and_then(|serving| self.versions.get(&serving));
        let hashes = serving.and_then(|version| version.code.hashes(&cause.changed));
        hashes.filter(|_| may_be_equal).unwrap_or_default()
    }

    /// The loading generation has compared what changed with what serves: it is the same code.
    pub(super) fn generation_is_same(
        &mut self,
        generation: GenerationId,
        files: BTreeMap<PathBuf, String>,
    ) {
        if self.machine.loading() != Some(generation) {
            return;
        }
        let compared_with = self.loading.take().and_then(|loading| loading.compared_with);
        let serving = self.machine.serving().filter(|serving| Some(*serving) == compared_with);
        let Some(version) = serving.and_then(|serving| self.versions.get_mut(&serving)) else {
            // What it was compared with serves no more.
            let moved = files.into_keys().collect();
            return self.drive(Input::Same { generation, moved });
        };
        version.code.replace(files.clone());
        let code = version.code.clone();
        self.take_code(code);
        for path in files.keys() {
            self.report(&Event::Detail(format!("no reload for {}: same code", path.display())));
        }
        let moved = self.code.moved();
        self.drive(Input::Same { generation, moved });
        if let Availability::Serve(serving) = self.machine.availability() {
            self.ledger.follow(serving);
        }
    }
}
