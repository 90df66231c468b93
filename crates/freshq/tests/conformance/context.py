"""What the checks share: a Redis that may be flushed, a project folder, and workers seen from outside.

A check drives a worker as its users do: jobs come from the real client, the worker is a command,
and what it did is read with the client, or raw from Redis where the client has nothing for it.
`run.py` says which command, which Redis, and where the project folder is.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from redis import Redis
from rq import Queue
from rq.command import send_stop_job_command
from rq.job import Job
from rq.version import VERSION

URL = os.environ["CONFORMANCE_URL"]
WORKER = shlex.split(os.environ["CONFORMANCE_WORKER"])
POOL = shlex.split(os.environ["CONFORMANCE_POOL"])
# A folder with `tasks.py` and `settings.py`, in which workers are started.
PROJECT = Path(os.environ["CONFORMANCE_PROJECT"])
IS_FRESHQ = Path(WORKER[0]).name == "freshq"
CLIENT_VERSION = tuple(int(part) for part in VERSION.split(".")[:2])
# How long anything is waited for before a check fails; a guard, not an expectation. `run.py` sets it.
PATIENCE = 40
# How far a time to live may be from what is expected: workers on a busy machine take their time.
TOLERANCE = 15
A_YEAR = 31_536_000

redis = Redis.from_url(URL)
CHECKS = {}


def check(number, needs=(0, 0), only_freshq=False):
    """Marks a function as the check with this number; the numbers stay as they are for ever.

    `needs` is the oldest release of the client that has what the check uses. `only_freshq` is for
    promises that RQ's own worker does not make.
    """

    def register(function):
        assert number not in CHECKS, number
        function.number, function.needs, function.only_freshq = number, needs, only_freshq
        CHECKS[number] = function
        return function

    return register


# ------------------------------------------------------------------------------- the client's side


def queue(name="default", **options):
    return Queue(name, connection=redis, **options)


def enqueue(function, *args, queue_name="default", **options):
    """Enqueues one of the functions in `tasks.py`."""
    return queue(queue_name).enqueue(f"tasks.{function}", *args, **options)


def fetch(job):
    return Job.fetch(job if isinstance(job, str) else job.id, connection=redis)


def status(job):
    """The stored status as text, whatever the release of the client calls it."""
    value = redis.hget("rq:job:" + (job if isinstance(job, str) else job.id), "status")
    return value and value.decode()


def latest(job):
    return fetch(job).latest_result()


def value_of(job):
    return latest(job).return_value


def result_types(job):
    """The types of all results, oldest first; as numbers, since old clients do not know them all."""
    entries = redis.xrange("rq:results:" + job.id)
    return [int(fields[b"type"]) for _, fields in entries]


def newest_entry(job):
    """The newest entry of the stream of results, as text."""
    (_, fields) = redis.xrevrange("rq:results:" + job.id, count=1)[0]
    return {name.decode(): value.decode() for name, value in fields.items()}


# Fields of a job's hash that RQ does not know: which code ran it.
FRESHQS = {"generation", "code_hash"}


def job_hash(job):
    """The hash of a job; its values stay bytes, since some of them are pickled."""
    return {name.decode(): value for name, value in redis.hgetall("rq:job:" + job.id).items()}


def worker_hash(name="w1"):
    fields = redis.hgetall("rq:worker:" + name)
    return {name.decode(): value.decode() for name, value in fields.items()}


def waiting(name="default"):
    """The ids in a queue, first to run first."""
    return [job_id.decode() for job_id in redis.lrange("rq:queue:" + name, 0, -1)]


def members(key):
    return {member.decode() for member in redis.smembers(key)}


def written(key):
    """What jobs pushed with `tasks.push`, as one text."""
    return b"".join(redis.lrange(key, 0, -1)).decode()


def failed_with(job, text):
    assert status(job) == "failed", status(job)
    result = latest(job)
    assert result.type.value == 2 and text in result.exc_string, result.exc_string
    assert redis.zscore("rq:failed:" + job.origin, job.id) is not None


def near(found, expected, tolerance=TOLERANCE):
    assert abs(found - expected) <= tolerance, (found, expected)


def is_ahead(key, member, seconds):
    """The score of a member is so many seconds from now."""
    near(redis.zscore(key, member) - time.time(), seconds)


def abandon(job):
    """Makes a queued job look like one whose worker died while it ran it."""
    redis.lrem("rq:queue:" + job.origin, 0, job.id)
    redis.hset(job.key, "status", "started")
    redis.zadd("rq:wip:" + job.origin, {job.id + ":e": time.time() - 5})


def until(condition):
    """Waits until something is true and returns it. Exceptions mean `not yet`."""
    end = time.monotonic() + PATIENCE
    error = None
    while time.monotonic() < end:
        try:
            value = condition()
        except Exception as exception:  # noqa: BLE001
            value, error = None, exception
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"the condition is not met in time; last error: {error!r}")


def until_status(job, *expected):
    until(lambda: status(job) in expected)


def stop_job(job):
    """Stops a running job by command, and waits until the worker has recorded it."""
    until_status(job, "started")
    send_stop_job_command(redis, job.id)
    until(lambda: redis.zscore("rq:failed:" + job.origin, job.id))
    assert status(job) == "stopped"


def let_go(key="go"):
    """Lets one job go on that waits in `tasks.hold`."""
    redis.rpush(key, "gone on")


def pass_a_job_through(queue_name="default"):
    """Runs one more job: everything that the worker was to do before it has been done then."""
    job = enqueue("nothing", queue_name=queue_name)
    until_status(job, "finished")


# ------------------------------------------------------------------------------- the worker's side


class Process(subprocess.Popen):
    """A worker, or a pool of them, and all it prints."""

    def __init__(self, command, env):
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        super().__init__(
            command,
            cwd=PROJECT,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def output(self):
        # The file is shared with the worker, and so is the position in it.
        with open(f"/proc/self/fd/{self._log.fileno()}", errors="replace") as log:
            return log.read()

    def end(self, code=0):
        """Waits for its end by itself, and returns what it printed."""
        try:
            found = self.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError("it does not end:\n" + self.output()[-3000:]) from None
        output = self.output()
        assert code is None or found == code, f"exit code {found}\n{output[-3000:]}"
        return output

    def terminate_and_end(self, code=0):
        self.send_signal(signal.SIGTERM)
        return self.end(code)

    def clear_away(self):
        """Ends it and whatever is left of its session, such as jobs that would run for ever."""
        for pid in processes_of(session=self.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.wait()
        self._log.close()


def processes_of(session):
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may contain anything, come state, parent, group and session.
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                yield int(path.parent.name)


def environment(changes=None):
    variables = dict(os.environ, CONFORMANCE_URL=URL, PYTHONUNBUFFERED="1")
    variables.update(changes or {})
    return variables


def command(*args, queues=("default",), url=URL, of=WORKER):
    return [*of, *(["--url", url] if url else []), *args, *queues]


def burst(*args, code=0, env=None, **options):
    """Runs a worker until the queues are empty, and returns what it printed."""
    with running(command("--burst", *args, **options), env) as process:
        return process.end(code)


@contextlib.contextmanager
def running(arguments, env=None):
    process = Process(arguments, env)
    try:
        yield process
    finally:
        process.clear_away()


@contextlib.contextmanager
def worker(*args, name="w1", env=None, **options):
    """A worker that stays until the check is done with it; yields once it has registered."""
    with running(command("--name", name, *args, **options), env) as process:
        states = ("idle", "busy", "suspended")
        until(lambda: worker_hash(name).get("state") in states or process.poll() is not None)
        assert process.poll() is None, process.output()
        yield process
        if process.poll() is None:
            stop_at_once(process)


def stop_at_once(process):
    """Stops a worker that a check leaves behind; what it does at the end is not looked at."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.7)


def client(*arguments, env=None):
    """Runs `rq` with these arguments, and returns what it prints."""
    arguments = [sys.executable, "-m", "rq.cli", arguments[0], "--url", URL, *arguments[1:]]
    done = subprocess.run(
        arguments, cwd=PROJECT, env=environment(env), capture_output=True, text=True, check=True
    )
    return done.stdout
