//! The loop: wait for an [`Input`], decide, carry out, publish.
//!
//! It owns everything that can change: the chain of processes, the reload machine, the
//! watcher, the requests of slots that stand at the barrier. Slots are tasks that own
//! their job; they ask here for a horse and are told through [`Orders`].
//!
//! * `asked.rs`: what is asked at the control socket.
//! * `bases.rs`: bases that die.
//! * `barrier.rs`: a slot has a job: which horse runs it?
//! * `watching.rs`: the watchers of files, and what they find; `looks.rs`, `settling.rs`: when it counts.
//! * `reloading.rs`: from changes and reports to generations.
//! * `broken.rs`: code that cannot be imported, and generations that die.
//! * `rollback.rs`: back to the generation before, and canaries.
//! * `equal_code.rs`: a change that compiles to the code that serves.
//! * `snapshots.rs`: what later imports of a job see.
//! * `marked.rs`: reloading when one file changes, and only then.
//! * `chain.rs`: what base and generations say, and their ends.
//! * `environment.rs`: installed packages change.
//! * `upkeep.rs`: maintenance and the scheduler, beside the slots.
//! * `slots.rs`: slots, started and stopped.
//! * `shadows.rs`: modules of the user's with names of libraries.
//! * `unfit.rs`: what survives no fork.
//! * `stopping.rs`: how it ends.

mod asked;
mod barrier;
mod bases;
mod broken;
mod chain;
mod environment;
mod equal_code;
mod looks;
mod marked;
mod reloading;
mod rollback;
mod settling;
mod shadows;
mod slots;
mod snapshots;
mod spawning;
mod stopping;
mod unfit;
mod upkeep;
mod watching;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use rq::{Client, FailureLeaves, RegisterError, WorkerName};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::asked::Waiting;
use self::barrier::Barrier;
use self::bases::BaseDeaths;
use self::environment::Environment;
use self::marked::Marked;
use self::reloading::{Loading, Version};
use self::rollback::KnownFailures;
use self::slots::{SlotKit, SlotState};
use self::watching::Watching;
use crate::clock::{self, Moment};
use crate::control::history::History;
use crate::control::socket::ControlSocket;
use crate::event::{Event, Reporter};
use crate::forkserver::messages::{BaseSettings, WorkerOptions};
use crate::forkserver::readiness;
use crate::forkserver::relay::Relay;
use crate::forkserver::{BaseCommand, BaseId, Chain, bootstrap, reaper};
use crate::input::Input;
use crate::reload::learned::LearnedImports;
use crate::reload::ledger::Ledger;
use crate::reload::machine::{self, Availability, GenerationId, Machine};
use crate::reload::relevance::LoadedCode;
use crate::reload::sources::Sources;
use crate::settings::{BASE_START_MAX, INPUTS_MAX, Isolation, Settings};
use crate::shutdown::{Phase, Shutdown};
use crate::signals::Signals;
use crate::watch::WatchError;
use crate::worker::{Orders, Shared};

/// How a supervisor ended.
#[derive(Debug)]
pub enum Exit {
    /// It did what it was to do, or was told to stop.
    Done,
    /// The newest code is broken, no job may run, and nothing will change that.
    CodeBroken,
    /// What it needs died again and again, and no change of code is looked for.
    RestartsUsedUp,
    /// A third signal came: nothing was waited for.
    Aborted,
    /// Redis knows an active worker of this name.
    NotRegistered(RegisterError),
    /// This Python cannot run jobs.
    PythonUnusable(String),
    /// A class or function that jobs run with cannot be imported, or not be honoured.
    HookUnusable(String),
    /// A process that it cannot do without has ended.
    CompanionEnded(String),
}

/// Why a supervisor could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// A glob makes no sense.
    #[error("a glob of the watched files makes no sense: {0}")]
    Glob(#[from] globset::Error),
    /// The operating system refused something.
    #[error("cannot {what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What came back.
        error: io::Error,
    },
}

