//! The options of `freshq worker-pool`.

use clap::Args as ClapArgs;

use super::{LifeArgs, SharedArgs};

#[derive(Debug, ClapArgs)]
pub(crate) struct PoolArgs {
    /// How many workers; one that ends is replaced
    #[arg(short, long, value_name = "N", env = "FRESHQ_NUM_WORKERS", default_value_t = 1,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) num_workers: u16,

    /// Not asked for, as with RQ.
    #[arg(skip = LifeArgs::of_pool())]
    pub(crate) life: LifeArgs,

    #[command(flatten)]
    pub(crate) shared: SharedArgs,
}
