//! A start that is undone: everything is as it was, and the job is the next one again.

use rq::{Finished, JobId, Released, StartReply};

use crate::common::{World, at, birth, code, request, success, taken};

#[tokio::test]
async fn a_release_leaves_everything_as_it_was() {
    for fields in [
        "",
        "status started",
        "worker_name dead started_at 2025-01-01T00:00:00.000000Z meta x generation 3",
    ] {
        let world = World::new().await;
        world.client.register(&birth(), at(0)).await.unwrap();
        world.enqueue("j", "q", fields).await;
        world.enqueue("next", "q", "").await;
        let before = world.dump().await;
        let started = world.take("e").await;
        assert_ne!(
            world.dump().await.without("rq:worker:w1"),
            before.clone().without("rq:worker:w1")
        );
        let reply = world.client.release(&started.worker, &started, at(20)).await.unwrap();
        assert_eq!(reply, Released::Done);
        let after = world.dump().await;
        assert_eq!(after.clone().without("rq:worker:w1"), before.clone().without("rq:worker:w1"));
        assert_eq!(world.queue("q").await, ["j", "next"]);
        // The worker's own record says that it is idle again, and nothing of the job.
        after.since(&before).assert_is(
            "rq:worker:w1 hash, 8 min
             - birth: 2026-01-02T03:04:05.000006Z
             - freshq_number: 1
             - freshq_run: run 1
             - hostname: host
             - ip_address: 127.0.0.1:9
             - last_heartbeat: 2026-01-02T03:04:25.000006Z
             - pid: 4711
             - python_version: 3.11
             - queues: q,other
             - state: idle
             - version: 3.0.0",
        );
    }
}

#[tokio::test]
async fn fields_that_were_absent_are_absent_again() {
    let world = World::new().await;
    world.send(&["HSET rq:job:j data x", "RPUSH rq:queue:q j"]).await;
    let before = world.dump().await;
    let started = world.take("e").await;
    world.client.release(&started.worker, &started, at(20)).await.unwrap();
    assert_eq!(world.dump().await.without("rq:worker:w1"), before);
}

#[tokio::test]
async fn the_time_to_live_goes_on_from_where_it_stood() {
    let world = World::new().await;
    world.enqueue("j", "q", "ttl 1000").await;
    world.send(&["PEXPIRE rq:job:j 1000000"]).await;
    let started = world.take("e").await;
    world.client.release(&started.worker, &started, at(20)).await.unwrap();
    let left: i64 = world.ask("PTTL rq:job:j").await;
    assert!(0 < left && left <= started.ttl_left.unwrap().as_millis() as i64, "{left}");
    assert_eq!(world.ask::<i64>("PTTL rq:queue:q").await, -1);
}

#[tokio::test]
async fn a_second_release_is_not_ours() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    let release = || world.client.release(&started.worker, &started, at(20));
    assert_eq!(release().await.unwrap(), Released::Done);
    let once = world.dump().await;
    assert_eq!(release().await.unwrap(), Released::NotMine);
    assert_eq!(world.dump().await, once);
    // Somebody has it again: that is not undone either.
    let again = world.take("e2").await;
    let running = world.dump().await;
    assert_eq!(release().await.unwrap(), Released::NotMine);
    assert_eq!(world.dump().await, running);
    assert_eq!(world.finish(&success(&again)).await, Finished::Finished);
    assert_eq!(
        world.client.release(&again.worker, &again, at(20)).await.unwrap(),
        Released::NotMine
    );
    assert!(world.queue("q").await.is_empty());
}

#[tokio::test]
async fn a_job_that_was_deleted_meanwhile_does_not_come_back() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.send(&["DEL rq:job:j"]).await;
    world.client.release(&started.worker, &started, at(20)).await.unwrap();
    let dump = world.dump().await.without("rq:worker:");
    assert_eq!(dump.keys(), ["rq:queues"], "{dump}");
    assert_eq!(world.worker_field("state").await.as_deref(), Some("idle"));
    assert_eq!(world.worker_field("freshq_execution").await, None);
}

#[tokio::test]
async fn a_job_that_was_canceled_meanwhile_stays_canceled() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.send(&["HSET rq:job:j status canceled", "ZREM rq:wip:q j:execution-of-j"]).await;
    world.client.release(&started.worker, &started, at(20)).await.unwrap();
    assert_eq!(world.status("j").await.as_deref(), Some("canceled"));
    assert!(world.queue("q").await.is_empty());
    assert!(matches!(world.start(&request("e", &["q"])).await, StartReply::Empty));
}

