//! The options of `freshq worker` alone.

use clap::Args as ClapArgs;

use super::{IsolationArgs, LogArgs, PythonArgs, RedisArgs, ReloadArgs};

#[derive(Debug, ClapArgs)]
pub(crate) struct WorkerArgs {
    /// Queues to work on, in order of priority [default: default]
    pub(crate) queues: Vec<String>,

    /// End when the queues are empty
    #[arg(short, long)]
    pub(crate) burst: bool,

    /// Name of the worker; with several, `-1`, `-2`, ... are added [default: random]
    #[arg(short, long)]
    pub(crate) name: Option<String>,

    /// Workers (slots) in this process, which share one base and one generation
    #[arg(long, value_name = "N", env = "FRESHQ_NUM_WORKERS", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) num_workers: u16,

    /// End each worker after this many jobs
    #[arg(long, value_name = "N")]
    pub(crate) max_jobs: Option<u64>,

    /// Seconds that results are kept of jobs that do not say; -1 is for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 500, allow_negative_numbers = true)]
    pub(crate) results_ttl: i64,

    /// Seconds after which a worker without a heartbeat is taken for dead
    #[arg(long, value_name = "SECONDS", default_value_t = 420)]
    pub(crate) worker_ttl: u32,

    /// Seconds between two heartbeats of a running job
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) job_monitoring_interval: u32,

    /// Seconds between two clean-ups of the registries
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) maintenance_interval: u32,

    /// Also put scheduled jobs on their queues when they are due
    #[arg(short = 's', long)]
    pub(crate) with_scheduler: bool,

    /// A failure leaves only the job's status: no result, no entry in the failed registry
    #[arg(short, long)]
    pub(crate) disable_default_exception_handler: bool,

    #[command(flatten)]
    pub(crate) redis: RedisArgs,

    #[command(flatten)]
    pub(crate) python: PythonArgs,

    #[command(flatten)]
    pub(crate) isolation: IsolationArgs,

    #[command(flatten)]
    pub(crate) reload: ReloadArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}
