//! Which generation loads, serves, retires: pure.
//!
//! Fed with what happened and the time, it answers with effects for the shell
//! (`supervisor.rs`). Rules:
//!
//! * At most one generation is loading and at most one wish for another waits, with its cause.
//! * A generation serves only after it has loaded, and matched the disk when it had.
//! * Once one has served, code that cannot be imported never takes its place.
//! * A job waits at the barrier while a change of code is wanted or loading; a wish for
//!   another reason (something was learned) makes nobody wait.
//! * A generation that dies without a change of code is replaced after a pause that doubles.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Moment;
use crate::control::wire::paths;

/// A tree that moved while it was being loaded is loaded again at most this often in a row.
pub const MOVED_MAX: u32 = 5;
/// First pause before a generation that died is replaced; doubles up to [`RETRY_PAUSE_MAX`].
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_mins(1);

/// Number of a generation; they count up from 1 for the life of a supervisor.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct GenerationId(pub u64);

impl std::fmt::Display for GenerationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What happens while the newest code cannot be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBroken {
    /// The last good generation serves.
    Keep,
    /// Jobs wait until the code is mended.
    Hold,
}

/// Why a generation is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cause {
    /// Files whose content changed. Not empty: jobs wait for it.
    #[serde(serialize_with = "paths")]
    pub changed: BTreeSet<PathBuf>,
    /// Modules or libraries were learned, or a base with more of them is ready.
    pub learned: bool,
    /// Somebody asked for it (SIGHUP).
    pub requested: bool,
    /// The one that served died.
    pub died: bool,
    /// When the first of this was noticed.
    #[serde(skip)]
    pub seen: Moment,
    /// When it was saved, if that is known.
    #[serde(skip)]
    pub saved: Option<Moment>,
}

impl Cause {
    /// The cause of a save.
    pub fn changed(files: BTreeSet<PathBuf>, seen: Moment) -> Self {
        Self { changed: files, seen, ..Self::default() }
    }

    /// The cause of having learned something.
    pub fn learned(seen: Moment) -> Self {
        Self { learned: true, seen, ..Self::default() }
    }

    /// The cause of a request.
    pub fn requested(seen: Moment) -> Self {
        Self { requested: true, seen, ..Self::default() }
    }

    /// Whether the code may differ, so that jobs have to wait.
    pub fn concerns_code(&self) -> bool {
        !self.changed.is_empty() || self.requested
    }

    /// Whether there is no reason but files that changed.
    pub fn is_only_a_save(&self) -> bool {
        !(self.changed.is_empty() || self.learned || self.requested || self.died)
    }

    fn merge(&mut self, other: Self) {
        self.changed.extend(other.changed);
        self.learned |= other.learned;
        self.requested |= other.requested;
        self.died |= other.died;
        self.seen = self.seen.min(other.seen);
        self.saved = self.saved.into_iter().chain(other.saved).min();
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A base is ready to fork generations (the first, or one after a base died).
    BaseReady,
    /// The base died; nothing can be forked until the next is ready.
    BaseGone,
    /// Another generation is wanted.
    Wanted(Cause),
    /// The loading generation has imported its modules; `moved` are files that differ on disk by now.
    Loaded {
        /// Which one.
        generation: GenerationId,
        /// Files that changed while it was loading.
        moved: BTreeSet<PathBuf>,
    },
    /// What changed compiles to the code that serves: the loading generation ends, as it is not needed.
    Same {
        /// Which one.
        generation: GenerationId,
        /// Files that changed since they were compared.
        moved: BTreeSet<PathBuf>,
    },
    /// The loading generation could not import the user's modules.
    Broken {
        /// Which one.
        generation: GenerationId,
        /// Files that changed while it was loading.
        moved: BTreeSet<PathBuf>,
    },
    /// The loading generation has imported what no fork survives: another is to load without it.
    Unfit(GenerationId),
    /// A generation ended that was not told to.
    Died(GenerationId),
    /// A deadline has come.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Fork a generation from the newest base and let it import the user's modules.
    Load(GenerationId, Cause),
    /// It serves from now on.
    Serve(GenerationId, Cause),
    /// It gets no new jobs and ends when its last horse has.
    Retire(GenerationId),
    /// It never served: end it now.
    Discard(GenerationId),
    /// Say that the newest code is broken, and which generation serves, if one does.
    Announce {
        /// The one that could not be loaded.
        broken: GenerationId,
        /// The last good one, unless jobs wait.
        serving: Option<GenerationId>,
    },
}

/// What a job that stands at the barrier is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Run on this generation.
    Serve(GenerationId),
    /// Wait: a newer one is on its way.
    Wait,
    /// The newest code is broken and jobs are not to run on the old.
    Hold,
}

#[derive(Debug)]
struct Loading {
    generation: GenerationId,
    cause: Cause,
}

/// The state of reloading.
#[derive(Debug)]
pub struct Machine {
    on_broken: OnBroken,
    base_ready: bool,
    last: u64,
    serving: Option<GenerationId>,
    loading: Option<Loading>,
    wanted: Option<Cause>,
    newest_broken: bool,
    moved_in_a_row: u32,
    deaths_in_a_row: u32,
    retry_at: Option<Moment>,
}

impl Machine {
    /// A machine that wants its first generation as soon as a base is ready.
    pub fn new(on_broken: OnBroken, now: Moment) -> Self {
        Self {
            on_broken,
            base_ready: false,
            last: 0,
            serving: None,
            loading: None,
            wanted: Some(Cause { seen: now, ..Cause::default() }),
            newest_broken: false,
            moved_in_a_row: 0,
            deaths_in_a_row: 0,
            retry_at: None,
        }
    }

