//! The processes below a horse, as the system tells.
//!
//! A process that has lost its parent belongs to no family here: nobody could say whose it was.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::reaper::Presence;

/// Most processes of a job that are looked at.
const PROCESSES_MAX: usize = 1024;

/// A process and all below it.
pub fn family(pid: i32) -> Vec<i32> {
    members(pid).into_iter().map(|(pid, _)| pid).collect()
}

/// Each with its parent, the nearest first.
fn members(pid: i32) -> Vec<(i32, i32)> {
    let mut found = vec![(pid, 0)];
    let mut at = 0;
    while at < found.len() && found.len() < PROCESSES_MAX {
        let pid = found[at].0;
        found.extend(children(pid).into_iter().map(|child| (child, pid)));
        at += 1;
    }
    found
}

/// Kills a horse's group and all below it, also what is in groups of their own, once.
pub fn kill(horse: &Presence) {
    if !horse.is_there() {
        return;
    }
    // Found before the kill: after it they would have another parent.
    let below = members(horse.pid()).into_iter().skip(1);
    let held: Vec<_> = below.filter_map(|(pid, parent)| hold(pid, parent)).collect();
    horse.kill_group();
    for pidfd in held {
        // Fails only when it is gone, which is what was wanted.
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
    }
}

/// A handle of a process that certainly is the one that was found.
fn hold(pid: i32, its_parent: i32) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    (parent(pid) == Some(its_parent)).then_some(pidfd)
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs_err::read_dir(proc(pid, "task")) else { return Vec::new() };
    let lists = threads.flatten().map(|thread| thread.path().join("children"));
    let lists: Vec<_> = lists.filter_map(|path| fs_err::read_to_string(path).ok()).collect();
    lists
        .iter()
        .flat_map(|list| list.split_whitespace())
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// The process that has started this one, or took it over.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs_err::read_to_string(proc(pid, "stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// What the system tells about a process in one of its files.
pub fn proc(pid: i32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_of_the_family_of_its_parent() {
        let pid = std::process::id() as i32;
        let above = parent(pid).expect("a parent");
        assert!(family(above).contains(&pid));
        assert!(hold(pid, above).is_some() && hold(pid, pid).is_none());
    }
}
