"""Several workers under one command."""

import os
import signal
import time
from datetime import datetime, timezone

from rq.command import send_shutdown_command
from rq.worker import Worker

from context import (
    POOL,
    check,
    command,
    enqueue,
    let_go,
    newest_entry,
    queue,
    redis,
    running,
    status,
    until,
    until_status,
    value_of,
    waiting,
)


def pool(*args, **options):
    return running(command(*args, of=POOL, **options))


def workers(count):
    """The workers of the pool, once there are so many."""

    def found():
        alive = Worker.all(connection=redis)
        return alive if len(alive) == count else None

    return until(found)


def states():
    return sorted(redis.hget(key, "state") for key in redis.smembers("rq:workers"))


@check("C143")
def a_pool_empties_the_queues():
    """In burst mode two workers share the jobs, and the pool ends with exit code 0."""
    jobs = [enqueue("hold") for _ in range(2)]
    with pool("--num-workers", "2", "--burst") as process:
        for job in jobs:
            until_status(job, "started")
        let_go()
        let_go()
        process.end()
    assert [status(job) for job in jobs] == ["finished"] * 2
    assert len({newest_entry(job)["worker_name"] for job in jobs}) == 2
    assert Worker.count(connection=redis) == 0


@check("C144")
def a_pool_replaces_a_worker_that_dies():
    """A worker whose process was killed is replaced; SIGTERM ends all with exit code 0."""
    with pool("-n", "2") as process:
        killed = workers(2)[0].pid
        os.kill(killed, signal.SIGKILL)
        until(lambda: len({one.pid for one in Worker.all(connection=redis)} - {killed}) == 2)
        until(lambda: states().count(b"idle") >= 2)
        process.terminate_and_end()


@check("C316")
def a_pool_replaces_a_worker_that_ends():
    """A worker that was told to end is replaced, and the others stay."""
    with pool("-n", "2") as process:
        first, second = workers(2)
        until(lambda: states() == [b"idle"] * 2)
        send_shutdown_command(redis, first.name)

        def replaced():
            names = {one.name for one in Worker.all(connection=redis)}
            return first.name not in names and second.name in names and len(names) == 2

        until(replaced)
        until(lambda: states() == [b"idle"] * 2)
        process.terminate_and_end()
        assert Worker.count(connection=redis) == 0


@check("C145")
def a_pool_lets_jobs_finish():
    """SIGTERM to a busy pool is a warm shutdown of all its workers."""
    jobs = [enqueue("hold") for _ in range(2)]
    other = enqueue("add", 1)
    with pool("-n", "2") as process:
        for job in jobs:
            until_status(job, "started")
        process.send_signal(signal.SIGTERM)
        until(lambda: len(requests()) == 2 and all(requests()))
        let_go()
        let_go()
        process.end()
    assert [status(job) for job in jobs] == ["finished"] * 2 and waiting() == [other.id]


def requests():
    keys = redis.keys("rq:worker:*")
    hashes = [key for key in keys if not key.endswith(b":executions")]
    return [redis.hget(key, "shutdown_requested_date") for key in hashes]


@check("C285")
def a_second_signal_ends_a_pool_cold():
    """A second signal more than a second later kills the jobs; the pool ends."""
    job = enqueue("hold_with_pid")
    with pool("-n", "1") as process:
        pid = int(until(lambda: redis.get("pid")))
        process.send_signal(signal.SIGTERM)
        until(lambda: requests() and all(requests()))
        time.sleep(1.2)
        process.send_signal(signal.SIGTERM)
        process.end(code=None)
    assert status(job) != "finished" and not os.path.exists(f"/proc/{pid}/fd/0")


@check("C286")
def a_pool_has_a_scheduler():
    """The workers of a pool schedule, without being asked to."""
    long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
    job = queue().enqueue_at(long_ago, "tasks.add", 1)
    with pool("-n", "2") as process:
        until_status(job, "finished")
        assert redis.exists("rq:scheduler-lock:default")
        process.terminate_and_end()
    assert not redis.exists("rq:scheduler-lock:default")


@check("C287")
def workers_of_a_pool_have_names():
    """Each worker of a pool has a name of 32 hexadecimal digits, and the queues of the pool."""
    with pool("-n", "3", queues=("hi", "lo")) as process:
        found = workers(3)
        assert len({one.name for one in found}) == 3
        for one in found:
            assert len(one.name) == 32 and int(one.name, 16) >= 0
            assert one.queue_names() == ["hi", "lo"]
        until(lambda: states() == [b"idle"] * 3)
        process.terminate_and_end()


@check("C288")
def a_pool_of_one():
    """Without `--num-workers` a pool has one worker."""
    job = enqueue("add", 1)
    with pool("--burst") as process:
        process.end()
    assert status(job) == "finished"


@check("C289", needs=(2, 11))
def a_pool_has_exception_handlers():
    """`--exception-handler` is for all workers of a pool."""
    enqueue("fail")
    with pool("--burst", "--exception-handler", "tasks.handle") as process:
        process.end()
    assert redis.llen("handled") == 1


@check("C290", needs=(2, 9))
def a_pool_has_the_options_of_classes():
    """`-j`, `-S` and the like are for all workers of a pool."""
    job = enqueue("add", 2)
    with pool("--burst", "-j", "tasks.CustomJob") as process:
        process.end()
    assert value_of(job) == ["custom", 2]


@check("C291")
def failures_do_not_end_a_pool():
    """Failing and killed jobs change neither the pool nor its exit code."""
    jobs = [enqueue("fail"), enqueue("kill_itself"), enqueue("add", 1)]
    with pool("-n", "2", "--burst") as process:
        process.end()
    assert [status(job) for job in jobs] == ["failed", "failed", "finished"]
