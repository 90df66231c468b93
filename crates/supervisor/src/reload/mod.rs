//! How a save becomes a generation.
//!
//! `watch` reports paths; [`relevance`] drops what is no change of the code; [`machine`]
//! decides what loads, serves, sleeps and retires, in the words of [`terms`]; [`backoff`] counts
//! deaths; [`learned`] knows what a generation is to import, [`held_back`] what not; [`packages`]
//! what is installed; [`ledger`] what generations that serve were loaded from; [`sources`] keeps
//! what files were, for imports that come late; [`marker`] is the one file that counts, where that is
//! asked for. The shell that carries it out is in `supervisor/`.

pub mod backoff;
pub mod held_back;
pub mod learned;
pub mod ledger;
pub mod machine;
pub mod marker;
pub mod packages;
pub mod relevance;
pub mod sources;
pub mod terms;
