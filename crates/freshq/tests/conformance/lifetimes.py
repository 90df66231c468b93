"""How long what a job leaves is kept, and what its results contain."""

import base64
import pickle
import time
import zlib

from rq.registry import FinishedJobRegistry
from rq.results import Result

from context import (
    A_YEAR,
    burst,
    check,
    enqueue,
    fetch,
    is_ahead,
    job_hash,
    latest,
    let_go,
    near,
    newest_entry,
    queue,
    redis,
    result_types,
    status,
    until_status,
    value_of,
    worker,
)


def results_key(job):
    return "rq:results:" + job.id


@check("C022")
def a_finished_job_is_kept_for_500_seconds():
    """By default hash and results expire in 500 s, and the finished registry scores the job so."""
    job = enqueue("add", 1)
    burst()
    near(redis.ttl(job.key), 500)
    near(redis.ttl(results_key(job)), 500)
    is_ahead("rq:finished:default", job.id, 500)


@check("C023")
def result_ttl_is_how_long_it_is_kept():
    """`result_ttl=1000` is the time to live of hash and results, and the score."""
    job = enqueue("add", 1, result_ttl=1000)
    burst()
    near(redis.ttl(job.key), 1000)
    near(redis.ttl(results_key(job)), 1000)
    is_ahead("rq:finished:default", job.id, 1000)


@check("C024")
def a_result_ttl_of_minus_one_is_for_ever():
    """`result_ttl=-1`: nothing expires, and the job has the score +inf."""
    job = enqueue("add", 1, result_ttl=-1, ttl=500)
    output = burst()
    assert redis.ttl(job.key) == -1 and redis.ttl(results_key(job)) == -1
    assert redis.zscore("rq:finished:default", job.id) == float("inf")
    assert "result will never expire" in output


@check("C025")
def a_result_ttl_of_zero_leaves_nothing():
    """`result_ttl=0`: after success nothing at all is left of the job."""
    job = enqueue("add", 1, result_ttl=0)
    failing = enqueue("fail", result_ttl=0)
    output = burst()
    left = [key for key in redis.keys("*") if job.id.encode() in key]
    assert left == [] and redis.zcard("rq:finished:default") == 0, left
    assert "result discarded immediately" in output
    # It says nothing about failures.
    assert status(failing) == "failed" and redis.ttl(failing.key) > 500


@check("C026")
def the_worker_has_a_default_result_ttl():
    """`--results-ttl` is for jobs that give none themselves."""
    job, own = enqueue("add", 1), enqueue("add", 1, result_ttl=2000)
    burst("--results-ttl", "1000")
    near(redis.ttl(job.key), 1000)
    near(redis.ttl(own.key), 2000)
    unkept = enqueue("add", 1)
    burst("--results-ttl", "0")
    assert not redis.exists(unkept.key)


@check("C027", needs=(2, 8))
def a_result_has_the_data_of_its_execution():
    """A result has `execution_id` and when the execution started and ended."""
    good, bad = enqueue("add", 1), enqueue("fail")
    burst()
    for job in (good, bad):
        result = latest(job)
        assert len(result.execution_id) == 32
        assert result.execution_started_at <= result.execution_ended_at


@check("C028")
def the_hash_holds_no_result():
    """Neither `result` nor `exc_info` is in the hash after a plain success or failure."""
    good, bad = enqueue("add", 1), enqueue("fail")
    burst()
    for job in (good, bad):
        assert not {"result", "exc_info"} & set(job_hash(job))
    assert fetch(good).result == 1


@check("C029")
def a_client_waits_for_a_result():
    """A client blocked in `job.latest_result(timeout=...)` wakes up when the result is stored."""
    job = enqueue("sleep", 1)
    with worker():
        assert job.latest_result(timeout=40).return_value == 1


@check("C030")
def a_failed_job_is_kept_for_a_year():
    """A failed job is kept for its `failure_ttl`, by default a year; so is its place."""
    job, own = enqueue("fail"), enqueue("fail", failure_ttl=1000)
    burst()
    near(redis.ttl(job.key), A_YEAR)
    is_ahead("rq:failed:default", job.id, A_YEAR)
    near(redis.ttl(own.key), 1000)
    near(redis.ttl(results_key(own)), 1000)
    is_ahead("rq:failed:default", own.id, 1000)


