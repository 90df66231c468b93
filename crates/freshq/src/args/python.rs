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
