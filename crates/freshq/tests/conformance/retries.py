"""Jobs that run again: after a failure, because they say so, or because they are repeated."""

from rq import Retry

from context import (
    burst,
    check,
    enqueue,
    fetch,
    is_ahead,
    job_hash,
    latest,
    near,
    newest_entry,
    queue,
    redis,
    result_types,
    status,
    until_status,
    waiting,
    worker,
    worker_hash,
    written,
)

SCHEDULED = "rq:scheduled:default"


def repeat(times, interval=0):
    from rq import Repeat

    return Repeat(times=times, interval=interval)


def make_due(job):
    redis.zadd(SCHEDULED, {job.id: 1})


@check("C057")
def a_failing_job_is_retried():
    """`Retry(max=2)`: three attempts in one burst; only the last one leaves a result."""
    job = enqueue("fail", retry=Retry(max=2))
    burst("--name", "w2")
    job.refresh()
    assert status(job) == "failed" and job.retries_left == 0 and result_types(job) == [2]
    assert worker_hash("w2")["failed_job_count"] == "3"


@check("C058")
def a_retry_with_an_interval_is_scheduled():
    """`Retry(interval=n)`: the job is scheduled n seconds ahead, and its queue is known."""
    job = enqueue("fail", retry=Retry(max=2, interval=100))
    redis.delete("rq:queues")
    burst("--name", "w2")
    assert status(job) == "scheduled" and waiting() == [] and result_types(job) == []
    is_ahead(SCHEDULED, job.id, 100)
    assert redis.smembers("rq:queues") == {b"rq:queue:default"}
    assert job_hash(job)["retries_left"] == b"1"
    assert worker_hash("w2")["failed_job_count"] == "1" and not redis.exists("rq:failed:default")


@check("C059")
def without_a_scheduler_a_retry_waits():
    """A scheduled retry that is due runs only if some worker has a scheduler."""
    job = enqueue("fail_once", retry=Retry(max=1, interval=100))
    burst()
    make_due(job)
    burst()
    assert status(job) == "scheduled"
    burst("--with-scheduler")
    assert status(job) == "finished" and redis.zcard(SCHEDULED) == 0


@check("C060")
def each_retry_has_its_interval():
    """The n-th retry uses the n-th interval; a short list is filled up with its first one."""
    job = enqueue("fail", retry=Retry(max=3, interval=[50, 1000]))
    for interval in (50, 50, 1000):
        burst("--with-scheduler")
        is_ahead(SCHEDULED, job.id, interval)
        make_due(job)
    burst("--with-scheduler")
    assert status(job) == "failed"


@check("C061", needs=(2, 8))
def a_retry_can_go_to_the_front():
    """`Retry(enqueue_at_front=True)` puts the failed job back at the head of its queue."""
    failing = enqueue("fail", retry=Retry(max=1, enqueue_at_front=True))
    other = enqueue("add", 1)
    burst("--max-jobs", "1")
    assert waiting() == [failing.id, other.id]


@check("C062", needs=(2, 1))
def a_returned_retry_queues_the_job_again():
    """The job is queued with a result of type 4 that holds the Retry, and is counted."""
    job = enqueue("return_retry")
    burst("--max-jobs", "1", "--name", "w2")
    job.refresh()
    assert status(job) == "queued" and result_types(job) == [4] and job.number_of_retries == 1
    assert isinstance(latest(job).return_value, Retry)
    entry = newest_entry(job)
    assert len(entry["execution_id"]) == 32 and entry["worker_name"] == "w2"
    assert worker_hash("w2")["failed_job_count"] == "1"


@check("C063", needs=(2, 8))
def a_returned_retry_is_used_up():
    """After the last one the job is failed, with a result of type 5 that has no traceback."""
    job = enqueue("return_retry", max=2)
    burst()
    assert status(job) == "failed" and result_types(job) == [4, 4, 5]
    assert latest(job).exc_string is None and redis.zscore("rq:failed:default", job.id)
    assert isinstance(latest(job).return_value, Retry)


