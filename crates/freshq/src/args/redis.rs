//! The options about Redis, which all commands that need it share.

use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Redis")]
pub(crate) struct RedisArgs {
    /// URL of Redis, or `embedded` for a private server of this project [default: <redis://localhost:6379/0>]
    #[arg(short, long, value_name = "URL")]
    pub(crate) url: Option<String>,
}