    /// Takes note of what happened at `now`; returns what is to be done, in order.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::BaseReady => self.base_ready = true,
            Input::BaseGone => self.base_ready = false,
            Input::Wanted(cause) => self.want(cause),
            Input::Loaded { generation, moved } => {
                self.loaded(now, generation, moved, &mut effects);
            }
            Input::Same { generation, moved } => self.same(now, generation, moved, &mut effects),
            Input::Broken { generation, moved } => {
                self.broken(now, generation, moved, &mut effects);
            }
            Input::Unfit(generation) => {
                if let Some(cause) = self.end_loading(generation) {
                    effects.push(Effect::Discard(generation));
                    self.want(cause);
                }
            }
            Input::Died(generation) => self.died(now, generation),
            Input::Tick => {}
        }
        self.load_if_wanted(now, &mut effects);
        effects
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.wanted.as_ref().and(self.retry_at)
    }

    /// What a job at the barrier is told now.
    pub fn availability(&self) -> Availability {
        let waiting = self.wanted.as_ref().is_some_and(Cause::concerns_code)
            || self.loading.as_ref().is_some_and(|loading| loading.cause.concerns_code());
        match self.serving {
            _ if waiting => Availability::Wait,
            _ if self.newest_broken && self.on_broken == OnBroken::Hold => Availability::Hold,
            Some(generation) => Availability::Serve(generation),
            None if self.newest_broken => Availability::Hold,
            None => Availability::Wait,
        }
    }

    /// The generation that serves, or would if jobs were not held.
    pub fn serving(&self) -> Option<GenerationId> {
        self.serving
    }

    /// Whether the newest code could not be imported.
    pub fn newest_is_broken(&self) -> bool {
        self.newest_broken
    }

    /// Number of the generation that is loading.
    pub fn loading(&self) -> Option<GenerationId> {
        self.loading.as_ref().map(|loading| loading.generation)
    }

    /// Whether a loading goes as it went, although these files changed meanwhile.
    pub fn is_final(&self, moved: &BTreeSet<PathBuf>) -> bool {
        moved.is_empty() || MOVED_MAX <= self.moved_in_a_row
    }

    fn want(&mut self, cause: Cause) {
        if cause.concerns_code() {
            // A save resets every count: the code is another now.
            self.retry_at = None;
            self.deaths_in_a_row = 0;
        }
        match &mut self.wanted {
            Some(wanted) => wanted.merge(cause),
            None => self.wanted = Some(cause),
        }
    }

    fn load_if_wanted(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let due = self.retry_at.is_none_or(|at| at <= now);
        if !self.base_ready || self.loading.is_some() || !due {
            return;
        }
        if let Some(cause) = self.wanted.take() {
            self.retry_at = None;
            self.last += 1;
            let generation = GenerationId(self.last);
            effects.push(Effect::Load(generation, cause.clone()));
            self.loading = Some(Loading { generation, cause });
        }
    }

    /// Ends the loading of `generation`; tells its cause, unless it is not the loading one.
    fn end_loading(&mut self, generation: GenerationId) -> Option<Cause> {
        self.loading
            .take_if(|loading| loading.generation == generation)
            .map(|loading| loading.cause)
    }

    fn same(
        &mut self,
        now: Moment,
        generation: GenerationId,
        moved: BTreeSet<PathBuf>,
        effects: &mut Vec<Effect>,
    ) {
        if self.end_loading(generation).is_none() {
            return;
        }
        effects.push(Effect::Discard(generation));
        if moved.is_empty() {
            self.moved_in_a_row = 0;
        } else {
            self.moved_in_a_row += 1;
            self.want(Cause::changed(moved, now));
        }
    }

    fn loaded(
        &mut self,
        now: Moment,
        generation: GenerationId,
        moved: BTreeSet<PathBuf>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mut cause) = self.end_loading(generation) else { return };
        if !self.is_final(&moved) {
            self.moved_in_a_row += 1;
            effects.push(Effect::Discard(generation));
            cause.merge(Cause::changed(moved, now));
            self.want(cause);
            return;
        }
        if !moved.is_empty() {
            // It never came to rest: serve what we have, and go on trying.
            self.want(Cause::changed(moved, now));
        }
        self.moved_in_a_row = 0;
        self.newest_broken = false;
        effects.push(Effect::Serve(generation, cause));
        if let Some(old) = self.serving.replace(generation) {
            effects.push(Effect::Retire(old));
        }
    }

    fn broken(
        &mut self,
        now: Moment,
        generation: GenerationId,
        moved: BTreeSet<PathBuf>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(cause) = self.end_loading(generation) else { return };
        effects.push(Effect::Discard(generation));
        if !self.is_final(&moved) {
            // Half of a change, most likely: judge the whole of it.
            self.moved_in_a_row += 1;
            let mut again = cause;
            again.merge(Cause::changed(moved, now));
            self.want(again);
            return;
        }
        self.moved_in_a_row = 0;
        self.newest_broken = true;
        let serving = self.serving.filter(|_| self.on_broken == OnBroken::Keep);
        effects.push(Effect::Announce { broken: generation, serving });
    }

    fn died(&mut self, now: Moment, generation: GenerationId) {
        let cause = if let Some(cause) = self.end_loading(generation) {
            cause
        } else if self.serving == Some(generation) {
            self.serving = None;
            Cause { seen: now, ..Cause::default() }
        } else {
            return;
        };
        self.want(Cause { died: true, ..cause });
        let pause =
            RETRY_PAUSE * 2_u32.saturating_pow(self.deaths_in_a_row.saturating_sub(1).min(16));
        // The first death is answered at once; the pauses are for a crash loop.
        self.retry_at = (0 < self.deaths_in_a_row).then(|| now + pause.min(RETRY_PAUSE_MAX));
        self.deaths_in_a_row += 1;
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
