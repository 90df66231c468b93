//! The end of an execution that is not retried: what is written, for how long, and only once.

use redis::Value;
use rq::{Ending, Finished, JobId, StartReply};

use crate::common::{World, at, birth, ended, failure, inflated, request, success};

const YEAR: i64 = 31_536_000;
/// Results are scored from the second in which the job ended.
const ENDED: i64 = 13;

fn ended_at() -> i64 {
    at(ENDED).seconds()
}

#[tokio::test]
async fn a_success_leaves_what_rq_leaves() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("j", "q", "").await;
    let before = world.dump().await;
    let started = world.take("e").await;
    assert_eq!(world.finish(&success(&started)).await, Finished::Finished);
    world.dump().await.since(&before).assert_is(
        "rq:finished:q zset, for ever
         - j 1767323558
         rq:job:j hash, 9 min
         - code_hash: 0001020304ff
         - created_at: 2026-01-01T00:00:00.000000Z
         - data: call
         - description: f()
         - ended_at: 2026-01-02T03:04:18.500006Z
         - enqueued_at: 2026-01-01T00:00:00.000000Z
         - failure_callback_name:
         - generation: 7
         - group_id:
         - last_heartbeat: 2026-01-02T03:04:18.500006Z
         - origin: q
         - started_at: 2026-01-02T03:04:16.000006Z
         - status: finished
         - stopped_callback_name:
         - success_callback_name:
         - timeout: 180
         - worker_name: w1
         rq:queue:q gone
         rq:results:j stream, 9 min
         - execution_ended_at=1767323058.500006 execution_id=e execution_started_at=1767323055.000006 \
             return_value=gHZhbHVl type=1 worker_name=w1
         rq:worker:w1 hash, 8 min
         - birth: 2026-01-02T03:04:05.000006Z
         - freshq_finished: e
         - freshq_number: 1
         - freshq_run: run 1
         - hostname: host
         - ip_address: 127.0.0.1:9
         - last_heartbeat: 2026-01-02T03:04:18.500006Z
         - pid: 4711
         - python_version: 3.11
         - queues: q,other
         - state: idle
         - successful_job_count: 1
         - total_working_time: 2.5
         - version: 3.0.0",
    );
}

#[tokio::test]
async fn a_failure_leaves_what_rq_leaves() {
    let world = World::new().await;
    world.client.register(&birth(), at(0)).await.unwrap();
    world.enqueue("j", "q", "").await;
    let before = world.dump().await.without("rq:job:j");
    let started = world.take("e").await;
    assert_eq!(world.finish(&failure(&started)).await, Finished::Failed);
    let result = world.result("j").await;
    assert_eq!(inflated(&result["exc_string"]), "ValueError: häßlich");
    assert_eq!((result["type"].as_str(), result.get("return_value")), ("2", None));
    assert_eq!(result["execution_id"], "e");
    world.send(&["DEL rq:results:j"]).await;
    world.dump().await.since(&before).without("rq:worker").assert_is(&format!(
        "rq:failed:q zset, for ever
         - j {}
         rq:job:j hash, 525600 min
         - code_hash: 0001020304ff
         - created_at: 2026-01-01T00:00:00.000000Z
         - data: call
         - description: f()
         - ended_at: 2026-01-02T03:04:18.500006Z
         - enqueued_at: 2026-01-01T00:00:00.000000Z
         - failure_callback_name:
         - generation: 7
         - group_id:
         - last_heartbeat: 2026-01-02T03:04:18.500006Z
         - origin: q
         - started_at: 2026-01-02T03:04:16.000006Z
         - status: failed
         - stopped_callback_name:
         - success_callback_name:
         - timeout: 180
         - worker_name: w1
         rq:queue:q gone",
        ended_at() + YEAR
    ));
    assert_eq!(world.worker_field("failed_job_count").await.as_deref(), Some("1"));
    assert_eq!(world.worker_field("total_working_time").await.as_deref(), Some("2.5"));
}

#[tokio::test]
async fn pythons_none_has_no_value() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    world.finish(&ended(&started, Ending::Finished { value: None })).await;
    let result = world.result("j").await;
    assert_eq!((result["type"].as_str(), result.get("return_value")), ("1", None));
    let started = world.run("empty", "").await;
    world.finish(&ended(&started, Ending::Finished { value: Some(Vec::new()) })).await;
    assert_eq!(world.status("empty").await.as_deref(), Some("finished"));
}

