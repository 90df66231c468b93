//! What supervisors of this machine left that are certainly over: taken up at once, before a worker
//! registers and with each maintenance, instead of when its time to live is over.
//!
//! Invariant: nothing is taken from a run of which it is not certain that it is over.

use rq::Taken;

use crate::worker::Shared;

/// Looks once.
pub async fn recover(shared: &Shared) {
    let look = || shared.client.signed(&shared.settings.queues);
    let found = shared.ask_once("look for what dead workers left", look).await;
    for signed in found.unwrap_or_default() {
        if !shared.incarnation.is_over(&signed.run) {
            continue;
        }
        let take = || shared.client.take_over(&signed);
        let Some(taken) = shared.ask_once("take up what a dead worker left", take).await.flatten()
        else {
            continue;
        };
        let what = match taken {
            Taken::Worker(worker, Some(job)) => format!("worker {worker} with job {job}"),
            Taken::Worker(worker, None) => format!("worker {worker}, which ran no job"),
            Taken::Maintenance(queue) => format!("the maintenance lock of {queue}"),
            Taken::Scheduler(queue) => format!("the scheduler's lock of {queue}"),
        };
        shared.warn(format!("taken up from a process that is gone: {what}"));
    }
}
