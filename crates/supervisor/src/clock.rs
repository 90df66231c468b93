//! The only reader of time.
//!
//! [`Moment`] measures differences and is shared with the Python side (the
//! kernel's monotonic clock is one for all processes); wall time is only for
//! what is stored in Redis.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use rq::Timestamp;
use rustix::time::{ClockId, clock_getres, clock_gettime};

/// A point of the monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The moment `nanos` after the clock's origin, as Python's `time.monotonic_ns()` gives it.
    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub fn nanos(self) -> u64 {
        self.0
    }

    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        Self(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// The moment so long before this one.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// How long a core has been busy with this thread.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Wall time, for what is stored in Redis.
pub fn wall() -> Timestamp {
    let time = clock_gettime(ClockId::Realtime);
    Timestamp::from_micros(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000)
}

/// How long ago a file was changed, at least: files are stamped with the last tick of a coarse clock.
/// Nothing, if another machine has stamped it in our future.
pub fn age(file: &Metadata) -> Duration {
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (now, tick) = (clock_gettime(ClockId::Realtime), clock_getres(ClockId::RealtimeCoarse));
    let age = nanos(now.tv_sec, now.tv_nsec)
        - nanos(file.ctime(), file.ctime_nsec())
        - nanos(tick.tv_sec, tick.tv_nsec);
    Duration::from_nanos(u64::try_from(age).unwrap_or(0))
}

/// Waits until `moment`, or for ever when there is none.
pub async fn sleep_until(moment: Option<Moment>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.since(Moment::now())).await,
        None => std::future::pending().await,
    }
}
