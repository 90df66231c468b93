//! A slot has a job: which horse runs it?
//!
//! Horses are forked ahead, so that a job does not wait for a fork. A spare belongs to a generation
//! that may be given jobs; when that ends, spares are hung up on and end. A horse that is reused is
//! a spare between its jobs: each job passes the barrier.

use std::collections::{BTreeMap, VecDeque};

use super::Supervisor;
use crate::forkserver::HORSES_PER_FORK_MAX;
use crate::input::{Grant, HorseRequest};
use crate::reload::machine::{Availability, GenerationId, Input, Wish};
use crate::settings::Isolation;
use crate::worker::horse::Horse;
use crate::worker::trial::Trial;

/// Spare horses for the first slot, and for each further one.
const SPARES: (usize, usize) = (4, 1);
/// Most spare horses, however many slots there are.
const SPARES_MAX: usize = 8;

/// How many horses are kept ready.
#[derive(Clone, Copy, Debug)]
struct Stock {
    /// Spares that there are to be.
    spares: usize,
    /// Horses that must be missing before any are asked for.
    together: usize,
}

impl Stock {
    fn new(isolation: Isolation, slots: usize) -> Self {
        match isolation {
            // Two are asked for at once, because a generation that has forked pays for the pages
            // that it writes next; more would fork and run jobs in turns.
            Isolation::Fork => Self {
                spares: (SPARES.0 + SPARES.1 * slots.saturating_sub(1)).min(SPARES_MAX),
                together: 2,
            },
            // For the horse that is not to be reused; an interpreter takes much memory.
            Isolation::Reuse(_) | Isolation::Spawn => Self { spares: 1, together: 1 },
        }
    }
}

/// Horses of one generation that wait for requests.
#[derive(Debug, Default)]
struct Stall {
    /// The longest waiting first: it has had the time to get ready.
    spares: VecDeque<Horse>,
    /// Horses that were asked for and have not come yet.
    coming: usize,
}

impl Stall {
    /// A horse that lives.
    fn take(&mut self) -> Option<Horse> {
        while let Some(mut horse) = self.spares.pop_front() {
            if horse.exit.try_recv().is_err() {
                return Some(horse);
            }
        }
        None
    }
}

/// Requests that wait, and horses that wait for requests.
#[derive(Debug)]
pub(super) struct Barrier {
    waiting: VecDeque<HorseRequest>,
    /// Of each generation that may be given jobs.
    stalls: BTreeMap<GenerationId, Stall>,
    stock: Stock,
}

impl Barrier {
    pub(super) fn new(isolation: Isolation, slots: usize) -> Self {
        let stock = Stock::new(isolation, slots);
        Self { waiting: VecDeque::new(), stalls: BTreeMap::new(), stock }
    }

    /// Horses that have no job.
    pub(super) fn spares(&self) -> usize {
        self.stalls.values().map(|stall| stall.spares.len()).sum()
    }

    /// Those of one generation.
    pub(super) fn spares_of(&self, generation: GenerationId) -> usize {
        self.stalls.get(&generation).map_or(0, |stall| stall.spares.len())
    }

    pub(super) fn request(&mut self, request: HorseRequest) {
        self.waiting.push_back(request);
    }

    /// A generation has loaded: its horses are welcome.
    pub(super) fn open_stall(&mut self, generation: GenerationId) {
        self.stalls.entry(generation).or_default();
    }

    /// A horse has been forked; one of a generation that is not to get jobs is hung up on.
    pub(super) fn horse_came(&mut self, horse: Horse) {
        if let Some(stall) = self.stalls.get_mut(&horse.generation) {
            stall.coming = stall.coming.saturating_sub(1);
            stall.spares.push_back(horse);
        }
    }

    /// A horse has run its job and may run another, unless it was killed or its generation serves
    /// no more. It goes first: its memory is warm.
    pub(super) fn horse_is_free(&mut self, horse: Horse) {
        if let Some(stall) = self.stalls.get_mut(&horse.generation)
            && horse.presence.is_there()
        {
            stall.spares.push_front(horse);
        }
    }

    /// Hangs up on all spares.
    pub(super) fn close(&mut self) {
        self.stalls.clear();
    }

    fn take(&mut self, generation: GenerationId) -> Option<Horse> {
        self.stalls.get_mut(&generation)?.take()
    }
}

