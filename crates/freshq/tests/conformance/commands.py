"""What a worker is told over its channel."""

import time

from rq import Retry
from rq.command import (
    send_command,
    send_kill_horse_command,
    send_shutdown_command,
    send_stop_job_command,
)
from rq.job import Dependency

from context import (
    A_YEAR,
    burst,
    check,
    enqueue,
    failed_with,
    job_hash,
    latest,
    let_go,
    near,
    newest_entry,
    pass_a_job_through,
    redis,
    result_types,
    status,
    stop_job,
    until,
    until_status,
    waiting,
    worker,
    worker_hash,
)

CHANNEL = "rq:pubsub:w1"
STOPPED = "Job stopped by user, work-horse terminated."


@check("C109")
def shutdown_lets_the_job_finish():
    """The shutdown command ends a busy worker after its job, with exit code 0."""
    job, other = enqueue("hold"), enqueue("add", 1)
    with worker() as process:
        until_status(job, "started")
        send_shutdown_command(redis, "w1")
        until(lambda: worker_hash().get("shutdown_requested_date"))
        let_go()
        process.end()
    assert status(job) == "finished" and waiting() == [other.id]


@check("C110")
def kill_horse_fails_the_job():
    """The running job fails as terminated; an idle worker ignores the command."""
    job = enqueue("hold", on_failure="tasks.on_failure")
    with worker() as process:
        until_status(job, "started")
        send_kill_horse_command(redis, "w1")
        until_status(job, "failed")
        failed_with(job, "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); ")
        until(lambda: worker_hash()["state"] == "idle")
        send_kill_horse_command(redis, "w1")
        # Commands are heard in their order, and this one is answered in the log.
        send_command(redis, "w1", "stop-job", job_id="other")
        until(lambda: "Not working on job other" in process.output())
        pass_a_job_through()
        assert not redis.exists("failure:" + job.id)


@check("C111")
def a_stopped_job_is_not_retried():
    """A stopped job ends stopped, however many retries it has left."""
    job = enqueue("hold", retry=Retry(max=3))
    with worker():
        stop_job(job)
        pass_a_job_through()
        assert status(job) == "stopped" and job_hash(job)["retries_left"] == b"3"


@check("C112")
def commands_that_are_not_meant_for_the_job_are_ignored():
    """Stopping another job, an id that is no text, and unknown commands change nothing."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        send_command(redis, "w1", "stop-job", job_id=1)
        send_command(redis, "w1", "stop-job", job_id="other")
        send_command(redis, "w1", "stop-job")
        send_command(redis, "w1", "no-such-command")
        let_go()
        until_status(job, "finished")
        pass_a_job_through()


@check("C113", needs=(3, 0))
def one_execution_can_be_stopped():
    """The stop-execution command stops exactly the execution that it names."""
    from rq.command import send_stop_execution_command

    job = enqueue("hold", on_stopped="tasks.on_stopped")
    with worker():
        until_status(job, "started")
        (execution,) = job.get_executions()
        send_command(redis, "w1", "stop-execution", job_id=job.id, execution_id="other")
        send_command(redis, "w1", "stop-job", job_id="other")
        assert status(job) == "started"
        send_stop_execution_command(redis, job.id, execution.id)
        until(lambda: redis.zscore("rq:failed:default", job.id))
        assert status(job) == "stopped" and redis.exists("stopped:" + job.id)
        assert latest(job).exc_string == STOPPED


@check("C114")
def commands_arrive_after_a_lost_connection():
    """When Redis drops the subscription, it comes back, and commands work again."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        subscribed = [one["id"] for one in redis.client_list(_type="pubsub")]
        assert len(subscribed) == 1
        redis.client_kill_filter(_id=subscribed[0])
        until(lambda: new_subscription(subscribed[0]))
        stop_job(job)


def new_subscription(old):
    found = [one["id"] for one in redis.client_list(_type="pubsub") if one["sub"] != "0"]
    return found and found != [old]


@check("C234")
def a_stopped_job_leaves_a_full_record():
    """It is in the failed registry with a result of type 2 that says so, and is counted."""
    job = enqueue("hold", meta={"a": 1})
    with worker():
        stop_job(job)
        assert result_types(job) == [2] and latest(job).exc_string == STOPPED
        assert newest_entry(job)["worker_name"] == "w1"
        near(redis.ttl(job.key), A_YEAR)
        near(redis.zscore("rq:failed:default", job.id) - time.time(), A_YEAR)
        assert redis.keys("rq:wip:*") + redis.keys("rq:execution*") == []
        until(lambda: worker_hash()["state"] == "idle")
        found = worker_hash()
        assert found["failed_job_count"] == "1" and "successful_job_count" not in found
        assert job_hash(job)["ended_at"] == b"" and job.get_meta(refresh=True) == {"a": 1}


@check("C235")
def a_stopped_job_calls_no_exception_handler():
    """Exception handlers and dependents hear nothing of a stopped job."""
    job = enqueue("hold")
    child = enqueue("add", 1, depends_on=Dependency(job, allow_failure=True))
    with worker("--exception-handler", "tasks.handle"):
        stop_job(job)
        pass_a_job_through()
        assert not redis.exists("handled") and status(child) == "deferred"


@check("C236")
def a_stopped_job_can_be_requeued():
    """A stopped job that is requeued runs again like any other."""
    job = enqueue("hold")
    with worker():
        stop_job(job)
    job.refresh()
    job.requeue()
    let_go()
    burst()
    assert status(job) == "finished" and result_types(job) == [2, 1]


@check("C237")
def shutdown_ends_an_idle_worker():
    """The shutdown command ends an idle worker at once, with exit code 0."""
    with worker() as process:
        send_shutdown_command(redis, "w1")
        process.end()


@check("C238")
def a_worker_listens_on_its_channel():
    """There is exactly one subscription to the worker's channel while it lives, and none after."""
    with worker() as process:
        assert dict(redis.pubsub_numsub(CHANNEL))[CHANNEL.encode()] == 1
        process.terminate_and_end()
        assert dict(redis.pubsub_numsub(CHANNEL))[CHANNEL.encode()] == 0


@check("C239")
def a_killed_job_is_retried_at_once():
    """A job killed by command is put back on its queue if it has retries left."""
    job = enqueue("hold", retry=Retry(max=1))
    with worker():
        until_status(job, "started")
        send_kill_horse_command(redis, "w1")
        until(lambda: job_hash(job)["retries_left"] == b"0" and status(job) == "started")
        let_go()
        until_status(job, "finished")


@check("C240")
def a_job_of_a_second_queue_can_be_stopped():
    """Stopping works for jobs of all queues of a worker, and each is in its own registry."""
    job = enqueue("hold", queue_name="lo")
    with worker(queues=("hi", "lo")):
        stop_job(job)
        assert redis.zscore("rq:failed:lo", job.id) and not redis.exists("rq:failed:hi")


@check("C241", only_freshq=True)
def nonsense_on_the_channel_is_ignored():
    """Messages that are no commands do not end the listening."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        for nonsense in ("nonsense", "[]", '"text"', "{}", '{"command": 1}', b"\xff\xfe", ""):
            redis.publish(CHANNEL, nonsense)
        send_stop_job_command(redis, job.id)
        until_status(job, "stopped")


@check("C242")
def a_timeout_still_counts_after_commands():
    """A job that was not meant keeps its own timeout."""
    job = enqueue("hold", job_timeout=2)
    with worker():
        until_status(job, "started")
        send_command(redis, "w1", "stop-job", job_id="other")
        until_status(job, "failed")
        failed_with(job, "JobTimeoutException")
