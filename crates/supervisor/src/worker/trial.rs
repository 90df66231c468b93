//! What a job says about new code that is on trial: a canary.
//!
//! Invariant: a trial that was begun ends, with what was found or with nothing, whatever becomes of
//! the horse and of the slot that has it.

use rq::JobId;
use tokio::sync::mpsc;

use super::horse::Answer;
use crate::forkserver::messages::AnswerKind;
use crate::input::Input;
use crate::reload::machine::GenerationId;

/// What a job on new code has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It returned.
    Good,
    /// It failed.
    Raised {
        /// The job.
        job: JobId,
        /// Tells failures apart.
        signature: String,
        /// For people.
        summary: String,
    },
    /// Its horse died.
    Died {
        /// The job.
        job: JobId,
    },
    /// Nothing: it was not run to its end, for a reason of its own.
    Nothing,
}

/// A horse of a canary has it while it has a job.
#[derive(Debug)]
pub struct Trial {
    generation: GenerationId,
    /// A place in the queue of the loop, so that the end can be told at any time.
    place: Option<mpsc::OwnedPermit<Input>>,
}

impl Trial {
    /// Begins one; none if the loop has too much to do right now.
    pub fn begin(generation: GenerationId, inputs: &mpsc::Sender<Input>) -> Option<Self> {
        let place = inputs.clone().try_reserve_owned().ok()?;
        Some(Self { generation, place: Some(place) })
    }

    /// Ends it.
    pub fn end(mut self, finding: Finding) {
        self.tell(finding);
    }

    fn tell(&mut self, finding: Finding) {
        if let Some(place) = self.place.take() {
            place.send(Input::TrialEnded(self.generation, finding));
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.tell(Finding::Nothing);
    }
}

/// How a failure is told apart from others; none if the job has not failed.
pub fn signature(answer: &Answer) -> Option<String> {
    let head = &answer.head;
    let failed = match head.kind {
        AnswerKind::Failed => true,
        AnswerKind::Handled => !head.summary.is_empty(),
        AnswerKind::Finished | AnswerKind::Unknown | AnswerKind::Declined => false,
    };
    // RQ's own code says no more than the last line of the traceback.
    let kind = || head.summary.split(':').next().unwrap_or_default().to_owned();
    failed.then(|| head.signature.clone().unwrap_or_else(kind))
}
