//! The one reaper of this process's children.
//!
//! The supervisor is child subreaper: whatever loses its parent below it becomes its
//! child. A pid is free for reuse the moment it is reaped, so every process that somebody
//! may still signal carries a [`Presence`], and the loop clears it in the same step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal};
use serde::Deserialize;

/// Warns a horse of a stop, if it wants to be warned; `python/freshq_runtime/heroku.py` says why it is this.
const WARNING: Signal = Signal::STKFLT;

/// A child that has ended and was reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its process id; another process may have it by now.
    pub pid: i32,
    /// How it has ended.
    pub exited: Exited,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Exited {
    /// Raw wait status.
    pub status: i32,
    /// Most memory that it had resident, in KiB, if that is known; also what it shared.
    #[serde(default)]
    pub peak_kib: Option<u64>,
}

impl Exited {
    /// One of which no more is known.
    pub fn with(status: i32) -> Self {
        Self { status, peak_kib: None }
    }

    /// The signal that has ended it.
    pub fn signal(self) -> Option<i32> {
        Some(self.status & 0x7f).filter(|signal| *signal != 0)
    }

    /// What it returned, if no signal has ended it.
    pub fn code(self) -> i32 {
        (self.status >> 8) & 0xff
    }

    /// Whether the kernel wrote its memory to a file.
    pub fn has_dumped(self) -> bool {
        self.status & 0x80 != 0
    }
}

/// A raw wait status, for people.
pub fn describe(status: i32) -> String {
    match status & 0x7f {
        0 => format!("exit code {}", (status >> 8) & 0xff),
        signal => format!("signal {signal} {}", signal_name(status)).trim_end().to_owned(),
    }
}

/// Whether somebody else has ended a process: a user, or the kernel that was short of memory.
pub fn was_killed(status: i32) -> bool {
    status & 0x7f == Signal::KILL.as_raw()
}

/// The name of the signal that ended a process, of those that commonly do.
pub fn signal_name(status: i32) -> &'static str {
    match status & 0x7f {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "",
    }
}

/// Whether a process group may still be signalled. Clones are of one process.
#[derive(Clone, Debug)]
pub struct Presence {
    pid: i32,
    there: Arc<AtomicBool>,
    /// Its group was told to end.
    told_to_end: Arc<AtomicBool>,
}

impl Presence {
    /// Of a process that has just been started and leads its own group.
    pub fn new(pid: i32) -> Self {
        Self { pid, there: Arc::new(AtomicBool::new(true)), told_to_end: Arc::default() }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its pid is about to be free: nobody signals it any more.
    pub fn clear(&self) {
        self.there.store(false, Ordering::Relaxed);
    }

    /// Whether it has neither ended nor been killed, as far as is known.
    pub fn is_there(&self) -> bool {
        self.there.load(Ordering::Relaxed)
    }

    /// Warns the process that its worker stops, if it is still there.
    pub fn warn(&self) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_there()) {
            // Fails only when the process is gone.
            let _ = rustix::process::kill_process(pid, WARNING);
        }
    }

    /// Tells the process to end, and what it has started.
    pub fn terminate_group(&self) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_there()) {
            self.told_to_end.store(true, Ordering::Relaxed);
            // Fails only when the group is gone.
            let _ = rustix::process::kill_process_group(pid, Signal::TERM);
        }
    }

    /// The process has ended and is not reaped: kills what is left of a group that was told to end.
    pub fn kill_rest(&self) {
        if self.told_to_end.load(Ordering::Relaxed) {
            self.kill_group();
        }
    }

    /// Has the process abort, if it is still there; tells whether it was.
    pub fn abort(&self) -> bool {
        let pid = Pid::from_raw(self.pid).filter(|_| self.is_there());
        pid.is_some_and(|pid| rustix::process::kill_process(pid, Signal::ABORT).is_ok())
    }

    /// Kills the whole process group, if it is still there; once is enough.
    pub fn kill_group(&self) {
        let there = self.there.swap(false, Ordering::Relaxed);
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| there) {
            // Fails only when the group is gone, which is what was wanted.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Becomes the parent of every orphan below this process.
pub fn become_subreaper() -> std::io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Reaps the next child that has ended, if there is one.
#[expect(unsafe_code, reason = "only this call of the system tells the memory of what it reaps")]
pub fn reap_next() -> Option<Ended> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for the call, which writes to nothing else; all zeros are a usage.
    let (pid, usage) = unsafe {
        let pid = libc::wait4(-1, &raw mut status, libc::WNOHANG, usage.as_mut_ptr());
        (pid, usage.assume_init())
    };
    let peak_kib = u64::try_from(usage.ru_maxrss).ok();
    (0 < pid).then_some(Ended { pid, exited: Exited { status, peak_kib } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_reads_well() {
        assert_eq!(describe(3 << 8), "exit code 3");
        assert_eq!(describe(139), "signal 11 SIGSEGV");
        assert_eq!(describe(40), "signal 40");
    }
}
