//! What the user typed; the doc comment of each field is its help.

use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// A background worker for RQ that runs the newest code, never loses a job, and is fast.
#[derive(Debug, Parser)]
#[command(name = "freshq", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run jobs, as `rq worker` does
    Worker(Box<WorkerArgs>),
    /// See it all in one command: a real application, real jobs, code that changes under them
    Demo(DemoArgs),
    /// Print the URL of the embedded Redis of this project (`-u embedded`), if it runs
    Url,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WorkerArgs {
    /// Queues to work on, in order of priority [default: default]
    pub(crate) queues: Vec<String>,

    /// URL of Redis, or `embedded` for a private server of this project [default: <redis://localhost:6379/0>]
    #[arg(short, long, value_name = "URL")]
    pub(crate) url: Option<String>,

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

    /// Folder to import from, after Python's own (repeatable) [default: .]
    #[arg(short = 'P', long, value_name = "DIR")]
    pub(crate) path: Vec<PathBuf>,

    /// Python to run jobs with [default: beside freshq, `VIRTUAL_ENV`, .venv here, python3 on PATH:
    /// the first that has rq]
    #[arg(long, value_name = "PATH", env = "FRESHQ_PYTHON")]
    pub(crate) python: Option<PathBuf>,

    /// Module that every generation imports (repeatable) [default: those that jobs were seen to use]
    #[arg(long, value_name = "MODULE", env = "FRESHQ_IMPORT", value_delimiter = ',')]
    pub(crate) import: Vec<String>,

    #[command(flatten)]
    pub(crate) reload: ReloadArgs,

    /// How a job is separated from the others: a fresh process for each
    #[arg(long, env = "FRESHQ_ISOLATION", value_enum, default_value_t = Isolation::Fork)]
    pub(crate) isolation: Isolation,

    /// Say more: why a file is no reason to reload, what was learned, whole tracebacks
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Say only what is wrong
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Reloading")]
pub(crate) struct ReloadArgs {
    /// Run new code as soon as a file is saved (also `FRESHQ_RELOAD=1`, `RQ_WORKER_AUTORELOAD=true`)
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) reload: bool,

    /// Do not, whatever the environment says
    #[arg(long, action = ArgAction::SetTrue, conflicts_with = "reload")]
    pub(crate) no_reload: bool,

    /// Folder of your code (repeatable) [default: the import paths under the current folder]
    #[arg(long, value_name = "DIR", env = "FRESHQ_WATCH", value_delimiter = ',')]
    pub(crate) watch: Vec<PathBuf>,

    /// How changes are noticed
    #[arg(long, env = "FRESHQ_WATCH_MODE", value_enum, default_value_t = WatchMode::Auto)]
    pub(crate) watch_mode: WatchMode,

    /// Files that count besides Python's, as a glob below the watched folder (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub(crate) watch_include: Vec<String>,

    /// Files that do not count (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub(crate) watch_ignore: Vec<String>,

    /// While the newest code is broken: `keep` running the last good code, or `hold` the jobs
    #[arg(long, env = "FRESHQ_ON_BROKEN", value_enum, default_value_t = OnBroken::Keep)]
    pub(crate) on_broken: OnBroken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    Fork,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchMode {
    /// File events
    Auto,
    /// File events
    Native,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnBroken {
    Keep,
    Hold,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Leave everything running at the end, to play with
    #[arg(long)]
    pub(crate) keep: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        super::Args::command().debug_assert();
    }
}
