"""What shows that a job runs, and what is cleaned up when that is no longer true."""

import json
import time

from rq import Retry
from rq.job import Dependency
from rq.registry import StartedJobRegistry
from rq.worker import Worker

from context import (
    A_YEAR,
    abandon,
    burst,
    check,
    enqueue,
    failed_with,
    fetch,
    is_ahead,
    job_hash,
    latest,
    let_go,
    members,
    near,
    newest_entry,
    queue,
    redis,
    result_types,
    status,
    until,
    until_status,
    waiting,
    worker,
    worker_hash,
)

INTERMEDIATE = "rq:queue:default:intermediate"


def first_seen(job):
    return f"{INTERMEDIATE}:first_seen:{job.id}"


def running_execution():
    """Job and execution of the one job that runs, as the started registry names them."""
    (member,) = redis.zrange("rq:wip:default", 0, -1)
    return member.decode()


def heartbeats(job, member):
    """All that a worker renews while it runs a job."""
    return [
        redis.zscore("rq:wip:default", member),
        float(redis.hget("rq:execution:" + member, "last_heartbeat")),
        worker_hash()["last_heartbeat"],
        job_hash(job)["last_heartbeat"],
    ]


def strand(job):
    """Makes a queued job look like one that was popped and never started."""
    redis.lrem("rq:queue:default", 0, job.id)
    redis.rpush(INTERMEDIATE, job.id)


@check("C083", needs=(3, 0))
def a_running_job_is_seen_everywhere():
    """It is in the started registry, has one execution, and its worker is busy with it."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        assert job.id in StartedJobRegistry(queue=queue()).get_job_ids()
        (execution,) = job.get_executions()
        assert execution.worker_name == "w1" and execution.job_id == job.id
        (found,) = Worker.all(connection=redis)
        assert found.get_state() == "busy" and found.get_current_job_id() == job.id
        assert found.current_execution_count == 1
        assert [one.id for one in found.get_current_executions()] == [execution.id]
        let_go()
        until_status(job, "finished")


@check("C084")
def an_ended_job_is_seen_nowhere():
    """After the job no started registry, no execution and no index of them is left."""
    enqueue("add", 1)
    enqueue("fail")
    burst()
    left = [key for key in redis.keys("*") if b"execution" in key or b"wip" in key]
    assert left == [], left


@check("C085")
def executions_live_for_an_interval_and_a_minute():
    """Scores and times to live are an interval (or a shorter timeout) and 60 s ahead."""
    for timeout, ahead in ((10, 70), (1000, 90), (-1, 90)):
        job = enqueue("hold", job_timeout=timeout)
        with worker(name=f"w{timeout}"):
            until_status(job, "started")
            member = running_execution()
            is_ahead("rq:wip:default", member, ahead)
            near(redis.ttl("rq:execution:" + member.replace(":", ":")), ahead)
            near(redis.ttl("rq:executions:" + job.id), ahead + 60)
            is_ahead("rq:executions:" + job.id, member.split(":")[1], ahead + 60)
            let_go()
            until_status(job, "finished")


@check("C086")
def heartbeats_go_on_while_a_job_runs():
    """Every `--job-monitoring-interval` those of worker, execution and job are renewed."""
    job = enqueue("hold", job_timeout=-1)
    with worker("--job-monitoring-interval", "1"):
        until_status(job, "started")
        member = running_execution()
        before = heartbeats(job, member)
        until(lambda: all(a > b for a, b in zip(heartbeats(job, member), before)))
        let_go()
        until_status(job, "finished")


@check("C087")
def a_deleted_job_is_not_brought_back():
    """A job deleted while it runs is not brought back by heartbeats."""
    job = enqueue("hold")
    with worker("--job-monitoring-interval", "1"):
        until_status(job, "started")
        redis.delete(job.key)
        for _ in range(2):
            before = worker_hash()["last_heartbeat"]
            until(lambda: worker_hash()["last_heartbeat"] > before)  # noqa: B023
        until(lambda: not redis.exists(job.key))


@check("C088")
def an_abandoned_job_fails():
    """A job whose place among the started ones has run out fails with AbandonedJobError."""
    job = enqueue("add", 1)
    abandon(job)
    burst("--name", "w2")
    failed_with(job, "Moved to FailedJobRegistry, due to AbandonedJobError, at ")
    assert not redis.exists("rq:wip:default") and waiting() == []
    near(redis.ttl(job.key), A_YEAR)
    entry = newest_entry(job)
    assert entry.get("worker_name", "") == "" and "execution_id" not in entry


@check("C089")
def an_abandoned_job_is_retried():
    """An abandoned job with retries left is queued again instead, and not counted."""
    job = enqueue("add", 1, retry=Retry(max=1))
    abandon(job)
    burst("--name", "w2")
    job.refresh()
    assert status(job) == "finished" and job.retries_left == 0
    assert "failed_job_count" not in worker_hash("w2") and result_types(job) == [1]


@check("C090")
def only_started_jobs_can_be_abandoned():
    """A job that is no longer started just leaves the started registry."""
    finished, gone = enqueue("add", 1), enqueue("add", 1)
    for job in (finished, gone):
        abandon(job)
    redis.hset(finished.key, "status", "finished")
    redis.delete(gone.key)
    burst()
    assert status(finished) == "finished" and not redis.exists(gone.key)
    assert not redis.exists("rq:wip:default", "rq:failed:default")


@check("C091")
def a_job_that_is_alive_is_left_alone():
    """A started job whose score is in the future is not touched."""
    job = enqueue("add", 1)
    abandon(job)
    redis.zadd("rq:wip:default", {job.id + ":e": time.time() + 60})
    burst()
    assert status(job) == "started" and redis.zcard("rq:wip:default") == 1


@check("C092")
def exception_handlers_hear_of_abandoned_jobs():
    """They get AbandonedJobError and no traceback."""
    job = enqueue("add", 1)
    abandon(job)
    burst("--exception-handler", "tasks.handle")
    assert json.loads(redis.lindex("handled", 0)) == ["true", job.id, "AbandonedJobError", "", False]


@check("C093")
def one_worker_cleans_a_queue_at_a_time():
    """A queue whose lock is held is not cleaned; a free lock is given back."""
    job = enqueue("add", 1)
    abandon(job)
    redis.set("rq:clean_registries:default", 1, ex=500)
    burst()
    assert status(job) == "started" and redis.exists("rq:clean_registries:default")
    redis.delete("rq:clean_registries:default")
    burst()
    assert status(job) == "failed" and not redis.exists("rq:clean_registries:default")


@check("C094")
def a_started_job_is_in_no_queue():
    """A started job is neither in its queue nor in the intermediate list."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        assert waiting() == [] and redis.llen(INTERMEDIATE) == 0
        let_go()
        until_status(job, "finished")


