"""An errand: user code that runs around a job, in a horse of its own.

It is called for a job that is not running: the answer says what went wrong, and changes
nothing else. A function here is called with the job, the order, and what the generation prepared.
"""

import traceback
from datetime import datetime, timezone

from rq.exceptions import AbandonedJobError
from rq.job import JobStatus

from . import horse

try:
    from rq.callbacks import execute_stopped_callback
except ImportError:  # rq 2 has it as a method

    def execute_stopped_callback(job, death_penalty):
        if job.stopped_callback:
            job.execute_stopped_callback(death_penalty)


def run(order, body, tools, job):
    """Do what the order says; returns the answer."""
    problems = []
    try:
        horse.restore(job, order, body)
        _PURPOSES[order["purpose"]](job, order, tools)
    except BaseException as error:  # noqa: BLE001  SystemExit and KeyboardInterrupt end only the errand
        problems.append("".join(traceback.format_exception(error)))
    return {"kind": "run", "problems": problems}


def _stopped(job, order, _tools):
    job.worker_name = order["worker"]
    job.started_at = datetime.fromtimestamp(order["started_us"] / 1_000_000, timezone.utc)
    job._status = JobStatus.STARTED
    execute_stopped_callback(job, horse.DeathPenalty)


def _abandoned(job, _order, tools):
    # Nobody saw it end, so there is no traceback.
    exc_info = AbandonedJobError, AbandonedJobError(), None
    try:
        horse.execute_failure_callback(job, horse.DeathPenalty, *exc_info)
    finally:
        horse.call_handlers(tools.hooks.exception_handlers, job, exc_info)


def _webhooks(job, order, _tools):
    job.ended_at = datetime.fromtimestamp(order["ended_us"] / 1_000_000, timezone.utc)
    job._status = JobStatus(order["status"])
    # Older versions of rq have none. Each logs what goes wrong with it.
    for webhook in getattr(job, "webhooks", []):
        if webhook.job_status == order["status"]:
            webhook.send(job, exc_string=order["exc_text"])


_PURPOSES = {"stopped": _stopped, "abandoned": _abandoned, "webhooks": _webhooks}
