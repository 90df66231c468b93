//! End to end: the real `freshq` command, a real Redis, a real Python with the real rq.

mod bad_input;
mod context;
mod embedded_redis;
mod example;
mod parity;
mod processes;
mod reload;
mod worker;
