//! Where a Python may be found, in the order it is looked for.

use std::path::{Path, PathBuf};

use supervisor::forkserver::interpreter::Candidate;

use crate::env_vars;

/// The candidates: the one that was named, by whom, or all places in order.
pub(crate) fn candidates(named: Option<(&Path, &str)>, here: &Path) -> Vec<Candidate> {
    if let Some((python, by)) = named {
        return vec![candidate(python.to_path_buf(), by)];
    }
    let mut found = Vec::new();
    let executable = std::env::current_exe().ok();
    if let Some(folder) = executable.as_deref().and_then(Path::parent) {
        push_if_there(&mut found, folder.join("python3"), "beside freshq");
    }
    if let Some(environment) = env_vars::get(env_vars::VIRTUAL_ENV) {
        push_if_there(&mut found, PathBuf::from(environment).join("bin/python"), "VIRTUAL_ENV");
    }
    push_if_there(&mut found, here.join(".venv/bin/python"), ".venv here");
    found.push(candidate("python3".into(), "PATH"));
    found
}

fn candidate(python: PathBuf, found_by: &str) -> Candidate {
    Candidate { python, found_by: found_by.to_owned() }
}

fn push_if_there(found: &mut Vec<Candidate>, python: PathBuf, found_by: &str) {
    if python.exists() {
        found.push(candidate(python, found_by));
    }
}