@check("C031")
def a_failure_ttl_of_minus_one_is_for_ever():
    """`failure_ttl=-1`: the hash does not expire, and the registry has the score -1."""
    job = enqueue("fail", failure_ttl=-1)
    burst()
    burst()
    assert redis.ttl(job.key) == -1
    assert redis.zscore("rq:failed:default", job.id) == -1


@check("C032")
def a_running_job_cannot_expire():
    """The `ttl` of a queued job is taken off its hash when it starts."""
    job = enqueue("hold", ttl=500)
    assert redis.ttl(job.key) > 0
    with worker():
        until_status(job, "started")
        assert redis.ttl(job.key) == -1
        let_go()
        until_status(job, "finished")
        near(redis.ttl(job.key), 500)


@check("C033")
def dependencies_expire_with_their_job():
    """The set of what a finished job waited for gets the time to live of the job."""
    parent = enqueue("add", 1)
    child = enqueue("add", 1, depends_on=parent, result_ttl=1000)
    failing = enqueue("fail", depends_on=parent, failure_ttl=2000)
    burst()
    near(redis.ttl(child.dependencies_key), 1000)
    near(redis.ttl(failing.dependencies_key), 2000)


@check("C168")
def a_failure_ttl_of_zero_keeps_no_job():
    """`failure_ttl=0`: the hash is gone after the failure."""
    job = enqueue("fail", failure_ttl=0)
    burst()
    assert not redis.exists(job.key)


@check("C169")
def the_entry_of_a_success_is_complete():
    """An entry of the stream has type, worker, value and execution, in the forms that readers know."""
    job = enqueue("add", 1)
    burst("--name", "w2")
    entry = newest_entry(job)
    assert entry["type"] == "1" and entry["worker_name"] == "w2"
    assert pickle.loads(base64.b64decode(entry["return_value"])) == 1
    assert float(entry["execution_started_at"]) <= float(entry["execution_ended_at"])
    near(float(entry["execution_ended_at"]), time.time())
    assert len(entry["execution_id"]) == 32 and "exc_string" not in entry


@check("C170")
def the_entry_of_a_failure_is_complete():
    """A failure has type 2 and its compressed traceback, and no value; without ttl it stays."""
    job = enqueue("fail", "a message")
    burst("--name", "w2")
    entry = newest_entry(job)
    assert entry["type"] == "2" and entry["worker_name"] == "w2" and "return_value" not in entry
    text = zlib.decompress(base64.b64decode(entry["exc_string"])).decode()
    assert text.startswith("Traceback (most recent call last)") and "a message" in text
    assert len(entry["execution_id"]) == 32
    assert redis.ttl(results_key(job)) == -1


@check("C171")
def none_is_stored_as_no_value():
    """A job that returns None has a successful result without a value."""
    job = enqueue("nothing")
    burst()
    assert "return_value" not in newest_entry(job) and newest_entry(job)["type"] == "1"
    assert value_of(job) is None and fetch(job).return_value() is None


@check("C172")
def a_job_that_runs_again_has_a_result_for_each_run():
    """Each run adds a result, newest last; `return_value()` is that of the newest, if it succeeded."""
    job = enqueue("fail_once")
    burst()
    assert fetch(job).return_value() is None
    fetch(job).requeue()
    burst()
    assert result_types(job) == [2, 1] and Result.count(job) == 2
    assert fetch(job).return_value() == "at last"
    # What succeeded is kept for as long as successes are.
    near(redis.ttl(results_key(job)), 500)
    assert redis.zscore("rq:failed:default", job.id) is None


@check("C173")
def not_too_many_results_are_kept():
    """The stream of results is cut to about ten."""
    job = enqueue("add", 1)
    for _ in range(150):
        redis.xadd(results_key(job), {"type": "1"})
    burst()
    assert redis.xlen(results_key(job)) < 150 and newest_entry(job)["return_value"]


@check("C174")
def jobs_are_in_the_registry_of_their_own_queue():
    """A finished job is in the registry of its origin, a failed one likewise."""
    good, bad = enqueue("add", 1, queue_name="a"), enqueue("fail", queue_name="b")
    burst(queues=("a", "b"))
    assert FinishedJobRegistry(queue=queue("a")).get_job_ids() == [good.id]
    assert redis.zscore("rq:failed:b", bad.id)
    assert not redis.exists("rq:finished:b", "rq:failed:a")
