"""Enqueues the jobs of the parity test, and shows what a worker left, without what differs by chance.

    parity.py SCENARIO URL [PORT]
    parity.py dump URL
"""

import base64
import json
import math
import re
import sys
import time
import zlib

from redis import Redis
from rq import Queue, Retry
from rq.group import Group
from rq.job import Dependency

try:
    from rq import RateLimit, Repeat, Webhook
except ImportError:  # an old rq, for which only `once` is run
    RateLimit = Repeat = Webhook = None

TEXT_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PORT = re.compile(r"127\.0\.0\.1:\d+")
# Fields whose value is the worker's own.
OWN = {
    "pid",
    "ip_address",
    "total_working_time",
    "execution_id",
    "execution_started_at",
    "execution_ended_at",
    "freshq_finished",
    "freshq_number",
}
# Fields of a job that only freshq writes.
FRESHQS = {"generation", "code_hash"}
LONG = 5000


def enqueuer(r, module="app.tasks"):
    queue = Queue("default", connection=r)

    def job(job_id, func, *args, **options):
        return queue.enqueue(f"{module}.{func}", *args, job_id=job_id, **options)

    return job


def once(r):
    job, queue = enqueuer(r), Queue("default", connection=r)
    job("value", "add", 1, b=2)
    job("none", "nothing")
    job("fails", "boom")
    job("fails-briefly", "boom", failure_ttl=LONG)
    job("fails-for-ever", "boom", failure_ttl=-1)
    job("fails-unkept", "boom", failure_ttl=0)
    job("missing", "missing")
    job("unserializable", "unserializable")
    job("unkept", "add", 1, result_ttl=0)
    job("kept-for-ever", "add", 1, result_ttl=-1)
    job("kept-long", "add", 1, result_ttl=LONG, ttl=LONG, description="a description")
    job("other-queue-timeout", "add", 1, job_timeout=-1, meta={"a": 1})
    job("meta-saved", "progress", meta={"a": 1})
    job("retried", "boom", retry=Retry(max=2))
    job("retried-with-meta", "touch_meta", retry=Retry(max=1), meta={"tries": 0})
    job("recovers", "fails_once", retry=Retry(max=3))
    job("retried-later", "boom", retry=Retry(max=2, interval=[LONG, 2 * LONG]))
    job("retried-later-expiring", "boom", retry=Retry(max=2, interval=LONG), ttl=LONG)
    job("calls-back", "add", 1, on_success="app.tasks.succeeded", on_failure="app.tasks.failed")
    job("calls-back-failed", "boom", on_success="app.tasks.succeeded", on_failure="app.tasks.failed")
    job("callback-raises", "add", 1, on_success="app.tasks.bad_callback", on_failure="app.tasks.failed")
    job("times-out", "sleep", job_timeout=1)
    job("killed", "kill")
    job("running", "look")
    dependents(job)
    group = Group.create(name="group", connection=r)
    group.enqueue_many(queue, [
        Queue.prepare_data("app.tasks.add", (1,), job_id="in-group"),
        Queue.prepare_data("app.tasks.add", (1,), job_id="in-group-unkept", result_ttl=0),
    ])


def dependents(job):
    parent = job("parent", "add", 1)
    child = job("child", "add", 2, depends_on=parent)
    job("grandchild", "add", 3, depends_on=[parent, child])
    broken = job("broken-parent", "boom")
    job("strict", "add", 1, depends_on=broken)
    job("lenient", "add", 1, depends_on=Dependency([broken], allow_failure=True))
    later = job("later-parent", "add", 1)
    job("both", "add", 1, depends_on=[broken, later])
    unkept = job("unkept-parent", "add", 1, result_ttl=0)
    job("child-of-unkept", "add", 1, depends_on=unkept, at_front=True)