#[tokio::test]
async fn a_job_is_released_also_when_the_worker_record_had_vanished() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    let started = world.run("j", "").await;
    world.send(&["DEL rq:worker:w1 rq:worker:w1:executions"]).await;
    let minute = std::time::Duration::from_mins(1);
    world.client.job_heartbeat(&birth(), &started, minute, at(15)).await.unwrap();
    let reply = world.client.release(&started.worker, &started, at(20)).await.unwrap();
    assert_eq!(reply, Released::Done);
    assert_eq!(world.queue("q").await, ["j"]);
    assert_eq!(world.status("j").await.as_deref(), Some("queued"));
    assert!(world.dump().await.without("rq:worker").without("rq:job").keys().len() == 2);
}

#[tokio::test]
async fn a_job_is_released_without_any_heartbeat_after_the_worker_record_had_vanished() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.send(&["DEL rq:worker:w1"]).await;
    let reply = world.client.release(&started.worker, &started, at(20)).await.unwrap();
    assert_eq!(reply, Released::Done);
    assert_eq!(world.queue("q").await, ["j"]);
    assert_eq!(world.ask::<i64>("EXISTS rq:wip:q").await, 0);
    assert!(0 < world.ask::<i64>("TTL rq:worker:w1").await);
    assert_eq!(
        world.client.release(&started.worker, &started, at(20)).await.unwrap(),
        Released::NotMine
    );
    assert_eq!(world.queue("q").await, ["j"]);
}

#[tokio::test]
async fn a_queue_that_has_another_type_now_refuses_and_nothing_is_written() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.send(&["SET rq:queue:q mine"]).await;
    let before = world.dump().await;
    let error = world.client.release(&started.worker, &started, at(20)).await.unwrap_err();
    assert!(!error.is_outage(), "{error}");
    assert!(error.to_string().contains("rq:queue:q"), "{error}");
    assert_eq!(world.dump().await, before);
    world.send(&["DEL rq:queue:q"]).await;
    let reply = world.client.release(&started.worker, &started, at(20)).await.unwrap();
    assert_eq!(reply, Released::Done);
}

#[tokio::test]
async fn a_start_that_was_asked_for_twice_is_undone_wholly() {
    let world = World::new().await;
    world.enqueue("j", "q", "").await;
    world.send(&["PEXPIRE rq:job:j 1000000"]).await;
    let before = world.dump().await;
    world.take("e").await;
    let again = world.take("e").await;
    world.client.release(&again.worker, &again, at(20)).await.unwrap();
    assert_eq!(world.dump().await.without("rq:worker:w1"), before);
}

#[tokio::test]
async fn a_job_with_another_queue_as_its_origin_goes_back_to_where_it_was_taken() {
    let world = World::new().await;
    world.job("j", "home", "queued", "").await;
    world.send(&["RPUSH rq:queue:q j"]).await;
    let before = world.dump().await;
    let started = taken(world.start(&request("e", &["q"])).await);
    world.client.release(&started.worker, &started, at(20)).await.unwrap();
    assert_eq!(world.dump().await.without("rq:worker:w1"), before);
    assert_eq!(world.take("e2").await.job, JobId::new("j"));
}

#[tokio::test]
async fn the_begin_of_a_job_renews_its_start_and_its_code() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    let before = world.dump().await;
    assert_eq!(world.field("j", "generation").await.as_deref(), Some("7"));
    world.client.begin(&started, code(8), at(30)).await.unwrap();
    assert_eq!(world.field("j", "generation").await.as_deref(), Some("8"));
    assert_eq!(world.field("j", "code_hash").await.as_deref(), Some("0001020304ff"));
    assert_eq!(world.field("j", "started_at").await, Some(at(30).text()));
    assert_eq!(world.dump().await.since(&before).keys(), ["rq:job:j"]);
    for change in ["HSET rq:job:j status canceled", "DEL rq:job:j"] {
        world.send(&[change]).await;
        let before = world.dump().await;
        world.client.begin(&started, code(9), at(40)).await.unwrap();
        assert_eq!(world.dump().await, before);
    }
}
