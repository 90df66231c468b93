//! The options about the Python that runs jobs.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::ClassArgs;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Python")]
pub(crate) struct PythonArgs {
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

    /// Function that every generation calls before it serves, to fill caches once for all its jobs
    /// (repeatable)
    #[arg(long, value_name = "MODULE:FUNCTION", env = "FRESHQ_WARMUP", value_delimiter = ',',
          value_parser = warmup)]
    pub(crate) warmup: Vec<String>,

    /// Library that the base imports, instead of those that were seen to be used (repeatable);
    /// an empty one: none
    #[arg(long, value_name = "MODULE", env = "FRESHQ_PRELOAD", value_delimiter = ',')]
    pub(crate) preload: Vec<String>,

    /// Library that the base never imports, nor what imports it (repeatable)
    #[arg(long, value_name = "MODULE", env = "FRESHQ_NO_PRELOAD", value_delimiter = ',')]
    pub(crate) no_preload: Vec<String>,

    #[command(flatten)]
    pub(crate) classes: ClassArgs,
}

/// A dotted module and a name in it.
fn warmup(text: &str) -> Result<String, String> {
    let is_dotted = |name: &str| name.split('.').all(|part| !part.is_empty());
    match text.split_once(':') {
        Some((module, function)) if is_dotted(module) && is_dotted(function) => Ok(text.to_owned()),
        _ => Err("it has to be MODULE:FUNCTION, such as `app.caches:fill`".to_owned()),
    }
}
