//! Redis out of memory, without its scripts, or gone for a moment: an error says so, nothing is half
//! written, and the same request works later.

use std::time::Duration;

use rq::{Client, Finished, JobId, QueueName, StartReply, WorkerState};

use crate::common::{World, at, birth, code, failure, options, request, success, taken};

#[tokio::test]
async fn out_of_memory_a_job_stays_in_its_queue() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("j", "q", "").await;
    let before = world.dump().await;
    world.send(&["CONFIG SET maxmemory 1"]).await;
    let error = world.client.start(&request("e", &["q"])).await.unwrap_err();
    assert!(error.is_outage() && !error.may_be_carried_out(), "{error}");
    let said = error.to_string();
    assert_eq!(said, "OOM command not allowed when used memory > 'maxmemory'.");
    assert_eq!(world.dump().await, before);
    world.send(&["CONFIG SET maxmemory 0"]).await;
    assert_eq!(world.take("e").await.job, JobId::new("j"));
    assert!(world.queue("q").await.is_empty());
}

#[tokio::test]
async fn out_of_memory_an_end_is_whole_or_not_at_all() {
    for finish in [success, failure] {
        let world = World::new().await;
        let started = world.run("j", "").await;
        world.enqueue("next", "q", "").await;
        let before = world.dump().await;
        world.send(&["CONFIG SET maxmemory 1"]).await;
        let next = request("e2", &["q"]);
        let error = world.client.finish(&finish(&started), Some(&next)).await.unwrap_err();
        assert!(error.is_outage() && !error.may_be_carried_out(), "{error}");
        assert_eq!(world.dump().await, before);
        world.send(&["CONFIG SET maxmemory 0"]).await;
        let reply = world.client.finish(&finish(&started), Some(&next)).await.unwrap();
        assert_ne!(reply.how, Finished::Already);
        assert_eq!(taken(reply.next.unwrap()).job, JobId::new("next"));
    }
}

#[tokio::test]
async fn out_of_memory_a_job_is_kept_alive_and_put_back() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let started = world.run("j", "").await;
    world.send(&["CONFIG SET maxmemory 1"]).await;
    world.client.heartbeat(&birth(), WorkerState::Busy, at(19)).await.unwrap();
    let ttl = Duration::from_mins(2);
    world.client.job_heartbeat(&birth(), &started, ttl, at(20)).await.unwrap();
    assert_eq!(world.score("wip", "j:execution-of-j").await.unwrap(), "1767323185");
    world.client.release(&started.worker, &started, at(21)).await.unwrap();
    assert_eq!(world.queue("q").await, ["j"]);
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let world = World::new().await;
    let flush = "SCRIPT FLUSH";
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("j", "q", "").await;
    world.send(&[flush]).await;
    let started = world.take("e").await;
    world.send(&[flush]).await;
    world.client.begin(&started, code(8), at(12)).await.unwrap();
    world.send(&[flush]).await;
    world.client.release(&started.worker, &started, at(13)).await.unwrap();
    let started = world.take("e2").await;
    world.send(&[flush]).await;
    world.client.job_heartbeat(&birth(), &started, Duration::from_mins(1), at(14)).await.unwrap();
    world.send(&[flush]).await;
    assert_eq!(world.finish(&success(&started)).await, Finished::Finished);
    world.send(&[flush]).await;
    assert!(!world.client.heartbeat(&birth(), WorkerState::Idle, at(15)).await.unwrap());
    world.send(&[flush]).await;
    world.client.death(&birth(), at(16)).await.unwrap();
    world.send(&[flush]).await;
    world.client.register(&birth(), at(17)).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_was_cut_fails_once() {
    let world = World::new().await;
    world.enqueue("j", "q", "").await;
    for round in 0..3 {
        world.send(&["CLIENT KILL TYPE normal"]).await;
        let error = world.client.start(&request("e", &["empty"])).await.unwrap_err();
        assert!(error.is_outage(), "round {round}: {error}");
        assert!(matches!(world.start(&request("e", &["empty"])).await, StartReply::Empty));
    }
    world.send(&["CLIENT KILL TYPE normal"]).await;
    let error = world.client.is_suspended().await.unwrap_err();
    assert!(error.is_outage(), "{error}");
    assert_eq!(world.take("e").await.job, JobId::new("j"));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.enqueue("next", "q", "").await;
    // Carried out on one connection; on the other the same request is sent again.
    let elsewhere = Client::connect(options(&world.server.url())).await.unwrap();
    let next = request("e2", &["q"]);
    elsewhere.finish(&success(&started), Some(&next)).await.unwrap();
    world.send(&["CLIENT KILL TYPE normal"]).await;
    world.client.finish(&success(&started), Some(&next)).await.unwrap_err();
    let reply = world.client.finish(&success(&started), Some(&next)).await.unwrap();
    assert_eq!(reply.how, Finished::Already);
    assert_eq!(taken(reply.next.unwrap()).job, JobId::new("next"));
}

#[tokio::test]
async fn a_peek_whose_connection_is_cut_says_so() {
    let world = World::new().await;
    if world.is_older_than((6, 2, 0)) {
        return; // it does not block
    }
    let queue = QueueName::new("q");
    let mut peek = world.client.peek(&queue).await.unwrap();
    let cut = async {
        while !world.ask::<String>("INFO clients").await.contains("blocked_clients:1") {}
        world.send(&["CLIENT KILL TYPE normal"]).await;
    };
    let (seen, ()) = tokio::join!(peek.wait(Duration::from_mins(1)), cut);
    let error = seen.unwrap_err();
    assert!(error.is_outage(), "{error}");
    world.enqueue("j", "q", "").await;
    // What the connection of requests says first does not matter here: it was cut as well.
    drop(world.client.is_suspended().await);
    let mut peek = world.client.peek(&queue).await.unwrap();
    assert!(peek.wait(Duration::from_mins(1)).await.unwrap());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_failed_connection() {
    let world = World::new().await;
    let impatient =
        rq::Connect { response_timeout: Duration::from_secs(2), ..options(&world.server.url()) };
    let client = Client::connect(impatient).await.unwrap();
    let pause = world.ask::<redis::Value>("CLIENT PAUSE 100000").await;
    assert_eq!(pause, redis::Value::Okay);
    let error = client.is_suspended().await.unwrap_err();
    assert!(error.is_outage(), "{error}");
}

#[tokio::test]
async fn a_script_that_is_refused_is_no_failed_connection() {
    let world = World::new().await;
    world.send(&["SET rq:queue:q text"]).await;
    let error = world.client.queue_length(&QueueName::new("q")).await.unwrap_err();
    assert!(!error.is_outage(), "{error}");
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
}

#[tokio::test]
async fn a_peek_notices_that_nobody_answers_any_more() {
    let world = World::new().await;
    let options = rq::Connect {
        response_timeout: Duration::from_millis(200),
        ..options(&world.server.url())
    };
    let client = Client::connect(options).await.unwrap();
    let mut peek = client.peek(&QueueName::new("q")).await.unwrap();
    assert!(!peek.wait(Duration::from_millis(10)).await.unwrap());
    let stopped = std::process::Command::new("kill")
        .args(["-STOP", &world.server.pid().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    let error = peek.wait(Duration::from_millis(10)).await.unwrap_err();
    assert!(error.is_outage(), "{error}");
}
