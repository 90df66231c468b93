"""Jobs that are to run later, and the locks of schedulers."""

import time
from datetime import datetime, timedelta, timezone

from context import (
    burst,
    check,
    fetch,
    job_hash,
    near,
    queue,
    redis,
    status,
    until,
    until_status,
    waiting,
    worker,
)

LOCK = "rq:scheduler-lock:default"
SCHEDULED = "rq:scheduled:default"
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)


def enqueue_due(function="add", *args, name="default", **options):
    """A job whose time has come long ago."""
    return queue(name).enqueue_at(LONG_AGO, f"tasks.{function}", *(args or (1,)), **options)


def scheduler():
    """The name of the scheduler of the default queue, once it is there."""
    return until(lambda: redis.get(LOCK)).decode()


@check("C128")
def a_burst_with_a_scheduler_runs_what_is_due():
    """Only with `--with-scheduler` a due job runs; no lock and no record is left."""
    job = enqueue_due()
    burst()
    assert status(job) == "scheduled"
    burst("--with-scheduler")
    assert status(job) == "finished"
    assert not redis.exists(LOCK) and redis.keys("rq:scheduler:*") == []


@check("C129")
def a_job_runs_when_its_time_comes():
    """A job of `enqueue_in` is queued and run when it is due, and not before."""
    with worker("--with-scheduler"):
        job = queue().enqueue_in(timedelta(seconds=2), "tasks.add", 1)
        due = redis.zscore(SCHEDULED, job.id)
        until_status(job, "finished")
        assert fetch(job).started_at.timestamp() >= due and redis.zcard(SCHEDULED) == 0


@check("C130", needs=(2, 10))
def a_scheduler_holds_its_lock():
    """Lock and record live for a minute, the client finds the scheduler, and both go at the end."""
    with worker("--with-scheduler") as process:
        name = scheduler()
        found = until(lambda: redis.hgetall("rq:scheduler:" + name))
        expected = {b"name", b"hostname", b"pid", b"queues", b"created_at", b"last_heartbeat"}
        assert expected <= set(found) and found[b"queues"] == b"default"
        assert found[b"name"].decode() == name
        assert 0 < redis.ttl(LOCK) <= 61 and 0 < redis.ttl("rq:scheduler:" + name) <= 61
        assert queue().scheduler_pid == int(found[b"pid"])
        process.terminate_and_end()
        assert not redis.exists(LOCK, "rq:scheduler:" + name)


@check("C131")
def a_lock_of_another_is_respected():
    """A queue whose lock another scheduler holds is not scheduled, and the lock is left alone."""
    redis.set(LOCK, "someone-else", ex=60)
    job = enqueue_due()
    other = enqueue_due(name="other")
    burst("--with-scheduler", queues=("default", "other"))
    assert status(job) == "scheduled" and redis.get(LOCK) == b"someone-else"
    assert status(other) == "finished"


@check("C132")
def a_scheduler_says_that_it_lives():
    """Lock and record of a running scheduler are renewed."""
    with worker("--with-scheduler"):
        key = "rq:scheduler:" + scheduler()
        before = until(lambda: redis.hget(key, "last_heartbeat"))
        redis.expire(LOCK, 30)
        redis.expire(key, 30)
        until(lambda: redis.hget(key, "last_heartbeat") > before)
        until(lambda: redis.ttl(LOCK) > 50 and redis.ttl(key) > 50)


@check("C133")
def an_entry_without_a_job_is_dropped():
    """An entry of the scheduled registry whose job is gone is dropped."""
    redis.zadd(SCHEDULED, {"gone": 1})
    redis.sadd("rq:queues", "rq:queue:default")
    job = enqueue_due()
    burst("--with-scheduler")
    assert redis.zcard(SCHEDULED) == 0 and status(job) == "finished" and waiting() == []


@check("C135")
def a_scheduled_job_can_go_to_the_front():
    """A job that was scheduled with `at_front` goes to the head of its queue when due."""
    first = enqueue_due("push", "order", "first")
    front = enqueue_due("push", "order", "front", at_front=True)
    waiting_job = queue().enqueue("tasks.push", "order", "waiting")
    burst("--with-scheduler")
    order = [value.decode() for value in redis.lrange("order", 0, -1)]
    assert order == ["front", "waiting", "first"], order
    assert {status(job) for job in (first, front, waiting_job)} == {"finished"}


