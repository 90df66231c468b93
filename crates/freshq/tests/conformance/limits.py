"""Jobs of which only so many may be queued or running at a time."""

from datetime import datetime, timezone

from rq import Retry

from context import (
    abandon,
    burst,
    check,
    enqueue,
    fetch,
    let_go,
    queue,
    redis,
    status,
    stop_job,
    until,
    until_status,
    waiting,
    worker,
    written,
)

ALLOWED = "rq:rl:k:allowed"
HELD_BACK = "rq:rl:k:rate_limited"


def limited(function, *args, concurrency=1, **options):
    from rq import RateLimit

    return enqueue(function, *args, rate_limit=RateLimit("k", concurrency), **options)


def allowed():
    return [job_id.decode() for job_id in redis.zrange(ALLOWED, 0, -1)]


def held_back():
    return [job_id.decode() for job_id in redis.zrange(HELD_BACK, 0, -1)]


@check("C146", needs=(3, 0))
def a_retry_keeps_its_slot_unless_it_waits():
    """An immediate retry keeps the slot of its job; one with an interval frees it."""
    retried = limited("fail", retry=Retry(max=1))
    other = limited("add", 1)
    assert (status(retried), status(other)) == ("queued", "rate_limited")
    burst("--max-jobs", "1")
    assert allowed() == [retried.id] and status(other) == "rate_limited"
    burst()
    assert status(other) == "finished"
    delayed = limited("fail", retry=Retry(max=1, interval=100))
    other = limited("add", 1)
    burst("--max-jobs", "1")
    assert allowed() == [other.id] and status(other) == "queued"
    assert status(delayed) == "scheduled"


@check("C147", needs=(3, 0))
def an_abandoned_job_loses_its_slot():
    """Maintenance frees the slot of an abandoned job, and the next one is queued."""
    abandoned, other = limited("nothing"), limited("nothing")
    abandon(abandoned)
    burst()
    assert status(abandoned) == "failed" and status(other) == "finished"


@check("C292", needs=(3, 0))
def jobs_come_one_after_the_other():
    """Each end queues the job that has waited longest, until none is left."""
    ids = [f"job-{value}" for value in range(4)]
    jobs = [limited("push", "order", value, job_id=one) for value, one in enumerate(ids)]
    assert waiting() == ids[:1] and held_back() == ids[1:]
    burst()
    assert written("order") == "0123" and {status(job) for job in jobs} == {"finished"}
    assert allowed() == held_back() == []


@check("C293", needs=(3, 0))
def several_may_run_at_a_time():
    """With a concurrency of two, two are queued; the third follows the first end."""
    jobs = [limited("add", value, concurrency=2) for value in range(3)]
    assert waiting() == [job.id for job in jobs[:2]]
    burst("--max-jobs", "1")
    assert waiting() == [job.id for job in jobs[1:]] and len(allowed()) == 2
    burst()
    assert {status(job) for job in jobs} == {"finished"}


@check("C294", needs=(3, 0))
def whatever_ends_a_job_frees_its_slot():
    """A failure, a killed process, and a job without results free the slot too."""
    ends = [("fail", {}), ("kill_itself", {}), ("add", {"result_ttl": 0}), ("exit_python", {})]
    jobs = [limited(name, *((1,) if name == "add" else ()), **more) for name, more in ends]
    last = limited("add", 1)
    burst()
    assert status(last) == "finished" and allowed() == [], [status(job) for job in jobs]


@check("C295", needs=(3, 0))
def a_stopped_job_loses_its_slot():
    """When a job is stopped the next one is queued and runs."""
    job, other = limited("hold"), limited("add", 1)
    with worker():
        stop_job(job)
        until_status(other, "finished")
        until(lambda: allowed() == [])


@check("C296", needs=(3, 0))
def a_running_job_holds_its_slot():
    """While a job runs, the others of its key wait, also with several workers."""
    job, other = limited("hold"), limited("add", 1)
    free = enqueue("add", 1)
    with worker(), worker(name="w2"):
        until_status(job, "started")
        until_status(free, "finished")
        assert status(other) == "rate_limited" and allowed() == [job.id]
        let_go()
        until_status(other, "finished")


@check("C297", needs=(3, 0))
def keys_that_are_not_used_are_forgotten():
    """Maintenance removes all that was kept about a key that has no jobs."""
    limited("add", 1)
    burst()
    burst()
    assert [key for key in redis.keys("rq:rl*")] == []


@check("C298", needs=(3, 0))
def slots_that_leaked_are_freed():
    """Maintenance frees the slots of jobs that are gone or have ended, and fills them."""
    job = limited("add", 1)
    redis.zadd(ALLOWED, {"gone": 1, job.id: 2})
    other = limited("add", 2)
    redis.lrem("rq:queue:default", 0, job.id)
    redis.hset(job.key, "status", "finished")
    assert status(other) == "rate_limited"
    burst()
    assert status(other) == "finished" and allowed() == []


@check("C299", needs=(3, 0))
def a_limited_dependent_waits_for_its_slot():
    """A dependent with a limit is held back when it is released while the slots are taken."""
    parent = enqueue("add", 1)
    dependent = limited("add", 2, depends_on=parent)
    holder = limited("push", "order", "holder", queue_name="other")
    burst()
    assert status(dependent) == "rate_limited" and held_back() == [dependent.id]
    burst(queues=("other", "default"))
    assert status(holder) == "finished" and status(dependent) == "finished"


@check("C300", needs=(3, 0))
def a_limited_job_that_becomes_due_waits_for_its_slot():
    """A scheduled job with a limit is held back when it is due while the slots are taken."""
    from rq import RateLimit

    holder = limited("add", 1, queue_name="other")
    long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
    due = queue().enqueue_at(long_ago, "tasks.add", 1, rate_limit=RateLimit("k", 1))
    burst("--with-scheduler")
    assert status(due) == "rate_limited" and redis.zcard("rq:scheduled:default") == 0
    burst(queues=("other", "default"))
    assert status(holder) == "finished" and status(due) == "finished"


@check("C301", needs=(3, 0))
def a_limited_job_can_go_to_the_front():
    """A job with `at_front` goes to the head of its queue when it gets its slot."""
    first, front = limited("push", "order", "a"), limited("push", "order", "c", at_front=True)
    enqueue("push", "order", "b")
    burst("--max-jobs", "1")
    assert waiting()[0] == front.id and status(first) == "finished"
    burst()
    assert written("order") == "acb"


@check("C302", needs=(3, 0))
def a_repeated_job_keeps_its_slot():
    """An immediate repeat keeps the slot; the others wait until the last time."""
    from rq import Repeat

    repeated = limited("push", "order", "r", repeat=Repeat(times=1))
    limited("push", "order", "o")
    burst()
    assert written("order") == "rro" and fetch(repeated).repeats_left == 0


@check("C303", needs=(3, 0))
def a_job_that_gets_its_slot_is_enqueued_now():
    """It gets status queued and a new `enqueued_at`, on its own queue."""
    first, second = limited("add", 1), limited("add", 1, queue_name="other")
    before = fetch(second).enqueued_at
    burst()
    assert status(first) == "finished" and waiting("other") == [second.id]
    assert before is None or fetch(second).enqueued_at > before
