//! The user's own Python that jobs run with: RQ's options, which worker and worker-pool share.

use clap::Args as ClapArgs;
use serde_json::{Map, Value};
use supervisor::settings::Hooks;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Python")]
pub(crate) struct ClassArgs {
    /// Settings module of a Django project, which is set up before your code is imported; Redis and
    /// classes are those of django-rq's settings, unless an option names them
    #[arg(long, value_name = "SETTINGS", env = "FRESHQ_DJANGO", conflicts_with = "config")]
    django: Option<String>,

    /// Serializer of jobs and results: `pickle`, `json`, or a dotted path [default: pickle]
    #[arg(short = 'S', long, value_name = "SERIALIZER")]
    serializer: Option<String>,

    /// Called with each job that fails and its exception: a dotted path (repeatable)
    #[arg(long, value_name = "PATH")]
    exception_handler: Vec<String>,

    /// Class of jobs, a dotted path [default: rq.job.Job]
    #[arg(short = 'j', long, value_name = "PATH", env = "RQ_JOB_CLASS")]
    job_class: Option<String>,

    /// Class of queues, a dotted path [default: rq.Queue]
    #[arg(long, value_name = "PATH", env = "RQ_QUEUE_CLASS")]
    queue_class: Option<String>,

    /// Class of workers: RQ's own, or a dotted path to a subclass, through which RQ's code then runs jobs
    /// [default: rq.Worker]
    #[arg(short = 'w', long, value_name = "PATH", env = "RQ_WORKER_CLASS")]
    worker_class: Option<String>,

    /// Class of what jobs reach Redis with, a dotted path [default: redis.Redis]
    #[arg(long, value_name = "PATH", env = "RQ_CONNECTION_CLASS")]
    connection_class: Option<String>,
}

impl ClassArgs {
    /// The settings module of a Django project.
    pub(crate) fn django(&self) -> Option<&str> {
        self.django.as_deref()
    }

    /// What each generation is to import; what no option names is as Django's settings say.
    pub(crate) fn hooks(&self, class: &WorkerClass, project: &Map<String, Value>) -> Hooks {
        let or = |option: &Option<String>, name| given_or(option.as_ref(), project, name);
        let handlers = match project.get("EXCEPTION_HANDLERS") {
            Some(Value::Array(paths)) if self.exception_handler.is_empty() => {
                paths.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => self.exception_handler.clone(),
        };
        Hooks {
            django: self.django.clone(),
            serializer: or(&self.serializer, "SERIALIZER"),
            exception_handlers: handlers,
            job_class: or(&self.job_class, "JOB_CLASS"),
            queue_class: or(&self.queue_class, "QUEUE_CLASS"),
            connection_class: given(self.connection_class.as_ref()),
            heroku: *class == WorkerClass::Heroku,
            worker_class: match class {
                WorkerClass::Users(path) => Some(path.clone()),
                _ => None,
            },
        }
    }

    /// What kind of worker is asked for, by the option or by Django's settings.
    pub(crate) fn worker_class(&self, project: &Map<String, Value>) -> WorkerClass {
        let Some(path) = given_or(self.worker_class.as_ref(), project, "WORKER_CLASS") else {
            return WorkerClass::Worker;
        };
        let name = RQS_MODULES.iter().find_map(|module| path.strip_prefix(module));
        match name {
            Some("Worker") => WorkerClass::Worker,
            Some("SimpleWorker") => WorkerClass::Simple,
            Some("RoundRobinWorker") => WorkerClass::RoundRobin,
            Some("RandomWorker") => WorkerClass::Random,
            Some("SpawnWorker") => WorkerClass::Spawn,
            Some("HerokuWorker") => WorkerClass::Heroku,
            _ => WorkerClass::Users(path),
        }
    }
}

/// A kind of worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WorkerClass {
    /// RQ's plain one.
    Worker,
    /// Runs its jobs in one process.
    Simple,
    /// Takes from each queue in turn.
    RoundRobin,
    /// Takes from any queue.
    Random,
    /// Starts an interpreter for each job.
    Spawn,
    /// Warns a job of a stop and leaves it some seconds.
    Heroku,
    /// What stands at this dotted path.
    Users(String),
}

/// Where RQ's classes of workers can be imported from.
const RQS_MODULES: [&str; 3] = ["rq.worker.worker_classes.", "rq.worker.", "rq."];

/// What an option says, or else Django's settings.
fn given_or(option: Option<&String>, project: &Map<String, Value>, name: &str) -> Option<String> {
    let in_project = || project.get(name).and_then(Value::as_str).map(str::to_owned);
    given(option).or_else(in_project)
}

/// An empty value, as a variable may have, is none (as RQ).
fn given(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.is_empty()).cloned()
}
