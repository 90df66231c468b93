//! Options in `pyproject.toml`: `[tool.freshq]` of the current folder.
//!
//! A key is the long name of an option, so every option of a worker can stand there and none is
//! declared twice: what the file says becomes the default of the option before the command line is
//! parsed. So the command line goes before the environment, and that before the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Value;

use crate::error::Error;

/// The file.
pub(crate) const FILE: &str = "pyproject.toml";
/// The commands that it is for.
const COMMANDS: &[&str] = &["worker", "worker-pool"];
/// The option that has no long name, because it is what stands without one.
const QUEUES: &str = "queues";

/// Makes the file's values the defaults of a command; also tells which options they are of.
pub(super) fn apply(
    whole: Command,
    name: &str,
    given: &ArgMatches,
    here: &Path,
) -> Result<(Command, BTreeSet<String>), Error> {
    let mut set = BTreeSet::new();
    if !COMMANDS.contains(&name) {
        return Ok((whole, set));
    }
    let table = read(here)?;
    let known = known(&whole);
    let keys = || known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut defaults = BTreeMap::new();
    for (key, value) in &table {
        let (command, arg) = known.get(&key.replace('_', "-")).ok_or_else(|| {
            refused(key, &format!("there is no such option; there are {}", keys()))
        })?;
        let texts = texts(arg, value).map_err(|expected| {
            refused(key, &format!("it has to be {expected}, not {}", value.type_str()))
        })?;
        check(command, arg, &texts).map_err(|reason| refused(key, &reason))?;
        defaults.insert(arg.get_id().to_string(), texts);
    }
    let command = whole.mut_subcommand(name, |mut command| {
        for (id, texts) in defaults {
            let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == id.as_str()) else {
                continue;
            };
            if is_contradicted(&command, arg, given) {
                continue;
            }
            if !texts.is_empty() {
                command = command.mut_arg(id.as_str(), |arg| arg.default_values(texts));
            }
            set.insert(id);
        }
        command
    });
    Ok((command, set))
}

/// The table, empty if there is none.
fn read(here: &Path) -> Result<toml::Table, Error> {
    let text = match fs_err::read_to_string(here.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(toml::Table::new()),
        Err(error) => return Err(Error::ProjectFile(error.to_string())),
    };
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        // Not ours to complain about.
        Err(_) if !text.contains("freshq") => return Ok(toml::Table::new()),
        Err(error) => return Err(Error::ProjectFile(format!("{FILE}: {error}"))),
    };
    match table.get("tool").and_then(|tool| tool.get("freshq")) {
        None => Ok(toml::Table::new()),
        Some(Value::Table(table)) => Ok(table.clone()),
        Some(_) => Err(Error::ProjectFile(format!("{FILE}: tool.freshq is no table"))),
    }
}

fn refused(key: &str, reason: &str) -> Error {
    Error::ProjectFile(format!("{FILE}, [tool.freshq] {key}: {reason}"))
}

/// The keys that are allowed, each with its option and a command that has it.
fn known(whole: &Command) -> BTreeMap<String, (&Command, &Arg)> {
    let commands = COMMANDS.iter().filter_map(|name| whole.find_subcommand(name));
    let mut known: BTreeMap<_, _> = commands
        .flat_map(|command| command.get_arguments().map(move |arg| (command, arg)))
        .filter_map(|(command, arg)| Some((key(arg)?, (command, arg))))
        .filter(|(key, _)| !matches!(key.as_str(), "help" | "version"))
        .collect();
    // `reload = false` says it already.
    let negations: Vec<_> = known
        .iter()
        .filter(|(_, (_, arg))| is_flag(arg))
        .map(|(key, _)| key.clone())
        .filter(|key| key.strip_prefix("no-").is_some_and(|key| known.contains_key(key)))
        .collect();
    known.retain(|key, _| !negations.contains(key));
    known
}

fn key(arg: &Arg) -> Option<String> {
    let long = arg.get_long().or_else(|| (arg.get_id() == QUEUES).then_some(QUEUES));
    long.map(|long| long.replace('_', "-"))
}

fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The value as the command line would have it; `false` is an empty list. The error says what it has to be.
fn texts(arg: &Arg, value: &Value) -> Result<Vec<String>, &'static str> {
    match value {
        Value::Boolean(on) if is_flag(arg) => Ok(vec![on.to_string()]),
        _ if is_flag(arg) => Err("true or false"),
        Value::Array(values) if is_list(arg) => {
            values.iter().map(|value| text(value).ok_or("a list of texts")).collect()
        }
        Value::Boolean(false) if is_list(arg) => Ok(Vec::new()),
        _ if is_list(arg) => Err("a list of texts"),
        _ => text(value).map(|text| vec![text]).ok_or("a text or a number"),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Has the option itself judge the values, as if they had been typed.
fn check(command: &Command, arg: &Arg, texts: &[String]) -> Result<(), String> {
    if is_flag(arg) {
        return Ok(());
    }
    let typed = texts.iter().map(|text| match arg.get_long() {
        Some(long) => format!("--{long}={text}"),
        None => text.clone(),
    });
    let words = [command.get_name().to_owned()].into_iter().chain(typed);
    let Err(error) = command.clone().try_get_matches_from(words) else { return Ok(()) };
    let said = error.to_string();
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    // Up to the advice about the command line.
    let lines = said.lines().map(str::trim).take_while(|line| !line.is_empty());
    Err(lines.collect::<Vec<_>>().join(" "))
}

/// Whether the command line has an option that does not go with this one.
fn is_contradicted(command: &Command, arg: &Arg, given: &ArgMatches) -> bool {
    let conflicts = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
    };
    command
        .get_arguments()
        .filter(|other| other.get_id() != arg.get_id())
        .filter(|other| {
            given.value_source(other.get_id().as_str()) == Some(ValueSource::CommandLine)
        })
        .any(|other| conflicts(arg, other) || conflicts(other, arg))
}
