"""Groups, unique jobs, and keys with another prefix."""

import os
import subprocess
import sys

from rq import Queue
from rq.job import Job

from context import (
    URL,
    burst,
    check,
    command,
    enqueue,
    members,
    near,
    queue,
    redis,
    running,
    status,
    until,
    worker,
)


def group(name, *options):
    """A group with a job for each of these options."""
    from rq.group import Group

    created = Group.create(redis, name)
    prepared = [Queue.prepare_data("tasks.add", (1,), **one) for one in options]
    return created, created.enqueue_many(queue(), prepared)


@check("C150", needs=(2, 0))
def groups_lose_jobs_that_are_gone():
    """Jobs keep their `group_id`; maintenance removes lost members and empty groups."""
    _, (kept, unkept) = group("g1", {}, {"result_ttl": 0})
    burst()
    assert Job.fetch(kept.id, connection=redis).group_id == "g1"
    assert members("rq:group:g1") == {kept.id} and not redis.exists(unkept.key)
    redis.delete(kept.key, "rq:clean_groups")
    burst()
    assert not redis.exists("rq:group:g1", "rq:groups")


@check("C151")
def groups_are_cleaned_once_per_interval():
    """The lock of cleaning groups lives for the maintenance interval less one second."""
    burst()
    near(redis.ttl("rq:clean_groups"), 599)
    redis.delete("rq:clean_groups")
    burst("--maintenance-interval", "100")
    near(redis.ttl("rq:clean_groups"), 99)


@check("C152", needs=(2, 8))
def a_unique_job_is_unique_while_it_is_kept():
    """A `unique=True` job can be enqueued again once its hash is gone, and not before."""
    from rq.exceptions import DuplicateJobError

    enqueue("add", 1, job_id="one", unique=True, result_ttl=0)
    burst()
    enqueue("add", 1, job_id="one", unique=True)
    burst()
    try:
        enqueue("add", 1, job_id="one", unique=True)
    except DuplicateJobError:
        return
    raise AssertionError("the duplicate was accepted")


@check("C153", needs=(3, 0))
def all_keys_have_the_given_prefix():
    """With RQ_KEY_PREFIX for client and worker, every key begins with it."""
    env = {"RQ_KEY_PREFIX": "{app}:rq"}
    script = (
        "from redis import Redis; from rq import Queue; "
        f"q = Queue(connection=Redis.from_url({URL!r})); "
        "p = q.enqueue('tasks.add', 1, job_id='P'); q.enqueue('tasks.fail', depends_on=p)"
    )
    subprocess.run([sys.executable, "-c", script], env=dict(os.environ, **env), check=True)
    burst("--with-scheduler", env=env)
    assert redis.hget("{app}:rq:job:P", "status") == b"finished"
    keys = redis.keys("*")
    assert all(key.startswith(b"{app}:rq:") for key in keys), keys
    assert redis.zcard("{app}:rq:failed:default") == 1


@check("C312", needs=(3, 0))
def a_worker_with_a_prefix_listens_there():
    """Commands and suspension have the prefix too."""
    env = {"RQ_KEY_PREFIX": "other"}
    with running(command("--name", "w1"), env) as process:
        until(lambda: redis.hget("other:worker:w1", "state") == b"idle")
        assert redis.pubsub_numsub("other:pubsub:w1")[0][1] == 1
        redis.publish("other:pubsub:w1", '{"command": "shutdown"}')
        process.end()
    redis.set("other:suspended", 1)
    burst(env=env, code=1)


@check("C313", needs=(2, 0))
def a_held_lock_keeps_groups_from_being_cleaned():
    """While the lock of cleaning groups is held, nobody cleans them."""
    _, (job,) = group("g1", {})
    redis.set("rq:clean_groups", 1, ex=500)
    redis.delete(job.key)
    burst()
    assert members("rq:group:g1") == {job.id} and members("rq:groups") == {"g1"}


@check("C314", needs=(2, 0))
def jobs_of_a_group_run_like_others():
    """Members of a group keep it through failure and success."""
    created, jobs = group("g1", {}, {"result_ttl": -1})
    with worker():
        until(lambda: {status(job) for job in jobs} == {"finished"})
    assert {job.id for job in created.get_jobs()} == {job.id for job in jobs}


@check("C315", needs=(2, 8))
def a_failed_unique_job_blocks_its_id():
    """A unique job that failed is kept, so its id is taken, until it is requeued and succeeds."""
    from rq.exceptions import DuplicateJobError

    job = enqueue("fail_once", job_id="one", unique=True, result_ttl=0)
    burst()
    assert status(job) == "failed"
    try:
        enqueue("add", 1, job_id="one", unique=True)
        raise AssertionError("the duplicate was accepted")
    except DuplicateJobError:
        pass
    Job.fetch("one", connection=redis).requeue()
    burst()
    assert not redis.exists(job.key)
