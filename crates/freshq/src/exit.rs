//! Exit codes. RQ's where RQ has one; part of the public contract.

/// All went well: a burst or a stop, warm or cold (as RQ).
pub const OK: u8 = 0;
/// Something that the worker needs cannot be used: Redis, the configuration module, a class or a file;
/// or its name is taken, or the queues are suspended at the start (as RQ).
pub const FAILURE: u8 = 1;
/// The command line makes no sense (as RQ).
pub const USAGE: u8 = 2;
/// No Python that can run jobs: none found, without `rq`, or too old.
pub const PYTHON: u8 = 3;
/// A folder cannot be watched.
pub const WATCH: u8 = 4;
/// The code is broken and no job may run: a burst under `--on-broken hold`, or without any good code.
pub const BROKEN: u8 = 5;
/// The embedded Redis could not be started, or ended.
pub const EMBEDDED: u8 = 6;
/// A third signal ended everything at once.
pub const ABORTED: u8 = 7;
/// What runs your code died more often in a row than `--max-restarts` allows, and no save is waited for.
pub const RESTARTS: u8 = 8;
/// No worker runs that could be asked (`freshq status`, `freshq reload`).
pub const NONE_RUNS: u8 = 9;
