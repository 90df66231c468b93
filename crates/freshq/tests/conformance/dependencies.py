"""Jobs that wait for other jobs."""

import time

from rq import Retry
from rq.job import Dependency

from context import (
    burst,
    check,
    enqueue,
    fetch,
    job_hash,
    latest,
    let_go,
    members,
    near,
    queue,
    redis,
    status,
    stop_job,
    until_status,
    waiting,
    worker,
    written,
)


def no_traces(*parents):
    """Nothing of a dependency is left that has been met."""
    keys = ["rq:deferred:default", "rq:ready:default"]
    return not redis.exists(*keys, *[parent.dependents_key for parent in parents])


@check("C070")
def a_dependent_runs_after_its_parent():
    """It is deferred until its parent has finished; afterwards no trace of that is left."""
    parent = enqueue("push", "order", "a")
    child = enqueue("push", "order", "b", depends_on=parent)
    assert status(child) == "deferred"
    burst()
    assert written("order") == "ab" and status(child) == "finished" and no_traces(parent)


@check("C071")
def a_failed_parent_releases_those_that_allow_it():
    """A dependent of a failed job stays deferred, unless it allows failure."""
    parent = enqueue("fail")
    strict = enqueue("add", 1, depends_on=parent)
    tolerant = enqueue("add", 1, depends_on=Dependency(parent, allow_failure=True))
    burst()
    assert status(strict) == "deferred" and status(tolerant) == "finished"
    assert members(parent.dependents_key) == {strict.id}
    assert redis.zscore("rq:deferred:default", strict.id)


@check("C072")
def a_killed_parent_is_a_failed_one():
    """A dependent that allows failure runs also if its parent's process was killed."""
    parent = enqueue("kill_itself")
    child = enqueue("add", 1, depends_on=Dependency(parent, allow_failure=True))
    burst()
    assert status(parent) == "failed" and status(child) == "finished"


@check("C073")
def a_parent_that_is_gone_counts_as_met():
    """Of several dependencies, one whose hash is gone is waited for no longer."""
    gone, parent = enqueue("add", 1), enqueue("add", 1)
    child = enqueue("add", 1, depends_on=[gone, parent])
    redis.delete(gone.key)
    burst()
    assert status(child) == "finished"


@check("C074")
def all_parents_have_to_finish():
    """A job with several dependencies runs when the last of them has finished."""
    first, second = enqueue("add", 1), enqueue("add", 1)
    child = enqueue("add", 1, depends_on=[first, second])
    burst("--max-jobs", "1")
    assert status(child) == "deferred"
    burst("--max-jobs", "1")
    assert status(child) == "queued"
    burst()
    assert status(child) == "finished"


@check("C075")
def a_dependent_can_go_to_the_front():
    """A dependent with `enqueue_at_front=True` goes to the head of its queue."""
    parent = enqueue("add", 1)
    enqueue("add", 1, job_id="last", depends_on=Dependency(parent))
    front = Dependency(parent, enqueue_at_front=True)
    enqueue("add", 1, job_id="first", depends_on=front)
    burst("--max-jobs", "1")
    assert waiting() == ["first", "last"]


@check("C076")
def dependents_go_to_their_own_queues():
    """A dependent is put on its origin queue, also if this worker does not serve it."""
    parent = enqueue("add", 1)
    child = enqueue("add", 1, queue_name="other", depends_on=parent)
    burst()
    assert waiting("other") == [child.id] and status(child) == "queued"
    assert not redis.exists("rq:deferred:other", "rq:ready:other")


@check("C077")
def a_canceled_dependent_does_not_run():
    """A dependent canceled before its parent ends is not run, and its own dependents wait on."""
    parent = enqueue("add", 1)
    child = enqueue("add", 1, depends_on=parent)
    grandchild = enqueue("add", 1, depends_on=child)
    child.cancel()
    burst()
    assert status(child) == "canceled" and status(grandchild) == "deferred" and waiting() == []


@check("C078")
def a_stopped_parent_releases_nobody():
    """A stopped parent releases no dependents, not even those that allow failure."""
    parent = enqueue("hold")
    child = enqueue("add", 1, depends_on=Dependency(parent, allow_failure=True))
    with worker() as process:
        stop_job(parent)
        process.terminate_and_end()
    assert status(child) == "deferred" and waiting() == []


@check("C079")
def a_dependent_of_a_failed_parent_can_be_enqueued_later():
    """When a failed parent is requeued and succeeds, its dependents run."""
    parent = enqueue("fail_once")
    child = enqueue("add", 1, depends_on=parent)
    burst()
    assert status(child) == "deferred"
    fetch(parent).requeue()
    burst()
    assert status(parent) == "finished" and status(child) == "finished" and no_traces(parent)


@check("C080")
def a_canceled_parent_runs_to_its_end():
    """A job canceled while it runs goes on to its end, but releases no dependents."""
    parent = enqueue("hold")
    child = enqueue("add", 1, depends_on=parent)
    with worker() as process:
        until_status(parent, "started")
        fetch(parent).cancel()
        let_go()
        process.terminate_and_end()
    assert latest(parent).return_value == "gone on" and status(parent) == "finished"
    assert status(child) == "deferred" and waiting() == []


