//! A job that was taken: at the barrier, and on its horse until that answers or ends.
//!
//! Invariant: a command to stop the job is honoured from the moment it was taken on, whatever it
//! waits for.

use rq::{Job, JobTimeout, Started};
use tokio::sync::oneshot;

use super::commands::JobCommand;
use super::errand::{self, Errand};
use super::horse::{self, Horse};
use super::machine::{Effect, JobClock, heartbeat_ttl};
use super::outcome::Outcome;
use super::pulse::Pulse;
use super::trial::{self, Finding};
use super::{ANSWER_GRACE, STOP_AT_BARRIER_MAX, Slot, reached};
use crate::clock::{self, Moment};
use crate::event::Event;
use crate::forkserver::link::LinkError;
use crate::forkserver::messages::{AnswerKind, Purpose};
use crate::input::{Grant, HorseRequest, Input};
use crate::reload::ledger::Ticket;
use crate::reload::machine::{GenerationId, Wish};
use crate::settings::EXIT_STATUS_MAX;
use crate::shutdown::Phase;

/// How a wait at the barrier ended.
pub(super) enum Passage {
    /// A horse is there, of a generation that has every saved file.
    Granted(Grant),
    /// A command asks for the job to be stopped.
    JobStopped,
    /// A command asks for its horse to be killed.
    HorseKilled,
    /// The worker is to stop.
    Stopping,
}

/// What came of a horse.
pub(super) enum Run {
    /// The job has ended.
    Ended(Outcome),
    /// It was dead before it could be given the job.
    HorseWasDead,
    /// Its generation does not know the job, of which nothing has run.
    Unknown(GenerationId),
}

/// How a job's time on its horse ended.
enum Ride {
    Answered(Box<horse::Answer>),
    /// The horse ended without an answer.
    Died,
    /// It was killed because a command asked for that.
    Stopped,
}

impl Slot {
    /// Waits until a horse of a generation that has every saved file is there, or is not needed.
    pub(super) async fn stand_at_the_barrier(&mut self, job: &Started, wish: Wish) -> Passage {
        if Phase::Running < self.shared.orders.borrow().phase {
            // The stop came before the job did.
            return Passage::Stopping;
        }
        let (reply, mut granted) = oneshot::channel();
        self.tell(Input::HorseWanted(HorseRequest { wish, reply })).await;
        let interval = self.shared.settings.monitoring_interval;
        let mut pulse = Pulse::new(&self.shared, &self.birth, job);
        let mut next_heartbeat = Moment::now() + interval;
        let mut waited = false;
        let mut give_up_at = None;
        loop {
            tokio::select! {
                biased;
                command = self.commands.next() => {
                    if command == JobCommand::KillHorse {
                        return Passage::HorseKilled;
                    }
                    if self.stops(&command, job) {
                        return Passage::JobStopped;
                    }
                }
                grant = &mut granted => {
                    let Ok(grant) = grant else { return Passage::Stopping };
                    if let Grant::Horse(_, Ticket { code, .. }) = grant
                        && (waited || code != job.code || wish != Wish::Job)
                    {
                        let begin = || self.shared.client.begin(job, code, clock::wall());
                        self.insist("note the begin of a job", begin).await;
                    }
                    return Passage::Granted(grant);
                }
                // Whoever sees the job started expects it to end, so a horse that is on its way is
                // waited for.
                () = reached(&self.shared.orders, Phase::Warm), if give_up_at.is_none() => {
                    give_up_at = Some(Moment::now() + STOP_AT_BARRIER_MAX);
                }
                () = reached(&self.shared.orders, Phase::Cold) => return Passage::Stopping,
                () = clock::sleep_until(give_up_at), if give_up_at.is_some() => {
                    return Passage::Stopping;
                }
                () = clock::sleep_until(Some(next_heartbeat)) => {
                    waited = true;
                    next_heartbeat = Moment::now() + interval;
                    pulse.beat(heartbeat_ttl(interval));
                }
                () = pulse.carried() => {}
            }
        }
    }

