"""RQ's loggers in the processes of jobs, as `rq worker` sets them up.

What the supervisor prints is not printed again here: a failure is one record for the
handlers that the user has (Sentry reads its `extra`), and one line of the supervisor's.
"""

import logging

from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT, DEFAULT_LOGGING_FORMAT
from rq.exceptions import DeserializationError
from rq.logutils import setup_loghandlers

_logger = logging.getLogger("rq.worker")
_told_elsewhere = False


def set_up(settings):
    """To be called where `rq worker` does: after its classes are imported, before jobs are."""
    for name in ("rq.worker", "rq.job"):
        logger = logging.getLogger(name)
        before = list(logger.handlers)
        setup_loghandlers(
            settings["level"],
            settings["date_format"] or DEFAULT_LOGGING_DATE_FORMAT,
            settings["log_format"] or DEFAULT_LOGGING_FORMAT,
            name=name,
        )
        for handler in logger.handlers:
            if handler not in before:
                handler.addFilter(_is_ours_to_tell)


def _is_ours_to_tell(record):
    return not _told_elsewhere


def failed(job, worker, text):
    """RQ's record of a job that raised."""
    global _told_elsewhere
    try:
        extra = {"func": job.func_name, "arguments": job.args, "kwargs": job.kwargs}
    except DeserializationError:
        extra = {}
    func = extra.get("func", "<DeserializationError>")
    extra |= {"queue": job.origin, "job_id": job.id}
    _told_elsewhere = True
    try:
        _logger.error(
            "Worker %s: job %s: exception raised while executing (%s)\n%s", worker, job.id, func, text, extra=extra
        )
    finally:
        _told_elsewhere = False
    return func
