//! The watchers of files, and when what they find counts.
//!
//! Where events tell, the watcher lives here and is drained. Where nobody tells, another looks in a
//! thread of its own, and a job waits for a look that began after it was taken. A change counts when no
//! version control is at work on the files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::looks::{LOOK_MAX, Looks};
use super::settling::{Settling, Verdict};
use super::{StartError, Supervisor};
use crate::clock::Moment;
use crate::event::Event;
use crate::forkserver::readiness;
use crate::input::{HorseRequest, Input};
use crate::settings::{ReloadSettings, SWEEP_INTERVAL, UNFINISHED_WRITE_MAX};
use crate::watch::pace::Pace;
use crate::watch::poller::{self, Looked, Poller, Told};
use crate::watch::{Change, Drained, Filter, Part, Place, Watcher, Watchers, vcs};

/// Drains in a row that may each find something, before the next turn of the loop goes on with it.
const DRAINS_MAX: usize = 100;

/// Between two looks while changes wait for the end of a checkout.
const CHECKOUT_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// From one look at everything to the next that nobody waits for, while the poller looks by itself at what
/// runs.
const FULL_LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Everything that is known of files, and who tells. The default watches nothing.
#[derive(Debug, Default)]
pub(super) struct Watching {
    native: Option<Native>,
    polling: Option<Polling>,
    places: Vec<Place>,
    /// All files, as they were found at the start.
    first_files: Vec<PathBuf>,
    settling: Settling,
    /// Locks of the repositories that hold watched folders.
    locks: BTreeSet<PathBuf>,
}

/// The watcher that is told.
#[derive(Debug)]
struct Native {
    watcher: Watcher,
    events: AsyncFd<OwnedFd>,
    sweep_due: Moment,
    unfinished: Unfinished,
}

/// The watcher that looks.
#[derive(Debug)]
struct Polling {
    poller: Poller,
    /// Of looks at everything.
    pace: Pace,
    /// The poller looks by itself between them.
    hurries: bool,
    looks: Looks<HorseRequest>,
    /// A lock was held when the look that runs began.
    began_locked: bool,
    /// It was said that jobs wait for no look.
    promises_less: bool,
    /// How many files count.
    files: usize,
    unfinished: Unfinished,
}

/// Files that are being written right now.
#[derive(Debug, Default)]
struct Unfinished(BTreeMap<PathBuf, Patience>);

/// How a file that is being written is waited for.
#[derive(Clone, Copy, Debug)]
enum Patience {
    /// Until then.
    Until(Moment),
    /// Not any more.
    Ended,
}

impl Unfinished {
    fn update(&mut self, paths: BTreeSet<PathBuf>, now: Moment) {
        let before = std::mem::take(&mut self.0);
        let new = Patience::Until(now + UNFINISHED_WRITE_MAX);
        for path in paths {
            let patience = before.get(&path).copied().unwrap_or(new);
            self.0.insert(path, patience);
        }
    }

    /// When patience with the next of them ends.
    fn deadline(&self) -> Option<Moment> {
        let until = self.0.values().filter_map(|patience| match patience {
            Patience::Until(at) => Some(*at),
            Patience::Ended => None,
        });
        until.min()
    }

    /// Ends the patience with those that take too long; they are taken as they are, and their close
    /// will be a change again.
    fn take_overdue(&mut self, now: Moment) -> BTreeMap<PathBuf, Change> {
        let mut overdue = BTreeMap::new();
        for (path, patience) in &mut self.0 {
            if matches!(patience, Patience::Until(at) if *at <= now) {
                *patience = Patience::Ended;
                overdue.insert(path.clone(), Change::Written);
            }
        }
        overdue
    }
}

