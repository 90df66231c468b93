//! One module per command.

pub(crate) mod control;
pub(crate) mod demo;
pub(crate) mod stand_in;
pub(crate) mod url;
pub(crate) mod worker;
