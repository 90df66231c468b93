//! The options of reloading.

use std::path::PathBuf;
use std::time::Duration;

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

    /// How changes are noticed: by `native` events, by `poll`ing, or `auto`, as each folder's file
    /// system allows
    #[arg(long, env = "FRESHQ_WATCH_MODE", value_enum, default_value_t = WatchMode::Auto)]
    pub(crate) watch_mode: WatchMode,

    /// How often to look where there are no events: `500ms`, `2s`, or a number of milliseconds
    #[arg(long, value_name = "TIME", env = "FRESHQ_POLL_INTERVAL", default_value = "500ms")]
    #[arg(value_parser = interval)]
    pub(crate) poll_interval: Duration,

    /// Files that count besides Python's, as a glob below the watched folder (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub(crate) watch_include: Vec<String>,

    /// Files that do not count (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub(crate) watch_ignore: Vec<String>,

    /// While the newest code is broken: `keep` running the last good code, or `hold` the jobs
    #[arg(long, env = "FRESHQ_ON_BROKEN", value_enum, default_value_t = OnBroken::Keep)]
    pub(crate) on_broken: OnBroken,

    /// Reload when this file changes, and only then: a deploy marker, or the symlink to a release folder
    #[arg(long, value_name = "FILE", env = "FRESHQ_RELOAD_ON")]
    pub(crate) reload_on: Option<PathBuf>,

    /// New code first runs N jobs, one by one, while the old code runs the others; if one of them
    /// dies, or fails as none did before, the old code serves on [default: 0, new code serves at once]
    #[arg(long, value_name = "N", env = "FRESHQ_CANARY")]
    pub(crate) canary: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchMode {
    Auto,
    Native,
    Poll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnBroken {
    Keep,
    Hold,
}

/// A time to wait, which must be one.
fn interval(text: &str) -> Result<Duration, String> {
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 0.001),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (text, 0.001),
    };
    let seconds = number.trim().parse().ok().map(|number: f64| number * unit);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "give a time as 500ms or 2s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit_or_is_in_milliseconds() {
        for (text, millis) in [("500ms", 500), ("250", 250), ("2s", 2_000), ("0.5 s", 500)] {
            assert_eq!(interval(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0", "-1s", "soon", "nan", "1m"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
