//! freshq's engine: processes, generations of user code, reloading, slots that run jobs.
//!
//! ```text
//! supervisor (this crate: Redis, watching, deciding, all job state)
//! └── base          Python; libraries imported; forks generations
//!     ├── generation 7   forked from the base; the user's modules; draining
//!     │   └── horse      finishes the job it began
//!     └── generation 8   serving
//!         ├── horse      running a job
//!         └── horse      spare, already forked, waiting
//! ```
//!
//! Three words for messages, never mixed: an [`Input`](input::Input) wakes the loop, an
//! *effect* is what a machine asks to be done, an [`Event`] is what front ends are told.
//!
//! One loop ([`Supervisor`]) owns the state. Pure machines decide (`reload/machine.rs`,
//! `worker/machine.rs`, `shutdown.rs`), thin shells act. This crate spells no Redis key
//! (that is `rq`'s), knows no flag and prints nothing (that is `freshq`'s).
//!
//! Read next: `supervisor/mod.rs`, `reload/machine.rs`, `worker/mod.rs`, `forkserver/mod.rs`.

pub mod clock;
pub mod control;
pub mod event;
pub mod forkserver;
#[cfg(test)]
mod fuzz_tests;
pub mod incarnation;
pub mod input;
pub mod maintenance;
pub mod recovery;
pub mod reload;
pub mod scheduler;
pub mod settings;
pub mod shutdown;
pub mod signals;
mod supervisor;
pub mod watch;
pub mod worker;

pub use event::{Event, Reporter};
pub use settings::Settings;
pub use supervisor::{Exit, StartError, Supervisor};