@check("C269")
def a_job_that_becomes_due_is_enqueued_now():
    """It gets status queued, `enqueued_at` and the default timeout, and keeps its meta."""
    job = enqueue_due(meta={"a": 1}, name="other")
    before = job_hash(job)
    # One worker schedules for both queues but stops before it takes the job.
    queue().enqueue("tasks.nothing")
    burst("--with-scheduler", "--max-jobs", "1", queues=("default", "other"))
    after = job_hash(job)
    assert after["status"] == b"queued" and waiting("other") == [job.id]
    near(fetch(job).enqueued_at.timestamp(), time.time())
    assert after["timeout"] == b"180" and after["meta"] == before["meta"]


@check("C270")
def an_expiring_job_expires_from_when_it_is_due():
    """A scheduled job with a `ttl` has it from when it is put on its queue."""
    job = enqueue_due(ttl=1000, name="other")
    queue().enqueue("tasks.nothing")
    burst("--with-scheduler", "--max-jobs", "1", queues=("default", "other"))
    assert status(job) == "queued"
    near(redis.ttl(job.key), 1000)


@check("C271")
def jobs_become_due_in_order():
    """Jobs that are due go to their queue in the order of their times."""
    for hour in (3, 1, 2):
        queue().enqueue_at(LONG_AGO + timedelta(hours=hour), "tasks.push", "order", hour)
    burst("--with-scheduler")
    assert redis.lrange("order", 0, -1) == [b"1", b"2", b"3"]


@check("C272")
def many_jobs_become_due_at_once():
    """More jobs than fit one pass are queued, each once."""
    running = queue().enqueue("tasks.hold")
    jobs = [enqueue_due(name="other") for _ in range(1100)]
    with worker("--with-scheduler", queues=("default", "other")) as process:
        until_status(running, "started")
        until(lambda: len(waiting("other")) == len(jobs))
        assert sorted(waiting("other")) == sorted(job.id for job in jobs)
        assert redis.zcard("rq:scheduled:other") == 0
        process.terminate()
        redis.rpush("go", 1)
        process.end()


@check("C273")
def a_job_for_the_future_waits():
    """A job whose time has not come stays scheduled."""
    job = queue().enqueue_in(timedelta(hours=1), "tasks.add", 1)
    burst("--with-scheduler")
    assert status(job) == "scheduled" and redis.zcard(SCHEDULED) == 1


@check("C274", needs=(2, 10))
def a_scheduler_knows_all_queues_of_its_worker():
    """One scheduler holds the locks of all queues of its worker."""
    with worker("--with-scheduler", queues=("default", "other")):
        name = scheduler()
        until(lambda: redis.get("rq:scheduler-lock:other") == name.encode())
        found = until(lambda: redis.hget("rq:scheduler:" + name, "queues"))
        assert set(found.decode().split(",")) == {"default", "other"}


@check("C275")
def a_busy_worker_schedules_on():
    """While the worker runs a long job, its scheduler still queues what is due."""
    job = queue().enqueue("tasks.hold")
    with worker("--with-scheduler"):
        until_status(job, "started")
        due = enqueue_due()
        until_status(due, "queued")
        redis.rpush("go", 1)
        until_status(due, "finished")


@check("C276")
def a_busy_worker_that_stops_frees_its_locks_first():
    """On a warm shutdown the locks are free before the job has ended."""
    job = queue().enqueue("tasks.hold")
    with worker("--with-scheduler") as process:
        until_status(job, "started")
        scheduler()
        process.terminate()
        until(lambda: not redis.exists(LOCK))
        assert status(job) == "started"
        redis.rpush("go", 1)
        process.end()


@check("C277", only_freshq=True)
def the_name_of_a_scheduler_is_a_number():
    """Clients up to 2.9 read the value of the lock as a process id, so it has only digits."""
    with worker("--with-scheduler"):
        assert scheduler().isdigit()