#[tokio::test]
async fn results_are_kept_for_as_long_as_the_job_says() {
    for (field, score, minutes) in [
        ("result_ttl 5", (ended_at() + 5).to_string(), "1 min"),
        ("result_ttl -1", "inf".to_owned(), "for ever"),
        ("", (ended_at() + 500).to_string(), "9 min"),
        ("result_ttl \"\"", (ended_at() + 500).to_string(), "9 min"),
    ] {
        let world = World::new().await;
        let started = world.run("j", field).await;
        world.send(&["SADD rq:job::j:dependencies other", "SADD rq:job:j:dependents waits"]).await;
        world.finish(&success(&started)).await;
        assert_eq!(world.score("finished", "j").await, Some(score), "{field}");
        let dump = world.dump().await.to_string();
        for key in
            ["job:j hash", "job::j:dependencies set", "job:j:dependents set", "results:j stream"]
        {
            assert!(dump.contains(&format!("rq:{key}, {minutes}\n")), "{field} {key}\n{dump}");
        }
    }
}

#[tokio::test]
async fn a_result_that_is_kept_for_no_time_takes_the_job_along() {
    for (id, ttl, ending) in [
        ("j", "result_ttl 0", Ending::Finished { value: None }),
        ("k", "failure_ttl 0", Ending::Failed { exc_text: "no".to_owned() }),
    ] {
        let world = World::new().await;
        let started = world.run(id, &format!("{ttl} group_id g")).await;
        world
            .send(&[&format!("SADD rq:group:g {id} other"), "SADD rq:job::j:dependencies x"])
            .await;
        world.send(&[&format!("ZADD rq:canceled:q 1 {id} 1 other")]).await;
        let expected = if id == "j" { Finished::Finished } else { Finished::Failed };
        assert_eq!(world.finish(&ended(&started, ending)).await, expected);
        world
            .dump()
            .await
            .without("rq:worker:")
            .without("rq:job::k")
            .without("rq:job::j")
            .assert_is(
                "rq:canceled:q zset, for ever
             - other 1
             rq:group:g set, for ever
             - other
             rq:queues set, for ever
             - rq:queue:q",
            );
        let counter = if id == "j" { "successful_job_count" } else { "failed_job_count" };
        assert_eq!(world.worker_field(counter).await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn failures_are_kept_for_as_long_as_the_job_says() {
    for (field, score, job, result) in [
        ("failure_ttl 100", ended_at() + 100, "2 min", "2 min"),
        ("failure_ttl -1", -1, "for ever", "for ever"),
        ("", ended_at() + YEAR, "525600 min", "for ever"),
    ] {
        let world = World::new().await;
        let started = world.run("j", field).await;
        world.finish(&failure(&started)).await;
        assert_eq!(world.score("failed", "j").await, Some(score.to_string()), "{field}");
        let dump = world.dump().await.to_string();
        assert!(dump.contains(&format!("rq:job:j hash, {job}\n")), "{field}\n{dump}");
        assert!(dump.contains(&format!("rq:results:j stream, {result}\n")), "{field}\n{dump}");
    }
}

#[tokio::test]
async fn numbers_that_are_none_cost_no_step_its_end() {
    for odd in ["soon", "1.5", "nan", "inf", "1e400", "99999999999999999999", "9223372036854775807"]
    {
        let world = World::new().await;
        for (id, field) in
            [("a", "failure_ttl"), ("b", "result_ttl"), ("c", "ttl"), ("d", "timeout")]
        {
            let started = world.run(id, &format!("{field} {odd}")).await;
            assert_eq!(world.finish(&failure(&started)).await, Finished::Failed, "{field} {odd}");
            assert!(world.is_in("failed", id).await);
            let started = world.run(&format!("{id}2"), &format!("{field} {odd}")).await;
            assert_eq!(world.finish(&success(&started)).await, Finished::Finished, "{field} {odd}");
        }
        let started = world.run("e", &format!("retries_left {odd}")).await;
        assert_eq!(world.finish(&failure(&started)).await, Finished::Failed, "retries_left {odd}");
        let started = world.run("f", &format!("retries_left 1 ttl {odd}")).await;
        let retried = Finished::Retried { left: 0 };
        assert_eq!(world.finish(&failure(&started)).await, retried, "ttl {odd}");
        assert!(world.ask::<Vec<String>>("ZRANGE rq:wip:q 0 -1").await.is_empty());
    }
}

#[tokio::test]
async fn counters_count_and_times_add_up() {
    let world = World::new().await;
    for n in 0..3 {
        let started = world.run(&format!("good{n}"), "").await;
        world.finish(&success(&started)).await;
    }
    for n in 0..2 {
        let started = world.run(&format!("bad{n}"), "").await;
        world.finish(&failure(&started)).await;
    }
    assert_eq!(world.worker_field("successful_job_count").await.as_deref(), Some("3"));
    assert_eq!(world.worker_field("failed_job_count").await.as_deref(), Some("2"));
    assert_eq!(world.worker_field("total_working_time").await.as_deref(), Some("12.5"));
}

#[tokio::test]
async fn a_clock_that_was_set_back_takes_no_working_time_away() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    let mut finish = success(&started);
    (finish.started_at, finish.ended_at) = (finish.ended_at, finish.started_at);
    world.finish(&finish).await;
    assert_eq!(world.worker_field("total_working_time").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_job_that_was_deleted_meanwhile_does_not_come_back() {
    for ending in [Ending::Finished { value: None }, Ending::Failed { exc_text: "no".to_owned() }] {
        let world = World::new().await;
        let started = world.run("j", "retries_left 3").await;
        world.send(&["DEL rq:job:j"]).await;
        assert_eq!(world.finish(&ended(&started, ending)).await, Finished::Gone);
        let dump = world.dump().await.without("rq:worker:");
        assert_eq!(dump.keys(), ["rq:queues"], "{dump}");
        assert_eq!(world.worker_field("freshq_execution").await, None);
        assert_eq!(world.worker_field("current_job").await, None);
        assert_eq!(world.worker_field("state").await.as_deref(), Some("idle"));
    }
}

#[tokio::test]
async fn a_job_that_was_canceled_meanwhile_ends_and_frees_nobody() {
    for (ending, status, registry) in [
        (Ending::Finished { value: None }, "finished", "finished"),
        (Ending::Failed { exc_text: "no".to_owned() }, "failed", "failed"),
    ] {
        let world = World::new().await;
        let started = world.run("j", "").await;
        world.defer("child", &["j"], "allow_dependency_failures 1").await;
        // What `cancel()` does.
        let member = format!("ZREM rq:wip:q j:{}", started.execution);
        world.send(&["HSET rq:job:j status canceled", &member, "ZADD rq:canceled:q 1 j"]).await;
        world.finish(&ended(&started, ending)).await;
        assert_eq!(world.status("j").await.as_deref(), Some(status));
        assert!(world.is_in(registry, "j").await);
        assert_eq!(world.status("child").await.as_deref(), Some("deferred"));
        assert!(world.is_in("deferred", "child").await);
        assert!(world.queue("q").await.is_empty());
    }
}

#[tokio::test]
async fn the_same_end_twice_counts_once() {
    for finish in [success, failure] {
        let world = World::new().await;
        let started = world.run("j", "").await;
        let request = finish(&started);
        assert_ne!(world.finish(&request).await, Finished::Already);
        let once = world.dump().await;
        assert_eq!(world.finish(&request).await, Finished::Already);
        assert_eq!(world.dump().await, once);
        // The worker's record is gone: the result knows.
        world.send(&["DEL rq:worker:w1"]).await;
        assert_eq!(world.finish(&request).await, Finished::Already);
        assert_eq!(world.ask::<i64>("XLEN rq:results:j").await, 1);
        assert!(!world.dump().await.keys().contains(&"rq:worker:w1"));
    }
}

#[tokio::test]
async fn an_end_without_its_execution_record_counts_and_counts_once() {
    for finish in [success, failure] {
        let world = World::new().await;
        let started = world.run("j", "").await;
        world.send(&["DEL rq:execution:j:execution-of-j rq:executions:j"]).await;
        let request = finish(&started);
        assert_ne!(world.finish(&request).await, Finished::Already);
        let once = world.dump().await;
        assert_eq!(world.finish(&request).await, Finished::Already);
        assert_eq!(world.dump().await, once);
        assert_eq!(world.ask::<i64>("XLEN rq:results:j").await, 1);
    }
}

#[tokio::test]
async fn one_step_ends_a_job_and_starts_the_next() {
    let world = World::new().await;
    let first = world.run("first", "").await;
    world.enqueue("second", "q", "").await;
    world.enqueue("third", "q", "").await;
    let next = request("e2", &["other", "q"]);
    let reply = world.client.finish(&success(&first), Some(&next)).await.unwrap();
    assert_eq!(reply.how, Finished::Finished);
    let second = crate::common::taken(reply.next.unwrap());
    assert_eq!((&second.job, second.execution.as_str()), (&JobId::new("second"), "e2"));
    assert_eq!(world.worker_field("state").await.as_deref(), Some("busy"));
    assert_eq!(world.worker_field("current_job").await.as_deref(), Some("second"));
    assert_eq!(world.ask::<Vec<String>>("ZRANGE rq:wip:q 0 -1").await, ["second:e2"]);
    // The answer was lost: the same request again.
    let once = world.dump().await;
    let reply = world.client.finish(&success(&first), Some(&next)).await.unwrap();
    assert_eq!(reply.how, Finished::Already);
    assert_eq!(crate::common::taken(reply.next.unwrap()).job, JobId::new("second"));
    assert_eq!(world.dump().await, once);
    assert_eq!(world.queue("q").await, ["third"]);
}

#[tokio::test]
async fn one_step_can_find_nothing_next() {
    let world = World::new().await;
    let first = world.run("first", "").await;
    let next = request("e2", &["q"]);
    let reply = world.client.finish(&success(&first), Some(&next)).await.unwrap();
    assert!(matches!(reply.next, Some(StartReply::Empty)));
    let second = world.run("second", "").await;
    world.send(&["SET rq:suspended 1"]).await;
    let reply = world.client.finish(&success(&second), Some(&next)).await.unwrap();
    assert!(matches!(reply.next, Some(StartReply::Suspended)));
    assert_eq!(world.worker_field("state").await.as_deref(), Some("idle"));
    assert!(world.client.finish(&success(&second), None).await.unwrap().next.is_none());
}

#[tokio::test]
async fn the_next_start_sees_what_the_end_freed() {
    let world = World::new().await;
    let parent = world.run("parent", "").await;
    world.defer("child", &["parent"], "").await;
    let reply = world.client.finish(&success(&parent), Some(&request("e2", &["q"]))).await.unwrap();
    assert_eq!(crate::common::taken(reply.next.unwrap()).job, JobId::new("child"));
}

#[tokio::test]
async fn a_job_that_ends_after_it_was_given_up_is_in_one_registry() {
    let world = World::new().await;
    let started = world.run("j", "").await;
    // What RQ's maintenance does with a job whose worker seems to be dead.
    let abandon = [
        "HSET rq:job:j status failed",
        "ZREM rq:wip:q j:execution-of-j",
        "ZADD rq:failed:q 1 j",
        "XADD rq:results:j * type 2 worker_name \"\" exc_string eJw=",
    ];
    world.send(&abandon).await;
    assert_eq!(world.finish(&success(&started)).await, Finished::Finished);
    assert!(world.is_in("finished", "j").await);
    assert!(!world.is_in("failed", "j").await);
    assert_eq!(world.result("j").await["type"], "1");
    assert_eq!(world.status("j").await.as_deref(), Some("finished"));
}

#[tokio::test]
async fn a_job_that_runs_again_keeps_its_results() {
    let world = World::new().await;
    let first = world.run("j", "failure_ttl 100").await;
    world.finish(&failure(&first)).await;
    world.send(&["HSET rq:job:j status queued", "ZREM rq:failed:q j", "RPUSH rq:queue:q j"]).await;
    let second = world.take("again").await;
    assert_eq!(world.finish(&success(&second)).await, Finished::Finished);
    assert_eq!(world.ask::<i64>("XLEN rq:results:j").await, 2);
    assert_eq!(world.result("j").await["execution_id"], "again");
}

#[tokio::test]
async fn results_that_are_kept_for_ever_outlive_those_that_were_not() {
    let world = World::new().await;
    for (ttl, life) in [("60", "1 min"), ("-1", "for ever")] {
        world.enqueue("j", "q", &format!("result_ttl {ttl}")).await;
        let started = world.take(ttl).await;
        world.finish(&success(&started)).await;
        let dump = world.dump().await.to_string();
        assert!(dump.contains(&format!("rq:results:j stream, {life}\n")), "{dump}");
    }
    assert_eq!(world.ask::<i64>("XLEN rq:results:j").await, 2);
}

#[tokio::test]
async fn a_registry_of_another_type_refuses_and_nothing_is_written() {
    for (registry, succeeds, fields) in [
        ("finished", true, ""),
        ("failed", false, ""),
        ("scheduled", false, "retries_left 1 retry_intervals [60]"),
        ("scheduled", true, "repeats_left 1 repeat_intervals [60]"),
    ] {
        let finish = if succeeds { success } else { failure };
        let world = World::new().await;
        let started = world.run("j", fields).await;
        world.defer("child", &["j"], "").await;
        world.enqueue("next", "q", "").await;
        world.send(&[&format!("SET rq:{registry}:q mine")]).await;
        let before = world.dump().await;
        let next = request("e2", &["q"]);
        let error = world.client.finish(&finish(&started), Some(&next)).await.unwrap_err();
        assert!(!error.is_outage(), "{error}");
        assert!(error.to_string().contains(&format!("rq:{registry}:q")), "{error}");
        assert_eq!(world.dump().await, before, "{registry}");
        // Once it is mended the same end counts.
        world.send(&[&format!("DEL rq:{registry}:q")]).await;
        let reply = world.client.finish(&finish(&started), Some(&next)).await.unwrap();
        assert_ne!(reply.how, Finished::Already);
        assert!(matches!(reply.next, Some(StartReply::Job(_))));
    }
}

#[tokio::test]
async fn a_registry_of_another_type_is_no_obstacle_where_nothing_is_to_be_written() {
    for registry in ["finished", "failed", "scheduled", "wip"] {
        for own in ["finished", "failed"] {
            let finish = if own == "failed" { failure } else { success };
            if registry != own {
                let world = World::new().await;
                let started = world.run("j", "").await;
                let set = format!("SET rq:{registry}:q mine");
                world.send(&[&format!("DEL rq:{registry}:q"), &set]).await;
                world.finish(&finish(&started)).await;
                assert!(world.is_in(own, "j").await, "{registry}");
                assert_eq!(world.ask::<String>(&format!("GET rq:{registry}:q")).await, "mine");
            }
        }
    }
}

#[tokio::test]
async fn keys_of_a_job_that_have_another_type_cost_it_no_result() {
    for key in [
        "results:j",
        "executions:j",
        "job:j:dependents",
        "job::j:dependencies",
        "worker:w1",
        "worker:w1:executions",
        "group:g",
    ] {
        let world = World::new().await;
        let started = world.run("j", "group_id g").await;
        world.send(&[&format!("DEL rq:{key}"), &format!("SET rq:{key} mine")]).await;
        assert_eq!(world.finish(&success(&started)).await, Finished::Finished, "{key}");
        assert_eq!(world.status("j").await.as_deref(), Some("finished"), "{key}");
        assert_eq!(world.result("j").await["type"], "1", "{key}");
        assert!(world.ask::<Vec<Value>>("ZRANGE rq:wip:q 0 -1").await.is_empty(), "{key}");
    }
}

#[tokio::test]
async fn a_long_text_is_packed_as_rq_packs_it() {
    let world = World::new().await;
    let text = "line of a traceback\n".repeat(50_000);
    let started = world.run("j", "").await;
    world.finish(&ended(&started, Ending::Failed { exc_text: text.clone() })).await;
    let result = world.result("j").await;
    assert_eq!(inflated(&result["exc_string"]), text);
}

#[tokio::test]
async fn a_failure_can_leave_its_status_alone() {
    for (ending, status) in
        [(Ending::Failed { exc_text: "no".to_owned() }, "failed"), (Ending::Stopped, "stopped")]
    {
        let world = World::new().await;
        let started = world.run("j", "failure_ttl 0").await;
        world.defer("child", &["j"], "allow_dependency_failures 1").await;
        let failure_leaves = rq::FailureLeaves::Status;
        world.finish(&rq::Finish { failure_leaves, ..ended(&started, ending) }).await;
        assert_eq!(world.status("j").await.as_deref(), Some(status));
        assert_eq!(world.field("j", "ended_at").await.as_deref(), Some(""));
        assert_eq!(world.ask::<i64>("TTL rq:job:j").await, -1);
        let dump = world.dump().await;
        for key in ["rq:failed:q", "rq:results:j", "rq:wip:q", "rq:executions:j"] {
            assert!(!dump.keys().contains(&key), "{dump}");
        }
        assert_eq!(world.worker_field("failed_job_count").await.as_deref(), Some("1"));
        let freed = world.queue("q").await == ["child"];
        assert_eq!(freed, status == "failed");
    }
    // It changes nothing about retries.
    let world = World::new().await;
    let started = world.run("j", "retries_left 1").await;
    let failure_leaves = rq::FailureLeaves::Status;
    let how = world.finish(&rq::Finish { failure_leaves, ..failure(&started) }).await;
    assert_eq!(how, Finished::Retried { left: 0 });
}
