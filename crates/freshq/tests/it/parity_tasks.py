"""Jobs of the parity test that ask to run again, or change themselves while they run."""

import os

from rq import Retry, get_current_job


def job():
    return get_current_job()


def ask(max_retries, interval=0, front=False):
    job().meta["asked"] = True
    return Retry(max=max_retries, interval=interval, enqueue_at_front=front)


def ask_then_end():
    return Retry(max=5) if (job().number_of_retries or 0) < 2 else "at last"


def boom():
    raise ValueError("boom")


def count():
    job().meta["count"] = job().meta.get("count", 0) + 1
    return job().meta["count"]


def nothing():
    pass


def unserializable():
    return lambda: 1


def cancel():
    job().cancel()
    return "canceled"


def delete():
    job().delete()
    return "deleted"


def cancel_and_fail():
    job().cancel()
    raise ValueError("canceled")


def no_more_retries():
    job().retries_left = 0
    raise ValueError("enough")


def keep_shortly():
    job().result_ttl = 5000
    job().description = "another one"
    return 1


def keep_failure_shortly():
    job().failure_ttl = 5000
    raise ValueError("shortly")


def kill():
    os.kill(os.getpid(), 9)
