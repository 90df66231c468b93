//! Generations without a fork: sets of interpreters that loaded the same code.
//!
//! The first one loads what is on disk, and is verified as any generation. Those that follow are
//! told to load exactly that, so that a save, good or broken, never comes in between.

use std::collections::BTreeMap;
use std::io;

use super::Supervisor;
use crate::event::Event;
use crate::forkserver::import_note::ImportNote;
use crate::forkserver::messages::{FromSpawned, LoadOrder, Snapshot, SpawnSettings};
use crate::reload::machine::GenerationId;
use crate::worker::horse::Horse;

impl Supervisor {
    /// Starts an interpreter of a generation, which has the code of the snapshot.
    pub(super) fn spawn(
        &mut self,
        generation: GenerationId,
        order: LoadOrder,
        snapshot: Option<&Snapshot>,
    ) -> io::Result<ImportNote> {
        let mut base = self.base_settings(Vec::new());
        if let Some((release, now)) = base.release.as_mut().zip(order.release_now.as_ref()) {
            release.now.clone_from(now);
        }
        let settings = SpawnSettings { base, order, snapshot };
        self.chain.spawn(generation, &settings, self.settings.load_max)
    }

    /// Starts interpreters that follow the first of a generation.
    pub(super) fn spawn_spares(
        &mut self,
        generation: GenerationId,
        count: usize,
    ) -> io::Result<()> {
        let Some(version) = self.versions.remove(&generation) else { return Ok(()) };
        let result = (0..count).try_for_each(|_| {
            let mut order = self.load_order(BTreeMap::new());
            order.release_now.clone_from(&version.release);
            // For what only some interpreters import.
            order.position = self.position(generation);
            self.spawn(generation, order, Some(&version.snapshot)).map(drop)
        });
        self.versions.insert(generation, version);
        result
    }

    /// An interpreter has imported the user's modules, or could not.
    pub(super) fn spawned(&mut self, horse: Horse, message: FromSpawned) {
        let generation = horse.generation;
        self.chain.has_started(horse.presence.pid());
        match message {
            FromSpawned::Ready(loaded) => {
                self.generation_loaded(generation, loaded);
                self.barrier.horse_came(horse);
            }
            FromSpawned::Same(same) => self.generation_is_same(generation, same.files),
            FromSpawned::Broken(broken) if self.machine.loading() == Some(generation) => {
                self.generation_broken(generation, broken);
            }
            FromSpawned::Broken(broken) => {
                let why = broken.error;
                self.report(&Event::Detail(format!("generation {generation} ended: {why}")));
                self.generation_ended(generation, None);
            }
        }
    }
}
