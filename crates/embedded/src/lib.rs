//! The real parts freshq brings along when a machine has none: a private Redis server, a Python
//! environment, and a folder to keep them in.
//!
//! Nothing here is a stand-in. [`redis::RedisServer`] is a real `redis-server` (or Valkey) run as a
//! child, [`python::prepare`] a real virtual environment filled by pip. The demo, `-u embedded` and
//! the tests of all crates use the same code, so that what is tested is what people run.
//!
//! This crate must never know jobs, queues or generations: it knows processes and folders only, and
//! depends on no other crate of the workspace. It is synchronous; every wait in it has a named
//! limit.
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | cache folder | one per user, [`cache::cache_folder`]; can be deleted at any time |
//! | project folder | one per project inside it, [`cache::project_folder`] |
//! | environment | a virtual environment made by [`python::prepare`] |
//! | stamp | the file that says an environment is complete, and for which packages |
//! | joined | said of a [`redis::RedisServer`] that somebody else had started |
//!
//! # Invariants
//!
//! 1. At most one server runs on a folder, also when several processes ask at once: the server
//!    itself holds the folder's lock, as its standard input, for exactly as long as it lives.
//! 2. The last user of a server stops it, and never another process that took over its number.
//! 3. A password is never visible in the list of processes, and files that hold it can be read by
//!    their owner only.
//! 4. A server that died is started again at the address that its clients know, or nowhere while they wait.
//! 5. An environment without a stamp is made anew.

pub mod cache;
pub mod lock;
pub mod python;
pub mod redis;
pub mod testing;
