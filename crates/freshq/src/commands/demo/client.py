"""The demo's web application, so to say: enqueues jobs through the unmodified rq client.

It reads requests from standard input and writes events to standard output, each a JSON object on
a line. It lives as long as the demo, so that the times the demo shows are not those of starting
Python. It never imports the application: jobs are enqueued by the name of their function.
"""

import json
import os
import sys
import time

from redis import Redis
from rq import Queue, Worker
from rq.job import Job

JOB_SECONDS_MAX = 60
RESULT_SECONDS_KEPT = 3600
LOOK_AGAIN_SECONDS = 0.01


def say(**event: object) -> None:
    print(json.dumps(event), flush=True)


def enqueue(queue: Queue, function: str, argument: str, description: str | None = None) -> Job:
    return queue.enqueue(
        f"casestrainer.tasks.{function}",
        argument,
        description=description,
        job_timeout=JOB_SECONDS_MAX,
        result_ttl=RESULT_SECONDS_KEPT,
    )


def outcome(job: Job, wait_seconds: int = 0) -> dict[str, object]:
    """What became of a job: its value, or the last line of its traceback."""
    result = job.latest_result(timeout=wait_seconds)
    if result is None:
        return {"error": "it left no result"}
    if result.exc_string:
        return {"error": result.exc_string.strip().splitlines()[-1]}
    return {"value": result.return_value}


def seconds_of(job: Job) -> float:
    """How long a job ran."""
    job.refresh()
    if job.started_at is None or job.ended_at is None:
        return 0.0
    return (job.ended_at - job.started_at).total_seconds()


def ready(queue: Queue) -> None:
    """Answer as soon as a worker listens."""
    while not Worker.count(queue=queue):
        time.sleep(LOOK_AGAIN_SECONDS)
    say(ready=True)


def extract(queue: Queue, documents: list[str]) -> None:
    """Enqueue documents and report on their jobs until all have ended."""
    running = {name: enqueue(queue, "extract", name) for name in documents}
    said: dict[str, object] = {}
    while running:
        for name, job in list(running.items()):
            ended = job.get_status().value in ("finished", "failed", "stopped", "canceled")
            meta = job.get_meta()
            progress = {key: meta.get(key, 0) for key in ("done", "total", "found")}
            if ended:
                del running[name]
                progress.update(outcome(job), seconds=seconds_of(job))
            if said.get(name) != progress:
                said[name] = progress
                say(document=name, **progress)
        time.sleep(LOOK_AGAIN_SECONDS)


def cite(queue: Queue, passage: str, description: str) -> None:
    """Enqueue a passage and wait for its citations, without polling."""
    job = enqueue(queue, "cite", passage, description)
    say(**outcome(job, wait_seconds=JOB_SECONDS_MAX))


def main() -> None:
    queue = Queue("default", connection=Redis.from_url(os.environ["RQ_REDIS_URL"]))
    requests = {"ready": ready, "extract": extract, "cite": cite}
    for line in sys.stdin:
        request = json.loads(line)
        requests[request.pop("do")](queue, **request)


if __name__ == "__main__":
    main()
