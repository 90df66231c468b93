"""Functions that are called when a job succeeds, fails or is stopped."""

import json

from rq import Retry
from rq.job import Callback

from context import (
    abandon,
    burst,
    check,
    enqueue,
    failed_with,
    latest,
    let_go,
    pass_a_job_through,
    redis,
    result_types,
    status,
    stop_job,
    until_status,
    worker,
)


def seen(kind, job):
    """What a callback has written, oldest first."""
    return [json.loads(line) for line in redis.lrange(f"{kind}:{job.id}", 0, -1)]


@check("C049")
def on_success_is_called_on_success_only():
    """It gets job, connection and result, once; the job's cached status is finished."""
    good = enqueue("add", 4, on_success="tasks.on_success")
    bad = enqueue("fail", on_success="tasks.on_success")
    burst()
    assert seen("success", good) == [[4, "finished"]] and seen("success", bad) == []


@check("C050")
def a_raising_on_success_makes_a_failure():
    """If `on_success` raises, the job fails with that traceback, and `on_failure` is called."""
    callbacks = {"on_success": "tasks.raise_in_callback", "on_failure": "tasks.on_failure"}
    job = enqueue("add", 4, **callbacks)
    burst()
    failed_with(job, "RuntimeError: raised in a callback")
    assert result_types(job) == [2] and redis.zcard("rq:finished:default") == 0
    assert seen("failure", job) == [["RuntimeError", "raised in a callback", True, "failed"]]


@check("C051")
def on_failure_is_called_on_failure_only():
    """It gets job, connection, type, value and traceback; the job's cached status is failed."""
    good = enqueue("add", 4, on_failure="tasks.on_failure")
    bad = enqueue("fail", "seen", on_failure="tasks.on_failure")
    late = enqueue("sleep", 600, job_timeout=1, on_failure="tasks.on_failure")
    burst()
    assert seen("failure", good) == []
    assert seen("failure", bad) == [["ValueError", "seen", True, "failed"]]
    assert seen("failure", late)[0][0] == "JobTimeoutException"


@check("C052")
def a_raising_on_failure_replaces_the_traceback():
    """If `on_failure` raises, its traceback is the result; the job fails all the same."""
    job = enqueue("fail", "m", on_failure="tasks.raise_in_callback")
    burst()
    failed_with(job, "RuntimeError: raised in a callback")


@check("C053")
def on_failure_is_called_on_every_attempt():
    """`on_failure` runs on every failing attempt, also when the job is going to be retried."""
    job = enqueue("fail", on_failure="tasks.on_failure", retry=Retry(max=2))
    burst()
    assert len(seen("failure", job)) == 3


@check("C054")
def callbacks_have_a_timeout_of_their_own():
    """A callback that takes longer than its timeout is interrupted, as if it raised."""
    slow = Callback("tasks.sleep_in_callback", timeout=1)
    succeeding, failing = enqueue("add", 1, on_success=slow), enqueue("fail", on_failure=slow)
    burst()
    for job in (succeeding, failing):
        failed_with(job, "JobTimeoutException")
        assert "(1 seconds)" in latest(job).exc_string


@check("C055")
def on_stopped_is_called_for_stopped_jobs():
    """`on_stopped` gets job and connection when the job is stopped; `on_failure` is not called."""
    callbacks = {"on_stopped": "tasks.on_stopped", "on_failure": "tasks.on_failure"}
    job = enqueue("hold", **callbacks)
    with worker():
        stop_job(job)
        assert redis.llen("stopped:" + job.id) == 1 and seen("failure", job) == []


@check("C056")
def a_raising_on_stopped_changes_nothing():
    """The job still ends stopped and in the failed registry, and the worker lives on."""
    job = enqueue("hold", on_stopped="tasks.raise_in_callback")
    with worker():
        stop_job(job)
        pass_a_job_through()


@check("C184")
def callbacks_see_a_job_that_has_ended():
    """In callbacks the job has worker and times, and Redis still says that it is started."""
    look = "tasks.look_at_job"
    good, bad = enqueue("add", 1, on_success=look), enqueue("fail", on_failure=look)
    burst("--name", "w2")
    for job in (good, bad):
        (found,) = seen("looked", job)
        assert found["worker_name"] == "w2" and found["started_at"] and found["ended_at"], found
        assert found["stored"] == "started"


@check("C185")
def callbacks_may_save_meta():
    """Meta that a callback saves is kept."""
    save = "tasks.save_meta_in_callback"
    jobs = [enqueue("add", 1, on_success=save), enqueue("fail", on_failure=save)]
    burst()
    assert [job.get_meta(refresh=True) for job in jobs] == [{"by": "callback"}] * 2


@check("C186")
def on_success_waits_for_the_last_attempt():
    """A job that succeeds at its second attempt has one call of each callback."""
    callbacks = {"on_success": "tasks.on_success", "on_failure": "tasks.on_failure"}
    job = enqueue("fail_once", retry=Retry(max=1), **callbacks)
    burst()
    assert seen("success", job) == [["at last", "finished"]] and len(seen("failure", job)) == 1


@check("C187", needs=(2, 1))
def returned_retries_call_nobody():
    """A returned `Retry` calls no callback, neither before nor after the last attempt."""
    callbacks = {"on_success": "tasks.on_success", "on_failure": "tasks.on_failure"}
    job = enqueue("return_retry", **callbacks)
    burst()
    assert status(job) == "failed" and seen("success", job) + seen("failure", job) == []


@check("C188")
def a_callback_that_is_not_there_fails_the_job():
    """An `on_success` that cannot be imported fails the job, and says what is missing."""
    job, good = enqueue("add", 1, on_success="tasks.no_such_callback"), enqueue("add", 1)
    burst()
    failed_with(job, "no_such_callback")
    assert status(good) == "finished"


@check("C189")
def a_missing_on_failure_fails_the_job_all_the_same():
    """An `on_failure` that cannot be imported takes the place of the failure."""
    job = enqueue("fail", on_failure="tasks.no_such_callback")
    burst()
    failed_with(job, "no_such_callback")


@check("C190")
def on_failure_is_called_for_abandoned_jobs():
    """`on_failure` of a job whose worker died gets AbandonedJobError and no traceback."""
    job = enqueue("add", 1, on_failure="tasks.on_failure")
    abandon(job)
    burst()
    assert seen("failure", job) == [["AbandonedJobError", "", False, "started"]], seen("failure", job)


@check("C191")
def on_success_comes_before_the_result_is_stored():
    """While `on_success` runs, no result is stored and the job is not in the finished registry."""
    job = enqueue("add", 1, on_success="tasks.hold_in_callback")
    with worker():
        until_status(job, "started")
        assert redis.brpoplpush("in-callback", "was-in-callback", timeout=40)
        assert not redis.exists("rq:results:" + job.id, "rq:finished:default")
        let_go()
        until_status(job, "finished")


@check("C192")
def callbacks_may_enqueue():
    """A job enqueued by a callback runs in the same burst."""
    job = enqueue("add", 1, on_success="tasks.enqueue_in_callback")
    burst()
    assert redis.zcard("rq:finished:default") == 2 and status(job) == "finished"
