//! Back to the generation before, and canaries, which are gone back from by themselves.

use std::collections::{BTreeSet, VecDeque};

use super::Supervisor;
use crate::control::Answer;
use crate::event::Event;
use crate::reload::machine::{Cause, GenerationId, Input, SLEEP_MAX, Verdict};
use crate::worker::trial::Finding;

/// Different failures of old code that are remembered.
const FAILURES_MAX: usize = 1_000;

/// Ways in which jobs have failed before new code came.
#[derive(Debug, Default)]
pub(super) struct KnownFailures {
    known: BTreeSet<String>,
    /// The longest known first.
    order: VecDeque<String>,
}

impl KnownFailures {
    fn note(&mut self, signature: String) {
        if self.known.insert(signature.clone()) {
            self.order.push_back(signature);
        }
        if FAILURES_MAX < self.order.len()
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Supervisor {
    /// Somebody wants the generation before to serve.
    pub(super) fn rollback_requested(&mut self) -> Answer {
        let Some((from, to)) = self.machine.roll_back_target() else {
            let limit = SLEEP_MAX.as_secs() / 60;
            return Answer::Error(format!(
                "there is no generation to go back to: one that new code replaces is kept for {limit} minutes"
            ));
        };
        self.drive(Input::RollBack);
        Answer::RolledBack { from, to }
    }

    /// New code has loaded, and first has to show what it can do.
    pub(super) fn begin_canary(&mut self, generation: GenerationId, cause: Cause) {
        let jobs = self.settings.reload.as_ref().map_or(0, |reload| reload.canary_jobs);
        let serving = self.machine.serving();
        if let Some(canary) = self.takes_jobs(generation, cause) {
            self.announce(&Event::CanaryBegun { canary, jobs, serving });
        }
    }

    /// A job has failed on code that serves.
    pub(super) fn failure_seen(&mut self, signature: String) {
        self.known_failures.note(signature);
    }

    /// A job on new code has ended.
    pub(super) fn trial_ended(&mut self, generation: GenerationId, finding: Finding) {
        let verdict = match finding {
            Finding::Good => Verdict::Passed,
            Finding::Nothing => Verdict::Void,
            Finding::Raised { ref signature, .. }
                if self.known_failures.known.contains(signature) =>
            {
                Verdict::Passed
            }
            Finding::Raised { job, summary, .. } => {
                self.report(&Event::CanaryFailed { generation, job, error: Some(summary) });
                Verdict::Failed
            }
            Finding::Died { job } => {
                self.report(&Event::CanaryFailed { generation, job, error: None });
                Verdict::Failed
            }
        };
        self.drive(Input::TrialEnded(generation, verdict));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_failures_are_forgotten_first() {
        let mut failures = KnownFailures::default();
        for n in 0..=FAILURES_MAX {
            failures.note(n.to_string());
            failures.note(n.to_string());
        }
        assert_eq!(failures.known.len(), FAILURES_MAX);
        assert!(!failures.known.contains("0") && failures.known.contains("1"));
    }
}
