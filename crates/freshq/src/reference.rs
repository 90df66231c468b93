//! The pages of `docs/reference`, made from the declarations; a test compares them.
//!
//! `cargo xtask reference` has the test write them instead.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use crate::args::Args;
use crate::env_vars;

/// Set: the pages are written.
const WRITE: &str = "FRESHQ_WRITE_REFERENCE";
const HEAD: &str = "<!-- Made by `cargo xtask reference`; edit the declarations instead. -->\n";

#[test]
fn the_pages_are_up_to_date() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    for (name, text) in
        [("options.md", options()), ("environment.md", environment()), ("keys.md", keys())]
    {
        let file = folder.join(name);
        if env_vars::get(WRITE).is_some() {
            fs_err::create_dir_all(&folder).unwrap();
            fs_err::write(&file, &text).unwrap();
        }
        let found = fs_err::read_to_string(&file).unwrap_or_default();
        assert!(found == text, "docs/reference/{name} is stale; run `cargo xtask reference`");
    }
}

/// The commands that people see, with their arguments.
fn commands(whole: &mut Command) -> Vec<&Command> {
    whole.build();
    let shown = |command: &&Command| command.get_name() != "help" && !command.is_hide_set();
    whole.get_subcommands().filter(shown).collect()
}

fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version"))
}

fn options() -> String {
    let mut text = format!(
        "{HEAD}\n# Options\n\nThe command line goes before the environment, and that before \
         `[tool.freshq]` in the `pyproject.toml` of the current\nfolder, where the long name of every \
         option of a worker is a key.\n"
    );
    for command in commands(&mut Args::command()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        write!(text, "\n## freshq {}\n\n{about}.\n", command.get_name()).unwrap();
        let mut heading = None;
        let mut sorted: Vec<_> = arguments(command).collect();
        // Those of one heading may be declared in several places.
        sorted.sort_by_key(|arg| arg.get_help_heading().unwrap_or_default());
        for arg in sorted {
            let own = arg.get_help_heading().unwrap_or("Options");
            if heading != Some(own) {
                write!(text, "\n### {own}\n\n| option | default | environment | what |\n").unwrap();
                text.push_str("| --- | --- | --- | --- |\n");
                heading = Some(own);
            }
            text.push_str(&row(arg));
        }
    }
    text
}

fn row(arg: &Arg) -> String {
    let names = [
        arg.get_short().map(|short| format!("-{short}")),
        arg.get_long().map(|long| format!("--{long}")),
    ];
    let mut names: Vec<String> = names.into_iter().flatten().collect();
    if names.is_empty() {
        names.push(format!("{}...", arg.get_id().as_str().to_uppercase()));
    } else if !matches!(arg.get_action(), ArgAction::SetTrue) {
        let values = arg.get_value_names().unwrap_or_default();
        let value = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if let Some(last) = names.last_mut() {
            write!(last, " {value}").unwrap();
        }
    }
    let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let defaults: Vec<_> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect();
    let default = if flag { String::new() } else { defaults.join(", ") };
    let variable = arg.get_env().map(|name| format!("`{}`", name.display())).unwrap_or_default();
    let mut what = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let possible = arg.get_possible_values();
    if !flag && !possible.is_empty() {
        let names: Vec<_> = possible.iter().map(|value| value.get_name().to_owned()).collect();
        write!(what, " ({})", names.join(", ")).unwrap();
    }
    format!("| {names} | {default} | {variable} | {} |\n", what.replace('|', "\\|"))
}

fn environment() -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    for command in commands(&mut Args::command()) {
        for arg in arguments(command) {
            if let (Some(name), Some(long)) = (arg.get_env(), arg.get_long()) {
                rows.push((name.display().to_string(), format!("`--{long}`")));
            }
        }
    }
    rows.extend(declared(include_str!("env_vars.rs")));
    let redis = "One of RQ's settings of Redis, when no URL and no configuration module is given.";
    rows.extend(env_vars::REDIS_SETTINGS.iter().map(|name| ((*name).to_owned(), redis.to_owned())));
    rows.sort();
    // The first that is said of a variable: the option that it stands for.
    rows.sort_by_key(|(name, what)| (name.clone(), !what.starts_with("`--")));
    rows.dedup_by(|later, earlier| later.0 == earlier.0);
    let mut text = format!(
        "{HEAD}\n# Environment\n\nAn empty variable counts as unset.\n\n| variable | what |\n| --- | --- |\n"
    );
    for (name, what) in rows {
        writeln!(text, "| `{name}` | {what} |").unwrap();
    }
    text
}

/// Name and documentation of each constant of a source file that holds a variable's name.
fn declared(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut said = String::new();
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            said.push_str(if said.is_empty() { "" } else { " " });
            said.push_str(text);
            continue;
        }
        let what = std::mem::take(&mut said);
        let value =
            line.strip_prefix("pub(crate) const ").and_then(|rest| rest.split_once(": &str = \""));
        if let Some((name, _)) = value.and_then(|(_, value)| value.split_once('"')) {
            found.push((name.to_owned(), what.replace("[`", "`").replace("`]", "`")));
        }
    }
    found
}

/// The table in the documentation of the crate that spells the keys.
fn keys() -> String {
    let lines =
        include_str!("../../rq/src/lib.rs").lines().filter_map(|line| line.strip_prefix("//! |"));
    let table: Vec<_> = lines.map(|line| format!("|{line}\n")).collect();
    format!(
        "{HEAD}\n# Keys in Redis\n\nWith the prefix `rq` (`RQ_KEY_PREFIX`) and queue `q`, job `j`, execution \
         `e`, worker `w`. All is RQ's\nbut the fields `generation` and `code_hash` of a \
         job, and those of a worker that begin with `freshq`.\n\n{}",
        table.concat()
    )
}
