//! A job on its horse, until that answers or ends.
//!
//! Whatever limits a job from outside meets it here: commands, stops, its hard limit. The first that
//! kills it is why it failed.

use std::time::Duration;

use rq::{JobTimeout, Started, Timestamp};
use tokio::sync::watch;

use super::commands::JobCommand;
use super::death::{Account, Death};
use super::horse::{self, Horse};
use super::machine::{Effect, JobClock};
use super::memory;
use super::outcome::{Doom, Outcome};
use super::pulse::Pulse;
use super::{ANSWER_GRACE, Orders, SIGKILL, Slot};
use crate::clock::{self, Moment};
use crate::forkserver::family;
use crate::forkserver::reaper::{Exited, Presence};
use crate::input::Input;
use crate::settings::EXIT_STATUS_MAX;
use crate::shutdown::Phase;

/// How long a horse that has hung up may take to end by itself.
pub(super) const HUNG_UP_MAX: Duration = Duration::from_secs(1);

/// How a job's time on its horse ended.
pub(super) enum Ride {
    /// The job has ended.
    Answered(Box<horse::Answer>),
    /// The horse ended without an answer; what it had to end for, if that is known.
    Died(Option<Doom>),
    /// It was killed because a command asked for that.
    Stopped,
}

/// What is due for the job.
enum Due {
    /// Its clock says what.
    Tick,
    /// The worker stops; how far it has gone.
    Stop(Phase),
    Command(JobCommand),
    /// It takes more memory than it may; how much.
    Memory(u64),
    /// The horse has ended; how, if that is known.
    Exit(Option<Exited>),
}

/// A ride that goes on.
struct Riding {
    clock: JobClock,
    presence: Presence,
    /// How it ends if no answer comes.
    end: Ride,
    /// How far the stop has gone that the job was told.
    stop: Phase,
    /// The horse has ended; until then its answer may be on its way.
    exited: Option<Moment>,
}

impl Riding {
    /// Kills the job; `end` is how it ends then, if that is not known yet.
    fn kill(&mut self, end: Option<Ride>) {
        if let Some(Effect::Kill) = self.clock.kill() {
            self.end = end.unwrap_or(std::mem::replace(&mut self.end, Ride::Died(None)));
            family::kill(&self.presence);
        }
    }
}

impl Slot {
    /// Keeps the execution alive until the horse answers or ends.
    pub(super) async fn ride(
        &mut self,
        horse: &mut Horse,
        job: &Started,
        timeout: JobTimeout,
    ) -> Ride {
        let interval = self.shared.settings.monitoring_interval;
        let grace = self.shared.settings.timeout_grace;
        let mut riding = Riding {
            clock: JobClock::start(Moment::now(), timeout, grace, interval),
            presence: horse.presence.clone(),
            end: Ride::Died(None),
            stop: Phase::Running,
            exited: None,
        };
        let limit = self.shared.settings.max_job_memory;
        let memory = memory::exceeds(riding.presence.pid(), limit);
        tokio::pin!(memory);
        let mut exceeded = false;
        let mut pulse = Pulse::new(&self.shared, &self.birth, job);
        loop {
            let next = riding.exited.unwrap_or_else(|| riding.clock.next_deadline());
            let due = tokio::select! {
                biased;
                answer = horse::answer(&mut horse.link) => {
                    return answer.map_or(riding.end, |answer| Ride::Answered(Box::new(answer)));
                }
                exited = &mut horse.exit, if riding.exited.is_none() => Due::Exit(exited.ok()),
                command = self.commands.next() => Due::Command(command),
                phase = climbed(&self.shared.orders, riding.stop) => Due::Stop(phase),
                taken = &mut memory, if !exceeded => Due::Memory(taken),
                () = clock::sleep_until(Some(next)) => Due::Tick,
                () = pulse.carried() => continue,
            };
            match due {
                Due::Exit(exited) => {
                    horse.exited = exited;
                    // All it wrote is in the socket; children of it may keep that open.
                    riding.exited = Some(Moment::now() + ANSWER_GRACE);
                }
                Due::Tick if riding.exited.is_some() => return riding.end,
                Due::Tick => self.tick(&mut riding, &mut pulse),
                Due::Command(JobCommand::KillHorse) => {
                    horse.trial = None; // it did not die of its code
                    riding.kill(Some(Ride::Died(Some(Doom::KillHorse))));
                }
                Due::Command(command) => {
                    if self.stops(&command, job) {
                        riding.kill(Some(Ride::Stopped));
                    }
                }
                Due::Memory(taken) => {
                    exceeded = true;
                    let limit = limit.unwrap_or_default();
                    riding.kill(Some(Ride::Died(Some(Doom::Memory { taken, limit }))));
                }
                Due::Stop(phase) => self.stop_riding(&mut riding, phase).await,
            }
        }
    }

