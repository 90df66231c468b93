"""Jobs through a Worker subclass of the user's own: RQ's code runs them and writes how they end.

The supervisor has taken the job, registered its execution, and sends its heartbeats; it
notices when the horse dies. The methods of RQ's worker that would do that are replaced
here, below the user's class, so that its overrides find what they call and `execute_job`
runs the job in this process. What the supervisor alone does cannot be overridden.
"""

import inspect
import os
import random
import sys
import traceback
from datetime import datetime, timezone

from rq.executions import Execution
from rq.job import JobStatus
from rq.worker import BaseWorker, HerokuWorker, SimpleWorker, Worker

# Methods and attributes of RQ's worker whose work the supervisor does.
REPLACED = (
    "_handle_stopped_job _install_signal_handlers _set_state _shutdown _start_scheduler bootstrap"
    " check_for_suspension clean_group_registries clean_registries dequeue_job_and_maintain_ttl"
    " dequeue_timeout fork_work_horse get_heartbeat_ttl handle_payload handle_warm_shutdown_request"
    " handle_work_horse_killed heartbeat kill_horse maintain_heartbeats monitor_work_horse prepare_execution"
    " redis_worker_namespace_prefix redis_workers_keys register_birth register_death reorder_queues"
    " request_force_stop request_stop request_stop_execution run_maintenance_tasks set_state"
    " should_run_maintenance_tasks stop_scheduler subscribe teardown unsubscribe wait_for_horse work"
).split()
# RQ's classes that one may derive from; of the others the supervisor has its own kind.
BASES = (BaseWorker, Worker, SimpleWorker, HerokuWorker)
INSTEAD = {
    "RandomWorker": "derive from rq.Worker and give --dequeue-strategy random",
    "RoundRobinWorker": "derive from rq.Worker and give --dequeue-strategy round_robin",
    "SpawnWorker": "derive from rq.Worker and give --isolation spawn",
}


class _Running:
    """What the replaced methods know of the one job of this process."""

    execution = None
    failure = ""


def unusable_because(cls, foreign):
    """Why this class cannot be honoured, or None; `foreign` are the names that are not RQ's own."""
    if foreign:
        return (
            f"it overrides {', '.join(foreign)}, which freshq does itself; take them out, or run this class with"
            " rq worker"
        )
    if cls.__module__.partition(".")[0] == "rq":
        return f"name it as rq.{cls.__name__}"
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "rq" and base not in BASES:
            advice = INSTEAD.get(base.__name__, "derive from rq.Worker")
            return f"it is a {base.__name__}, of which freshq has its own kind; {advice}"
    for name in ("perform_job", "execute_job"):
        own, rqs = inspect.signature(getattr(cls, name)), inspect.signature(getattr(Worker, name))
        try:
            own.bind(*rqs.parameters)
        except TypeError as error:
            return f"{name}{own} cannot be called as this rq calls it, {name}{rqs}: {error}"
    return None


def install():
    """Put the replacements in place of RQ's own, for this process and its horses."""
    for name, function in _REPLACEMENTS.items():
        for cls in BASES:
            if name in vars(cls):
                setattr(cls, name, function)
    BaseWorker.handle_job_failure = _noting_failure(BaseWorker.handle_job_failure)


def perform(order, tools, job):
    """Runs the job; returns the answer, which says what became of it as far as this process knows."""
    worker, queue = _worker(order, tools)
    _Running.execution = _execution(order, job)
    name, problem = type(worker).__qualname__, ""
    try:
        worker.execute_job(job, queue)
    except BaseException:  # noqa: BLE001  what would end RQ's worker ends nothing here
        problem = traceback.format_exc()
        print(f"execute_job of {name} raised:\n{problem}", file=sys.stderr)
    job.ended_at = job.ended_at or datetime.now(timezone.utc)
    failure = _Running.failure or problem
    tools.unfit = job._status != JobStatus.FINISHED  # what it raised stayed with RQ's code
    if not failure and job._status == JobStatus.FAILED:
        failure = "it asked to run again too often"  # the one failure without a text
    # For the case that nobody has ended the job.
    left = problem or f"execute_job of {name} returned, and the job had not ended"
    return {"kind": "handled", "exc": left, "summary": failure.strip().rpartition("\n")[2]}, []


def _worker(order, tools):
    """As `rq worker` makes it."""
    hooks, options = tools.hooks, tools.hooks.worker_options
    shared = {"connection": tools.connection, "job_class": hooks.job_class, "serializer": hooks.serializer}
    queues = [hooks.queue_class(name, **shared) for name in options["queues"]]
    worker = hooks.worker_class(
        queues,
        name=order["worker"],
        connection=tools.connection,
        default_worker_ttl=options["worker_ttl"],
        worker_ttl=options["worker_ttl"],
        default_result_ttl=options["result_ttl"],
        maintenance_interval=options["maintenance_interval"],
        job_monitoring_interval=options["job_monitoring_interval"],
        job_class=hooks.job_class,
        queue_class=hooks.queue_class,
        exception_handlers=list(hooks.exception_handlers) or None,
        disable_default_exception_handler=options["disable_default_exception_handler"],
        log_job_description=options["log_job_description"],
        serializer=hooks.serializer,
    )
    found = [queue for queue in worker.queues if queue.name == order["queue"]]
    return worker, found[0] if found else hooks.queue_class(order["queue"], **shared)


def _execution(order, job):
    execution = Execution(order["execution"], job.id, job.connection)
    execution.worker_name = order["worker"]
    execution._job = job
    return execution


def _prepare_execution(worker, job):
    worker.execution = _Running.execution
    return _Running.execution


def _fork_work_horse(worker, job, queue):
    worker.main_work_horse(job, queue)


def _main_work_horse(worker, job, queue):
    random.seed()
    worker.setup_work_horse_signals()
    worker._is_horse = True
    execution = (worker.execution,) if "execution" in inspect.signature(Worker.perform_job).parameters else ()
    try:
        worker.perform_job(job, queue, *execution)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)  # as RQ's horse


def _nothing(worker, *args, **options):
    pass


def _set_state(worker, state, *args, **options):
    worker._state = state


def _noting_failure(handle_job_failure):
    def noting(worker, job, *args, **options):
        _Running.failure = options.get("exc_string", "")
        return handle_job_failure(worker, job, *args, **options)

    return noting


_REPLACEMENTS = {
    "prepare_execution": _prepare_execution,
    "fork_work_horse": _fork_work_horse,
    "main_work_horse": _main_work_horse,
    "monitor_work_horse": _nothing,
    "heartbeat": _nothing,
    "set_state": _set_state,
}