impl Polling {
    fn start(watcher: Watcher, pace: Pace, inputs: &mpsc::Sender<Input>) -> io::Result<Self> {
        let inputs = inputs.clone();
        // A loop that is gone needs no answer.
        let tell = move |told| drop(inputs.blocking_send(Input::Poller(told)));
        Ok(Self {
            looks: Looks::new(Moment::now()),
            began_locked: false,
            promises_less: pace.misses().is_some(),
            files: watcher.file_count(),
            hurries: false,
            poller: Poller::start(watcher, pace.asked(), tell)?,
            pace,
            unfinished: Unfinished::default(),
        })
    }

    fn begin_if_due(&mut self, locked: impl Fn() -> bool, now: Moment) {
        if self.looks.begin(now) {
            self.began_locked = locked();
            self.poller.look();
        }
    }

    /// From the end of a look at everything to the next that nobody waits for.
    fn interval(&self) -> Duration {
        let most = self.pace.interval();
        if self.hurries { FULL_LOOK_INTERVAL.max(most) } else { most }
    }

    /// What the poller is to look at by itself; without files it does not.
    fn heed(&mut self, files: Option<BTreeSet<PathBuf>>, now: Moment) {
        self.hurries = files.is_some();
        self.poller.heed(files);
        self.looks.hasten(now + self.interval());
    }
}

impl Watching {
    /// Watches the folders, and remembers what is there.
    pub(super) fn start(
        roots: &[PathBuf],
        settings: &ReloadSettings,
        inputs: &mpsc::Sender<Input>,
    ) -> Result<Self, StartError> {
        let io = |what| move |error: io::Error| StartError::Io { what, error };
        let filter = Filter::new(&settings.include, &settings.ignore)?;
        let Watchers { native, polled } = Watchers::start(roots, &filter, settings.mode)?;
        let mut watching = Self {
            locks: roots.iter().filter_map(|root| vcs::lock_of(root)).collect(),
            ..Self::default()
        };
        if let Some(watcher) = native {
            watching.places.extend(watcher.places());
            watching.first_files.extend(watcher.files().cloned());
            let events = watcher.descriptor().and_then(readiness::register);
            watching.native = Some(Native {
                watcher,
                events: events.map_err(io("wait for file events"))?,
                sweep_due: Moment::now() + SWEEP_INTERVAL,
                unfinished: Unfinished::default(),
            });
        }
        if let Some(mut watcher) = polled {
            watching.places.extend(watcher.places());
            watching.first_files.extend(watcher.files().cloned());
            let mut pace = Pace::new(settings.poll_interval);
            poller::measure(&mut watcher, &mut pace);
            let polling = Polling::start(watcher, pace, inputs);
            watching.polling = Some(polling.map_err(io("start a thread that polls"))?);
        }
        Ok(watching)
    }

    /// Readable when something happened.
    pub(super) fn events(&self) -> Option<&AsyncFd<OwnedFd>> {
        self.native.as_ref().map(|native| &native.events)
    }