def again(r):
    job = enqueuer(r, "app.again")
    job("asks", "ask", 2)
    job("asks-once-and-is-kept-briefly", "ask", 1, failure_ttl=LONG, meta={"a": 1})
    job("asks-for-later", "ask", 2, LONG, ttl=LONG)
    job("asks-for-later-twice", "ask", 3, [0, LONG])
    job("asks-for-the-front", "ask", 1, 0, True)
    job("asks-and-may-fail", "ask", 1, retry=Retry(max=3))
    job("asks-and-ends", "ask_then_end", meta={"a": 1})
    job("asks-unkept", "ask", 1, failure_ttl=0)
    asks = job("asks-before-others", "ask", 1)
    job("after-asks", "count", depends_on=Dependency([asks], allow_failure=True))
    job("repeats", "count", repeat=Repeat(times=2), meta={"a": 1})
    job("repeats-later", "count", repeat=Repeat(times=2, interval=LONG))
    job("repeats-at-once-then-later", "count", repeat=Repeat(times=3, interval=[0, LONG, 2 * LONG]))
    job("repeats-unkept", "count", repeat=Repeat(times=1), result_ttl=0)
    job("repeats-unkept-later", "count", repeat=Repeat(times=1, interval=LONG), result_ttl=0)
    job("repeats-for-ever-kept", "count", repeat=Repeat(times=1), result_ttl=-1)
    job("repeats-expiring", "count", repeat=Repeat(times=2, interval=LONG), ttl=LONG)
    job("repeats-nothing", "nothing", repeat=Repeat(times=1, interval=LONG))
    job("repeats-at-front", "count", repeat=Repeat(times=1), at_front=True)
    job("repeats-failing", "boom", repeat=Repeat(times=2))
    job("repeats-and-asks", "ask_then_end", repeat=Repeat(times=1, interval=LONG))
    parent = job("repeating-parent", "count", repeat=Repeat(times=1, interval=LONG))
    job("child-of-repeating", "count", depends_on=parent)
    job("cancels-itself", "cancel")
    job("cancels-itself-and-fails", "cancel_and_fail")
    job("deletes-itself", "delete")
    job("wants-no-more-retries", "no_more_retries", retry=Retry(max=3))
    job("keeps-shortly", "keep_shortly")
    job("keeps-failure-shortly", "keep_failure_shortly")
    job("unreadable-meta", "boom", retry=Retry(max=1))
    r.hset("rq:job:unreadable-meta", "meta", b"\x80garbage")


def limited(r):
    job = enqueuer(r, "app.again")

    def one(job_id, func, *args, key="one", **options):
        return job(job_id, func, *args, rate_limit=RateLimit(key, 1), **options)

    for n in range(3):
        one(f"one-{n}", "count")
    one("one-fails", "boom")
    one("one-is-retried", "boom", retry=Retry(max=1))
    one("one-is-retried-later", "boom", retry=Retry(max=1, interval=LONG))
    one("one-asks", "ask", 1)
    one("one-asks-for-later", "ask", 1, LONG)
    one("one-repeats", "count", repeat=Repeat(times=1))
    one("one-repeats-later", "count", repeat=Repeat(times=1, interval=LONG))
    one("one-unkept", "count", result_ttl=0)
    one("one-at-front", "count", at_front=True)
    one("one-expiring", "count", ttl=LONG)
    one("one-cancels-itself", "cancel")
    one("one-deletes-itself", "delete")
    parent = one("one-parent", "count")
    one("one-child", "count", depends_on=parent)
    one("child-of-another-limit", "count", key="two", depends_on=parent, at_front=True)
    plain = job("plain-parent", "count")
    one("limited-child-of-plain", "count", key="three", depends_on=plain)
    one("one-last", "count")


def unrecorded(r):
    job = enqueuer(r, "app.again")
    job("value", "count")
    job("fails", "boom")
    job("fails-unkept", "boom", failure_ttl=0)
    job("is-retried", "boom", retry=Retry(max=1))
    job("asks", "ask", 1)
    parent = job("broken-parent", "boom")
    job("lenient", "count", depends_on=Dependency([parent], allow_failure=True))


