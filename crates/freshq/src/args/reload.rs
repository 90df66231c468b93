//! The options of reloading.

use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs, ValueEnum};

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

    /// New code first runs N jobs, one by one, while the old code runs the others; if one of them
    /// dies, or fails as none did before, the old code serves on [default: 0, new code serves at once]
    #[arg(long, value_name = "N", env = "FRESHQ_CANARY")]
    pub(crate) canary: Option<u32>,
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