    /// All files, as they were found at the start; given once.
    pub(super) fn take_first_files(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.first_files)
    }

    /// How files are watched, and how many.
    pub(super) fn status(&self) -> Option<(&'static str, usize)> {
        let polled = self.polling.as_ref().map(|polling| polling.files);
        let told = self.native.as_ref().map(|native| native.watcher.file_count());
        match (told, polled) {
            (Some(told), Some(polled)) => Some(("inotify and polling", told + polled)),
            (Some(told), None) => Some(("inotify", told)),
            (None, Some(polled)) => Some(("polling", polled)),
            (None, None) => None,
        }
    }

    /// From now on these files count too, instead of those that were named before.
    pub(super) fn also_watch(&mut self, files: &BTreeSet<PathBuf>) {
        if let Some(native) = &mut self.native {
            native.watcher.also_watch(files.clone());
        }
        if let Some(polling) = &self.polling {
            polling.poller.also_watch(files.clone());
        }
    }

    /// Other code was loaded: until it serves, all files are looked at.
    pub(super) fn heed_everything(&mut self) {
        if let Some(polling) = &mut self.polling {
            polling.heed(None, Moment::now());
        }
    }

    /// Whether changes are known that do not count yet.
    pub(super) fn holds_changes(&self) -> bool {
        self.settling.holds()
    }

    fn unfinished(&self) -> impl Iterator<Item = &Unfinished> {
        let native = self.native.iter().map(|native| &native.unfinished);
        native.chain(self.polling.iter().map(|polling| &polling.unfinished))
    }

    /// Whether the end of a write is waited for.
    pub(super) fn is_being_written(&self, path: &Path) -> bool {
        let mut unfinished = self.unfinished().filter_map(|files| files.0.get(path));
        unfinished.any(|patience| matches!(patience, Patience::Until(_)))
    }

    fn is_unsettled(&self) -> bool {
        let waits = self.settling.holds() || self.settling.waits_for_look();
        waits || self.unfinished().any(|files| files.deadline().is_some())
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let now = Moment::now();
        let unfinished = self.unfinished().filter_map(Unfinished::deadline);
        let polling = self.polling.iter().filter_map(|polling| polling.looks.next_deadline(now));
        let sweep = self.native.iter().map(|native| native.sweep_due);
        unfinished.chain(polling).chain(sweep).chain(self.settling.next_deadline(now)).min()
    }

    fn is_locked(&self) -> bool {
        is_locked(&self.locks)
    }

    /// Where nobody tells, what is on disk now is to be known before anything counts.
    pub(super) fn look_again(&mut self, now: Moment) {
        if let Some(polling) = &mut self.polling {
            polling.looks.want();
            self.settling.wait_for_look();
            self.begin_look_if_due(now);
        }
    }

    /// Jobs that wait for a look.
    pub(super) fn take_waiting(&mut self) -> Vec<HorseRequest> {
        self.polling.as_mut().map(|polling| polling.looks.take_waiting()).unwrap_or_default()
    }

    fn begin_look_if_due(&mut self, now: Moment) {
        if let Some(polling) = &mut self.polling {
            polling.begin_if_due(|| is_locked(&self.locks), now);
        }
    }
}

fn is_locked(locks: &BTreeSet<PathBuf>) -> bool {
    locks.iter().any(|lock| vcs::is_held(lock))
}

impl Supervisor {
    /// The part of the start-up trace that says which code is meant, and how it is watched.
    pub(super) fn trace_watching(&self) {
        let decided = |folder: &PathBuf, why| {
            let choice = folder.display().to_string();
            self.report(&Event::Decided { topic: "code", choice, why });
        };
        if self.settings.reload.is_none() {
            self.settings.roots.iter().for_each(|root| decided(root, "not watched".to_owned()));
        }
        for place in &self.watching.places {
            let files = format!("{} files that count", place.files);
            let polling = self.watching.polling.as_ref();
            let why = match place.polled.as_ref().zip(polling) {
                Some((why, polling)) => {
                    format!("polled every {}: {files}; {why}", written(polling.pace.asked()))
                }
                None => format!("watched by inotify: {files}"),
            };
            decided(&place.folder, why);
        }
        if let Some(Polling { pace, .. }) = &self.watching.polling {
            self.trace_pace(pace);
        }
    }

    fn trace_pace(&self, pace: &Pace) {
        let took = written(pace.took());
        if pace.is_slowed() {
            self.report(&Event::Decided {
                topic: "polling",
                choice: format!("files that are not loaded every {}", written(pace.interval())),
                why: format!(
                    "a look takes {took}; looks may take 1 % of a core and a tenth of the time"
                ),
            });
        }
        if let Some(missed) = pace.misses() {
            self.report(&Event::Decided {
                topic: "barrier",
                choice: format!("jobs see saves older than {}", written(missed)),
                why: format!(
                    "a look at the polled folders takes {took}, too long for each job to wait"
                ),
            });
        }
    }

    /// Whether files are in the middle of being written or checked out, so that jobs at the barrier wait.
    pub(super) fn is_writing(&self) -> bool {
        !self.waits_for_marker() && self.watching.is_unsettled()
    }

