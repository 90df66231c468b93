//! Commands on the channels of workers.

use rq::{Command, JobId, Subscription, WorkerName};

use crate::common::World;

/// The next message: for whom, and the command if it is one.
async fn next(subscription: &mut Subscription) -> (String, Option<Command>) {
    let received = subscription.next().await.unwrap();
    (received.worker.to_string(), received.command.ok())
}

#[tokio::test]
async fn each_worker_gets_what_is_on_its_channel_and_nonsense_ends_nothing() {
    let world = World::with_prefix("{app}:rq").await;
    let mut subscription = world.client.subscribe().await.unwrap();
    for worker in ["w1", "w2"] {
        subscription.add(&WorkerName::new(worker)).await.unwrap();
    }
    let stop = br#"{"command": "stop-job", "job_id": "j"}"#;
    let shutdown = br#"{"command": "shutdown"}"#;
    for (channel, message, listeners) in [
        ("{app}:rq:pubsub:w2", &shutdown[..], 1),
        ("{app}:rq:pubsub:w1", b"\xff\xfe\0", 1),
        ("rq:pubsub:w1", shutdown, 0),
        ("{app}:rq:pubsub:w3", shutdown, 0),
        ("{app}:rq:pubsub:w1", stop, 1),
    ] {
        let found: i64 = world.ask_bytes(&[b"PUBLISH", channel.as_bytes(), message]).await;
        assert_eq!(found, listeners, "{channel}");
    }
    assert_eq!(next(&mut subscription).await, ("w2".to_owned(), Some(Command::Shutdown)));
    assert_eq!(next(&mut subscription).await, ("w1".to_owned(), None));
    let stop = Some(Command::StopJob(JobId::new("j")));
    assert_eq!(next(&mut subscription).await, ("w1".to_owned(), stop));

    subscription.remove(&WorkerName::new("w2")).await.unwrap();
    let listeners: i64 = world.ask("PUBLISH {app}:rq:pubsub:w2 x").await;
    assert_eq!(listeners, 0);
}

#[tokio::test]
async fn a_lost_connection_is_an_error_and_not_silence() {
    let world = World::new().await;
    let mut subscription = world.client.subscribe().await.unwrap();
    subscription.add(&WorkerName::new("w1")).await.unwrap();
    let killed: i64 = world.ask("CLIENT KILL TYPE pubsub").await;
    assert_eq!(killed, 1);
    assert!(subscription.next().await.unwrap_err().is_outage());
    // And another can be had.
    let mut subscription = world.client.subscribe().await.unwrap();
    subscription.add(&WorkerName::new("w1")).await.unwrap();
    world.send(&[r#"PUBLISH rq:pubsub:w1 {"command":"kill-horse"}"#]).await;
    assert_eq!(next(&mut subscription).await, ("w1".to_owned(), Some(Command::KillHorse)));
}