    /// Runs the job to its end, if this horse can.
    pub(super) async fn run_on(
        &mut self,
        (mut horse, ticket): (Horse, Ticket),
        job: &Started,
        parsed: &Job,
    ) -> Run {
        let began = clock::wall();
        match horse.run(job, &self.birth.name).await {
            Ok(()) => {}
            Err(LinkError::Frame(error)) => {
                let text = format!("freshq cannot run this job: {error}");
                return Run::Ended(Outcome::Unsendable(text));
            }
            Err(_) => return Run::HorseWasDead,
        }
        self.report(&Event::JobBegun {
            worker: self.birth.name.clone(),
            job: job.job.clone(),
            description: parsed.description.clone(),
            queue: job.queue.clone(),
            generation: horse.generation,
            first_after: ticket.first_since.map(|since| Moment::now().since(since)),
        });
        let outcome = match self.watch_over(&mut horse, job, parsed.timeout).await {
            Ride::Answered(answer) if answer.head.kind == AnswerKind::Unknown => {
                let generation = horse.generation;
                let error = answer.head.summary.clone();
                self.report(&Event::JobUnknown { job: job.job.clone(), generation, error });
                return Run::Unknown(generation);
            }
            Ride::Answered(answer) => {
                self.tell_finding(&mut horse, job, &answer).await;
                if let Some(learned) = &answer.head.learned {
                    self.tell(Input::Learned(horse.generation, learned.clone())).await;
                }
                if answer.head.stays {
                    self.tell(Input::HorseFree(horse)).await;
                }
                Outcome::Answered(answer)
            }
            Ride::Died => {
                if let Some(trial) = horse.trial.take() {
                    trial.end(Finding::Died { job: job.job.clone() });
                }
                Outcome::Died { status: self.exit_status(&mut horse).await, began }
            }
            Ride::Stopped => {
                drop(horse);
                self.stopped(job, parsed, began).await
            }
        };
        Run::Ended(outcome)
    }

    /// What the end of a job says about the code that ran it.
    async fn tell_finding(&self, horse: &mut Horse, job: &Started, answer: &horse::Answer) {
        let finding = match (trial::signature(answer), &horse.trial) {
            (None, None) => return,
            (None, Some(_)) => Finding::Good,
            (Some(signature), None) => {
                return if self.shared.settings.has_canaries() {
                    self.tell(Input::FailureSeen(signature)).await;
                };
            }
            (Some(signature), Some(_)) => {
                let (job, summary) = (job.job.clone(), answer.head.summary.clone());
                Finding::Raised { job, signature, summary }
            }
        };
        if let Some(trial) = horse.trial.take() {
            trial.end(finding);
        }
    }

    /// Keeps the execution alive until the horse answers or ends.
    async fn watch_over(&mut self, horse: &mut Horse, job: &Started, timeout: JobTimeout) -> Ride {
        let interval = self.shared.settings.monitoring_interval;
        let mut clock = JobClock::start(Moment::now(), timeout, interval);
        let mut pulse = Pulse::new(&self.shared, &self.birth, job);
        let presence = horse.presence.clone();
        let mut exited = None;
        let mut end = Ride::Died;
        let mut stop_noted = false;
        loop {
            let due = exited.unwrap_or_else(|| clock.next_deadline());
            let effect = tokio::select! {
                biased;
                answer = horse::answer(&mut horse.link) => {
                    return answer.map_or(end, |answer| Ride::Answered(Box::new(answer)));
                }
                status = &mut horse.exit, if exited.is_none() => {
                    horse.status = status.ok();
                    // All it wrote is in the socket; children of it may keep that open.
                    exited = Some(Moment::now() + ANSWER_GRACE);
                    None
                }
                command = self.commands.next() => {
                    if command == JobCommand::KillHorse {
                        horse.trial = None; // it did not die of its code
                        clock.kill()
                    } else if self.stops(&command, job) {
                        end = Ride::Stopped;
                        clock.kill()
                    } else {
                        None
                    }
                }
                () = reached(&self.shared.orders, Phase::Warm), if !stop_noted => {
                    stop_noted = true;
                    if self.shared.settings.hooks.may_warn() {
                        presence.warn();
                    }
                    self.note_stop().await;
                    None
                }
                () = reached(&self.shared.orders, Phase::Cold), if !clock.is_killed() => clock.kill(),
                () = clock::sleep_until(Some(due)) => {
                    if exited.is_some() {
                        return end;
                    }
                    clock.tick(Moment::now())
                }
                () = pulse.carried() => None,
            };
            match effect {
                Some(Effect::Kill) => presence.kill_group(),
                Some(Effect::Heartbeat(ttl)) => pulse.beat(ttl),
                None => {}
            }
        }
    }