@check("C064", needs=(2, 1))
def a_returned_retry_can_wait():
    """A returned `Retry(interval=n)` schedules the job n seconds ahead."""
    job = enqueue("return_retry", max=1, interval=100)
    burst()
    assert status(job) == "scheduled" and result_types(job) == [4]
    is_ahead(SCHEDULED, job.id, 100)


@check("C065", needs=(2, 8))
def a_returned_retry_can_go_to_the_front():
    """A returned `Retry(enqueue_at_front=True)` goes to the head of the queue."""
    retrying, other = enqueue("return_retry", front=True), enqueue("add", 1)
    burst("--max-jobs", "1")
    assert waiting() == [retrying.id, other.id]


@check("C066")
def unreadable_meta_survives_a_retry():
    """Meta that cannot be deserialized is written back as it is when the job is put back."""
    job = enqueue("fail", retry=Retry(max=1))
    redis.hset(job.key, "meta", b"\x80garbage")
    burst("--max-jobs", "1")
    assert status(job) == "queued" and redis.hget(job.key, "meta") == b"\x80garbage"
    burst()
    assert status(job) == "failed" and redis.hget(job.key, "meta") == b"\x80garbage"


@check("C067", needs=(2, 3))
def a_job_is_repeated():
    """`Repeat(times=2)`: it succeeds three times in one burst, with a result for each."""
    job = enqueue("add", 1, repeat=repeat(2))
    burst("--name", "w2")
    job.refresh()
    assert status(job) == "finished" and job.repeats_left == 0
    assert result_types(job) == [1, 1, 1] and worker_hash("w2")["successful_job_count"] == "3"


@check("C068", needs=(2, 3))
def a_repeat_can_wait():
    """`Repeat(interval=n)`: the job is scheduled; the used interval is taken off the list."""
    job = enqueue("add", 1, repeat=repeat(2, [100, 1000]))
    for interval in (100, 1000):
        burst("--with-scheduler")
        assert status(job) == "scheduled" and redis.zscore("rq:finished:default", job.id)
        is_ahead(SCHEDULED, job.id, interval)
        make_due(job)
    burst("--with-scheduler")
    assert status(job) == "finished" and result_types(job) == [1, 1, 1]


@check("C069", needs=(2, 3))
def a_failing_job_is_not_repeated():
    """A failure ends the repetition."""
    job = enqueue("fail", repeat=repeat(1))
    burst()
    job.refresh()
    assert status(job) == "failed" and job.repeats_left == 1 and waiting() == []


@check("C193")
def changed_meta_survives_a_retry():
    """Meta that the job changed without saving is stored when it is retried."""
    job = enqueue("change_meta", {"k": 2}, True, meta={"k": 1, "z": 1}, retry=Retry(max=1))
    burst("--max-jobs", "1")
    assert status(job) == "queued" and job.get_meta(refresh=True) == {"k": 2, "z": 1}


@check("C194", needs=(2, 3))
def changed_meta_survives_a_repeat():
    """Meta that the job changed without saving is stored when it is repeated."""
    job = enqueue("change_meta", {"k": 2}, meta={"k": 1}, repeat=repeat(1))
    burst("--max-jobs", "1")
    assert status(job) == "queued" and job.get_meta(refresh=True) == {"k": 2}


@check("C195")
def a_retried_job_was_enqueued_anew():
    """A retry renews `enqueued_at`, keeps `created_at`, and leaves nothing of the execution."""
    job = enqueue("fail", retry=Retry(max=1))
    before = job_hash(job)
    burst("--max-jobs", "1")
    after = job_hash(job)
    assert after["created_at"] == before["created_at"]
    assert after["enqueued_at"] > before["enqueued_at"] and after["retries_left"] == b"0"
    assert redis.keys("rq:wip:*") + redis.keys("rq:execution*") + redis.keys("rq:failed:*") == []
    assert redis.ttl(job.key) == -1


