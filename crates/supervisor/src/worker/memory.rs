//! How much memory a job takes, beyond what it shares with the code that it was forked from.
//!
//! Counted are the private pages of the horse and of all processes below it; what has left its family
//! (a daemon) is not. Telling private pages apart walks all pages of a process, so it is done only when
//! what is resident, which is cheap to ask, is more than the limit.
//!
//! A page is private when nobody else has it. So what was shared becomes private at once when the
//! generation of a horse ends while that runs, or moves its memory into larger pages, though the job has
//! taken nothing. What a job takes costs a page fault for each page, or is more anonymous memory than
//! before: no more than that is counted from one look to the next.

use std::time::Duration;

use crate::clock::Moment;
use crate::forkserver::family::{family, proc};

/// Shortest time between two looks at the memory of a job.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The next look waits this many times as long as one has taken: they take a twentieth of a core at most.
const REST_PER_LOOK: u32 = 20;
const KIB: u64 = 1024;

/// What the memory of a job was at one look, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    private: u64,
    /// Also what is shared.
    anonymous: u64,
    /// What its faults can have brought, each a page.
    faulted: u64,
}

/// The account of one job.
#[derive(Debug)]
struct Account {
    horse: i32,
    last: Seen,
    /// What counts of the private memory.
    taken: u64,
}

/// Waits until a job takes more than `limit` bytes; returns how many. For ever if there is no limit.
pub async fn exceeds(horse: i32, limit: Option<u64>) -> u64 {
    let Some(limit) = limit else { return std::future::pending().await };
    let start = tokio::task::spawn_blocking(move || seen(horse)).await.unwrap_or_default();
    let last = Seen { private: 0, faulted: 0, ..start };
    let mut account = Account { horse, last, taken: 0 };
    loop {
        let begun = Moment::now();
        if limit < resident(&family(horse)) {
            let look = tokio::task::spawn_blocking(move || {
                let taken = account.look();
                (account, taken)
            });
            // Dropping the task is no way to end it, but it ends soon.
            let Ok((returned, taken)) = look.await else { return std::future::pending().await };
            account = returned;
            if limit < taken {
                return taken;
            }
        }
        let rest = Moment::now().since(begun) * REST_PER_LOOK;
        tokio::time::sleep(rest.max(LOOK_INTERVAL)).await;
    }
}

impl Account {
    /// What the job takes now.
    fn look(&mut self) -> u64 {
        let now = family(self.horse).into_iter().map(seen).fold(Seen::default(), |sum, one| Seen {
            private: sum.private + one.private,
            anonymous: sum.anonymous + one.anonymous,
            faulted: sum.faulted + one.faulted,
        });
        self.enter(now)
    }

    fn enter(&mut self, now: Seen) -> u64 {
        let last = std::mem::replace(&mut self.last, now);
        let most =
            now.anonymous.saturating_sub(last.anonymous) + now.faulted.saturating_sub(last.faulted);
        let more = now.private.saturating_sub(last.private).min(most);
        let less = last.private.saturating_sub(now.private);
        self.taken = (self.taken + more).saturating_sub(less).min(now.private);
        self.taken
    }
}

/// Bytes that processes have resident, what they share as often as they have it.
fn resident(pids: &[i32]) -> u64 {
    let sizes = pids.iter().filter_map(|pid| {
        // Of one that has given up its memory there is no such line.
        let status = fs_err::read_to_string(proc(*pid, "status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    sizes.sum::<u64>() * KIB
}

/// Nothing, if it has ended meanwhile.
fn seen(pid: i32) -> Seen {
    let rollup = fs_err::read_to_string(proc(pid, "smaps_rollup")).unwrap_or_default();
    Seen { faulted: faults(pid).unwrap_or(0) * rustix::param::page_size() as u64, ..parse(&rollup) }
}

/// How many pages a process was given without reading them from a disk.
fn faults(pid: i32) -> Option<u64> {
    let stat = fs_err::read_to_string(proc(pid, "stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(7)?.parse().ok()
}

fn parse(rollup: &str) -> Seen {
    let mut seen = Seen::default();
    for line in rollup.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(Ok(kib))) = (words.next(), words.next().map(str::parse::<u64>))
        else {
            continue;
        };
        match name {
            "Private_Clean:" | "Private_Dirty:" => seen.private += kib * KIB,
            "Anonymous:" => seen.anonymous += kib * KIB,
            _ => {}
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLUP: &str = "\
55d0c8a00000-7ffd1c9f7000 ---p 00000000 00:00 0                          [rollup]
Rss:               20096 kB
Pss_Anon:           1234 kB
Shared_Clean:      10000 kB
Shared_Dirty:       5000 kB
Private_Clean:        96 kB
Private_Dirty:      5000 kB
Anonymous:          9000 kB
";

    #[test]
    fn a_rollup_is_understood() {
        let seen = parse(ROLLUP);
        assert_eq!(seen, Seen { private: 5096 * KIB, anonymous: 9000 * KIB, faulted: 0 });
    }

    /// What a generation leaves to its horse when it ends is not what the job takes.
    #[test]
    fn only_what_was_faulted_or_grew_counts() {
        let start = Seen { private: 0, anonymous: 300, faulted: 0 };
        let mut account = Account { horse: 0, last: start, taken: 0 };
        let mut look =
            |private, anonymous, faulted| account.enter(Seen { private, anonymous, faulted });
        assert_eq!(look(10, 300, 12), 10, "pages of its own");
        assert_eq!(look(310, 300, 13), 11, "all that was shared is its own");
        assert_eq!(look(360, 350, 13), 61, "large pages");
        assert_eq!(look(260, 250, 13), 0, "it gives back");
        assert_eq!(look(300, 250, 60), 40, "and takes again");
    }

    #[test]
    fn this_process_has_private_memory() {
        let pid = std::process::id() as i32;
        let seen = seen(pid);
        assert!(0 < seen.private && seen.private <= resident(&[pid]));
        assert!(0 < seen.faulted);
    }
}
