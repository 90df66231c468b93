//! Whether the kernel's out-of-memory killer was at work: the memory cgroup of this process counts what it
//! kills.
//!
//! The counter is looked at when jobs begin, now and then, and when one was killed. A job was killed while
//! memory ran out if the counter rose after the job had begun; who else may have been meant, nobody tells.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// Least time between two looks that jobs begin with.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

const BYTES_PER_MIB: u64 = 1024 * 1024;
/// The first version of cgroups has a number for no limit, which depends on the size of pages.
const NO_LIMIT: u64 = 1 << 62;

/// It was at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomKill {
    /// What the container may have, in bytes, if there is a limit.
    pub limit: Option<u64>,
}

impl fmt::Display for OomKill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kernel's out-of-memory killer was at work in this container")?;
        match self.limit {
            Some(limit) => write!(f, " (memory.max {} MiB)", limit / BYTES_PER_MIB),
            None => Ok(()),
        }
    }
}

/// What is looked at.
#[derive(Debug)]
pub struct OomWatch {
    /// None where nobody counts.
    files: Option<Files>,
    seen: Mutex<Seen>,
}

/// What the looks have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    killed: u64,
    looked: Moment,
    /// The last look that showed more than the one before.
    rose: Option<Moment>,
}

#[derive(Debug, PartialEq, Eq)]
struct Files {
    counter: PathBuf,
    limit: PathBuf,
}

impl OomWatch {
    /// Of the cgroup that this process is in now.
    pub fn start() -> Self {
        let read = |path| fs_err::read_to_string(path).unwrap_or_default();
        let files = files(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        let files = files.filter(|files| count(&files.counter).is_some());
        let killed = files.as_ref().and_then(|files| count(&files.counter)).unwrap_or(0);
        let seen = Seen { killed, looked: Moment::now(), rose: None };
        Self { files, seen: Mutex::new(seen) }
    }

    /// A job begins: what was killed before has nothing to do with it.
    pub fn job_begins(&self, now: Moment) {
        if self.seen().looked + LOOK_INTERVAL <= now {
            self.look(now);
        }
    }

    /// Whether it was at work since that moment.
    pub fn since(&self, moment: Moment) -> Option<OomKill> {
        let files = self.files.as_ref()?;
        let seen = self.look(Moment::now());
        let limit = || fs_err::read_to_string(&files.limit).ok().and_then(|text| limit(&text));
        seen.rose.filter(|rose| moment <= *rose).map(|_| OomKill { limit: limit() })
    }

    fn look(&self, now: Moment) -> Seen {
        let counted = self.files.as_ref().and_then(|files| count(&files.counter));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(killed) = counted {
            seen.enter(killed, now);
        }
        *seen
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn enter(&mut self, killed: u64, now: Moment) {
        if self.killed < killed {
            self.rose = Some(now);
        }
        self.killed = self.killed.max(killed);
        self.looked = now;
    }
}

fn count(counter: &Path) -> Option<u64> {
    killed(&fs_err::read_to_string(counter).ok()?)
}

/// The number in `memory.events`, or of the first version in `memory.oom_control`.
fn killed(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// What `memory.max` says, or of the first version `memory.limit_in_bytes`.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// Where a process is, as `/proc/self/cgroup` says, in what is mounted. Both versions may be there; one has
/// the memory.
fn files(cgroups: &str, mounts: &str) -> Option<Files> {
    let mut cgroups = cgroups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers, path))
    });
    let first = cgroups
        .clone()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"));
    let (path, kind, option, names) = if let Some((_, path)) = first {
        (path, "cgroup", "memory", ("memory.oom_control", "memory.limit_in_bytes"))
    } else {
        let (_, path) = cgroups.find(|(controllers, _)| controllers.is_empty())?;
        (path, "cgroup2", "", ("memory.events", "memory.max"))
    };
    let (root, point) = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let is_it = after.next()? == kind
            && (option.is_empty() || after.nth(1)?.split(',').any(|name| name == option));
        let mut before = before.split(' ').skip(3);
        let place = (before.next()?, before.next()?);
        is_it.then_some(place)
    })?;
    // A container sees its own cgroup as the root of the mount, and may be told its path from the host's.
    let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    let folder = Path::new(point).join(below);
    Some(Files { counter: folder.join(names.0), limit: folder.join(names.1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cgroups: &str, mounts: &str) -> Option<String> {
        files(cgroups, mounts).map(|files| files.counter.display().to_string())
    }

    #[test]
    fn the_cgroup_of_the_memory_is_found() {
        let second =
            "30 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let service = "0::/system.slice/freshq.service\n";
        let at = "/sys/fs/cgroup/system.slice/freshq.service/memory.events";
        assert_eq!(found(service, second).as_deref(), Some(at));
        // In a container with a namespace of its own, and in one without.
        assert_eq!(found("0::/\n", second).as_deref(), Some("/sys/fs/cgroup/memory.events"));
        let inside = "30 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(
            found("0::/docker/abc\n", inside).as_deref(),
            Some("/sys/fs/cgroup/memory.events")
        );
        let first = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        let both = format!("9:cpu,cpuacct:/x\n4:memory:/jobs\n{service}");
        let at = "/sys/fs/cgroup/memory/jobs/memory.oom_control";
        assert_eq!(found(&both, &format!("{second}{first}")).as_deref(), Some(at));
        assert_eq!(found(&both, second), None);
        assert_eq!(found("", ""), None);
    }

    #[test]
    fn counters_and_limits_are_understood() {
        assert_eq!(killed("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n"), Some(2));
        assert_eq!(killed("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(killed("oom_kill_disable 0\nunder_oom 0\n"), None);
        assert_eq!(limit("536870912\n"), Some(512 * BYTES_PER_MIB));
        assert_eq!((limit("max\n"), limit("9223372036854771712\n")), (None, None));
    }

    #[test]
    fn only_what_was_killed_since_a_job_began_counts() {
        let at = Moment::from_nanos;
        let mut seen = Seen { killed: 4, ..Seen::default() };
        seen.enter(4, at(10));
        assert_eq!(seen.rose, None);
        seen.enter(6, at(20));
        seen.enter(6, at(30));
        assert_eq!((seen.rose, seen.looked), (Some(at(20)), at(30)));
    }

    #[test]
    fn a_container_without_a_limit_has_none_told() {
        assert!(OomKill { limit: None }.to_string().ends_with("in this container"));
    }
}
