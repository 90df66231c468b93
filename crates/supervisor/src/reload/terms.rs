//! The words of the reload machine: what it is told, what it asks for, what it answers.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::clock::Moment;
use crate::control::wire::paths;

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

/// How a machine is to decide.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What happens while the newest code cannot be imported.
    pub on_broken: OnBroken,
    /// Jobs that new code runs one by one before it serves all; zero: it serves at once.
    pub canary_jobs: u32,
    /// Restarts in a row of what dies without a change of code.
    pub restarts_max: u32,
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

    /// The cause of a death.
    pub fn died(seen: Moment) -> Self {
        Self { died: true, seen, ..Self::default() }
    }

    /// Whether the code may differ, so that jobs have to wait.
    pub fn concerns_code(&self) -> bool {
        !self.changed.is_empty() || self.requested
    }

    /// Whether there is no reason but files that changed.
    pub fn is_only_a_save(&self) -> bool {
        !(self.changed.is_empty() || self.learned || self.requested || self.died)
    }

    /// Takes on another cause.
    pub fn merge(&mut self, other: Self) {
        self.changed.extend(other.changed);
        self.learned |= other.learned;
        self.requested |= other.requested;
        self.died |= other.died;
        self.seen = self.seen.min(other.seen);
        self.saved = self.saved.into_iter().chain(other.saved).min();
    }
}

/// How user code turned out to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenBy {
    /// It said so: an exception, or it took too long.
    Itself,
    /// Its process ended while importing. Where nothing else serves it is tried again: it may
    /// have been the machine.
    Crash,
}

/// How the trial of a canary with one job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The job ended as it would have on the old code, as far as anybody knows.
    Passed,
    /// Its horse died, or it failed in a way that the old code did not.
    Failed,
    /// It says nothing about the code: the job was not run to its end.
    Void,
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
    /// The loading generation has imported what no fork survives: another is to load without it.
    Unfit(GenerationId),
    /// The loading generation could not import the user's modules.
    Broken {
        /// Which one.
        generation: GenerationId,
        /// Files that changed while it was loading.
        moved: BTreeSet<PathBuf>,
        /// How that showed.
        by: BrokenBy,
    },
    /// A generation that had loaded ended without being told to.
    Died(GenerationId),
    /// A horse of the canary was given a job.
    TrialBegun(GenerationId),
    /// That job has ended.
    TrialEnded(GenerationId, Verdict),
    /// Somebody wants the generation before the newest to serve.
    RollBack,
    /// A deadline has come.
    Tick,
}

/// Why the generation before serves again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollBackCause {
    /// Somebody asked for it.
    Requested,
    /// The newer one ended soon after it began to serve because of a save.
    Crashed,
    /// The newer one failed a job as canary, or ended.
    CanaryFailed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Fork a generation from the newest base and let it import the user's modules.
    Load(GenerationId, Cause),
    /// It serves from now on.
    Serve(GenerationId, Cause),
    /// It runs jobs one by one, while the one before serves.
    Try(GenerationId, Cause),
    /// The canary has done well, or is all there is: it serves from now on.
    Promote(GenerationId),
    /// `to` serves again, instead of what is newer.
    RollBack {
        /// The newer one.
        from: GenerationId,
        /// The one before.
        to: GenerationId,
        /// Why.
        cause: RollBackCause,
    },
    /// It gets no new jobs and ends when its last horse has.
    Retire(GenerationId),
    /// It has reported and will never serve: it may end now.
    Discard(GenerationId),
    /// It is still importing and will never serve: it is ended.
    Abandon(GenerationId),
    /// Say that the newest code is broken, and which generation serves, if one does.
    Announce {
        /// The one that could not be loaded.
        broken: GenerationId,
        /// The last good one, unless jobs wait.
        serving: Option<GenerationId>,
    },
    /// Say that so many died in a row, and that no other is started until the code changes.
    GiveUp {
        /// How many.
        deaths: u32,
    },
}

/// Who wants a horse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A job: the newest code, also a canary.
    Job,
    /// Something else that belongs to a job, or a job that no other code knows either.
    Settled,
    /// A job that this generation does not know: another that lives, if there is one.
    OtherThan(GenerationId),
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
