//! When a running job gets a heartbeat and when its horse is killed: pure.
//!
//! A job's own timeout is an alarm inside the horse, which job code can catch. This
//! machine is the limit behind it, for code that never returns to the interpreter
//! (RQ: 60 s later), and the kill of a cold shutdown. Neither counts while the job
//! waits at the barrier, because the machine is made when the horse begins.

use std::time::Duration;

use rq::JobTimeout;

use crate::clock::Moment;

/// Margin of an execution's time to live beyond the next heartbeat (as RQ).
pub const HEARTBEAT_MARGIN: Duration = Duration::from_mins(1);

/// What the machine asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write a heartbeat that keeps the execution alive this long.
    Heartbeat(Duration),
    /// Kill the horse's process group.
    Kill,
}

/// One running job, seen as deadlines.
#[derive(Debug)]
pub struct JobClock {
    interval: Duration,
    hard_limit: Option<Moment>,
    next_heartbeat: Moment,
    killed: bool,
}

impl JobClock {
    /// The clock of a job whose horse begins now.
    pub fn start(now: Moment, timeout: JobTimeout, grace: Duration, interval: Duration) -> Self {
        let hard_limit = match timeout {
            JobTimeout::Limited(limit) => Some(now + limit + grace),
            JobTimeout::Unlimited => None,
        };
        Self { interval, hard_limit, next_heartbeat: now + interval, killed: false }
    }

    /// When to call [`Self::tick`] next.
    pub fn next_deadline(&self) -> Moment {
        match self.hard_limit {
            Some(limit) if !self.killed => limit.min(self.next_heartbeat),
            _ => self.next_heartbeat,
        }
    }

    /// What is due now.
    pub fn tick(&mut self, now: Moment) -> Option<Effect> {
        if self.hard_limit.is_some_and(|limit| limit <= now) && !self.killed {
            return self.kill();
        }
        if self.next_heartbeat <= now {
            self.next_heartbeat = now + self.interval;
            return Some(Effect::Heartbeat(heartbeat_ttl(self.interval)));
        }
        None
    }

    /// The job ends now, for another reason.
    pub fn kill(&mut self) -> Option<Effect> {
        // One kill, ever: the group may be gone, and its number with it.
        (!std::mem::replace(&mut self.killed, true)).then_some(Effect::Kill)
    }
}

/// How long a heartbeat keeps an execution alive: the next one, and a margin.
pub fn heartbeat_ttl(interval: Duration) -> Duration {
    interval + HEARTBEAT_MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const GRACE: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    /// Drives the clock from deadline to deadline and notes what it asked for.
    fn drive(mut clock: JobClock, until: Moment) -> Vec<(u64, Effect)> {
        let mut seen = Vec::new();
        while clock.next_deadline() <= until {
            let now = clock.next_deadline();
            let effect = clock.tick(now).expect("a deadline is due when it has come");
            seen.push((now.since(at(0)).as_secs(), effect));
        }
        seen
    }

    #[test]
    fn heartbeats_come_at_the_interval_and_one_kill_after_the_grace() {
        let timeout = JobTimeout::Limited(Duration::from_secs(20));
        let clock = JobClock::start(at(0), timeout, GRACE, INTERVAL);
        let beat = Effect::Heartbeat(Duration::from_secs(90));
        assert_eq!(
            drive(clock, at(120)),
            [(30, beat), (60, beat), (80, Effect::Kill), (90, beat), (120, beat)]
        );
    }

    #[test]
    fn a_job_without_timeout_is_never_killed() {
        let clock = JobClock::start(at(0), JobTimeout::Unlimited, GRACE, INTERVAL);
        assert!(drive(clock, at(100_000)).iter().all(|(_, effect)| *effect != Effect::Kill));
    }

    #[test]
    fn a_horse_is_killed_at_most_once() {
        let timeout = JobTimeout::Limited(Duration::from_secs(1));
        let mut clock = JobClock::start(at(0), timeout, GRACE, INTERVAL);
        assert_eq!(clock.kill(), Some(Effect::Kill));
        assert_eq!(clock.kill(), None);
        assert!(drive(clock, at(1_000)).iter().all(|(_, effect)| *effect != Effect::Kill));
    }
}