/// The engine, before and while it runs.
#[derive(Debug)]
pub struct Supervisor {
    settings: Arc<Settings>,
    client: Client,
    out: Out,
    inputs: mpsc::Receiver<Input>,
    inputs_sender: mpsc::Sender<Input>,
    signals: Option<Signals>,
    orders: watch::Sender<Orders>,
    chain: Chain,
    machine: Machine,
    watching: Watching,
    /// What the user's files were; none without reloading.
    sources: Option<Sources>,
    /// The user's files as the newest attempt compiled them.
    code: LoadedCode,
    /// The code of the generations that serve or have served.
    ledger: Ledger,
    history: History,
    /// Since when it is there.
    started: Moment,
    /// Until it is listened to.
    control: Option<ControlSocket>,
    waiting: Waiting,
    learned: LearnedImports,
    environment: Environment,
    loading: Option<Loading>,
    /// What the generations that live have loaded.
    versions: BTreeMap<GenerationId, Version>,
    known_failures: KnownFailures,
    marked: Option<Marked>,
    barrier: Barrier,
    /// The base that is importing its libraries, and until when it may.
    base_starting: Option<(BaseId, Moment)>,
    base_deaths: BaseDeaths,
    /// Libraries were learned that the newest base does not have.
    base_outdated: bool,
    /// Jobs import libraries by themselves that neither base nor generation has.
    jobs_import_libraries: bool,
    shutdown: Shutdown,
    /// Tasks of the slots, and the one that brings signals.
    tasks: JoinSet<()>,
    /// Slots that have not ended.
    slots: BTreeMap<WorkerName, SlotState>,
    /// From which slots are made, once a base is ready.
    slot_kit: Option<SlotKit>,
    slots_ready: usize,
    /// For maintenance and scheduler, until they begin.
    upkeep_waiting: Option<Shared>,
    /// How many of them are at work.
    upkeep_left: usize,
    /// How many have to be done once before jobs may be taken.
    upkeep_unprepared: usize,
    listening: bool,
    tally: Tally,
    /// Nothing is started or replaced any more.
    ending: bool,
    exit: Option<Exit>,
}

/// To the front ends.
#[derive(Clone)]
struct Out(Reporter);

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Out")
    }
}

#[derive(Debug, Default)]
struct Tally {
    finished: u64,
    failed: u64,
    why: &'static str,
}

impl Supervisor {
    /// Prepares everything that can fail before a job is touched. Call within a runtime.
    pub fn new(
        settings: Settings,
        client: Client,
        signals: Signals,
        reporter: Reporter,
    ) -> Result<Self, StartError> {
        let io = |what| move |error: io::Error| StartError::Io { what, error };
        reaper::become_subreaper().map_err(io("adopt orphaned processes"))?;
        let script = bootstrap::write_runtime(&settings.cache)
            .map_err(io("write the Python side into the cache folder"))?;
        let sources = snapshots::keep(&settings)
            .map_err(io("keep what your code was, in the cache folder"))?;
        let (inputs_sender, inputs) = mpsc::channel(INPUTS_MAX);
        let watching = match &settings.reload {
            Some(reload) => Watching::start(&settings.roots, reload, &inputs_sender)?,
            None => Watching::default(),
        };
        let relay = Relay::start().map_err(io("pass on what jobs write to stderr"))?;
        let command = BaseCommand { python: settings.interpreter.executable.clone(), script };
        let environment = Environment::new(&settings.interpreter.import_path);
        let mut supervisor = Self {
            out: Out(reporter),
            signals: Some(signals),
            orders: watch::Sender::new(Orders { phase: Phase::Running, open: None }),
            chain: Chain::new(command, inputs_sender.clone(), relay),
            machine: Machine::new(settings.policy(), Moment::now()),
            watching,
            sources,
            code: LoadedCode::default(),
            ledger: Ledger::default(),
            history: History::default(),
            started: Moment::now(),
            control: None,
            waiting: Waiting::default(),
            learned: environment.learned(&settings),
            environment,
            loading: None,
            versions: BTreeMap::new(),
            known_failures: KnownFailures::default(),
            marked: Marked::of(&settings),
            barrier: Barrier::new(settings.isolation, settings.workers.len()),
            base_starting: None,
            base_deaths: BaseDeaths::new(settings.restarts_max),
            base_outdated: false,
            jobs_import_libraries: false,
            shutdown: Shutdown::new(settings.stop_timeout),
            tasks: JoinSet::new(),
            slots: BTreeMap::new(),
            slot_kit: None,
            slots_ready: 0,
            upkeep_waiting: None,
            upkeep_left: 0,
            upkeep_unprepared: if settings.burst {
                1 + usize::from(settings.with_scheduler)
            } else {
                0
            },
            listening: false,
            tally: Tally::default(),
            ending: false,
            exit: None,
            inputs,
            inputs_sender,
            client,
            settings: Arc::new(settings),
        };
        supervisor.trace_watching();
        supervisor.control = asked::listen(&supervisor.settings.control, |text| {
            supervisor.report(&Event::Detail(text));
        });
        Ok(supervisor)
    }

