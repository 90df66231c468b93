//! A job that was taken: at the barrier, and then on its horse, whose ride is in `ride.rs`.
//!
//! Invariant: a command to stop the job is honoured from the moment it was taken on, whatever it
//! waits for.

use rq::{Job, Started};
use tokio::sync::oneshot;

use super::commands::JobCommand;
use super::errand::{self, Errand};
use super::horse::{self, Horse};
use super::machine::heartbeat_ttl;
use super::outcome::Outcome;
use super::pulse::Pulse;
use super::ride::Ride;
use super::trial::{self, Finding};
use super::{NOTE_STOP_MAX, STOP_AT_BARRIER_MAX, Slot, reached};
use crate::clock::{self, Moment};
use crate::event::Event;
use crate::forkserver::link::LinkError;
use crate::forkserver::messages::{AnswerKind, Purpose};
use crate::input::{Grant, HorseRequest, Input};
use crate::reload::ledger::Ticket;
use crate::reload::machine::{GenerationId, Wish};
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
    /// It was not fit for another job, and nothing of this one has run.
    Declined,
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
                () = reached(&self.shared.orders, Phase::Overdue) => return Passage::Stopping,
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
        let (began, since) = (clock::wall(), Moment::now());
        self.shared.oom.job_begins(since);
        if let Some(stderr) = &horse.stderr {
            stderr.begin();
        }
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
        let outcome = match self.ride(&mut horse, job, parsed.timeout).await {
            Ride::Answered(answer) if answer.head.kind == AnswerKind::Declined => {
                return Run::Declined;
            }
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
            Ride::Died(why) => {
                if let Some(trial) = horse.trial.take() {
                    trial.end(Finding::Died { job: job.job.clone() });
                }
                self.died(&mut horse, why, (began, since)).await
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
            let problems = result.unwrap_or_else(|error| vec![error.to_string()]);
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
    pub(super) fn stops(&self, command: &JobCommand, job: &Started) -> bool {
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
    pub(super) async fn note_stop(&self) {
        let note = self.shared.client.mark_shutdown_requested(&self.birth.name, clock::wall());
        let problem = match tokio::time::timeout(NOTE_STOP_MAX, note).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "Redis does not answer".to_owned(),
        };
        self.report(&Event::Detail(format!("the stop could not be noted in Redis: {problem}")));
    }
}
