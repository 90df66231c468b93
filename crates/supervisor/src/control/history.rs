//! What has become of the user's code, for those who ask later: pure.

use std::collections::BTreeMap;

use super::status::{Generation, Reloaded};
use crate::clock::Moment;
use crate::event::{Broken, Event, Serving};
use crate::reload::machine::GenerationId;

/// Generations that are remembered.
const GENERATIONS_MAX: usize = 32;

/// The generations that have served, and the newest code that could not.
#[derive(Debug, Default)]
pub struct History {
    served: BTreeMap<GenerationId, (Serving, Moment)>,
    /// The last of them that a change of code has brought.
    last_reload: Option<(Serving, Moment)>,
    broken: Option<Broken>,
}

impl History {
    /// Takes note of what was said.
    pub fn note(&mut self, event: &Event, now: Moment) {
        match event {
            Event::GenerationServing(serving) => self.serves(serving, now),
            Event::CanaryBegun { canary, .. } => self.remember(canary, now),
            Event::CanaryPassed(generation) => {
                let passed = self.served.get(generation).map(|(serving, _)| serving.clone());
                self.last_reload = passed.map(|serving| (serving, now));
            }
            Event::GenerationBroken(broken) => self.broken = Some(broken.clone()),
            _ => {}
        }
    }

    fn remember(&mut self, serving: &Serving, now: Moment) {
        self.served.insert(serving.generation, (serving.clone(), now));
        if GENERATIONS_MAX < self.served.len() {
            self.served.pop_first();
        }
    }

    fn serves(&mut self, serving: &Serving, now: Moment) {
        self.remember(serving, now);
        if serving.cause.concerns_code() {
            self.last_reload = Some((serving.clone(), now));
        }
    }

    /// A generation that has served; `wall` tells Unix seconds.
    pub fn generation(
        &self,
        generation: GenerationId,
        wall: impl Fn(Moment) -> f64,
    ) -> Option<Generation> {
        let (serving, since) = self.served.get(&generation)?;
        Some(Generation {
            generation,
            code_hash: serving.code_hash.clone(),
            files: serving.files,
            since: wall(*since),
            cause: serving.cause.clone(),
        })
    }

    /// The last change of code that was served.
    pub fn last_reload(&self, wall: impl Fn(Moment) -> f64) -> Option<Reloaded> {
        let (serving, at) = self.last_reload.as_ref()?;
        Some(Reloaded { at: wall(*at), serving: serving.clone() })
    }

    /// The last code that could not be imported.
    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }
}
