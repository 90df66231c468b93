//! How a save becomes a generation.
//!
//! `watch` reports paths; [`relevance`] drops what is no change of the code; [`machine`]
//! decides what loads, serves and retires; [`learned`] knows what a generation is to
//! import, [`held_back`] what not; [`ledger`] what generations that serve were loaded from;
//! [`sources`] keeps what files were, for imports that come late.
//! The shell that carries it out is `supervisor.rs`.

pub mod held_back;
pub mod learned;
pub mod ledger;
pub mod machine;
pub mod relevance;
pub mod sources;