    /// Runs until it is told to stop, or has nothing more to do.
    pub async fn run(mut self) -> Exit {
        if let Some(signals) = self.signals.take() {
            self.tasks.spawn(signals.forward(self.inputs_sender.clone()));
        }
        if let Some(socket) = self.control.take() {
            self.tasks.spawn(socket.serve(self.inputs_sender.clone()));
        }
        if let Some(companion) = self.settings.companion.clone() {
            self.tasks.spawn(stopping::tell_loss(companion, self.inputs_sender.clone()));
        }
        self.watch_packages();
        self.say_what_stays();
        self.start_base();
        self.read_sources();
        while self.exit.is_none() && !self.slots_are_done() {
            self.wait_and_handle().await;
            self.settle();
        }
        self.end().await
    }

    /// One turn: waits for whatever comes first, and takes note of it.
    async fn wait_and_handle(&mut self) {
        let deadline = self.next_deadline();
        tokio::select! {
            biased;
            input = self.inputs.recv() => if let Some(input) = input { self.handle(input) },
            () = readiness::readable(self.watching.events()) => self.drain_watcher(),
            () = readiness::readable(self.environment.events()) => self.packages_are_changing(),
            () = clock::sleep_until(deadline) => self.tick(),
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::FromBase(id, message) => self.base_said(id, message),
            Input::BaseGone(id, error) => self.base_gone(id, &error),
            Input::FromGeneration(id, message) => self.generation_said(id, message),
            Input::GenerationGone(id, error) => self.generation_gone(id, &error),
            Input::HorseWanted(request) => {
                // The barrier: whatever was saved before the job was enqueued is readable now.
                self.drain_watcher();
                self.pass_when_looked(request);
                self.look_at_marker();
            }
            Input::Poller(told) => self.poller_told(told),
            Input::Spawned(horse, message) => self.spawned(horse, message),
            Input::SpawnFailed(generation, pid, status) => {
                self.chain.has_started(pid);
                self.generation_ended(generation, status);
            }
            Input::HorseFree(horse) => self.barrier.horse_is_free(horse),
            Input::HorseEnded(generation, pid) => self.chain.horse_ended(generation, pid),
            Input::Learned(generation, learned) => self.job_taught(generation, learned),
            Input::SourcesRead(files) => self.sources_read(files),
            Input::AllSourcesRead => self.all_sources_read(),
            Input::JobEnded { finished: true } => self.tally.finished += 1,
            Input::JobEnded { finished: false } => self.tally.failed += 1,
            Input::ExitOverdue(generation) => {
                self.chain.kill_generation(generation);
            }
            Input::SlotReady => {
                self.slots_ready += 1;
                self.start_upkeep();
            }
            Input::UpkeepPrepared => {
                self.upkeep_unprepared = self.upkeep_unprepared.saturating_sub(1);
            }
            Input::UpkeepEnded => self.upkeep_left -= 1,
            Input::SlotEnded(worker, end) => self.slot_ended(&worker, end),
            Input::StopSlot(worker, cause) => self.stop_slot(&worker, cause),
            Input::StandInGone(worker) => self.stand_in_gone(&worker),
            Input::Stop => self.stop_requested(),
            Input::Reload => self.reload_requested(),
            Input::Asked(asked) => self.asked(asked),
            Input::TrialEnded(generation, finding) => self.trial_ended(generation, finding),
            Input::FailureSeen(signature) => self.failure_seen(signature),
            Input::ChildEnded => self.reap(),
            Input::CompanionLost(name) => self.exit = Some(Exit::CompanionEnded(name)),
        }
    }

