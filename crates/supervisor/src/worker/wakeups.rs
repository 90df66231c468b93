//! Waking idle slots when something is pushed.
//!
//! One task and one connection per queue and supervisor. It is armed by a slot that found
//! nothing, blocks until its queue has an element (which it leaves there), wakes every
//! slot that listens, and rests until it is armed again; so a queue that nobody may take
//! from is never peeked at in a loop. All slots wake for one push; one wins.

use std::sync::Arc;
use std::time::Duration;

use rq::{Client, Peek, QueueName};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Longest single wait of the server; it only bounds how long a dead connection goes unnoticed.
pub const PEEK_MAX: Duration = Duration::from_mins(1);
/// Pause after a peek that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The peeking tasks, and what connects them with the slots.
#[derive(Debug)]
pub struct Wakeups {
    woken: Arc<Notify>,
    armed: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl Wakeups {
    /// Starts one task per queue.
    pub fn start(client: &Client, queues: &[QueueName]) -> Self {
        let woken = Arc::new(Notify::new());
        let (armed, _) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for queue in queues {
            tasks.spawn(peek(client.clone(), queue.clone(), armed.subscribe(), woken.clone()));
        }
        Self { woken, armed, _tasks: tasks }
    }

    /// To be called before looking into the queues, so that no push is missed in between.
    pub fn listen(&self) -> OwnedNotified {
        self.woken.clone().notified_owned()
    }

    /// The queues were found empty: wake whoever listens when that changes.
    pub fn arm(&self) {
        self.armed.send_modify(|count| *count += 1);
    }
}

async fn peek(
    client: Client,
    queue: QueueName,
    mut armed: watch::Receiver<u64>,
    woken: Arc<Notify>,
) {
    let mut connection = None;
    while armed.changed().await.is_ok() {
        while !has_element(&client, &queue, &mut connection).await {}
        // Also after a failure: the slots meet the same trouble, say so, and insist.
        woken.notify_waiters();
    }
}

/// Waits a while for the queue to have an element, or for trouble.
async fn has_element(client: &Client, queue: &QueueName, connection: &mut Option<Peek>) -> bool {
    let asked = wait(client, queue, connection).await;
    let Ok(found) = asked else {
        *connection = None;
        tokio::time::sleep(RETRY_PAUSE).await;
        return true;
    };
    found
}

async fn wait(
    client: &Client,
    queue: &QueueName,
    connection: &mut Option<Peek>,
) -> Result<bool, rq::Error> {
    let peek = match connection {
        Some(peek) => peek,
        None => connection.insert(client.peek(queue).await?),
    };
    peek.wait(PEEK_MAX).await
}
