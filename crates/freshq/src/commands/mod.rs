//! One module per command.

pub(crate) mod demo;
pub(crate) mod url;
pub(crate) mod worker;