@check("C095")
def a_stranded_job_fails_after_a_minute():
    """A job that stays in the intermediate list is noted, and after a minute failed."""
    job = enqueue("add", 1)
    strand(job)
    burst()
    assert status(job) == "queued" and redis.llen(INTERMEDIATE) == 1
    near(float(redis.get(first_seen(job))), time.time())
    near(redis.ttl(first_seen(job)), 86400)
    redis.set(first_seen(job), time.time() - 70)
    burst()
    failed_with(job, "Job was stuck in intermediate queue.")
    assert redis.llen(INTERMEDIATE) == 0


@check("C096")
def a_stranded_id_without_a_job_is_dropped():
    """An entry of the intermediate list whose job is gone is removed."""
    redis.rpush(INTERMEDIATE, "gone")
    burst()
    assert redis.llen(INTERMEDIATE) == 0


@check("C097")
def a_stranded_job_that_runs_is_left_alone():
    """An entry of the intermediate list that is also a started job stays."""
    job = enqueue("add", 1)
    strand(job)
    redis.zadd("rq:wip:default", {job.id + ":e": time.time() + 60})
    redis.set(first_seen(job), time.time() - 70)
    burst()
    assert status(job) == "queued" and redis.llen(INTERMEDIATE) == 1


@check("C217")
def old_entries_leave_the_registries():
    """Jobs whose score has passed leave the finished and failed registries at start."""
    past, future = time.time() - 10, time.time() + 1000
    for name in ("finished", "failed"):
        redis.zadd(f"rq:{name}:default", {"old": past, "new": future, "for-ever": float("inf")})
    redis.zadd("rq:failed:default", {"kept": -1})
    redis.zadd("rq:deferred:default", {"waits": past})
    burst()
    assert redis.zrange("rq:finished:default", 0, -1) == [b"new", b"for-ever"]
    assert redis.zrange("rq:failed:default", 0, -1) == [b"kept", b"new", b"for-ever"]
    assert redis.zrange("rq:deferred:default", 0, -1) == [b"waits"]