@check("C081")
def a_dependent_may_come_while_the_parent_runs():
    """A dependent enqueued while its parent is running is not lost."""
    parent = enqueue("hold")
    with worker():
        until_status(parent, "started")
        child = enqueue("add", 1, depends_on=parent)
        let_go()
        until_status(child, "finished")


@check("C082")
def a_dependent_of_a_finished_parent_runs_at_once():
    """A job that depends on a finished one is queued when it is enqueued."""
    parent = enqueue("add", 1)
    burst()
    child = enqueue("add", 1, depends_on=parent)
    assert status(child) == "queued"
    burst()
    assert status(child) == "finished"


@check("C206")
def a_parent_without_results_releases_too():
    """A parent with `result_ttl=0` is gone, and its dependents run."""
    parent = enqueue("add", 1, result_ttl=0)
    child = enqueue("add", 1, depends_on=parent)
    burst()
    assert status(child) == "finished" and not redis.exists(parent.key) and no_traces(parent)


@check("C207")
def a_retried_parent_releases_nobody_yet():
    """While a parent is going to be retried, its dependents wait, also those that allow failure."""
    parent = enqueue("fail", retry=Retry(max=1, interval=100))
    child = enqueue("add", 1, depends_on=Dependency(parent, allow_failure=True))
    burst()
    assert status(parent) == "scheduled" and status(child) == "deferred"
    redis.zadd("rq:scheduled:default", {parent.id: 1})
    burst("--with-scheduler")
    assert status(parent) == "failed" and status(child) == "finished"


@check("C208")
def failed_and_finished_parents_can_be_mixed():
    """With several parents, failure has to be allowed for each that failed."""
    bad, good = enqueue("fail"), enqueue("add", 1)
    strict = enqueue("add", 1, depends_on=[bad, good])
    tolerant = enqueue("add", 1, depends_on=Dependency([bad, good], allow_failure=True))
    burst()
    assert status(strict) == "deferred" and status(tolerant) == "finished"


@check("C209")
def a_released_dependent_is_enqueued_now():
    """When released, a dependent gets `enqueued_at`, the default timeout, and keeps its meta."""
    parent = enqueue("add", 1)
    child = enqueue("add", 1, depends_on=parent, meta={"a": 1}, queue_name="other")
    before = job_hash(child)
    burst()
    after = job_hash(child)
    near(fetch(child).enqueued_at.timestamp(), time.time())
    assert after["timeout"] == b"180" and after["meta"] == before["meta"]
    assert after["data"] == before["data"] and after["status"] == b"queued"


@check("C210")
def a_long_chain_runs_in_order():
    """Jobs that each depend on the one before run one after the other."""
    job = None
    for value in range(6):
        job = enqueue("push", "order", value, depends_on=job)
    burst()
    assert written("order") == "012345"


@check("C211")
def many_dependents_are_all_released():
    """All dependents of a parent are released together, in any number."""
    parent = enqueue("add", 1)
    children = [enqueue("add", 1, depends_on=parent, queue_name="other") for _ in range(30)]
    burst()
    assert sorted(waiting("other")) == sorted(child.id for child in children)
    assert {status(child) for child in children} == {"queued"} and no_traces(parent)


@check("C212", needs=(2, 1))
def a_used_up_retry_is_a_failure_for_dependents():
    """A parent that returned one Retry too many releases those that allow failure."""
    parent = enqueue("return_retry")
    strict = enqueue("add", 1, depends_on=parent)
    tolerant = enqueue("add", 1, depends_on=Dependency(parent, allow_failure=True))
    burst()
    assert status(strict) == "deferred" and status(tolerant) == "finished"


@check("C213")
def a_dependent_that_is_gone_harms_nobody():
    """A dependent whose hash is gone is passed over; the others are released."""
    parent = enqueue("add", 1)
    gone, child = enqueue("add", 1, depends_on=parent), enqueue("add", 1, depends_on=parent)
    redis.delete(gone.key)
    burst()
    assert status(child) == "finished" and not redis.exists(gone.key) and waiting() == []


@check("C214")
def a_dependent_that_is_left_ready_is_queued_by_maintenance():
    """A job in the ready registry of which another worker lost hold is queued at start."""
    parent = enqueue("add", 1)
    child = enqueue("add", 1, depends_on=parent)
    redis.lrem("rq:queue:default", 0, parent.id)
    redis.zrem("rq:deferred:default", child.id)
    redis.hset(child.key, "status", "ready_to_enqueue")
    redis.zadd("rq:ready:default", {child.id: time.time()})
    burst()
    assert status(child) == "finished" and not redis.exists("rq:ready:default")


@check("C215")
def an_expiring_dependent_expires_from_its_release():
    """A dependent with a `ttl` has it from when it is put on its queue."""
    parent = enqueue("add", 1)
    child = enqueue("add", 1, queue_name="other", depends_on=parent, ttl=1000)
    burst()
    near(redis.ttl(child.key), 1000)
    assert queue("other").job_ids == [child.id]


@check("C216")
def a_failing_dependent_fails_alone():
    """A dependent that fails changes nothing about its parent."""
    parent = enqueue("add", 1)
    child = enqueue("fail", depends_on=parent)
    burst()
    assert status(parent) == "finished" and status(child) == "failed" and no_traces(parent)
