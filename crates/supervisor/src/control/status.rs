//! How a supervisor is, as it answers: pure data. Who shows it knows no more than this.

use serde::{Deserialize, Serialize};

use crate::event::{Broken, Serving};
use crate::reload::machine::{Cause, GenerationId};

/// How a supervisor is. Times are Unix seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// The folder that it was started in.
    pub project: String,
    /// When it was started.
    pub started_at: f64,
    /// Names of the workers that work, one per slot.
    pub workers: Vec<String>,
    /// Queues, in order.
    pub queues: Vec<String>,
    /// Redis.
    pub redis: Redis,
    /// What becomes of a job that is enqueued now.
    pub jobs: Jobs,
    /// The generation that serves.
    pub serving: Option<Generation>,
    /// The one that is being loaded.
    pub loading: Option<Loading>,
    /// The newest code, if it cannot be imported.
    pub broken: Option<Broken>,
    /// Jobs that run, by generation; those without any are left out.
    pub running: Vec<Running>,
    /// How changes are noticed; none: reloading is off.
    pub watching: Option<Watching>,
    /// The last change of code that was served.
    pub last_reload: Option<Reloaded>,
}

/// Redis, as it is known here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Redis {
    /// Its URL, without a password.
    pub url: String,
    /// For how many seconds it has not been reached; none: it answers.
    pub away_for: Option<f64>,
}

/// What becomes of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jobs {
    /// They run.
    Run,
    /// They wait for code that is loading.
    Wait,
    /// They wait until broken code is mended.
    Held,
    /// No new ones are taken: the worker is stopping.
    Stopping,
}

/// A loaded version of the user's code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Generation {
    /// Its number.
    pub generation: GenerationId,
    /// Hash over all its files.
    pub code_hash: String,
    /// How many these are.
    pub files: usize,
    /// Since when it serves.
    pub since: f64,
    /// Why it was wanted.
    pub cause: Cause,
}

/// One that is being loaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loading {
    /// Its number.
    pub generation: GenerationId,
    /// Since when.
    pub since: f64,
    /// Why it was wanted.
    pub cause: Cause,
}

/// Jobs that run on one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its number.
    pub generation: GenerationId,
    /// How many.
    pub jobs: usize,
}

/// How changes are noticed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watching {
    /// By which means.
    pub how: String,
    /// Files that count.
    pub files: usize,
    /// Folders of the user's code.
    pub folders: Vec<String>,
    /// The only file whose change is a reload; none: all that count are.
    #[serde(default)]
    pub only_on: Option<String>,
}

/// A reload that is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// When it was.
    pub at: f64,
    /// What it took.
    #[serde(flatten)]
    pub serving: Serving,
}
