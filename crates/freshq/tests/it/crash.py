"""The load of the crash test, and the count of what has become of it; more names for `client.py`."""

import collections
import os

from redis.exceptions import ConnectionError as RedisConnectionError

RETRIES = 3
# How often a job may begin that nobody asked to run again.
ONCE = 1
# How often one that was lost with its process is put back, with `--on-lost requeue`.
LOST_MAX = 3
SCHEDULED_MAX = 2
TTL = 1_000_000


def job_id(number):
    return f"j{number}"


def load(first, count):
    """Enqueues jobs `first`, `first + 1`, ...: plain ones, some that fail, retry, wait for another, are scheduled."""
    for number in range(first, first + count):
        kind = number % 10
        options = {"job_id": job_id(number), "result_ttl": TTL, "failure_ttl": TTL}
        name = "app.tasks.work"
        if kind == 5:
            name = "app.tasks.fail"
        if kind in (6, 7):
            name = "app.tasks.fail_once"
            options["retry"] = Retry(max=RETRIES, interval=0 if kind == 6 else 1)
        if kind == 8:
            parent = job_id(number - 1)
            options["depends_on"] = Dependency(parent, allow_failure=number % 20 == 8)
        if kind == 9:
            queue().enqueue_in(timedelta(seconds=number % 3 / 2 * SCHEDULED_MAX), name, number, **options)
        else:
            queue().enqueue(name, number, **options)


def waiting():
    """How many jobs are on the queue, due later, or counted as running; at one moment, since they move meanwhile."""
    with r.pipeline(transaction=True) as look:
        for key in ("queue:default", "queue:default:intermediate"):
            look.llen(f"rq:{key}")
        for name in ("scheduled", "wip", "ready"):
            look.zcard(f"rq:{name}:default")
        return sum(look.execute())


def places():
    """For each job, every list that it is in."""
    found = collections.defaultdict(list)
    for key in ("queue:default", "queue:default:intermediate"):
        for member in r.lrange(f"rq:{key}", 0, -1):
            found[text(member)].append(key)
    for key in ("wip", "finished", "failed", "deferred", "scheduled", "ready", "canceled"):
        for member in r.zrange(f"rq:{key}:default", 0, -1):
            found[text(member).partition(":")[0]].append(key)
    return found


def misplaced(count):
    """While nothing runs: jobs that are not in exactly one list, or in that of what runs."""
    listed = places()
    found = [(job_id(number), listed[job_id(number)]) for number in range(count)]
    return [(name, where) for name, where in found if len(where) != 1 or where == ["wip"]]


def runs():
    """How often each job has begun and has come to its end."""
    begun, done = collections.Counter(), collections.Counter()
    if os.path.exists("ran"):
        for line in open("ran"):
            (begun if line[0] == "+" else done)[int(line[1:])] += 1
    return begun, done


def count_jobs(count, requeues):
    """Looks at every job; returns how many ended in which way, and what is wrong, with the first jobs of it."""
    tally, wrong = collections.Counter(), collections.defaultdict(list)
    listed, (begun, done) = places(), runs()
    for number in range(count):
        status_now = text(r.hget(f"rq:job:{job_id(number)}", "status"))
        where = listed.pop(job_id(number), [])
        tally[status_now] += 1
        for problem in problems(number, status_now, where, begun[number], done[number], tally, requeues):
            wrong[problem].append([job_id(number), status_now, where, begun[number], done[number]])
    if listed:
        wrong["in a list, but not enqueued"] = list(listed.items())
    return {"tally": dict(tally), "wrong": {problem: [len(jobs), jobs[:5]] for problem, jobs in wrong.items()}}


def problems(number, status_now, where, begun, done, tally, requeues):
    kind = number % 10
    if not where:
        yield "lost: in no list"
    elif where != [status_now]:
        yield "not in exactly the one list that its status names"
    most = ONCE + (RETRIES if kind in (6, 7) else 0) + (LOST_MAX if requeues else 0)
    if most < begun:
        yield "run more often than asked for"
    ends = [(entry[b"type"], entry.get(b"exc_string")) for _, entry in r.xrange(f"rq:results:{job_id(number)}")]
    if status_now == "finished":
        if [kind for kind, _ in ends] != [b"1"]:
            yield "finished without exactly one result"
        if not done:
            yield "finished, but never came to its end"
    elif status_now == "failed":
        if [kind for kind, _ in ends] != [b"2"]:
            yield "failed without exactly one result"
        exc = job(job_id(number)).latest_result().exc_string
        for cause in ("AbandonedJobError", "Work-horse terminated", "stuck in intermediate", "as it should"):
            tally[f"failed: {cause}"] += cause in exc
    elif status_now == "deferred":
        if r.hget(f"rq:job:{job_id(number - 1)}", "status") != b"failed":
            yield "deferred, though what it waits for has not failed"
    else:
        yield f"left as {status_now}"


def redis_pid():
    return r.info("server")["process_id"]


def is_back_since(pid):
    """Whether another server than this one answers."""
    try:
        return r.ping() and redis_pid() != pid
    except RedisConnectionError:  # one that loads says what it is, but answers no ping
        return False


def left_in_redis():
    """Keys that only something that runs may have."""
    patterns = ("execution:*", "executions:*", "worker:*", "workers*", "clean_registries:*", "scheduler*", "wip:*")
    left = [text(key) for pattern in patterns for key in r.keys(f"rq:{pattern}")]
    return sorted(key for key in left if text(r.type(key)) != "hash" or not r.hexists(key, "death"))