    /// After every turn: what follows from the new state.
    fn settle(&mut self) {
        self.take_marker();
        self.judge_broken();
        self.give_horses();
        self.renew_base();
        let may_open =
            self.machine.availability() != Availability::Hold && self.upkeep_unprepared == 0;
        let serving = self.machine.serving().filter(|_| may_open);
        let open = serving.and_then(|generation| self.ledger.code(generation));
        self.give_orders(Orders { phase: self.shutdown.phase(), open });
        if open.is_some() && !self.listening && self.settings.workers.len() <= self.slots_ready {
            self.listening = true;
            self.report(&Event::Listening {
                workers: self.settings.workers.clone(),
                queues: self.settings.queues.clone(),
            });
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        [
            self.machine.next_deadline(),
            self.loading.as_ref().map(|loading| loading.until),
            self.base_starting.map(|(_, until)| until),
            self.watching.next_deadline(),
            self.environment.deadline(),
            self.base_deaths.restart_at(),
            self.marked.as_ref().map(Marked::next_look),
            self.shutdown.next_deadline(),
            self.slots_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn tick(&mut self) {
        let now = Moment::now();
        self.tick_stops(now);
        self.give_up_overdue_loading(now);
        self.give_up_overdue_base(now);
        self.tick_watching(now);
        self.take_changed_packages(now);
        self.restart_base(now);
        self.look_at_marker_if_due(now);
        self.drive(machine::Input::Tick);
    }

    /// Starts a base that has what was learned, where that makes a save or jobs cheaper. Jobs that
    /// wait for a generation go first.
    fn renew_base(&mut self) {
        // Nothing is forked from it where interpreters are spawned.
        let useful = (self.settings.reload.is_some() || self.jobs_import_libraries)
            && !matches!(self.settings.isolation, Isolation::Spawn);
        let busy = self.base_starting.is_some() || self.machine.loading().is_some();
        let running = self.shutdown.phase() == Phase::Running;
        // One that has died has pauses of its own.
        let lives = self.chain.base().is_some();
        if self.base_outdated && useful && running && lives && !busy {
            self.start_base();
        }
    }

    /// Starts a base with all libraries that are known to be needed.
    fn start_base(&mut self) {
        let libraries = match self.settings.isolation {
            Isolation::Fork | Isolation::Reuse(_) => self.learned.libraries(),
            Isolation::Spawn => Vec::new(),
        };
        self.base_outdated = false;
        self.base_deaths.starts();
        self.jobs_import_libraries = false;
        match self.chain.start_base(&self.base_settings(libraries)) {
            Ok(id) => self.base_starting = Some((id, Moment::now() + BASE_START_MAX)),
            Err(error) => {
                let python = self.settings.interpreter.executable.display();
                self.exit = Some(Exit::PythonUnusable(format!("{python} cannot be run: {error}")));
            }
        }
    }

    /// What an interpreter that we start is told.
    fn base_settings(&self, libraries: Vec<String>) -> BaseSettings {
        BaseSettings {
            roots: self.settings.roots.clone(),
            code_cache: self.settings.cache.join("code"),
            manifest: self.sources.as_ref().map(|sources| sources.manifest().to_owned()),
            path: self.settings.path.clone(),
            libraries,
            kept_out: self.settings.preload.never.clone(),
            redis_url: self.settings.redis_url.clone(),
            redis_settings: self.settings.redis_settings.clone(),
            warmups: self.settings.warmups.clone(),
            hooks: self.settings.hooks.clone(),
            may_warn: self.settings.hooks.may_warn(),
            logging: self.settings.logging.clone(),
            config: self.settings.config.clone(),
            reuse: match self.settings.isolation {
                Isolation::Fork | Isolation::Spawn => None,
                Isolation::Reuse(limits) => Some(limits),
            },
            worker: self.worker_options(),
            release: self.release(),
        }
    }

    fn worker_options(&self) -> WorkerOptions {
        let settings = &self.settings;
        WorkerOptions {
            queues: settings.queues.iter().map(ToString::to_string).collect(),
            result_ttl: settings.result_ttl,
            worker_ttl: settings.worker_ttl.as_secs(),
            maintenance_interval: settings.maintenance_interval.as_secs(),
            job_monitoring_interval: settings.monitoring_interval.as_secs(),
            disable_default_exception_handler: settings.failure_leaves == FailureLeaves::Status,
            log_job_description: settings.logging.describes_jobs,
        }
    }

    fn report(&self, event: &Event) {
        (self.out.0)(event);
    }

    fn warn(&self, text: String) {
        self.report(&Event::Warning(text));
    }
}
