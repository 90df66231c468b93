//! From file events and reports to generations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::Supervisor;
use super::shadows::module_names;
use crate::clock::Moment;
use crate::event::{Event, Serving, Steps};
use crate::forkserver::import_note::ImportNote;
use crate::forkserver::messages::{Broken, Learned, LoadOrder, Loaded, Snapshot};
use crate::reload::machine::{BrokenBy, Cause, Effect, GenerationId, Input};
use crate::reload::relevance::{self, LoadedCode};
use crate::reload::sources::Position;
use crate::settings::Isolation;
use crate::shutdown::Phase;
use crate::watch::Change;

/// A generation that imports the user's modules.
#[derive(Debug)]
pub(super) struct Loading {
    pub(super) generation: GenerationId,
    pub(super) cause: Cause,
    pub(super) asked: Moment,
    pub(super) until: Moment,
    loaded: Option<Measured>,
    snapshot: Snapshot,
    /// Its connection is at its end: nothing it said is on its way any more.
    pub(super) hung_up: bool,
    /// How its process has ended.
    pub(super) status: Option<i32>,
    /// The release that it is of.
    release: Option<PathBuf>,
    /// Where in the manifest its code is; none: it loads what is on disk.
    pub(super) position: Option<Position>,
    /// Where in the manifest the tree was that it has loaded.
    pub(super) tree: Option<Position>,
    /// Which module it is at.
    pub(super) note: Option<ImportNote>,
    /// It took too long and was asked to end.
    pub(super) overdue: bool,
    /// What served when it was asked for: what changed is compared with that.
    pub(super) compared_with: Option<GenerationId>,
    /// Why it cannot be loaded; judged once nobody writes a file.
    pub(super) broken: Option<(Broken, BrokenBy)>,
}

impl Loading {
    /// Whether it has said that it cannot be loaded.
    pub(super) fn has_said(&self) -> bool {
        self.broken.is_some()
    }

    /// Files that are others on the disk than those that it has loaded, where it was to load the disk.
    pub(super) fn moved(&self, code: &LoadedCode) -> BTreeSet<PathBuf> {
        if self.position.is_some() { BTreeSet::new() } else { code.moved() }
    }
}

/// What a generation has loaded.
#[derive(Debug, Default)]
pub(super) struct Version {
    /// For interpreters that are to load the same.
    pub(super) snapshot: Snapshot,
    /// The user's files as it compiled them.
    pub(super) code: LoadedCode,
    /// The release that it is of.
    pub(super) release: Option<PathBuf>,
}

/// How long the steps of a loading took.
#[derive(Debug)]
struct Measured {
    begun: Moment,
    imported: Moment,
    warmed_up: Duration,
    verified: Duration,
}

impl Supervisor {
    /// Takes note of what was touched, and has it loaded if that changes the code. A file is read after its
    /// event: one that somebody has begun to write by then counts when that is over.
    pub(super) fn consider(&mut self, touched: &BTreeMap<PathBuf, Change>) {
        self.take_sources(touched);
        let mut changed = self.code.changes(touched, self.machine.newest_is_broken());
        for path in touched.keys().filter(|path| !changed.contains(*path)) {
            let why = self.code.why_not(path);
            self.report(&Event::Detail(format!("no reload for {}: {why}", path.display())));
        }
        if changed.is_empty() {
            return;
        }
        self.read_events();
        changed.retain(|path| !self.watching.is_being_written(path));
        if !changed.is_empty() && !self.left_for_marker(&changed) {
            self.report(&Event::ChangeSeen { files: changed.clone() });
            self.hold_snapshots();
            let now = Moment::now();
            let saved = relevance::saved(&changed, now);
            self.drive(Input::Wanted(Cause { saved, ..Cause::changed(changed, now) }));
        }
    }

    pub(super) fn reload_requested(&mut self) {
        self.deploy_now();
        self.drive(Input::Wanted(Cause::requested(Moment::now())));
    }

