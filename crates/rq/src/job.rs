//! A job, as much of it as a worker must know.
//!
//! The hash is read leniently where RQ is lenient (a missing field has RQ's default) and
//! refused where running the job would be a guess. A refusal fails that one job, loudly.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::names::{JobId, QueueName};

/// RQ's timeout for jobs that give none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(3);
/// RQ's timeout for callbacks that give none.
pub const CALLBACK_TIMEOUT: Duration = Duration::from_mins(1);

/// RQ's timeout for webhooks that give none.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

const STATUSES: &[&str] = &[
    "created",
    "queued",
    "started",
    "finished",
    "failed",
    "stopped",
    "deferred",
    "scheduled",
    "canceled",
    "rate_limited",
    "ready_to_enqueue",
];

/// The raw fields of a job hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobHash(Vec<(Vec<u8>, Vec<u8>)>);

impl JobHash {
    /// From names and values, as Redis gave them.
    pub fn new(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self(fields)
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(field, _)| *field == name.as_bytes()).map(|(_, value)| value)
    }

    /// The value of a field as text; what is no UTF-8 is replaced.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(String::from_utf8_lossy)
    }

    /// Sets a field.
    pub fn set(&mut self, name: &str, value: Vec<u8>) {
        self.0.retain(|(field, _)| *field != name.as_bytes());
        self.0.push((name.as_bytes().to_vec(), value));
    }

    /// How long sending the webhooks for a status may take, if there are any. What makes no sense is
    /// none (as RQ).
    pub fn webhook_time(&self, status: &str) -> Option<Duration> {
        let list: serde_json::Value = serde_json::from_slice(self.get("webhooks")?).ok()?;
        let due = list.as_array()?.iter().filter(|webhook| webhook["job_status"] == status);
        let times = due.map(|webhook| {
            webhook["timeout"].as_u64().map_or(WEBHOOK_TIMEOUT, Duration::from_secs)
        });
        times.reduce(Duration::saturating_add)
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn integer(&self, name: &'static str) -> Result<Option<i64>, JobRefusal> {
        match self.text(name) {
            None => Ok(None),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| malformed(name, &text)),
        }
    }
}

/// How long a job may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobTimeout {
    /// This long.
    Limited(Duration),
    /// For ever (-1).
    Unlimited,
}

/// What a worker must know of a job; everything else stays bytes.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The queue it belongs to.
    pub origin: QueueName,
    /// The call as text, for people.
    pub description: String,
    /// How long it may run.
    pub timeout: JobTimeout,
    /// How long its result is kept, in seconds; -1 is for ever.
    pub result_ttl: Option<i64>,
    /// How long its stopped callback may take, if it has one.
    pub stopped_callback: Option<Duration>,
}

/// Why a job cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobRefusal {
    /// A field of its hash makes no sense.
    Malformed {
        /// The field.
        field: &'static str,
        /// What it holds, shortened.
        value: String,
    },
    /// Its hash is larger than what is read of one.
    TooLarge {
        /// The field that is too much.
        field: String,
        /// Bytes that may be.
        limit: usize,
    },
}

impl fmt::Display for JobRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { field, value } => {
                write!(
                    f,
                    "the job's record makes no sense: {field} is {value:?}; the job was not run"
                )
            }
            Self::TooLarge { field, limit } => write!(
                f,
                "the job's record is too large: its field {field} brings it over {limit} bytes; the job was not run"
            ),
        }
    }
}

impl std::error::Error for JobRefusal {}

impl Job {
    /// Reads a job hash; `queue` is where it was taken from.
    pub fn parse(id: &JobId, queue: &QueueName, hash: &JobHash) -> Result<Self, JobRefusal> {
        if let Some(status) = hash.text("status")
            && !status.is_empty()
            && !STATUSES.contains(&status.as_ref())
        {
            return Err(malformed("status", &status));
        }
        for field in ["failure_ttl", "ttl", "retries_left", "repeats_left", "number_of_retries"] {
            hash.integer(field)?;
        }
        let timeout = match hash.integer("timeout")? {
            None | Some(0) => JobTimeout::Limited(DEFAULT_TIMEOUT),
            Some(-1) => JobTimeout::Unlimited,
            Some(seconds) => match u64::try_from(seconds) {
                Ok(seconds) => JobTimeout::Limited(Duration::from_secs(seconds)),
                Err(_) => return Err(malformed("timeout", &seconds.to_string())),
            },
        };
        let origin = hash.text("origin").filter(|origin| !origin.is_empty());
        Ok(Self {
            id: id.clone(),
            origin: origin.map_or_else(|| queue.clone(), QueueName::new),
            description: hash.text("description").unwrap_or_default().into_owned(),
            timeout,
            result_ttl: hash.integer("result_ttl")?,
            stopped_callback: callback(hash, "stopped_callback_name", "stopped_callback_timeout")?,
        })
    }
}

/// The time that a callback may take, if the job has it.
fn callback(
    hash: &JobHash,
    name: &str,
    timeout: &'static str,
) -> Result<Option<Duration>, JobRefusal> {
    let seconds = hash.integer(timeout)?.and_then(|seconds| u64::try_from(seconds).ok());
    let named = hash.get(name).is_some_and(|name| !name.is_empty());
    Ok(named.then(|| seconds.map_or(CALLBACK_TIMEOUT, Duration::from_secs)))
}

fn malformed(field: &'static str, value: &str) -> JobRefusal {
    JobRefusal::Malformed { field, value: value.chars().take(40).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &[(&str, &str)]) -> Result<Job, JobRefusal> {
        let fields = fields.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
        let id = JobId::new("j");
        Job::parse(&id, &QueueName::new("q"), &JobHash::new(fields.collect()))
    }

    #[test]
    fn missing_fields_have_rqs_defaults() {
        let job = parse(&[("data", "x")]).unwrap();
        assert_eq!(job.timeout, JobTimeout::Limited(DEFAULT_TIMEOUT));
        assert_eq!(job.origin.as_str(), "q");
        assert_eq!(job.result_ttl, None);
    }

    #[test]
    fn numbers_are_read() {
        let job = parse(&[("timeout", "-1"), ("result_ttl", "-1"), ("origin", "o")]).unwrap();
        assert_eq!(job.timeout, JobTimeout::Unlimited);
        assert_eq!((job.origin.as_str(), job.result_ttl), ("o", Some(-1)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (field, value) in
            [("status", "odd"), ("timeout", "soon"), ("timeout", "-7"), ("result_ttl", "1.5x")]
        {
            let refusal = parse(&[(field, value)]).unwrap_err();
            assert!(matches!(&refusal, JobRefusal::Malformed { field: f, .. } if *f == field));
            assert!(refusal.to_string().contains(value), "{refusal}");
        }
    }

    #[test]
    fn webhooks_take_as_long_as_their_timeouts() {
        let hash =
            |list: &str| JobHash::new(vec![(b"webhooks".to_vec(), list.as_bytes().to_vec())]);
        let two = r#"[{"url": "u", "job_status": "failed", "timeout": 3},
            {"url": "v", "job_status": "finished"}, {"url": "w", "job_status": "failed"}]"#;
        assert_eq!(hash(two).webhook_time("failed"), Some(Duration::from_secs(13)));
        assert_eq!(hash(two).webhook_time("finished"), Some(WEBHOOK_TIMEOUT));
        for none in ["", "[]", "{}", "odd", "[1, {}]", r#"[{"job_status": "finished"}]"#] {
            assert_eq!(hash(none).webhook_time("failed"), None, "{none}");
        }
    }
}
