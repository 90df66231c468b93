//! The user's own Python that jobs run with: RQ's options, which worker and worker-pool share.

use clap::Args as ClapArgs;
use supervisor::settings::Hooks;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Python")]
pub(crate) struct ClassArgs {
    /// Settings module of a Django project, which is set up before your code is imported
    #[arg(long, value_name = "SETTINGS", env = "FRESHQ_DJANGO")]
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

    /// Class of what jobs reach Redis with, a dotted path [default: redis.Redis]
    #[arg(long, value_name = "PATH", env = "RQ_CONNECTION_CLASS")]
    connection_class: Option<String>,
}

impl ClassArgs {
    /// What each generation is to import.
    pub(crate) fn hooks(&self) -> Hooks {
        Hooks {
            django: given(self.django.as_ref()),
            serializer: given(self.serializer.as_ref()),
            exception_handlers: self.exception_handler.clone(),
            job_class: given(self.job_class.as_ref()),
            queue_class: given(self.queue_class.as_ref()),
            connection_class: given(self.connection_class.as_ref()),
        }
    }
}

/// An empty value, as a variable may have, is none (as RQ).
fn given(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.is_empty()).cloned()
}
