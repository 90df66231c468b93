//! What later imports of a job see: the tree as it was when the job was given its horse.
//!
//! As long as no file that a generation has loaded is another on the disk, the generation is a part of the
//! newest tree, and its jobs are told the newest position at which that was at rest. Once one is, they are
//! told the position before, for as long as the generation lives: old code never mixes with new.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::Supervisor;
use crate::reload::machine::GenerationId;
use crate::reload::sources::{FirstRead, Position, Sources};
use crate::settings::Settings;
use crate::watch::Change;

/// How often in a row the tree may have moved while it was read. Then jobs see it as it was read: a save
/// that came before them counts more than one that somebody makes right now.
const RESTLESS_MAX: usize = 10;

/// Where reloading is on, a place for what files were.
pub(super) fn keep(settings: &Settings) -> io::Result<Option<Sources>> {
    settings.reload.as_ref().map(|_| Sources::start(&settings.cache)).transpose()
}

impl Supervisor {
    /// Reads all file events that are there, takes note of what they mean, and reads what was touched, until
    /// nothing was touched meanwhile.
    pub(super) fn drain_watcher(&mut self) {
        for _ in 0..RESTLESS_MAX {
            if !self.drain_once() {
                break;
            }
        }
        if let Some(sources) = &mut self.sources
            && !self.watching.holds_changes()
        {
            sources.settle();
        }
    }

    /// Begins to read the files that are there.
    pub(super) fn read_sources(&mut self) {
        let Some(sources) = &self.sources else { return };
        match sources.first_reader(self.watching.take_first_files()) {
            Ok(reader) => {
                let inputs = self.inputs_sender.clone();
                self.tasks.spawn_blocking(move || reader.run(&inputs));
            }
            Err(error) => self.warn(format!("what your code is cannot be kept: {error}")),
        }
    }

    /// Takes note of files that were read before any event about them.
    pub(super) fn sources_read(&mut self, files: Vec<FirstRead>) {
        self.drain_watcher();
        if let Some(sources) = &mut self.sources {
            sources.take_first(files);
        }
        self.say_what_is_not_kept();
    }

    pub(super) fn all_sources_read(&mut self) {
        if let Some(sources) = &mut self.sources {
            sources.complete();
        }
    }

    /// Reads what was touched.
    pub(super) fn take_sources(&mut self, touched: &BTreeMap<PathBuf, Change>) {
        if let Some(sources) = &mut self.sources {
            sources.take(touched);
        }
        self.say_what_is_not_kept();
    }

    fn say_what_is_not_kept(&mut self) {
        if self.sources.as_mut().is_some_and(Sources::has_failed) {
            self.warn(
                "what your code was cannot be kept: no room below the cache folder, or more than its limit; \
                 a job that imports a module long after it was saved again may fail"
                    .to_owned(),
            );
        }
    }

    /// Files of the newest generation are others from now on.
    pub(super) fn hold_snapshots(&mut self) {
        if let Some(sources) = &self.sources {
            self.ledger.hold_all(sources.settled());
        }
    }

    /// Generations that served before this one stay with the tree as it is now, or was.
    pub(super) fn hold_snapshots_before(&mut self, generation: GenerationId) {
        if let Some(sources) = &self.sources {
            self.ledger.hold_before(generation, sources.settled());
        }
    }

    /// Where late imports of a job look that is given a horse of this generation now.
    pub(super) fn position(&self, generation: GenerationId) -> Option<Position> {
        let newest = self.sources.as_ref()?.settled();
        Some(self.ledger.position(generation, newest))
    }
}
