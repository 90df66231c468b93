//! The options of `freshq worker` alone.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args as ClapArgs;

use super::SharedArgs;

/// RQ's values, which a pool has without a choice.
const RESULTS_TTL: i64 = 500;
const WORKER_TTL: u32 = 420;
const JOB_MONITORING_INTERVAL: u32 = 30;
const MAINTENANCE_INTERVAL: u32 = 600;
const DEQUEUE_STRATEGY: &str = "default";

/// A number that is not negative, or what to say of something else.
fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "it is not a whole number from 0".to_owned())
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WorkerArgs {
    /// Name of the worker; with several, `-1`, `-2`, ... are added [default: random]
    #[arg(short, long)]
    pub(crate) name: Option<String>,

    /// Workers (slots) in this process, which share one base and one generation
    #[arg(long, value_name = "N", env = "FRESHQ_NUM_WORKERS", default_value_t = 1,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) num_workers: u16,

    /// File to write the process id to; it is removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) pid: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) life: LifeArgs,

    #[command(flatten)]
    pub(crate) shared: SharedArgs,
}

/// How a worker lives.
#[derive(Debug, ClapArgs)]
pub(crate) struct LifeArgs {
    /// End each worker after this many jobs
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>)]
    pub(crate) max_jobs: Option<u64>,

    /// End each worker that has had no job for this many seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = whole::<u32>)]
    pub(crate) max_idle_time: Option<u32>,

    /// Order of the queues: `default`, as given; `round_robin`, each in turn; `random` (-ds)
    #[arg(long, value_name = "STRATEGY", default_value = DEQUEUE_STRATEGY)]
    pub(crate) dequeue_strategy: String,

    /// Seconds that results are kept of jobs that do not say; -1 is for ever
    #[arg(long, value_name = "SECONDS", default_value_t = RESULTS_TTL, allow_negative_numbers = true)]
    pub(crate) results_ttl: i64,

    /// Seconds after which a worker without a heartbeat is taken for dead
    #[arg(long, value_name = "SECONDS", default_value_t = WORKER_TTL,
          allow_negative_numbers = true, value_parser = whole::<u32>)]
    pub(crate) worker_ttl: u32,

    /// Seconds between two heartbeats of a running job
    #[arg(long, value_name = "SECONDS", default_value_t = JOB_MONITORING_INTERVAL,
          allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) job_monitoring_interval: u32,

    /// Seconds between two clean-ups of the registries
    #[arg(long, value_name = "SECONDS", default_value_t = MAINTENANCE_INTERVAL,
          allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) maintenance_interval: u32,

    /// Also put scheduled jobs on their queues when they are due
    #[arg(short = 's', long)]
    pub(crate) with_scheduler: bool,

    /// A failure leaves only the job's status: no result, no entry in the failed registry
    #[arg(short, long)]
    pub(crate) disable_default_exception_handler: bool,
}

impl LifeArgs {
    /// As the workers of a pool live: always with a scheduler.
    pub(crate) fn of_pool() -> Self {
        Self {
            max_jobs: None,
            max_idle_time: None,
            dequeue_strategy: DEQUEUE_STRATEGY.to_owned(),
            results_ttl: RESULTS_TTL,
            worker_ttl: WORKER_TTL,
            job_monitoring_interval: JOB_MONITORING_INTERVAL,
            maintenance_interval: MAINTENANCE_INTERVAL,
            with_scheduler: true,
            disable_default_exception_handler: false,
        }
    }
}
