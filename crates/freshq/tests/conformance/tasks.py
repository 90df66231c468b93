"""Functions that the jobs of the checks call, their callbacks, exception handlers and classes."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time

from redis import Redis
from rq import Queue, get_current_job
from rq.job import Job

SEEN = []


def add(a, b=0):
    return a + b


def nothing():
    return None


def own_redis():
    return Redis.from_url(os.environ["CONFORMANCE_URL"], socket_timeout=None)


def hold(key="go"):
    """Runs until the check lets it go on."""
    return own_redis().blpop(key)[1].decode()


def hold_and_fail(key="go"):
    raise ValueError(hold(key))


def push(key, value):
    get_current_job().connection.rpush(key, value)
    return value


def pid():
    return os.getpid()


def pid_and_group():
    return [os.getpid(), os.getpgrp()]


def hold_with_pid(key="pid"):
    own_redis().set(key, os.getpid())
    hold()


def spawn_child_and_hold():
    child = subprocess.Popen(["sleep", "600"])
    own_redis().set("child", child.pid)
    hold()


def environment():
    return {name: os.environ.get(name) for name in ("RQ_WORKER_ID", "RQ_JOB_ID")}


def handlers_of_signals():
    default, ignored = signal.SIG_DFL, signal.SIG_IGN
    names = {default: "default", ignored: "ignored"}
    wanted = (signal.SIGINT, signal.SIGTERM)
    return [names.get(signal.getsignal(number), "other") for number in wanted]


def how_many_seen():
    SEEN.append(1)
    return len(SEEN)


def random_number():
    return random.random()


def import_paths():
    return sys.path


def say(text):
    print(text)


def fail(message="failed on purpose"):
    raise ValueError(message)


def fail_with_non_ascii():
    raise ValueError("💪 ünï")


class Strange(BaseException):
    pass


def fail_strangely():
    raise Strange("not an Exception")


def fail_once():
    if own_redis().incr("attempts") == 1:
        raise ValueError("only the first time")
    return "at last"


def interrupt():
    raise KeyboardInterrupt


def exit_python():
    sys.exit(7)


def exit_process(code):
    os._exit(code)


def kill_itself(number=9):
    os.kill(os.getpid(), number)


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def catch_timeout(seconds):
    try:
        time.sleep(seconds)
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__module__}.{type(error).__name__}"
    return "no timeout"


def unserializable():
    return lambda: 1


async def coroutine(value):
    await asyncio.sleep(0)
    return value + 1


async def failing_coroutine():
    await asyncio.sleep(0)
    raise ValueError("from a coroutine")


def plain(value):
    """A status as text, whatever the release of rq calls it."""
    return getattr(value, "value", value)


def what_the_job_is():
    job = get_current_job()
    return [job.id, plain(job.get_status()), job.origin, job.worker_name]


def what_the_job_has():
    job = get_current_job()
    return {
        "timeout": job.timeout,
        "started_at": job.started_at is not None,
        "last_heartbeat": job.last_heartbeat is not None,
        "enqueued_at": job.enqueued_at is not None,
        "retries_left": getattr(job, "retries_left", None),
        "description": job.description,
        "executions": len(job.connection.keys("rq:executions:" + job.id)),
    }


def save_meta(changes, then_fail=False):
    job = get_current_job()
    job.meta.update(changes)
    job.save_meta()
    if then_fail:
        raise ValueError("after saving")


def change_meta(changes, then_fail=False):
    get_current_job().meta.update(changes)
    if then_fail:
        raise ValueError("without saving")


def fail_while_retries_are_left():
    if get_current_job().retries_left:
        raise ValueError("again")
    return "done"


def return_retry(max=1, interval=0, front=False):  # noqa: A002
    from rq import Retry

    options = {"enqueue_at_front": True} if front else {}
    return Retry(max=max, interval=interval, **options)


def enqueue_other(queue_name, count=1):
    target = Queue(queue_name, connection=get_current_job().connection)
    for _ in range(count):
        target.enqueue("tasks.add", 1)


class Multiplier:
    def __init__(self, factor=1):
        self.factor = factor

    def __call__(self, value):
        return self.factor + value

    def method(self, value):
        return self.factor * value

    @staticmethod
    def static(value):
        return value

    @classmethod
    def of_the_class(cls, value):
        return [cls.__name__, value]


# --------------------------------------------------------------------------------------- callbacks


def on_success(job, connection, result, *args):
    seen = [result, plain(job.get_status(refresh=False))]
    connection.rpush("success:" + job.id, json.dumps(seen))


def on_failure(job, connection, kind, value, trace):
    cached = plain(job.get_status(refresh=False))
    seen = [kind.__name__, str(value), trace is not None, cached]
    connection.rpush("failure:" + job.id, json.dumps(seen))


def on_stopped(job, connection):
    connection.rpush("stopped:" + job.id, plain(job.get_status(refresh=False)))


def look_at_job(job, connection, *args):
    """What a callback can read on the object, and what Redis says meanwhile."""
    seen = {
        "worker_name": job.worker_name,
        "started_at": job.started_at is not None,
        "ended_at": job.ended_at is not None,
        "stored": plain(job.get_status()),
        "current": getattr(get_current_job(), "id", None),
    }
    connection.rpush("looked:" + job.id, json.dumps(seen))


def save_meta_in_callback(job, connection, *args):
    job.meta["by"] = "callback"
    job.save_meta()


def raise_in_callback(*args):
    raise RuntimeError("raised in a callback")


def hold_in_callback(*args):
    own_redis().rpush("in-callback", 1)
    hold()


def enqueue_in_callback(job, connection, *args):
    Queue(job.origin, connection=connection).enqueue("tasks.add", 1)


def sleep_in_callback(*args):
    time.sleep(600)


# ------------------------------------------------------------------------------ exception handlers


def handle(job, kind, value, trace):
    seen = ["true", job.id, kind.__name__, str(value), trace is not None]
    own_redis().rpush("handled", json.dumps(seen))
    return True


def handle_and_say_nothing(job, *exception):
    own_redis().rpush("handled", json.dumps(["none", job.id]))


def handle_and_end(job, *exception):
    own_redis().rpush("handled", json.dumps(["false", job.id]))
    return False


# ----------------------------------------------------------------------------------------- classes


class CustomJob(Job):
    def perform(self):
        super().perform()
        return ["custom", self._result]


class CustomQueue(Queue):
    DEFAULT_TIMEOUT = 77


class ShoutingSerializer:
    """JSON that others cannot read by chance."""

    @staticmethod
    def dumps(*args, **kwargs):
        return b"!" + json.dumps(*args, **kwargs).encode()

    @staticmethod
    def loads(data, *args, **kwargs):
        assert data[:1] == b"!", data
        return json.loads(data[1:], *args, **kwargs)
