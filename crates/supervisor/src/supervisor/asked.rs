//! What is asked at the control socket, answered.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::Supervisor;
use crate::clock::{self, Moment};
use crate::control::socket::ControlSocket;
use crate::control::status::{Jobs, Loading, Redis, Running, Status, Watching};
use crate::control::{Answer, Asked, Request};
use crate::event::Event;
use crate::reload::machine::{Availability, Cause};
use crate::settings::Control;
use crate::shutdown::Phase;

/// Those who wait for the end of a reload that they asked for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// What they want is not loading yet.
    asked: Vec<oneshot::Sender<Answer>>,
    /// It is: the next end of a loading is theirs.
    loading: Vec<oneshot::Sender<Answer>>,
}

impl Waiting {
    /// A generation is loaded.
    pub(super) fn loads(&mut self, cause: &Cause) {
        if cause.requested {
            self.loading.append(&mut self.asked);
        }
    }

    /// Somebody waits for the end of a reload that is asked for now.
    fn push(&mut self, reply: oneshot::Sender<Answer>) {
        // Those who have hung up meanwhile make room.
        self.asked.retain(|reply| !reply.is_closed());
        self.loading.retain(|reply| !reply.is_closed());
        self.asked.push(reply);
    }

    fn answer(&mut self, event: &Event) {
        let answer = match event {
            Event::GenerationServing(serving) => Answer::Serving(Box::new(serving.clone())),
            Event::CanaryBegun { canary, jobs, serving } => {
                Answer::Canary { canary: Box::new(canary.clone()), jobs: *jobs, serving: *serving }
            }
            Event::GenerationBroken(broken) => Answer::Broken(Box::new(broken.clone())),
            _ => return,
        };
        for reply in self.loading.drain(..) {
            // Whoever asked may have gone.
            drop(reply.send(answer.clone()));
        }
    }
}

/// Listens in the first folder that can be used; says at the level of details what came of it.
pub(super) fn listen(control: &Control, say: impl Fn(String)) -> Option<ControlSocket> {
    let mut problems = Vec::new();
    for folder in &control.folders {
        match ControlSocket::listen(folder, &control.project) {
            Ok(socket) => {
                say(format!("control socket {}", socket.path().display()));
                return Some(socket);
            }
            Err(error) => problems.push(format!("{}: {error}", folder.display())),
        }
    }
    say(format!(
        "no control socket, so that `freshq status` does not find this worker: {}",
        problems.join("; ")
    ));
    None
}

impl Supervisor {
    pub(super) fn asked(&mut self, asked: Asked) {
        let Asked { request, reply } = asked;
        let answer = match request {
            Request::Status => Answer::Status(Box::new(self.status())),
            Request::Reload if self.is_stopping() => {
                Answer::Error("the worker is stopping and loads no code any more".to_owned())
            }
            Request::Reload => {
                self.waiting.push(reply);
                return self.reload_requested();
            }
            Request::Rollback => self.rollback_requested(),
        };
        // Whoever asked may have gone.
        drop(reply.send(answer));
    }

    /// Says what has become of the code, to all who want to know.
    pub(super) fn announce(&mut self, event: &Event) {
        self.history.note(event, Moment::now());
        self.waiting.answer(event);
        self.report(event);
    }

    fn is_stopping(&self) -> bool {
        Phase::Running < self.shutdown.phase() || self.exit.is_some()
    }

    fn status(&self) -> Status {
        let (now, wall) = (Moment::now(), clock::wall().micros() as f64 / 1e6);
        let wall = |moment: Moment| wall - now.since(moment).as_secs_f64();
        let serving = self.machine.serving();
        let loading = self.loading.as_ref().map(|loading| Loading {
            generation: loading.generation,
            since: wall(loading.asked),
            cause: loading.cause.clone(),
        });
        let broken = self.history.broken().filter(|_| self.machine.newest_is_broken());
        Status {
            pid: std::process::id(),
            project: self.settings.control.here.display().to_string(),
            started_at: wall(self.started),
            workers: self.worker_names(),
            queues: self.settings.queues.iter().map(ToString::to_string).collect(),
            redis: self.redis_status(),
            jobs: self.jobs_status(),
            serving: serving.and_then(|serving| self.history.generation(serving, wall)),
            loading,
            broken: broken.cloned(),
            running: self.running_jobs(),
            watching: self.watching_status(),
            last_reload: self.history.last_reload(wall),
        }
    }

    fn worker_names(&self) -> Vec<String> {
        if self.slots_started() {
            self.slots.keys().map(ToString::to_string).collect()
        } else {
            self.settings.workers.iter().map(ToString::to_string).collect()
        }
    }

    fn redis_status(&self) -> Redis {
        let outage = self.slot_kit.as_ref().and_then(|kit| kit.outage().lasts());
        Redis {
            url: self.client.display_url().to_owned(),
            away_for: outage.map(|lasts| lasts.as_secs_f64()),
        }
    }

    fn jobs_status(&self) -> Jobs {
        match self.machine.availability() {
            _ if self.is_stopping() => Jobs::Stopping,
            Availability::Serve(_) => Jobs::Run,
            Availability::Wait => Jobs::Wait,
            Availability::Hold => Jobs::Held,
        }
    }

    fn running_jobs(&self) -> Vec<Running> {
        let awaited = self.chain.awaited_by_generation().into_iter();
        let running = awaited.map(|(generation, horses)| Running {
            generation,
            jobs: horses.saturating_sub(self.barrier.spares_of(generation)),
        });
        running.filter(|running| 0 < running.jobs).collect()
    }

    fn watching_status(&self) -> Option<Watching> {
        let (how, files) = self.watching.status()?;
        let text = |folder: &PathBuf| folder.display().to_string();
        Some(Watching {
            how: how.to_owned(),
            files,
            folders: self.roots().iter().map(text).collect(),
            only_on: self.marker().map(|file| file.display().to_string()),
        })
    }
}
