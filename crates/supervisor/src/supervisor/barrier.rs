//! A slot has a job: which horse runs it?
//!
//! Horses are forked ahead, so that a job does not wait for a fork. A spare belongs to the
//! generation that serves; when another takes over, spares are hung up on and end. A horse that
//! is reused is a spare between its jobs: each job passes the barrier.

use std::collections::VecDeque;

use super::Supervisor;
use crate::forkserver::HORSES_PER_FORK_MAX;
use crate::input::{Grant, HorseRequest};
use crate::reload::machine::{Availability, GenerationId};
use crate::settings::Isolation;
use crate::worker::horse::Horse;

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

/// Requests that wait, and horses that wait for requests.
#[derive(Debug)]
pub(super) struct Barrier {
    waiting: VecDeque<HorseRequest>,
    /// The longest waiting first: it has had the time to get ready.
    spares: VecDeque<Horse>,
    /// Horses that were asked for and have not come yet.
    coming: usize,
    /// Where the spares are from.
    generation: Option<GenerationId>,
    stock: Stock,
}

impl Barrier {
    pub(super) fn new(isolation: Isolation, slots: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            spares: VecDeque::new(),
            coming: 0,
            generation: None,
            stock: Stock::new(isolation, slots),
        }
    }

    /// Horses that have no job.
    pub(super) fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Those of one generation.
    pub(super) fn spares_of(&self, generation: GenerationId) -> usize {
        self.spares.iter().filter(|horse| horse.generation == generation).count()
    }

    pub(super) fn request(&mut self, request: HorseRequest) {
        self.waiting.push_back(request);
    }

    /// A horse has been forked; one of a generation that serves no more is hung up on.
    pub(super) fn horse_came(&mut self, horse: Horse) {
        if Some(horse.generation) == self.generation {
            self.coming = self.coming.saturating_sub(1);
            self.spares.push_back(horse);
        }
    }

    /// A horse has run its job and may run another, unless it was killed or its generation serves
    /// no more. It goes first: its memory is warm.
    pub(super) fn horse_is_free(&mut self, horse: Horse) {
        if Some(horse.generation) == self.generation && horse.presence.is_there() {
            self.spares.push_front(horse);
        }
    }

    /// Another generation serves, or none.
    pub(super) fn serve_from(&mut self, generation: Option<GenerationId>) {
        self.generation = generation;
        self.spares.clear();
        self.coming = 0;
    }
}

impl Supervisor {
    /// Answers as many waiting requests as can be, and has horses forked for what is to come.
    pub(super) fn give_horses(&mut self) {
        self.barrier.waiting.retain(|request| !request.reply.is_closed());
        if self.is_writing() {
            return;
        }
        match self.machine.availability() {
            Availability::Wait => {}
            Availability::Hold => {
                for request in self.barrier.waiting.drain(..) {
                    // A slot that gave up meanwhile releases its job by itself.
                    drop(request.reply.send(Grant::Hold));
                }
            }
            Availability::Serve(generation) => {
                debug_assert_eq!(self.barrier.generation, Some(generation));
                self.serve_requests();
                self.fork_ahead(generation);
            }
        }
    }

    fn serve_requests(&mut self) {
        while !self.barrier.waiting.is_empty() {
            let Some(mut horse) = self.barrier.spares.pop_front() else { return };
            if horse.exit.try_recv().is_ok() {
                continue; // it died while it waited
            }
            let generation = horse.generation;
            // Nothing runs on code that never served.
            let Some(ticket) = self.ledger.ticket(generation) else { continue };
            let Some(request) = self.barrier.waiting.pop_front() else { return };
            horse.position = self.position(generation);
            match request.reply.send(Grant::Horse(horse, ticket)) {
                Err(Grant::Horse(unused, _)) => self.barrier.spares.push_front(unused),
                Err(Grant::Hold) | Ok(()) => self.ledger.works(generation),
            }
        }
    }

    /// Keeps all spares there are to be.
    fn fork_ahead(&mut self, generation: GenerationId) {
        let wanted = self.barrier.waiting.len() + self.barrier.stock.spares;
        let there = self.barrier.spares.len() + self.barrier.coming;
        if wanted < there + self.barrier.stock.together {
            return;
        }
        let count = (wanted - there).min(HORSES_PER_FORK_MAX);
        let asked = match self.settings.isolation {
            Isolation::Fork | Isolation::Reuse(_) => self.chain.fork_horses(generation, count),
            Isolation::Spawn => self.spawn_spares(generation, count),
        };
        match asked {
            Ok(()) => self.barrier.coming += count,
            Err(error) => self.warn(format!("cannot ask for horses: {error}")),
        }
    }
}
