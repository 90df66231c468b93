//! Where the value of each option comes from.

use std::collections::{BTreeMap, BTreeSet};

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::file::FILE;

/// Who said it; the later of two goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Default,
    File,
    Environment,
    CommandLine,
}

/// The origin of each option of a command, with the name of the file, variable or option.
#[derive(Debug, Default)]
pub(crate) struct Origins(BTreeMap<String, (Origin, String)>);

impl Origins {
    /// From what was parsed, and the options that the file sets.
    pub(super) fn of(
        command: &clap::Command,
        matches: &ArgMatches,
        in_file: &BTreeSet<String>,
    ) -> Self {
        let origin = |arg: &clap::Arg| {
            let id = arg.get_id().as_str();
            match matches.value_source(id) {
                Some(ValueSource::CommandLine) => {
                    (Origin::CommandLine, format!("--{}", arg.get_long().unwrap_or(id)))
                }
                Some(ValueSource::EnvVariable) => {
                    let name = arg.get_env().unwrap_or_default().to_string_lossy();
                    (Origin::Environment, name.into_owned())
                }
                _ if in_file.contains(id) => (Origin::File, FILE.to_owned()),
                _ => (Origin::Default, "default".to_owned()),
            }
        };
        Self(command.get_arguments().map(|arg| (arg.get_id().to_string(), origin(arg))).collect())
    }

    /// Who gave the option of this field.
    pub(crate) fn get(&self, field: &str) -> Origin {
        self.0.get(field).map_or(Origin::Default, |(origin, _)| *origin)
    }

    /// Its name, for the start-up trace.
    pub(crate) fn name(&self, field: &str) -> String {
        self.0.get(field).map_or_else(|| "default".to_owned(), |(_, name)| name.clone())
    }
}
