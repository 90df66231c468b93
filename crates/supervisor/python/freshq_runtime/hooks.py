"""The user's own Python that jobs run with: classes, serializer, exception handlers.

Each generation imports it, so that it is verified and reloaded as the rest of the
user's code. Redis is written by the supervisor, which does not call methods of these
classes; a class that overrides one of those is refused, because it would be half true.
"""

from redis import Redis
from rq import Worker
from rq.job import Job
from rq.queue import Queue
from rq.serializers import DefaultSerializer, resolve_serializer
from rq.utils import import_attribute

_JOB_BYPASSED = (
    "_handle_failure _handle_retry_result _handle_success _remove_from_registries cleanup delete"
    " dependencies_are_met dependencies_key dependents_key dependents_key_for exists fetch fetch_dependencies"
    " fetch_many get_result_ttl get_retry_interval get_ttl heartbeat key key_for prepare_for_execution"
    " redis_job_namespace_prefix refresh retry save send_webhooks set_status should_enqueue_at_front"
    " should_retry to_dict"
).split()
_QUEUE_BYPASSED = (
    "_enqueue_async_job _enqueue_job _enqueue_rate_limited_job _persist_job _prepare_for_queue"
    " acquire_maintenance_lock dequeue_any enqueue_dependents enqueue_job enqueue_ready_jobs_by_queue"
    " intermediate_queue_key key lmove lpop move_dependents_to_ready pop_job_id push_job_id"
    " redis_queue_namespace_prefix redis_queues_keys registry_cleaning_key release_maintenance_lock schedule_job"
).split()


class Unusable(Exception):
    """What an option names cannot be imported, or not be honoured; the text is for people."""


class Hooks:
    """RQ's own, until something else is asked for."""

    serializer = None  # pickle; naming it makes rq check a protocol, which is slow
    job_class = Job
    queue_class = Queue
    connection_class = Redis
    worker_class = Worker
    worker_options = None
    warned = False  # of a stop, as horses of RQ's HerokuWorker
    perform = None  # what runs a job, if not the horse itself
    exception_handlers = ()


def load(settings, worker_options):
    """Imports what the options name. RQ's order."""
    hooks = Hooks()
    hooks.worker_options = worker_options
    hooks.warned = settings["heroku"]
    if settings["worker_class"]:
        _use_worker_class(hooks, settings["worker_class"])
    hooks.job_class = _class("--job-class", settings["job_class"], Job)
    hooks.queue_class = _class("--queue-class", settings["queue_class"], Queue)
    hooks.connection_class = _class("--connection-class", settings["connection_class"], Redis)
    _refuse_bypassed("--job-class", hooks.job_class, _JOB_BYPASSED)
    _refuse_bypassed("--queue-class", hooks.queue_class, _QUEUE_BYPASSED)
    hooks.exception_handlers = tuple(
        _resolved("--exception-handler", path, import_attribute) for path in settings["exception_handlers"]
    )
    if settings["serializer"]:
        serializer = _resolved("--serializer", settings["serializer"], resolve_serializer)
        hooks.serializer = None if serializer is DefaultSerializer else serializer
    return hooks


def _use_worker_class(hooks, path):
    from . import own_worker  # only now: what it imports is not needed otherwise

    found = hooks.worker_class = _class("--worker-class", path, own_worker.BaseWorker)
    if found is Worker:
        return
    problem = own_worker.unusable_because(found, overridden(found, own_worker.REPLACED))
    if problem:
        raise Unusable(f"--worker-class {path}: {problem}")
    hooks.warned = issubclass(found, own_worker.HerokuWorker)
    own_worker.install()
    hooks.perform = own_worker.perform


def _class(option, path, default):
    if not path:
        return default
    found = _resolved(option, path, import_attribute)
    if not (isinstance(found, type) and issubclass(found, default)):
        raise Unusable(f"{option} {path}: it is not a subclass of {default.__module__}.{default.__qualname__}")
    return found


def _resolved(option, path, resolve):
    try:
        return resolve(path)
    except BaseException as error:  # noqa: BLE001  also SystemExit: user code must not end us
        raise Unusable(f"{option} {path}: {type(error).__name__}: {error}") from error


def _refuse_bypassed(option, cls, names):
    found = overridden(cls, names)
    if found:
        raise Unusable(
            f"{option} {cls.__module__}.{cls.__qualname__}: it overrides {', '.join(found)}, which freshq does"
            " itself, in Redis; take them out, or run this class with rq worker"
        )


def overridden(cls, names):
    """Those of `names` that a class has from somewhere else than rq."""
    foreign = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in ("rq", "builtins")]
    return [name for name in names if any(name in vars(base) for base in foreign)]
