//! A job that returned a `Retry`: it asks to run again.

use rq::{Ending, Finish, Finished, ReturnedRetry, Started};

use crate::common::{World, at, birth, ended, failure, inflated, success};

fn asks<'a>(job: &'a Started, max: i64, intervals: &[f64]) -> Finish<'a> {
    ended(
        job,
        Ending::Retry(ReturnedRetry {
            value: b"\x80retry".to_vec(),
            max,
            intervals: intervals.to_vec(),
            front: false,
            exceeded_text: None,
        }),
    )
}

#[tokio::test]
async fn a_job_that_asks_for_it_is_queued_as_rq_queues_it() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("j", "q", "ttl 1000 meta old").await;
    let before = world.dump().await.without("rq:job:j");
    let started = world.take("e").await;
    let mut finish = asks(&started, 2, &[0.0]);
    finish.meta = Some(b"new".to_vec());
    assert_eq!(world.finish(&finish).await, Finished::Retried { left: 1 });
    world.dump().await.since(&before).without("rq:worker").assert_is(
        "rq:job:j hash, 17 min
         - code_hash: 0001020304ff
         - created_at: 2026-01-01T00:00:00.000000Z
         - data: call
         - description: f()
         - ended_at: 2026-01-02T03:04:18.500006Z
         - enqueued_at: 2026-01-02T03:04:18.500006Z
         - failure_callback_name:
         - generation: 7
         - group_id:
         - last_heartbeat: 2026-01-02T03:04:18.500006Z
         - meta: new
         - number_of_retries: 1
         - origin: q
         - result: \\x80retry
         - started_at: 2026-01-02T03:04:16.000006Z
         - status: queued
         - stopped_callback_name:
         - success_callback_name:
         - timeout: 180
         - ttl: 1000
         - worker_name: w1
         rq:results:j stream, for ever
         - execution_ended_at=1767323058.500006 execution_id=e execution_started_at=1767323055.000006 \
             return_value=gHJldHJ5 type=4 worker_name=w1",
    );
    assert_eq!(world.worker_field("failed_job_count").await.as_deref(), Some("1"));
    assert_eq!(world.worker_field("total_working_time").await.as_deref(), Some("2.5"));
}

#[tokio::test]
async fn a_job_that_asked_too_often_has_failed() {
    let world = World::new().await;
    world.enqueue("j", "q", "retries_left 5 failure_ttl 100").await;
    world.defer("strict", &["j"], "").await;
    world.defer("lenient", &["j"], "allow_dependency_failures 1").await;
    let mut ends = Vec::new();
    for attempt in ["a", "b", "c"] {
        let started = world.take(attempt).await;
        ends.push(world.finish(&asks(&started, 2, &[0.0])).await);
    }
    assert_eq!(
        ends,
        [Finished::Retried { left: 1 }, Finished::Retried { left: 0 }, Finished::Failed]
    );
    let result = world.result("j").await;
    assert_eq!((result["type"].as_str(), result["return_value"].as_str()), ("5", "gHJldHJ5"));
    assert_eq!(result.get("exc_string"), None);
    assert_eq!(world.ask::<i64>("XLEN rq:results:j").await, 3);
    assert!(world.dump().await.to_string().contains("rq:results:j stream, 2 min"));
    assert!(world.is_in("failed", "j").await);
    assert_eq!(world.status("j").await.as_deref(), Some("failed"));
    // Retries that the client allowed are for failures.
    assert_eq!(world.field("j", "retries_left").await.as_deref(), Some("5"));
    assert_eq!(world.queue("q").await, ["lenient"]);
    assert_eq!(world.worker_field("failed_job_count").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_client_that_cannot_read_it_is_told_of_a_failure() {
    let world = World::new().await;
    let started = world.run("j", "number_of_retries 2").await;
    let mut finish = asks(&started, 2, &[0.0]);
    if let Ending::Retry(retry) = &mut finish.ending {
        retry.exceeded_text = Some("Job failed after 2 retry attempts".to_owned());
    }
    assert_eq!(world.finish(&finish).await, Finished::Failed);
    let result = world.result("j").await;
    assert_eq!(result["type"], "2");
    assert_eq!(inflated(&result["exc_string"]), "Job failed after 2 retry attempts");
}

#[tokio::test]
async fn the_last_interval_serves_for_all_that_follow() {
    for (done, intervals, wait) in [
        (0, &[10.0, 20.0][..], 10),
        (1, &[10.0, 20.0][..], 20),
        (5, &[10.0, 20.0][..], 20),
        (1, &[7.0][..], 7),
        (1, &[][..], 0),
        (0, &[0.0, 5.0][..], 0),
    ] {
        let world = World::new().await;
        let started = world.run("j", &format!("number_of_retries {done}")).await;
        let left = 8 - done - 1;
        let due = at(13).seconds() + wait;
        let expected = match wait {
            0 => Finished::Retried { left },
            _ => Finished::RetryScheduled { left, at: due },
        };
        assert_eq!(world.finish(&asks(&started, 8, intervals)).await, expected);
        if 0 < wait {
            assert_eq!(world.score("scheduled", "j").await, Some(due.to_string()));
            assert_eq!(world.status("j").await.as_deref(), Some("scheduled"));
            assert!(world.queue("q").await.is_empty());
        }
    }
}

#[tokio::test]
async fn it_can_go_to_the_front_and_that_is_remembered() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.enqueue("waits", "q", "").await;
    let mut finish = asks(&started, 2, &[0.0]);
    if let Ending::Retry(retry) = &mut finish.ending {
        retry.front = true;
    }
    world.finish(&finish).await;
    assert_eq!(world.queue("q").await, ["j", "waits"]);
    assert_eq!(world.field("j", "enqueue_at_front_on_retry").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn the_same_question_twice_is_one() {
    for intervals in [&[0.0][..], &[60.0][..]] {
        let world = World::new().await;
        let started = world.run("j", "").await;
        let finish = asks(&started, 3, intervals);
        world.finish(&finish).await;
        let once = world.dump().await;
        assert_eq!(world.finish(&finish).await, Finished::Already);
        assert_eq!(world.dump().await, once);
        world.send(&["DEL rq:worker:w1"]).await;
        assert_eq!(world.finish(&finish).await, Finished::Already);
        assert_eq!(world.dump().await.without("rq:worker:"), once.without("rq:worker:"));
    }
}

#[tokio::test]
async fn an_end_goes_by_what_the_job_changed_in_itself() {
    let changed = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let world = World::new().await;
    let started = world.run("j", "retries_left 3").await;
    let finish = Finish { changed: changed("retries_left", "0"), ..failure(&started) };
    assert_eq!(world.finish(&finish).await, Finished::Failed);
    assert_eq!(world.field("j", "retries_left").await.as_deref(), Some("0"));
    let started = world.run("k", "").await;
    let finish = Finish { changed: changed("repeats_left", "2"), ..success(&started) };
    assert_eq!(world.finish(&finish).await, Finished::Repeated { left: 1 });
    assert_eq!(world.field("k", "repeats_left").await.as_deref(), Some("1"));
    world.send(&["DEL rq:queue:q"]).await;
    let started = world.run("l", "").await;
    world.finish(&Finish { changed: changed("result_ttl", "-1"), ..success(&started) }).await;
    assert_eq!(world.score("finished", "l").await.as_deref(), Some("inf"));
}