    /// A job waits until everything that was saved before it was taken is known.
    pub(super) fn pass_when_looked(&mut self, request: HorseRequest) {
        let now = Moment::now();
        let request = match &mut self.watching.polling {
            Some(polling) if polling.pace.misses().is_none() => polling.looks.wait(request, now),
            _ => Some(request),
        };
        self.watching.begin_look_if_due(now);
        if let Some(request) = request {
            self.barrier.request(request);
        }
    }

    /// Reads all file events that are there, and takes what is complete. Tells whether there may be more.
    pub(super) fn drain_once(&mut self) -> bool {
        for _ in 0..DRAINS_MAX {
            // While a checkout goes on, what was read may be a part of it; so it is read to the end
            // after each look at the lock that has found none.
            if !self.read_events() || self.watching.is_locked() {
                break;
            }
        }
        let locked = self.watching.settling.depends_on_lock() && self.watching.is_locked();
        self.judge_changes(locked)
    }

    /// Reads the file events that are there; what they tell of is kept until it counts. Tells whether files
    /// have changed.
    pub(super) fn read_events(&mut self) -> bool {
        let Some(native) = &mut self.watching.native else { return false };
        let drained = match native.watcher.drain() {
            Ok(drained) => drained,
            Err(error) => {
                self.warn(format!("file events cannot be read: {error}"));
                return false;
            }
        };
        native.unfinished.update(drained.unfinished.clone(), Moment::now());
        let parts = native.watcher.take_parts();
        self.poll_parts(parts);
        self.take_note(drained)
    }

    /// Says what is to be said, and keeps changes until they count. Tells whether there are any.
    fn take_note(&mut self, drained: Drained) -> bool {
        if drained.overflowed {
            let text = "file events overflowed: the whole tree was compared";
            self.report(&Event::Detail(text.into()));
        }
        for root in &drained.gone_roots {
            self.warn(format!("the watched folder {} is gone", root.display()));
        }
        for (path, why) in &drained.ignored {
            self.report(&Event::Detail(format!("no reload for {}: {why}", path.display())));
        }
        drained.notices.into_iter().for_each(|notice| self.warn(notice));
        let found = !drained.changed.is_empty();
        self.watching.settling.add(drained.changed);
        found
    }

    /// Folders where events do not tell are looked at from now on.
    fn poll_parts(&mut self, parts: Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        if self.watching.polling.is_none()
            && let Some(native) = &self.watching.native
            && let Some(reload) = &self.settings.reload
        {
            let pace = Pace::new(reload.poll_interval);
            match Polling::start(native.watcher.silent_twin(), pace, &self.inputs_sender) {
                Ok(polling) => self.watching.polling = Some(polling),
                Err(error) => self.warn(format!("cannot start a thread that polls: {error}")),
            }
        }
        if let Some(polling) = &mut self.watching.polling {
            polling.poller.adopt(parts);
            polling.looks.want();
            self.watching.begin_look_if_due(Moment::now());
        }
    }

    /// The watcher that polls tells something.
    pub(super) fn poller_told(&mut self, told: Told) {
        match told {
            Told::Looked(looked) => self.looked(looked),
            Told::Noticed => self.watching.look_again(Moment::now()),
        }
    }

    fn looked(&mut self, looked: Looked) {
        let now = Moment::now();
        self.heed_what_runs();
        let Some(polling) = &mut self.watching.polling else { return };
        polling.pace.note(looked.cost);
        polling.files = looked.files;
        let mut due = now + polling.interval();
        let held = polling.began_locked || is_locked(&self.watching.locks);
        match looked.found {
            Ok(drained) => {
                polling.unfinished.update(drained.unfinished.clone(), now);
                if !drained.unfinished.is_empty() {
                    due = now;
                }
                self.take_note(drained);
            }
            Err(error) => self.warn(format!("files cannot be looked at: {error}")),
        }
        if self.watching.settling.holds() {
            // Whether a checkout goes on is seen by what it does.
            due = due.min(now + CHECKOUT_LOOK_INTERVAL);
        }
        if let Some(polling) = &mut self.watching.polling {
            let ended = polling.looks.end(due);
            for request in ended.served {
                self.barrier.request(request);
            }
            if ended.wanted {
                self.watching.settling.looked();
            }
        }
        self.say_if_promise_changed();
        self.judge_changes(held);
        self.drain_watcher();
        self.watching.begin_look_if_due(now);
    }