@check("C196")
def a_retried_job_that_expires_expires_again():
    """A job with a `ttl` has it again once it is back on its queue."""
    job = enqueue("fail", ttl=1000, retry=Retry(max=1))
    burst("--max-jobs", "1")
    near(redis.ttl(job.key), 1000)


@check("C197")
def a_retry_that_succeeds_finishes_the_job():
    """A job that fails once and then succeeds is finished, with one result of type 1."""
    job = enqueue("fail_once", retry=Retry(max=3))
    burst("--name", "w2")
    assert status(job) == "finished" and result_types(job) == [1]
    assert job_hash(job)["retries_left"] == b"2"
    counts = worker_hash("w2")
    assert (counts["successful_job_count"], counts["failed_job_count"]) == ("1", "1")
    near(redis.ttl(job.key), 500)


@check("C198", needs=(2, 8))
def a_scheduled_retry_can_go_to_the_front():
    """A retry with interval and `enqueue_at_front` goes to the head when it is due."""
    failing = enqueue("fail", retry=Retry(max=1, interval=100, enqueue_at_front=True))
    burst()
    other = enqueue("push", "order", "b")
    redis.hset(failing.key, "description", "unchanged")
    make_due(failing)
    burst("--with-scheduler", "--max-jobs", "1")
    assert status(failing) == "failed" and waiting() == [other.id]


@check("C199")
def jobs_wait_behind_others_for_their_retry():
    """A retry without `enqueue_at_front` goes to the end of the queue."""
    failing = enqueue("fail", retry=Retry(max=1))
    other = enqueue("add", 1)
    burst("--max-jobs", "1")
    assert waiting() == [other.id, failing.id]


@check("C200", needs=(2, 3))
def a_repeated_job_does_not_expire():
    """A job that waits for its repetition does not expire, and keeps its value in the hash."""
    job = enqueue("add", 1, repeat=repeat(1, 100))
    burst()
    assert redis.ttl(job.key) == -1 and "result" in job_hash(job)
    assert fetch(job).return_value() == 1
    near(redis.ttl("rq:results:" + job.id), 500)


@check("C201", needs=(2, 3))
def a_repeated_job_without_results_is_repeated():
    """With `result_ttl=0` the job is repeated, and is gone only after the last time."""
    job = enqueue("push", "order", "x", result_ttl=0, repeat=repeat(2))
    burst()
    assert written("order") == "xxx" and not redis.exists(job.key, "rq:results:" + job.id)


@check("C202", needs=(2, 1))
def a_returned_retry_leaves_the_job_clean():
    """Between two attempts nothing of the execution is left, and the hash holds the Retry."""
    job = enqueue("return_retry", max=1, interval=100)
    burst()
    assert redis.keys("rq:wip:*") + redis.keys("rq:execution*") + redis.keys("rq:f*") == []
    found = job_hash(job)
    assert found["number_of_retries"] == b"1" and found["result"] and found["ended_at"]


@check("C203", needs=(2, 1))
def returned_retries_have_intervals():
    """The n-th returned Retry waits for the n-th interval, the later ones for the last."""
    job = enqueue("return_retry", max=3, interval=[50, 1000])
    for interval in (50, 1000, 1000):
        burst("--with-scheduler")
        is_ahead(SCHEDULED, job.id, interval)
        make_due(job)
    burst("--with-scheduler")
    assert status(job) == "failed" and result_types(job)[-1] == 5


@check("C204")
def a_retry_that_is_due_runs_by_itself():
    """A worker with a scheduler runs a retry when its interval is over."""
    job = enqueue("fail_while_retries_are_left", retry=Retry(max=1, interval=1))
    with worker("--with-scheduler"):
        until_status(job, "finished")


@check("C205")
def a_retry_keeps_its_queue():
    """A job is retried on its own queue, not on the worker's first."""
    job = enqueue("fail", queue_name="b", retry=Retry(max=1))
    burst("--max-jobs", "1", queues=("a", "b"))
    assert waiting("b") == [job.id] and waiting("a") == []
    assert queue("b").count == 1 and status(job) == "queued"