@check("C218")
def abandoned_parents_release_those_that_allow_it():
    """An abandoned job is a failed one for its dependents."""
    parent = enqueue("add", 1)
    strict = enqueue("add", 1, depends_on=parent)
    tolerant = enqueue("add", 1, depends_on=Dependency(parent, allow_failure=True))
    abandon(parent)
    burst()
    assert status(strict) == "deferred" and status(tolerant) == "finished"


@check("C219")
def an_abandoned_job_may_be_scheduled():
    """An abandoned job whose retry has an interval is scheduled."""
    job = enqueue("add", 1, retry=Retry(max=1, interval=100))
    abandon(job)
    burst()
    assert status(job) == "scheduled"
    is_ahead("rq:scheduled:default", job.id, 100)


@check("C220")
def maintenance_comes_again():
    """It runs again every `--maintenance-interval` while the worker waits between jobs."""
    with worker("--maintenance-interval", "1"):
        first, second = enqueue("add", 1), None
        until_status(first, "finished")
        second = enqueue("add", 1)
        until_status(second, "finished")
        redis.zadd("rq:finished:default", {"old": 1})

        def cleaned():
            until_status(enqueue("nothing"), "finished")
            return redis.zscore("rq:finished:default", "old") is None

        until(cleaned)


@check("C221")
def workers_that_are_gone_are_forgotten():
    """A worker without a hash is taken out of the sets of its queue and of all workers."""
    key = "rq:worker:long-gone"
    redis.sadd("rq:workers", key)
    redis.sadd("rq:workers:default", key)
    burst()
    assert not redis.exists("rq:workers", "rq:workers:default")


@check("C222")
def only_own_queues_are_cleaned():
    """Registries of queues that the worker does not serve are left alone."""
    job = enqueue("add", 1, queue_name="other")
    abandon(job)
    burst()
    assert status(job) == "started"
    burst(queues=("other",))
    assert status(job) == "failed"


@check("C223", needs=(3, 0))
def an_execution_has_its_fields():
    """The record of an execution has id, job, worker and times as numbers."""
    from rq.executions import Execution

    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        job_id, execution_id = running_execution().split(":")
        found = redis.hgetall(f"rq:execution:{job_id}:{execution_id}")
        fields = {name.decode(): value.decode() for name, value in found.items()}
        assert job_id == job.id and len(execution_id) == 32
        assert fields["id"] == execution_id and fields["job_id"] == job.id
        assert fields["worker_name"] == "w1"
        near(float(fields["created_at"]), time.time())
        near(float(fields["last_heartbeat"]), time.time())
        fetched = Execution.fetch(execution_id, job.id, connection=redis)
        assert fetched.worker_name == "w1"
        assert members("rq:worker:w1:executions") == {f"{job_id}:{execution_id}"}
        near(redis.ttl("rq:worker:w1:executions"), 150, 60)
        let_go()
        until_status(job, "finished")
        assert latest(job).execution_id == execution_id


@check("C224", needs=(2, 0), only_freshq=True)
def a_job_that_ends_after_all_has_not_failed():
    """A job that finishes although it was declared abandoned is in the finished registry only."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        redis.zadd("rq:wip:default", {running_execution(): 5})
        StartedJobRegistry(queue=queue()).cleanup()
        assert status(job) == "failed"
        let_go()
        until_status(job, "finished")
        assert redis.zscore("rq:failed:default", job.id) is None
        assert redis.zscore("rq:finished:default", job.id)


@check("C225")
def a_deleted_job_leaves_no_execution():
    """A job deleted while it runs leaves nothing behind that says that it runs."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        fetch(job).delete()
        let_go()
        until(lambda: worker_hash()["state"] == "idle")
        assert redis.keys("rq:wip:*") + redis.keys("rq:execution*") == []
