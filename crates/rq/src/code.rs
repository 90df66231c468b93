//! Which code runs a job, as the job's record tells it.

use std::fmt;

/// A loaded version of the user's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its number; they count up from 1 for the life of a supervisor.
    pub generation: u64,
    /// Over all files that it was loaded from.
    pub hash: CodeHash,
}

/// A short hash over paths and bytes of files: the same files have the same, on any machine where they
/// have the same paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeHash([u8; 6]);

impl CodeHash {
    /// From the first bytes of a hash.
    pub fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