impl Supervisor {
    /// Answers as many waiting requests as can be, and has horses forked for what is to come.
    pub(super) fn give_horses(&mut self) {
        self.barrier.stalls.retain(|generation, _| self.machine.is_alive(*generation));
        self.barrier.waiting.retain(|request| !request.reply.is_closed());
        if self.is_writing() {
            return;
        }
        let mut missing = BTreeMap::new();
        let mut canary_is_taken = false;
        for request in std::mem::take(&mut self.barrier.waiting) {
            let wish = match request.wish {
                Wish::Job if canary_is_taken => Wish::Settled,
                wish => wish,
            };
            let available = self.machine.available_to(wish);
            let Availability::Serve(generation) = available else {
                if available == Availability::Hold {
                    // A slot that gave up meanwhile releases its job by itself.
                    drop(request.reply.send(Grant::Hold));
                } else {
                    self.barrier.waiting.push_back(request);
                }
                continue;
            };
            canary_is_taken |= Some(generation) == self.machine.canary();
            let Some(request) = self.grant(generation, request) else { continue };
            *missing.entry(generation).or_insert(0) += 1;
            self.barrier.waiting.push_back(request);
        }
        self.send_to_bed(&missing);
        self.fork_ahead(missing);
    }

    /// What neither serves nor is on trial keeps no spares; it is asked when it is needed, for
    /// what is `missing`.
    pub(super) fn send_to_bed(&mut self, missing: &BTreeMap<GenerationId, usize>) {
        let up = [self.machine.serving(), self.machine.canary()];
        for (generation, stall) in &mut self.barrier.stalls {
            if !up.contains(&Some(*generation)) && !missing.contains_key(generation) {
                stall.spares.clear();
            }
        }
    }

    /// Answers a request with a horse of this generation; gives it back if there is none.
    fn grant(&mut self, generation: GenerationId, request: HorseRequest) -> Option<HorseRequest> {
        let found = self.barrier.take(generation).zip(self.ledger.ticket(generation));
        let Some((mut horse, ticket)) = found else { return Some(request) };
        let on_trial = request.wish == Wish::Job && Some(generation) == self.machine.canary();
        if on_trial {
            horse.trial = Trial::begin(generation, &self.inputs_sender);
            if horse.trial.is_none() {
                self.barrier.horse_is_free(horse);
                return Some(request);
            }
            self.drive(Input::TrialBegun(generation));
        }
        horse.has_alternative = match request.wish {
            Wish::Job => self.machine.other_than(generation).is_some(),
            // What another does not know either fails on the code that it came from.
            Wish::OtherThan(one) => one != generation,
            Wish::Settled => false,
        };
        horse.position = self.position(generation);
        match request.reply.send(Grant::Horse(Box::new(horse), ticket)) {
            Err(Grant::Horse(mut unused, _)) => {
                unused.trial = None;
                self.barrier.horse_is_free(*unused);
            }
            Err(Grant::Hold) | Ok(()) => self.ledger.works(generation),
        }
        None
    }

    /// Has horses forked: those that are `missing` now, and all spares there are to be.
    fn fork_ahead(&mut self, mut missing: BTreeMap<GenerationId, usize>) {
        let Availability::Serve(serving) = self.machine.availability() else { return };
        let spares = self.barrier.stock.spares;
        *missing.entry(serving).or_insert(0) += spares;
        if let Some(canary) = self.machine.canary() {
            // It runs one job at a time.
            missing.insert(canary, 1);
        }
        for (generation, wanted) in missing {
            let stock = self.barrier.stock;
            let Some(stall) = self.barrier.stalls.get_mut(&generation) else { continue };
            let there = stall.spares.len() + stall.coming;
            let together = if generation == serving { stock.together } else { 1 };
            if there + together <= wanted {
                self.fork(generation, (wanted - there).min(HORSES_PER_FORK_MAX));
            }
        }
    }

    fn fork(&mut self, generation: GenerationId, count: usize) {
        let asked = match self.settings.isolation {
            Isolation::Fork | Isolation::Reuse(_) => self.chain.fork_horses(generation, count),
            Isolation::Spawn => self.spawn_spares(generation, count),
        };
        match (asked, self.barrier.stalls.get_mut(&generation)) {
            (Ok(()), Some(stall)) => stall.coming += count,
            (Ok(()), None) => {}
            (Err(error), _) => self.warn(format!("cannot ask for horses: {error}")),
        }
    }
}
