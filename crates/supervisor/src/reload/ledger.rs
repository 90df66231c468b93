//! What is known of the generations that serve or have served: pure.
//!
//! The machine knows numbers; here is what they stand for, for the records of jobs and for people.

use std::collections::BTreeMap;

use rq::{Code, CodeHash};

use super::machine::GenerationId;
use super::sources::Position;
use crate::clock::Moment;

/// What a job that begins is told of the generation that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// For the job's record.
    pub code: Code,
    /// Since when the generation serves, if this job is its first.
    pub first_since: Option<Moment>,
}

#[derive(Debug)]
struct Entry {
    hash: CodeHash,
    since: Moment,
    /// A horse of it was given out.
    has_worked: bool,
    /// Where late imports of its jobs look, since its files are others on the disk; until then they
    /// look at the newest tree, of which its files are a part.
    held_at: Option<Position>,
}

/// The generations that may still be given jobs.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<GenerationId, Entry>,
}

impl Ledger {
    /// A generation serves from now on.
    pub fn serves(&mut self, generation: GenerationId, hash: CodeHash, now: Moment) {
        self.entries
            .insert(generation, Entry { hash, since: now, has_worked: false, held_at: None });
    }

    /// Forgets those that are given no more jobs.
    pub fn keep(&mut self, is_alive: impl Fn(GenerationId) -> bool) {
        self.entries.retain(|generation, _| is_alive(*generation));
    }

    /// Files that the newest has loaded are others on the disk from now on: its tree is the one at this
    /// position, and those of the others are no later.
    pub fn hold_all(&mut self, position: Position) {
        for entry in self.entries.values_mut() {
            entry.held_at.get_or_insert(position);
        }
    }

    /// The same of all that served before this one.
    pub fn hold_before(&mut self, generation: GenerationId, position: Position) {
        for (_, entry) in self.entries.range_mut(..generation) {
            entry.held_at.get_or_insert(position);
        }
    }

    /// Its files are those on the disk, or compile to the same.
    pub fn follow(&mut self, generation: GenerationId) {
        if let Some(entry) = self.entries.get_mut(&generation) {
            entry.held_at = None;
        }
    }

    /// Where late imports of a job look that is given a horse of it when the tree is at `newest`.
    pub fn position(&self, generation: GenerationId, newest: Position) -> Position {
        self.entries.get(&generation).and_then(|entry| entry.held_at).unwrap_or(newest)
    }

    /// What the record of a job says that runs on it; none of one that never served.
    pub fn code(&self, generation: GenerationId) -> Option<Code> {
        let entry = self.entries.get(&generation)?;
        Some(Code { generation: generation.0, hash: entry.hash })
    }

    /// For a job that is about to be given a horse of it.
    pub fn ticket(&self, generation: GenerationId) -> Option<Ticket> {
        let entry = self.entries.get(&generation)?;
        let first_since = (!entry.has_worked).then_some(entry.since);
        Some(Ticket { code: self.code(generation)?, first_since })
    }

    /// A horse of it was given out.
    pub fn works(&mut self, generation: GenerationId) {
        if let Some(entry) = self.entries.get_mut(&generation) {
            entry.has_worked = true;
        }
    }
}
