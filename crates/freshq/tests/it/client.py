"""The real rq client, for the tests: evaluates expressions, one JSON line each way."""

import json
import pathlib
import sys
import time
from datetime import datetime, timedelta, timezone  # noqa: F401  names for the expressions

from redis import Redis
from redis.exceptions import ResponseError
from redis.sentinel import MasterNotFoundError, Sentinel
from rq import Queue, Retry, Worker, command  # noqa: F401
from rq.group import Group  # noqa: F401
from rq.job import Callback, Dependency, Job  # noqa: F401
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry  # noqa: F401

WAIT_SECONDS_MAX = 60

r = Redis.from_url(sys.argv[1])


def use(connection):
    """From now on everything here is about another Redis."""
    global r
    r = connection


def master_port(name, sentinels):
    try:
        return Sentinel(sentinels).discover_master(name)[1]
    except MasterNotFoundError:
        return None


def queue(name="default"):
    return Queue(name, connection=r)


def enqueue(func, *args, queue_name="default", **options):
    return queue(queue_name).enqueue(func, *args, **options).id


def job(job_id):
    return Job.fetch(job_id, connection=r)


def status(job_id):
    return job(job_id).get_status().value


def end(job_id):
    """Waits for the end of a job; its status and its value, or the last line of its traceback. Of a job whose
    process died the first one, which begins as RQ's does; `text_of` has the rest."""
    until = time.monotonic() + WAIT_SECONDS_MAX
    while status(job_id) not in ("finished", "failed"):
        if until < time.monotonic():
            return ["still " + status(job_id), None]
        time.sleep(0.002)
    result = job(job_id).latest_result()
    text = (result.exc_string or "").strip().splitlines()
    line = 0 if text and text[0].startswith("Work-horse terminated") else -1
    return [status(job_id), text[line].rstrip() if text else result.return_value]


def text_of(job_id):
    """All that is stored of a job's failure."""
    return job(job_id).latest_result().exc_string


def run(func, *args, **options):
    return end(enqueue(func, *args, **options))


def alive(pid):
    """Whether this process has not ended; a zombie has."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def keys():
    return sorted(key.decode() for key in r.keys("*"))


def refusal(request):
    """What Redis answers to a request that it refuses."""
    try:
        return f"it answers {request()}"
    except ResponseError as error:
        return str(error)


def text(value):
    return value.decode() if isinstance(value, bytes) else value


for more in sys.argv[2:]:
    exec(pathlib.Path(more).read_text())

for line in sys.stdin:
    try:
        answer = {"ok": eval(json.loads(line))}
    except Exception as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer, default=str), flush=True)
