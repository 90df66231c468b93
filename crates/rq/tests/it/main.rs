//! The protocol against a real redis-server: what each step leaves in Redis, to the last key.
//!
//! Each test has a server of its own, writes what a client of RQ would write, runs one or a few steps
//! of the crate, and compares a dump of all keys with what has to stand there. Times are arguments of
//! every step, so dumps are the same on each run; times to live are rounded up to minutes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod asked;
mod blocked;
mod commands;
mod common;
mod connect;
mod cost;
mod cut;
mod dependents;
mod finish;
mod handled;
mod late;
mod limiter;
mod lost;
mod maintenance;
mod odd_keys;
mod orphans;
mod outage;
mod release;
mod repeat;
mod retry;
mod scheduler;
mod sentinel;
mod start;
mod stopped;
mod tls;
mod worker;
