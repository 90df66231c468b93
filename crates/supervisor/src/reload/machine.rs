//! Which generation loads, serves, sleeps, retires: pure.
//!
//! Fed with what happened and the time, it answers with effects for the shell
//! (`supervisor/reloading.rs`). Rules:
//!
//! * At most one generation is loading and at most one wish for another waits, with its cause.
//! * A generation serves only after it has loaded, and matched the disk when it had.
//! * Once one has served, code that cannot be imported never takes its place.
//! * A job waits at the barrier while a change of code is wanted or loading; a wish for
//!   another reason (something was learned) makes nobody wait.
//! * The one that new code replaced sleeps for a while, at most one, so that it can serve again.
//!   What serves after such a step back is replaced by a change of code and by nothing less.
//! * A canary runs one job at a time; what served before goes on serving until it has passed.
//! * A generation that dies without a change of code is replaced after a pause that doubles, and
//!   only so many times.
//! * A save ends a loading that takes long, but each time only a longer one: no storm of saves
//!   keeps all of them from ending.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::backoff::{Attempt, Backoff};
pub use super::terms::*;
use crate::clock::Moment;

/// A tree that moved while it was being loaded is loaded again at most this often in a row.
pub const MOVED_MAX: u32 = 5;
/// How long a generation that new code replaced can be gone back to.
pub const SLEEP_MAX: Duration = Duration::from_mins(10);
/// A generation that ends this soon after it began to serve because of a save is gone back from.
pub const CRASH_SOON: Duration = Duration::from_secs(30);
/// How long a loading may have taken and still be waited for when newer code is saved; doubles with
/// each one in a row that was not.
pub const LOADING_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Loading {
    generation: GenerationId,
    cause: Cause,
    since: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Serving {
    generation: GenerationId,
    since: Moment,
    /// It serves because the code changed.
    by_save: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asleep {
    generation: GenerationId,
    until: Moment,
}

#[derive(Debug)]
struct Canary {
    generation: GenerationId,
    jobs_left: u32,
    /// It has a job.
    busy: bool,
}

/// The state of reloading.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    base_ready: bool,
    last: u64,
    serving: Option<Serving>,
    asleep: Option<Asleep>,
    canary: Option<Canary>,
    loading: Option<Loading>,
    wanted: Option<Cause>,
    /// The newest code, if it could not be imported.
    broken: Option<GenerationId>,
    /// What serves is older than the newest, because it was gone back to.
    rolled_back: bool,
    moved_in_a_row: u32,
    abandoned_in_a_row: u32,
    backoff: Backoff,
    retry_at: Option<Moment>,
    /// Too many died in a row.
    given_up: bool,
}

impl Machine {
    /// A machine that wants its first generation as soon as a base is ready.
    pub fn new(policy: Policy, now: Moment) -> Self {
        Self {
            policy,
            base_ready: false,
            last: 0,
            serving: None,
            asleep: None,
            canary: None,
            loading: None,
            wanted: Some(Cause { seen: now, ..Cause::default() }),
            broken: None,
            rolled_back: false,
            moved_in_a_row: 0,
            abandoned_in_a_row: 0,
            backoff: Backoff::new(policy.restarts_max),
            retry_at: None,
            given_up: false,
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
            Input::Unfit(generation) => {
                if let Some(cause) = self.end_loading(generation) {
                    effects.push(Effect::Discard(generation));
                    self.want(cause);
                }
            }
            Input::Broken { generation, moved, by } => {
                if let Some(cause) = self.end_loading(generation) {
                    effects.push(Effect::Discard(generation));
                    self.broken(now, (generation, by), (cause, moved), &mut effects);
                }
            }
            Input::Died(generation) => self.died(now, generation, &mut effects),
            Input::TrialBegun(generation) => {
                if let Some(canary) = self.canary.as_mut().filter(|it| it.generation == generation)
                {
                    canary.busy = true;
                }
            }
            Input::TrialEnded(generation, verdict) => {
                self.trial_ended(now, generation, verdict, &mut effects);
            }
            Input::RollBack => self.roll_back(now, &mut effects),
            Input::Tick => {}
        }
        if let Some(asleep) = self.asleep.take_if(|asleep| asleep.until <= now) {
            effects.push(Effect::Retire(asleep.generation));
        }
        self.abandon_if_superseded(now, &mut effects);
        self.load_if_wanted(now, &mut effects);
        effects
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Moment> {
        let retry = self.retry();
        let abandon = self.superseded().map(|loading| loading.since + self.patience());
        let asleep = self.asleep.map(|asleep| asleep.until);
        [retry, abandon, asleep].into_iter().flatten().min()
    }

    /// When the next attempt after a death is due, if one is waited for.
    pub fn retry(&self) -> Option<Moment> {
        self.wanted.as_ref().and(self.retry_at)
    }

    /// What a job at the barrier is told now, unless it has a wish of its own.
    pub fn availability(&self) -> Availability {
        let waiting = self.wanted.as_ref().is_some_and(Cause::concerns_code)
            || self.loading.as_ref().is_some_and(|loading| loading.cause.concerns_code());
        match self.serving {
            _ if waiting => Availability::Wait,
            _ if self.is_held() => Availability::Hold,
            Some(serving) => Availability::Serve(serving.generation),
            None if self.broken.is_some() || self.given_up => Availability::Hold,
            None => Availability::Wait,
        }
    }

    /// What somebody at the barrier is told now.
    pub fn available_to(&self, wish: Wish) -> Availability {
        let Availability::Serve(serving) = self.availability() else { return self.availability() };
        let canary = self.canary.as_ref().filter(|canary| !canary.busy);
        Availability::Serve(match (wish, canary) {
            (Wish::Job, Some(canary)) => canary.generation,
            (Wish::OtherThan(one), _) => self.other_than(one).unwrap_or(serving),
            (Wish::Job, None) | (Wish::Settled, _) => serving,
        })
    }

    /// Another generation that could run a job.
    pub fn other_than(&self, one: GenerationId) -> Option<GenerationId> {
        let asleep = self.asleep.map(|asleep| asleep.generation);
        [self.serving(), asleep].into_iter().flatten().find(|other| *other != one)
    }

    /// The generation that serves, or would if jobs were not held.
    pub fn serving(&self) -> Option<GenerationId> {
        self.serving.map(|serving| serving.generation)
    }

    /// The generation that runs jobs one by one before it may serve.
    pub fn canary(&self) -> Option<GenerationId> {
        self.canary.as_ref().map(|canary| canary.generation)
    }

    /// Whether this generation has loaded and may be asked for horses.
    pub fn is_alive(&self, generation: GenerationId) -> bool {
        let asleep = self.asleep.map(|asleep| asleep.generation);
        [self.serving(), self.canary(), asleep].contains(&Some(generation))
    }

    /// Whether the newest code could not be imported.
    pub fn newest_is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether what serves was gone back to, so that the newest code does not run.
    pub fn is_rolled_back(&self) -> bool {
        self.rolled_back
    }

    /// Number of the generation that is loading.
    pub fn loading(&self) -> Option<GenerationId> {
        self.loading.as_ref().map(|loading| loading.generation)
    }

    /// Whether another generation is loading, or will be without anything that happens from outside.
    pub fn goes_on(&self) -> bool {
        self.loading.is_some() || self.wanted.is_some()
    }

    /// Whether a loading goes as it went, although these files changed meanwhile.
    pub fn is_final(&self, moved: &BTreeSet<PathBuf>) -> bool {
        moved.is_empty() || MOVED_MAX <= self.moved_in_a_row
    }

    /// What [`Input::RollBack`] goes back from, and to; none if there is nothing to go back to.
    pub fn roll_back_target(&self) -> Option<(GenerationId, GenerationId)> {
        let newest = GenerationId(self.last);
        match (self.serving(), self.asleep.map(|asleep| asleep.generation)) {
            (None, asleep) => asleep.map(|asleep| (newest, asleep)),
            (Some(serving), asleep) => {
                let newer = self.canary().or_else(|| self.loading_code());
                let newer = newer.or(self.broken.filter(|_| self.is_held()));
                newer.map(|newer| (newer, serving)).or(asleep.map(|asleep| (serving, asleep)))
            }
        }
    }

    /// Whether jobs wait until broken code is mended.
    fn is_held(&self) -> bool {
        self.broken.is_some() && self.policy.on_broken == OnBroken::Hold && !self.rolled_back
    }

    fn loading_code(&self) -> Option<GenerationId> {
        let loading = self.loading.as_ref().filter(|loading| loading.cause.concerns_code());
        loading.map(|loading| loading.generation)
    }

    fn want(&mut self, cause: Cause) {
        if cause.concerns_code() {
            // A save resets every count: the code is another now.
            self.retry_at = None;
            self.backoff.reset();
            self.given_up = false;
            self.rolled_back = false;
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
        // It would be loaded with what is on disk, which is not to serve, or not yet.
        let older_serves = self.rolled_back || self.canary.is_some();
        if let Some(cause) =
            self.wanted.take_if(|it| it.concerns_code() || it.died || !older_serves)
        {
            self.retry_at = None;
            self.last += 1;
            let generation = GenerationId(self.last);
            effects.push(Effect::Load(generation, cause.clone()));
            self.loading = Some(Loading { generation, cause, since: now });
        }
    }

    /// The loading generation, if newer code than it has is wanted.
    fn superseded(&self) -> Option<&Loading> {
        self.loading.as_ref().filter(|_| self.wanted.as_ref().is_some_and(Cause::concerns_code))
    }

    fn patience(&self) -> Duration {
        LOADING_PATIENCE * 2_u32.saturating_pow(self.abandoned_in_a_row.min(16))
    }

    /// Ends a loading that newer code waits for, if it has taken too long for that.
    fn abandon_if_superseded(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let overdue = self.superseded().is_some_and(|it| it.since + self.patience() <= now);
        if let Some(loading) = self.loading.take_if(|_| overdue) {
            self.abandoned_in_a_row += 1;
            effects.push(Effect::Abandon(loading.generation));
            self.want(loading.cause);
        }
    }

    /// Ends the loading of `generation`; tells its cause, unless it is not the loading one.
    fn end_loading(&mut self, generation: GenerationId) -> Option<Cause> {
        let loading = self.loading.take_if(|loading| loading.generation == generation)?;
        self.abandoned_in_a_row = 0;
        Some(loading.cause)
    }

    fn same(
        &mut self,
        now: Moment,
        generation: GenerationId,
        moved: BTreeSet<PathBuf>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(cause) = self.end_loading(generation) else { return };
        effects.push(Effect::Discard(generation));
        if self.serving.is_none() {
            // What it was compared with has died meanwhile.
            return self.want(cause);
        }
        // The change was taken back.
        effects.extend(self.canary.take().map(|canary| Effect::Retire(canary.generation)));
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
        self.broken = None;
        let canary = self.canary.take();
        let by_save = cause.concerns_code();
        if by_save && self.serving.is_some() && 0 < self.policy.canary_jobs {
            let jobs_left = self.policy.canary_jobs;
            self.canary = Some(Canary { generation, jobs_left, busy: false });
            effects.push(Effect::Try(generation, cause));
        } else {
            effects.push(Effect::Serve(generation, cause));
            self.take_over(now, generation, by_save, effects);
        }
        effects.extend(canary.map(|canary| Effect::Retire(canary.generation)));
    }

    /// A generation begins to serve in place of another.
    fn take_over(
        &mut self,
        now: Moment,
        generation: GenerationId,
        by_save: bool,
        effects: &mut Vec<Effect>,
    ) {
        let old = self.serving.replace(Serving { generation, since: now, by_save });
        match old {
            Some(old) if by_save => self.put_to_sleep(now, old.generation, effects),
            // The same code as before: nobody would go back to it.
            Some(old) => effects.push(Effect::Retire(old.generation)),
            None => {}
        }
    }

    fn put_to_sleep(&mut self, now: Moment, generation: GenerationId, effects: &mut Vec<Effect>) {
        let until = now + SLEEP_MAX;
        let before = self.asleep.replace(Asleep { generation, until });
        effects.extend(before.map(|before| Effect::Retire(before.generation)));
    }

    fn broken(
        &mut self,
        now: Moment,
        (generation, by): (GenerationId, BrokenBy),
        (mut cause, moved): (Cause, BTreeSet<PathBuf>),
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_final(&moved) {
            // Half of a change, most likely: judge the whole of it.
            self.moved_in_a_row += 1;
            cause.merge(Cause::changed(moved, now));
            self.want(cause);
            return;
        }
        self.moved_in_a_row = 0;
        self.broken = Some(generation);
        let serving = self.serving().filter(|_| !self.is_held());
        effects.push(Effect::Announce { broken: generation, serving });
        if by == BrokenBy::Crash && self.serving.is_none() {
            self.try_again(now, Duration::ZERO, effects);
        }
    }

    fn died(&mut self, now: Moment, generation: GenerationId, effects: &mut Vec<Effect>) {
        self.asleep.take_if(|asleep| asleep.generation == generation);
        if self.canary.take_if(|canary| canary.generation == generation).is_some() {
            self.go_back(generation, RollBackCause::CanaryFailed, effects);
        }
        let Some(dead) = self.serving.take_if(|serving| serving.generation == generation) else {
            return;
        };
        if let Some(canary) = self.canary.take() {
            effects.push(Effect::Promote(canary.generation));
            self.take_over(now, canary.generation, true, effects);
            return;
        }
        let lived = now.since(dead.since);
        let asleep = self.asleep.filter(|_| dead.by_save && lived < CRASH_SOON);
        if let Some(Asleep { generation, .. }) = asleep {
            self.asleep = None;
            self.serving = Some(Serving { generation, since: now, by_save: false });
            self.go_back(dead.generation, RollBackCause::Crashed, effects);
            return;
        }
        self.rolled_back = false;
        self.try_again(now, lived, effects);
    }

    /// What has died after it `lived` so long is replaced, sooner or later.
    fn try_again(&mut self, now: Moment, lived: Duration, effects: &mut Vec<Effect>) {
        self.retry_at = match self.backoff.died(now, lived) {
            Attempt::AtOnce => None,
            Attempt::At(due) => Some(due),
            Attempt::Never => {
                self.given_up = true;
                effects.push(Effect::GiveUp { deaths: self.backoff.deaths() });
                return;
            }
        };
        self.want(Cause::died(now));
    }

    fn trial_ended(
        &mut self,
        now: Moment,
        generation: GenerationId,
        verdict: Verdict,
        effects: &mut Vec<Effect>,
    ) {
        let Some(canary) = self.canary.as_mut().filter(|it| it.generation == generation) else {
            return;
        };
        canary.busy = false;
        match verdict {
            Verdict::Void => {}
            Verdict::Passed => {
                canary.jobs_left = canary.jobs_left.saturating_sub(1);
                if canary.jobs_left == 0 {
                    self.canary = None;
                    effects.push(Effect::Promote(generation));
                    self.take_over(now, generation, true, effects);
                }
            }
            Verdict::Failed => {
                self.canary = None;
                self.go_back(generation, RollBackCause::CanaryFailed, effects);
                self.put_to_sleep(now, generation, effects);
            }
        }
    }

    /// Says that what serves now was gone back to.
    fn go_back(&mut self, from: GenerationId, cause: RollBackCause, effects: &mut Vec<Effect>) {
        let Some(to) = self.serving() else { return };
        // Newer code that waits or loads is not what turned out to be bad.
        let newer = self.wanted.as_ref().is_some_and(Cause::concerns_code);
        self.rolled_back = !newer && self.loading_code().is_none();
        effects.push(Effect::RollBack { from, to, cause });
    }

    fn roll_back(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some((from, to)) = self.roll_back_target() else { return };
        self.wanted = None;
        self.retry_at = None;
        self.given_up = false;
        self.backoff.reset();
        if let Some(loading) = self.loading.take() {
            effects.push(Effect::Abandon(loading.generation));
        }
        effects.push(Effect::RollBack { from, to, cause: RollBackCause::Requested });
        let mut newer = self.canary.take().map(|canary| canary.generation);
        if self.asleep.take_if(|asleep| asleep.generation == to).is_some() {
            let again = Serving { generation: to, since: now, by_save: false };
            newer = self.serving.replace(again).map(|serving| serving.generation);
        }
        if let Some(newer) = newer {
            // So that a second step leads back to it.
            self.put_to_sleep(now, newer, effects);
        }
        self.rolled_back = to < from;
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
