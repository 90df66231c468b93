//! What a supervisor that is over has left is found by the name of its run, and taken from it.

use rq::{Finished, JobId, OnFailure, QueueName, Signed, Taken, WorkerBirth, WorkerName};

use crate::common::{World, at, birth, failure};

fn q() -> Vec<QueueName> {
    vec![QueueName::new("q")]
}

/// What has the name of this run.
async fn signed(world: &World, run: &str) -> Vec<Signed> {
    let mut found = world.client.signed(&q()).await.unwrap();
    found.retain(|signed| signed.run == run);
    found
}

#[tokio::test]
async fn a_worker_that_is_gone_leaves_its_job_to_maintenance_at_once() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let neighbour = WorkerBirth { name: WorkerName::new("w2"), run: "run 2".to_owned(), ..birth() };
    world.client.register(&neighbour, at(0)).await.unwrap();
    let started = world.run("j", "").await;
    // One of RQ, and one that has ended.
    world.send(&["SADD rq:workers rq:worker:rq rq:worker:gone", "HSET rq:worker:rq pid 1"]).await;
    let found = signed(&world, "run 1").await;
    assert_eq!(found.len(), 1);
    let taken = world.client.take_over(&found[0]).await.unwrap();
    assert_eq!(taken, Some(Taken::Worker("w1".to_owned(), Some(JobId::new("j")))));
    let dump = world.dump().await;
    assert!(dump.keys().iter().all(|key| !key.contains("w1")), "{dump}");
    let members: Vec<String> = world.ask("SMEMBERS rq:workers:q").await;
    assert_eq!(members, ["rq:worker:w2"]);
    // Its job counts as abandoned now, and its late end changes nothing.
    let expired = world.client.expired_executions(&q()[0], 0, at(1)).await.unwrap();
    let gave_up = world
        .client
        .abandon(&expired.abandoned[0], OnFailure::Retry, at(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((gave_up.job, gave_up.how), (JobId::new("j"), Finished::Failed));
    assert!(world.is_in("failed", "j").await);
    let left: i64 = world.ask("ZCARD rq:wip:q").await;
    let executions: i64 =
        world.ask(&format!("EXISTS rq:executions:j rq:execution:j:{}", started.execution)).await;
    assert_eq!((left, executions), (0, 0));
    // The same again, because the answer was lost.
    assert_eq!(world.client.take_over(&found[0]).await.unwrap(), None);
    assert_eq!(signed(&world, "run 2").await.len(), 1);
}

#[tokio::test]
async fn a_record_that_is_of_another_run_by_now_is_left_alone() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let found = signed(&world, "run 1").await;
    world.client.death(&birth(), at(1)).await.unwrap();
    assert!(signed(&world, "run 1").await.is_empty(), "it has ended");
    let again = WorkerBirth { run: "run 2".to_owned(), ..birth() };
    world.client.register(&again, at(2)).await.unwrap();
    let started = world.run("j", "").await;
    let before = world.dump().await;
    assert_eq!(world.client.take_over(&found[0]).await.unwrap(), None);
    assert_eq!(world.dump().await, before);
    assert_eq!(world.finish(&failure(&started)).await, Finished::Failed);
}

#[tokio::test]
async fn locks_are_taken_from_whom_they_name_and_from_nobody_else() {
    let world = World::new().await;
    let queue = &q()[0];
    assert!(world.client.lock_registries(queue, "run 1").await.unwrap());
    world
        .send(&[
            "SET rq:scheduler-lock:q 123",
            "HSET rq:scheduler:123 freshq_run run",
            "SET rq:clean_registries:other 1",
        ])
        .await;
    let found = signed(&world, "run 1").await;
    assert_eq!(found.len(), 1);
    let mine = Some(Taken::Maintenance(queue.clone()));
    assert_eq!(world.client.take_over(&found[0]).await.unwrap(), mine);
    assert!(world.client.lock_registries(queue, "run 2").await.unwrap(), "it was free");
    world.client.take_over(&found[0]).await.unwrap();
    assert!(!world.client.lock_registries(queue, "run 3").await.unwrap(), "it is another's");
    let scheduler = signed(&world, "run").await;
    let taken = Some(Taken::Scheduler(queue.clone()));
    assert_eq!(world.client.take_over(&scheduler[0]).await.unwrap(), taken);
    let left: i64 = world.ask("EXISTS rq:scheduler-lock:q rq:scheduler:123").await;
    assert_eq!(left, 0);
}
