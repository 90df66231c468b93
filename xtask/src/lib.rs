//! Checks and chores of the project; the checks also run as a test of `freshq`.

pub mod tidy;