    /// The poller may look by itself at what runs; but while the newest code is broken, any file may mend it.
    fn heed_what_runs(&mut self) {
        let runs = self.machine.serving().is_some() && !self.machine.newest_is_broken();
        if let Some(polling) = &mut self.watching.polling
            && polling.hurries != runs
        {
            let files = runs.then(|| self.code.files().cloned().collect());
            polling.heed(files, Moment::now());
        }
    }

    fn say_if_promise_changed(&mut self) {
        let Some(polling) = &mut self.watching.polling else { return };
        let missed = polling.pace.misses();
        if missed.is_some() == std::mem::replace(&mut polling.promises_less, missed.is_some()) {
            return;
        }
        let took = written(polling.pace.took());
        self.warn(match missed {
            Some(missed) => format!(
                "a look at the polled folders takes {took}: jobs do not wait for it, and see saves older than {}",
                written(missed)
            ),
            None => format!("a look at the polled folders takes {took}: jobs wait for it, and see all saves"),
        });
    }

    /// Takes changes that are complete. Tells whether there were any: a file is read after its event, and
    /// may have been touched again by then.
    fn judge_changes(&mut self, locked: bool) -> bool {
        match self.watching.settling.judge(locked, Moment::now()) {
            Verdict::Nothing => false,
            Verdict::LookAgain => {
                self.watching.look_again(Moment::now());
                self.drain_once()
            }
            Verdict::Take(changes) => {
                self.consider(&changes);
                true
            }
            Verdict::TakeAnyway(changes) => {
                let held = self.watching.locks.iter().filter(|lock| vcs::is_held(lock));
                let named: Vec<_> = held.map(|lock| lock.display().to_string()).collect();
                self.warn(format!(
                    "{} is held for too long: changed files are taken as they are; remove it if nothing runs that made it",
                    named.join(", ")
                ));
                self.consider(&changes);
                true
            }
        }
    }

    /// Does what is due.
    pub(super) fn tick_watching(&mut self, now: Moment) {
        let mut overdue = BTreeMap::new();
        if let Some(native) = &mut self.watching.native {
            overdue.extend(native.unfinished.take_overdue(now));
        }
        if let Some(polling) = &mut self.watching.polling {
            overdue.extend(polling.unfinished.take_overdue(now));
        }
        self.consider(&overdue);
        if let Some(polling) = &mut self.watching.polling {
            if polling.looks.is_overdue(now) {
                self.watching.settling.looked();
            }
            let waiting = polling.looks.give_up(now);
            if !waiting.is_empty() {
                self.warn(format!(
                    "the polled folders do not answer for {} s: jobs run without waiting for them",
                    LOOK_MAX.as_secs()
                ));
            }
            for request in waiting {
                self.barrier.request(request);
            }
        }
        self.heed_what_runs();
        self.watching.begin_look_if_due(now);
        if let Some(native) = &mut self.watching.native
            && native.sweep_due <= now
        {
            native.sweep_due = now + SWEEP_INTERVAL;
            if let Err(error) = native.watcher.sweep() {
                self.report(&Event::Detail(format!(
                    "the watched folders cannot be compared: {error}"
                )));
            }
            self.drain_watcher();
        } else if self.watching.settling.holds() {
            self.drain_watcher();
        }
    }
}

/// As people read it.
fn written(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{} ms", duration.as_millis().max(1));
    }
    format!("{:.1} s", duration.as_secs_f64())
}