    /// Calls the callback of a job that was stopped by a command; the job ends as stopped,
    /// whatever comes of that.
    pub(super) async fn stopped(
        &mut self,
        job: &Started,
        parsed: &Job,
        began: rq::Timestamp,
    ) -> Outcome {
        if let Some(timeout) = parsed.stopped_callback {
            let purpose = Purpose::Stopped { started_us: began.micros() };
            let worker = self.birth.name.clone();
            let (job_id, hash) = (&job.job, &job.hash);
            let errand = Errand { purpose: &purpose, job: job_id, hash, worker: &worker, timeout };
            let (inputs, orders) = (self.shared.inputs.clone(), self.shared.orders.clone());
            let result = self.alive(job, errand::run(errand, &inputs, &orders)).await;
            let problems =
                result.map_or_else(|error| vec![error.to_string()], |answer| answer.problems);
            for problem in problems {
                let id = &job.job;
                let text =
                    format!("the stopped callback of job {id} failed: {}", problem.trim_end());
                self.report(&Event::Warning(text));
            }
        }
        Outcome::Stopped { began }
    }

    /// Waits for something, and keeps the execution alive meanwhile.
    async fn alive<T>(&self, job: &Started, what: impl Future<Output = T>) -> T {
        let interval = self.shared.settings.monitoring_interval;
        let mut pulse = Pulse::new(&self.shared, &self.birth, job);
        let mut next_heartbeat = Moment::now() + interval;
        tokio::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                () = clock::sleep_until(Some(next_heartbeat)) => {
                    next_heartbeat = Moment::now() + interval;
                    pulse.beat(heartbeat_ttl(interval));
                }
                () = pulse.carried() => {}
            }
        }
    }

    /// Whether a command asks for this job to be stopped; says so if it is for something else.
    fn stops(&self, command: &JobCommand, job: &Started) -> bool {
        let meant = match command {
            JobCommand::KillHorse => false,
            JobCommand::StopJob(id) => *id == job.job,
            JobCommand::StopExecution(id) => *id == job.execution,
        };
        if !meant {
            self.ignore(command);
        }
        meant
    }

    /// A command came that is for no job of this slot.
    pub(super) fn ignore(&self, command: &JobCommand) {
        let event = match command {
            JobCommand::KillHorse => {
                let worker = &self.birth.name;
                let text = format!("Worker {worker} is not working, kill horse command ignored");
                Event::Detail(text)
            }
            JobCommand::StopJob(id) => {
                Event::Warning(format!("Not working on job {id}, command ignored."))
            }
            JobCommand::StopExecution(id) => {
                Event::Warning(format!("Not working on execution {id}, command ignored."))
            }
        };
        self.report(&event);
    }

    /// Lets readers of the worker's record see that it is about to end (as RQ).
    async fn note_stop(&self) {
        let noted =
            self.shared.client.mark_shutdown_requested(&self.birth.name, clock::wall()).await;
        if let Err(error) = noted {
            self.report(&Event::Detail(format!("the stop could not be noted in Redis: {error}")));
        }
    }

    /// How a horse that hung up has ended.
    async fn exit_status(&self, horse: &mut Horse) -> Option<i32> {
        if horse.status.is_some() {
            return horse.status;
        }
        if let Ok(status) = tokio::time::timeout(EXIT_STATUS_MAX, &mut horse.exit).await {
            return status.ok();
        }
        // It closed its socket but lives, or its generation is stuck: end both.
        horse.presence.kill_group();
        self.tell(Input::ExitOverdue(horse.generation)).await;
        tokio::time::timeout(EXIT_STATUS_MAX, &mut horse.exit).await.ok()?.ok()
    }
}
