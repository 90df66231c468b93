//! RQ's forms of time.

use jiff::Timestamp as Instant;

/// A point in time, in microseconds since the Unix epoch. This crate reads no clock: callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `micros` microseconds after the Unix epoch.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// As RQ stores times of jobs and workers: UTC, always with six digits of a second.
    pub fn text(self) -> String {
        let instant = Instant::from_microsecond(self.0).unwrap_or_default();
        instant.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }

    /// As RQ stores times of executions and results: seconds with a fraction.
    pub fn float(self) -> String {
        format!("{}.{:06}", self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000))
    }

    /// As Python shows a time in UTC, for texts that people read.
    pub fn shown(self) -> String {
        let instant = Instant::from_microsecond(self.0).unwrap_or_default();
        let format = if self.0 % 1_000_000 == 0 { "%F %T+00:00" } else { "%F %T.%6f+00:00" };
        instant.strftime(format).to_string()
    }

    /// Whole seconds, for scores.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_rqs() {
        let time = Timestamp::from_micros(1_767_323_045_000_006);
        assert_eq!(time.text(), "2026-01-02T03:04:05.000006Z");
        assert_eq!(time.float(), "1767323045.000006");
        assert_eq!(time.shown(), "2026-01-02 03:04:05.000006+00:00");
        assert_eq!(time.seconds(), 1_767_323_045);
        assert_eq!(
            Timestamp::from_micros(1_767_323_045_000_000).text(),
            "2026-01-02T03:04:05.000000Z"
        );
        assert_eq!(
            Timestamp::from_micros(1_767_323_045_000_000).shown(),
            "2026-01-02 03:04:05+00:00"
        );
    }
}
