//! End to end: the real `freshq` command, a real Redis, a real Python with the real rq.

mod bad_input;
mod bad_jobs;
mod beside;
mod commands;
mod config_module;
mod context;
mod django;
mod embedded_redis;
mod example;
mod far_redis;
mod isolation;
mod key_prefix;
mod neighbours;
mod options;
mod parity;
mod pool;
mod preload;
mod processes;
mod project_file;
mod python_hooks;
mod reload;
mod scheduler;
mod upkeep;
mod webhooks;
mod worker;
mod worker_class;
