//! The options about Redis, which all commands that need it share.

use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Redis")]
pub(crate) struct RedisArgs {
    /// URL of Redis, or `embedded` for a private server of this project [default: <redis://localhost:6379/0>]
    #[arg(short, long, value_name = "URL", env = "RQ_REDIS_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,

    /// Python module with RQ's settings: `REDIS_URL`, `REDIS_HOST`, `SENTINEL`, `QUEUES`, `NAME`,
    /// `DICT_CONFIG`, ...
    #[arg(short, long, value_name = "MODULE", env = "RQ_CONFIG")]
    pub(crate) config: Option<String>,
}