def webhooks(r, port):
    job = enqueuer(r, "app.again")

    def hook(path, job_status, **options):
        return Webhook(f"http://127.0.0.1:{port}/{path}", job_status, **options)

    def both(path, **options):
        return [hook(f"{path}/finished", "finished", **options), hook(f"{path}/failed", "failed", **options)]

    job("finishes", "count", webhooks=both("finishes"))
    job("finishes-posting", "count", webhooks=both("finishes-posting", method="POST", headers={"X-Key": "a"}))
    job("fails", "boom", webhooks=both("fails", method="POST"))
    job("fails-unkept", "boom", webhooks=both("fails-unkept", method="POST"), failure_ttl=0)
    job("unkept", "count", webhooks=both("unkept", method="POST"), result_ttl=0)
    job("several", "count", webhooks=both("several-1") + both("several-2"))
    job("is-retried", "boom", webhooks=both("is-retried", method="POST"), retry=Retry(max=2))
    job("is-retried-later", "boom", webhooks=both("is-retried-later"), retry=Retry(max=2, interval=LONG))
    job("asks", "ask", 1, webhooks=both("asks", method="POST"))
    job("asks-and-ends", "ask_then_end", webhooks=both("asks-and-ends", method="POST"))
    job("repeats", "count", webhooks=both("repeats", method="POST"), repeat=Repeat(times=1))
    job("repeats-later", "count", webhooks=both("repeats-later"), repeat=Repeat(times=1, interval=LONG))
    job("killed", "kill", webhooks=both("killed", method="POST"))
    job("undecodable", "count", webhooks=both("undecodable"))
    r.hset("rq:job:undecodable", "data", zlib.compress(b"\x80garbage"))
    job("unreachable", "count", webhooks=[Webhook("http://127.0.0.1:1/", "finished")])
    job("refused", "count", webhooks=both("refuse"))
    job("unreadable", "count", webhooks=both("unreadable"))
    r.hset("rq:job:unreadable", "webhooks", "odd")


def shown(field, value):
    if field == "exc_string":
        # The frames above the job's own function are each worker's own.
        value = zlib.decompress(base64.b64decode(value)).rstrip()
        lines = value.decode().splitlines()
        # What follows it is freshq's own.
        return lines[0].rstrip() if lines[0].startswith("Work-horse terminated") else lines[-1]
    if field in OWN:
        return "own"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return PORT.sub("127.0.0.1:port", TEXT_TIME.sub("time", text))


def fields(pairs):
    named = {name.decode(): value for name, value in pairs.items()}
    return {name: shown(name, value) for name, value in named.items() if name not in FRESHQS}


def magnitude(score):
    """Scores are times: told by the power of ten of the seconds until then."""
    ahead = score - time.time()
    if score < 0 or math.isinf(score):
        return score if score < 0 else "inf"
    return "past" if ahead <= 0 else f"10^{int(math.log10(ahead))} s"


def content(r, key, kind):
    if kind == "hash":
        return fields(r.hgetall(key))
    if kind == "zset":
        return {member.decode(): magnitude(score) for member, score in r.zrange(key, 0, -1, withscores=True)}
    if kind == "set":
        return sorted(member.decode() for member in r.smembers(key))
    if kind == "list":
        return [item.decode() for item in r.lrange(key, 0, -1)]
    if kind == "stream":
        return [fields(entry) for _, entry in r.xrange(key)]
    return r.get(key).decode()


def dump(r):
    keys = {}
    for key in r.keys("*"):
        kind = r.type(key).decode()
        life = "for ever" if r.ttl(key) < 0 else "some time"
        keys[key.decode()] = [kind, life, content(r, key, kind)]
    return keys


def main():
    action, url, *more = sys.argv[1:]
    r = Redis.from_url(url, protocol=2)
    if action == "dump":
        print(json.dumps(dump(r)))
    else:
        scenarios = (once, again, limited, unrecorded, webhooks)
        {scenario.__name__: scenario for scenario in scenarios}[action](r, *more)


main()