    fn tick(&self, riding: &mut Riding, pulse: &mut Pulse<'_>) {
        match riding.clock.tick(Moment::now()) {
            Some(Effect::Kill) => {
                riding.end = Ride::Died(Some(Doom::HardLimit(self.shared.settings.timeout_grace)));
                family::kill(&riding.presence);
            }
            Some(Effect::Heartbeat(ttl)) => pulse.beat(ttl),
            None => {}
        }
    }

    /// The worker stops; the job may have missed how that began.
    async fn stop_riding(&self, riding: &mut Riding, phase: Phase) {
        let before = std::mem::replace(&mut riding.stop, phase);
        if before < Phase::Warm {
            if self.shared.settings.hooks.may_warn() {
                riding.presence.warn();
            }
            self.note_stop().await;
        }
        if phase == Phase::Overdue {
            if matches!(riding.end, Ride::Died(None)) {
                let waited = self.shared.settings.stop_timeout.unwrap_or_default();
                riding.end = Ride::Died(Some(Doom::StopOverdue(waited)));
            }
            riding.presence.terminate_group();
        }
        if Phase::Cold <= phase {
            let told = before == Phase::Overdue;
            let end = if told { None } else { Some(Ride::Died(Some(Doom::ColdStop))) };
            riding.kill(end);
        }
    }

    /// How a horse has ended that hung up.
    pub(super) async fn died(
        &mut self,
        horse: &mut Horse,
        mut why: Option<Doom>,
        (began, since): (Timestamp, Moment),
    ) -> Outcome {
        let took = Moment::now().since(since);
        let mut exited = exit_status(horse, HUNG_UP_MAX).await;
        if exited.is_none() && horse.presence.is_there() {
            why = why.or(Some(Doom::HungUp));
            family::kill(&horse.presence);
        }
        if exited.is_none() {
            exited = exit_status(horse, EXIT_STATUS_MAX).await;
        }
        if exited.is_none() {
            // Its generation is stuck, which is to tell it: without that it comes by itself.
            self.tell(Input::ExitOverdue(horse.generation)).await;
            exited = exit_status(horse, EXIT_STATUS_MAX).await;
        }
        let killed = exited.is_some_and(|exited| exited.signal() == Some(SIGKILL));
        let oom = if killed && why.is_none() { self.shared.oom.since(since) } else { None };
        let last_lines = match &horse.stderr {
            Some(stderr) => stderr.last_lines().await,
            None => Vec::new(),
        };
        let account = Some(Account { took, oom, last_lines });
        Outcome::died(Death { exited, why, account }, began)
    }
}

/// How a horse has ended, if it is told in time.
async fn exit_status(horse: &mut Horse, most: Duration) -> Option<Exited> {
    if horse.exited.is_none() {
        let told = tokio::time::timeout(most, &mut horse.exit).await;
        horse.exited = told.ok().and_then(Result::ok);
    }
    horse.exited
}

/// Waits until a stop has gone further than this; returns how far.
async fn climbed(orders: &watch::Receiver<Orders>, from: Phase) -> Phase {
    let mut orders = orders.clone();
    let reached = orders.wait_for(|orders| from < orders.phase).await.map(|orders| orders.phase);
    match reached {
        Ok(phase) => phase,
        // The loop is gone: as far as it gets, once.
        Err(_) if from < Phase::Abort => Phase::Abort,
        Err(_) => std::future::pending().await,
    }
}