    /// Feeds the machine and carries out what it asks for.
    pub(super) fn drive(&mut self, input: Input) {
        if matches!(&input, Input::Wanted(cause) if cause.concerns_code()) {
            self.forgive_bases();
        }
        let effects = self.machine.handle(Moment::now(), input);
        self.carry_out(effects);
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Load(generation, cause) => {
                    self.waiting.loads(&cause);
                    self.load(generation, cause);
                }
                Effect::Serve(generation, cause) => self.serve(generation, cause),
                Effect::Try(generation, cause) => self.begin_canary(generation, cause),
                Effect::Promote(generation) => self.announce(&Event::CanaryPassed(generation)),
                Effect::RollBack { from, to, cause } => {
                    self.announce(&Event::RolledBack { from, to, cause });
                }
                Effect::Retire(generation) | Effect::Discard(generation) => {
                    self.chain.retire(generation);
                }
                Effect::Abandon(generation) => {
                    self.loading = None;
                    self.chain.kill_generation(generation);
                    let text = format!("generation {generation} is given up before it has loaded");
                    self.report(&Event::Detail(text));
                }
                Effect::Announce { serving, .. } => self.nothing_serves_if(serving),
                Effect::GiveUp { deaths } => self.give_up("generation", deaths),
            }
        }
    }

    fn load(&mut self, generation: GenerationId, cause: Cause) {
        let mut order = self.load_order(self.compiled_before(&cause));
        let mut changed = self.take_left_for_marker(&cause);
        changed.extend(cause.changed.iter().cloned());
        order.changed = module_names(&changed);
        order.position = self.deployed();
        let asked = Moment::now();
        self.loading = Some(Loading {
            generation,
            cause,
            asked,
            until: asked + self.settings.load_max,
            loaded: None,
            snapshot: Snapshot::new(),
            hung_up: false,
            status: None,
            release: order.release_now.clone(),
            position: order.position,
            tree: None,
            note: None,
            overdue: false,
            compared_with: self.machine.serving(),
            broken: None,
        });
        let begun = match self.settings.isolation {
            Isolation::Fork | Isolation::Reuse(_) => self.chain.fork_generation(generation, order),
            Isolation::Spawn => self.spawn(generation, order, None),
        };
        match (begun, &mut self.loading) {
            (Ok(note), Some(loading)) => loading.note = Some(note),
            (Ok(_), None) => {}
            (Err(error), _) => self.warn(format!("cannot ask for a generation: {error}")),
        }
    }

    /// All user modules that are known to be needed.
    pub(super) fn load_order(&self, compiled: BTreeMap<PathBuf, String>) -> LoadOrder {
        let learned = self.learned.modules().iter().map(|name| (name.clone(), false));
        let named = self.settings.imports.iter().map(|name| (name.clone(), true));
        let all = named.chain(learned);
        let modules = all.filter(|(name, _)| self.learned.is_for_generations(name)).collect();
        LoadOrder {
            modules,
            compiled,
            changed: Vec::new(),
            release_now: self.release_now(),
            position: None,
        }
    }

    /// The loading generation has imported everything: compare it with the disk.
    pub(super) fn generation_loaded(&mut self, generation: GenerationId, report: Loaded) {
        if self.machine.loading() != Some(generation) {
            return;
        }
        if let Some(left) = report.left {
            self.warn(format!(
                "generation {generation}: what jobs run with leaves {left} behind when it is imported, which may hang jobs"
            ));
        }
        self.learned.forget_modules(&report.gone);
        self.take_code(LoadedCode::new(report.files, report.opened));
        let began = Moment::now();
        self.drain_watcher();
        self.note_tree();
        let loading = self.loading.as_ref();
        let moved = loading.map(|loading| loading.moved(&self.code)).unwrap_or_default();
        if let Some(loading) = &mut self.loading {
            loading.snapshot = report.snapshot;
            loading.loaded = Some(Measured {
                begun: Moment::from_nanos(report.begun_ns),
                imported: Moment::from_nanos(report.imported_ns),
                warmed_up: Duration::from_nanos(report.warmup_ns),
                verified: Moment::now().since(began),
            });
        }
        self.drive(Input::Loaded { generation, moved });
        self.learn(generation, Learned { libraries: report.libraries, ..Learned::default() });
    }

    /// Takes note of what the newest attempt has loaded; what else it has read is watched from now on.
    pub(super) fn take_code(&mut self, code: LoadedCode) {
        self.watching.also_watch(&code.opened().cloned().collect());
        self.watching.heed_everything();
        self.code = code;
    }

    fn serve(&mut self, generation: GenerationId, cause: Cause) {
        if let Some(serving) = self.takes_jobs(generation, cause) {
            self.announce(&Event::GenerationServing(serving));
        }
    }

    /// A generation that has loaded may be given jobs from now on; tells what it took to get there.
    pub(super) fn takes_jobs(&mut self, generation: GenerationId, cause: Cause) -> Option<Serving> {
        self.barrier.open_stall(generation);
        self.send_to_bed(&BTreeMap::new());
        let loading = self.loading.take()?;
        self.versions.retain(|id, _| self.machine.is_alive(*id));
        let version = Version {
            snapshot: loading.snapshot,
            code: self.code.clone(),
            release: loading.release,
        };
        self.versions.insert(generation, version);
        let measured = loading.loaded?;
        let hash = self.code.fingerprint();
        let now = Moment::now();
        self.ledger.keep(|id| self.machine.is_alive(id));
        self.ledger.serves(generation, hash, now);
        self.hold_snapshots_before(generation);
        if let Some(tree) = loading.tree.filter(|_| self.marker().is_some()) {
            // Nothing that came since counts for it.
            self.ledger.hold_all(tree);
        }
        let loaded = measured.imported.since(measured.begun);
        Some(Serving {
            generation,
            files: self.code.len(),
            code_hash: hash.to_string(),
            steps: Steps {
                seen: cause.seen.since(cause.saved.unwrap_or(cause.seen)),
                settled: loading.asked.since(cause.seen),
                forked: measured.begun.since(loading.asked),
                imported: loaded.saturating_sub(measured.warmed_up),
                warmed_up: measured.warmed_up,
                verified: measured.verified,
                serving: now.since(measured.imported).saturating_sub(measured.verified),
            },
            total: now.since(cause.saved.unwrap_or(cause.seen)),
            draining: self.chain.draining(generation),
            cause,
        })
    }

    /// A job imported something beyond its generation. Libraries alone come from an import inside a
    /// function, which no generation repeats.
    pub(super) fn job_taught(&mut self, generation: GenerationId, learned: Learned) {
        self.jobs_import_libraries |= learned.modules.is_empty() && !learned.libraries.is_empty();
        self.let_go(&learned);
        self.learn(generation, learned);
    }

    /// A job or a generation imported something that the next should have from the start.
    fn learn(&mut self, generation: GenerationId, learned: Learned) {
        let in_base = self.learned.libraries().len();
        let modules = self.learned.add_modules(learned.modules);
        let libraries = self.learned.add_libraries(learned.libraries);
        if !modules && !libraries {
            return;
        }
        self.report(&Event::Detail(format!("learned from generation {generation} what to import")));
        self.save_learned();
        self.base_outdated |= in_base < self.learned.libraries().len();
        // Nobody would run a job on it any more.
        if modules && self.shutdown.phase() == Phase::Running {
            self.drive(Input::Wanted(Cause::learned(Moment::now())));
        }
    }

    pub(super) fn save_learned(&self) {
        if let Err(error) = self.learned.save() {
            self.report(&Event::Detail(format!("what was learned cannot be kept: {error}")));
        }
    }
}
