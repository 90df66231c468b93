//! What is printed, and how: RQ's options, and one of ours.

use clap::{Args as ClapArgs, ValueEnum};

use supervisor::settings::PythonLogging;

use crate::console::log_format::{DATE_FORMAT, LOG_FORMAT, LogFormat};
use crate::console::{Level, LogStyle, Logging};
use crate::error::Error;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Output")]
pub(crate) struct LogArgs {
    /// Say more: why a file is no reason to reload, what was learned, whole tracebacks
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Say only what is wrong
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// The least that is printed: DEBUG, INFO, WARNING, ERROR or CRITICAL, or a number of Python's
    #[arg(short = 'l', long = "logging_level", visible_alias = "logging-level", value_name = "LEVEL",
          value_parser = Level::parse)]
    pub(crate) logging_level: Option<Level>,

    /// Layout of lines: freshq's columns, or those of RQ's worker [default: columns, or rq with
    /// --log-format or --date-format]
    #[arg(long, value_enum, env = "FRESHQ_LOG_STYLE", value_name = "STYLE")]
    pub(crate) log_style: Option<Style>,

    /// Format of RQ's lines, as Python's logging takes it [default: %(asctime)s %(message)s]
    #[arg(long, value_name = "FORMAT", hide_default_value = true)]
    pub(crate) log_format: Option<String>,

    /// Format of their time [default: %H:%M:%S]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) date_format: Option<String>,

    /// Do not print the calls of jobs; their arguments may be secret
    #[arg(long)]
    pub(crate) disable_job_desc_logging: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    Columns,
    Rq,
}

impl LogArgs {
    /// The least that is printed; of several options the first of these counts (as RQ).
    fn level(&self) -> Option<Level> {
        match (self.verbose, self.quiet) {
            (true, _) => Some(Level::Debug),
            (_, true) => Some(Level::Warning),
            _ => self.logging_level,
        }
    }

    /// What the console is told.
    pub(crate) fn logging(&self) -> Result<Logging, Error> {
        let threshold = self.level().unwrap_or(Level::Info);
        let formatted = self.log_format.is_some() || self.date_format.is_some();
        let rq = self.log_style.map_or(formatted, |style| style == Style::Rq);
        let style = if rq {
            let log = self.log_format.as_deref().unwrap_or(LOG_FORMAT);
            let date = self.date_format.as_deref().unwrap_or(DATE_FORMAT);
            LogStyle::Rq(LogFormat::parse(log, date).map_err(Error::Usage)?)
        } else {
            LogStyle::Columns
        };
        Ok(Logging { style, threshold, describes_jobs: !self.disable_job_desc_logging })
    }

    /// What RQ's loggers are told in the processes of jobs.
    pub(crate) fn python(&self) -> PythonLogging {
        PythonLogging {
            level: self.level().map(Level::number),
            log_format: self.log_format.clone(),
            date_format: self.date_format.clone(),
            describes_jobs: !self.disable_job_desc_logging,
        }
    }
}
