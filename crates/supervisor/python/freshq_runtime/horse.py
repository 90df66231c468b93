"""A horse: runs a job and answers its outcome, or runs one errand. One that is reused runs many jobs.

Order of things as in `rq.worker`: the success callback runs before the outcome
is known to anyone, and if it raises the job has failed; the failure callback
runs on every failing attempt, and if it raises its exception is the recorded one.
"""

import _signal
import asyncio
import contextvars
import operator
import os
import pickle
import random
import select
import socket
import sys
import time
import traceback
import zlib
from datetime import datetime, timezone

from rq.exceptions import DeserializationError
from rq.job import Job, JobStatus, Retry
from rq.results import Result
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from . import heroku, hooks, lifeline, logs, renewal, reuse
from .frames import Closed, Link, encode
from .loader import UserCode, new_libraries, newest_module

try:
    from rq.callbacks import execute_failure_callback, execute_success_callback
except ImportError:  # rq 2 has them as methods

    def execute_success_callback(job, death_penalty, value):
        if job.success_callback:
            job.execute_success_callback(death_penalty, value)

    def execute_failure_callback(job, death_penalty, *exc_info):
        if job.failure_callback:
            job.execute_failure_callback(death_penalty, *exc_info)


UNSERIALIZABLE = "Unserializable return value"
# Since rq 2.1, and since 2.8: a client can read only the types of results that it knows.
RETRY_IS_A_RESULT = hasattr(Result.Type, "RETRIED")
EXCEEDED_IS_A_RESULT = hasattr(Result.Type, "MAX_RETRIES_EXCEEDED")
# What a job may change in itself while it runs; older versions of rq do not know them all.
CHANGEABLE = (
    "description", "timeout", "result_ttl", "failure_ttl", "ttl", "enqueue_at_front", "allow_dependency_failures",
    "retries_left", "retry_intervals", "enqueue_at_front_on_retry", "number_of_retries", "repeats_left",
    "repeat_intervals",
)
# Longest wait for a retry, in seconds: no date is further ahead.
FOR_EVER = 1e11
ENVIRONMENT = ("RQ_WORKER_ID", "RQ_JOB_ID", "RQ_EXECUTION_ID")
DATES = ("created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat")
# What is inflated for a job, at most: few bytes can be made to become very many.
INFLATED_BYTES_MAX = 512 * 1024 * 1024
# zlib makes nothing smaller than by this factor.
INFLATION_MAX = 1032
INFLATED_AT_ONCE = 16 * 1024 * 1024
# Longest return value that is stored; it is in memory several times on its way.
VALUE_BYTES_MAX = 128 * 1024 * 1024
# Longest text that is stored of a failure.
TRACEBACK_CHARS_MAX = 1_000_000
# Of each value that a job returns rq asks whether it is a coroutine. Python remembers that of its type.
COMMON_VALUES = (None, True, 1, 1.0, "", b"", (), [], {}, set())
# CPython specializes a function after a few calls.
REHEARSALS = 20
# A horse that is left alone this long has the time to rehearse once more, for itself.
IDLE_MS = 2


class DeathPenalty(UnixSignalDeathPenalty):
    """As RQ's, without the detour of the `signal` module over enumerations, which touches many pages."""

    struck = False  # an exception out of nowhere may have left anything half done

    def setup_death_penalty(self):
        _signal.signal(_signal.SIGALRM, self.handle_death_penalty)
        _signal.alarm(self._timeout)

    def cancel_death_penalty(self):
        if not _signal.alarm(0):
            DeathPenalty.struck = True  # no time was left
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)


class NoRedis:
    """Takes the place of a connection in a rehearsal."""

    def persist(self, key):
        """What rq before 3.0 does first with a job that it performs."""


class Tools:
    """What a generation prepares once for all its horses."""

    def __init__(self, user, wanted, connection, reuse_limits=None):
        self.user = user
        self.hooks = wanted
        self.perform = wanted.perform or _perform
        # Not connected yet: a horse opens its own connection, and only if the job uses it.
        self.connection = connection
        self.reuse = reuse_limits
        self.unfit = False  # a job ended in a way that no process should outlive
        # Made ahead, for the first job that a horse runs and for its rehearsal: a new one touches many pages.
        self.job = self.blank_job()
        self.changeable = [name for name in CHANGEABLE if hasattr(self.job, name)]
        self.look_at = operator.attrgetter(*self.changeable)
        self.rehearsal_job = Job("", connection=NoRedis())
        self.rehearsal = _rehearsal()
        for value in COMMON_VALUES:
            asyncio.iscoroutine(value)
        self.note_modules()

    def blank_job(self):
        return self.hooks.job_class("", connection=self.connection, serializer=self.hooks.serializer)

    def note_modules(self):
        self.newest_module = newest_module()


def rehearse(settings):
    """Run a job of no consequence, often enough that what jobs need is imported and specialized.

    The interpreter writes into code that it runs for the first times. Done here, in the base, those
    pages are shared by all horses; done in each horse, they are copied for each job.
    """
    tools = Tools(UserCode(settings), hooks.Hooks(), hooks.Hooks.connection_class())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        order, body = tools.rehearsal
        for _ in range(REHEARSALS):
            theirs.sendall(encode(order, body))
            lifeline.rehearse(ours.fileno())
            _attend(Link(ours), tools, tools.rehearsal_job, None)
            _rehearse_once(tools)
            random.seed()  # what Python runs in each forked child


def _rehearse_once(tools):
    _run(*tools.rehearsal, tools, tools.rehearsal_job, _perform)
    _forget_job()


def _rehearsal():
    """The order to call `abs(1)`."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
    fields = {
        "created_at": now,
        "enqueued_at": now,
        "data": zlib.compress(pickle.dumps(("builtins.abs", None, (1,), {}))),
        "origin": b"rehearsal",
        "status": b"queued",
        "timeout": b"180",
    }
    job_id = b"rehearsal"
    order = {"kind": "run", "id": len(job_id), "worker": "rehearsal", "execution": "rehearsal", "queue": "rehearsal"}
    order["position"] = None
    order["fields"] = [[name, len(value)] for name, value in fields.items()]
    return order, b"".join((job_id, *fields.values()))


def main(sock, line, stderr, tools):
    """Runs in the fork, and never returns."""
    if stderr is not None:
        os.dup2(stderr, 2)  # also for what native code writes
        os.close(stderr)
    os.setpgid(0, 0)
    lifeline.hold(line)
    renewal.after_fork()
    work(Link(sock), tools)


def work(link, tools):
    """What a horse is for. Never returns."""
    status = 1
    try:
        _signal.signal(_signal.SIGHUP, _signal.SIG_DFL)  # as in RQ's horse; SIGINT stays ignored there too
        if tools.hooks.warned:
            heroku.listen()
        else:
            _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
        order = select.poll()  # not `select`, which refuses high descriptors
        order.register(link, select.POLLIN)
        if not order.poll(IDLE_MS):
            _rehearse_once(tools)  # copies the pages that every job writes to
        _attend_all(link, tools)
        lifeline.release()
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        _flush()
        os._exit(status)


def _attend_all(link, tools):
    """One job, or as many as it may run."""
    keeper = reuse.Keeper(tools.reuse) if tools.reuse else None
    try:
        while _attend(link, tools, tools.job, keeper):
            tools.job = tools.blank_job()
    except Closed:
        pass  # no job came, and none will


def _attend(link, tools, job, keeper):
    """Returns whether another job may come."""
    order, body = link.receive()
    tools.user.past.position = order["position"]
    if order["kind"] == "run":
        # A context of its own: what a job sets there is gone with it.
        answer, parts = contextvars.copy_context().run(_run, order, body, tools, job, tools.perform)
        if not link.is_whole():
            _wait_for_the_end()
        answer["stays"] = keeper is not None and _may_stay(answer, tools, keeper)
    else:
        from . import errand

        answer, parts = errand.run(order, body, tools, job), []
    _flush()
    link.send(answer, b"".join(parts))
    # The rest now, while the end of the job is recorded: nobody waits for it.
    return answer.get("stays", False) and _is_fit(link, keeper, job.id)


def _wait_for_the_end():
    """The supervisor has seen that the link was closed, and ends this process with a reason."""
    while True:
        _signal.pause()


def _may_stay(answer, tools, keeper):
    """Whether this horse may run another job once it is mended, as if it were a fresh one of its generation."""
    learned = answer["learned"]
    if learned:
        tools.note_modules()
    # User code that its generation does not have may be saved before the next job, which would not see it.
    fit = not DeathPenalty.struck and not tools.unfit and not (learned and learned["modules"])
    return keeper.counts() and fit


def _is_fit(link, keeper, job_id):
    """Makes this horse fit for another job; if that cannot be done it declines what it is given, and ends."""
    _forget_job()
    try:
        left = keeper.mend()
    except Exception as error:  # noqa: BLE001  the next job must not pay for what this one did to its process
        left = f"its process cannot be mended: {error}"
    _flush()  # of its own streams again
    if left is None:
        renewal.between_jobs()
    else:
        _say(f"another process takes over after job {job_id}: {left}")
        link.send({"kind": "declined"})
    return left is None


def _say(text):
    try:
        print(f"freshq: {text}", file=sys.stderr, flush=True)
    except Exception:  # noqa: BLE001  the job may have closed it
        pass


def _forget_job():
    for name in ENVIRONMENT:
        os.environ.pop(name, None)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001  the job may have closed or replaced it
            pass


def _run(order, body, tools, job, perform):
    os.environ["RQ_WORKER_ID"] = order["worker"]
    os.environ["RQ_JOB_ID"] = _job_id(order, body)
    os.environ["RQ_EXECUTION_ID"] = order["execution"]
    begun = time.time()
    loaded = len(tools.user.entries)
    before = None
    try:
        restore(job, order, body)
        before = tools.look_at(job)
        unknown = _unknown(tools, job) if order.get("offer") else None
        answer, parts = unknown or perform(order, tools, job)
    except BaseException as error:  # noqa: BLE001  SystemExit and KeyboardInterrupt are failures too
        tools.unfit = isinstance(error, MemoryError) or not isinstance(error, Exception)
        answer, parts = _fail(job, tools, order["worker"], sys.exc_info())
    answer["started_us"] = int(begun * 1_000_000)
    answer["ended_us"] = int(job.ended_at.timestamp() * 1_000_000)
    answer["learned"] = _learned(tools, loaded)
    if before is not None and answer["kind"] != "handled" and tools.look_at(job) != before:
        answer["changed"] = _changed(job, tools, before)
    return answer, parts


def _unknown(tools, job):
    """An answer, if this code does not have what the job calls or is called with; nothing of it has run then."""
    timeout = job.timeout or tools.hooks.queue_class.DEFAULT_TIMEOUT
    try:
        with DeathPenalty(timeout, JobTimeoutException, job_id=job.id):
            job.func, job.args  # noqa: B018  found and read when they are looked at
    except JobTimeoutException:
        raise
    except Exception as error:
        job.ended_at = datetime.now(timezone.utc)
        return {"kind": "unknown", "summary": traceback.format_exception_only(error)[-1].strip()}, []
    return None


def _perform(order, tools, job):
    _note_start(job, order)
    timeout = job.timeout or tools.hooks.queue_class.DEFAULT_TIMEOUT
    with DeathPenalty(timeout, JobTimeoutException, job_id=job.id):
        value = job._result = job.perform()
    if isinstance(value, Retry) and RETRY_IS_A_RESULT:
        return _ask_again(job, value)
    return _succeed(job, value)


def restore(job, order, body):
    """Make the job what its fields say."""
    job._id = _job_id(order, body)  # not by its property, which refuses what an older client may have chosen
    fields, offset = {}, order["id"]
    for name, length in order["fields"]:
        fields[name.encode()] = body[offset : offset + length]
        offset += length
    # Read here because what rq does touches many pages that then are copied: `strptime`, asking for a number.
    dates = {name: _date(fields, name) for name in DATES}
    timeout = _timeout(fields)
    bombs = [name for name in (b"data", b"exc_info") if _is_bomb(fields.get(name, b""))]
    for name in bombs:
        fields[name] = b""
    job.restore(fields)
    for name, date in dates.items():
        if date is not None:
            setattr(job, name, date)
    if timeout is not None:
        job.timeout = timeout
    if b"data" in bombs:
        raise DeserializationError(f"the job's data inflates to more than {INFLATED_BYTES_MAX} bytes")


def _is_bomb(value):
    if len(value) * INFLATION_MAX <= INFLATED_BYTES_MAX:
        return False
    inflater, size = zlib.decompressobj(), 0
    try:
        while value and size <= INFLATED_BYTES_MAX:
            size += len(inflater.decompress(value, INFLATED_AT_ONCE))
            value = inflater.unconsumed_tail
    except zlib.error:
        return False  # not compressed
    return INFLATED_BYTES_MAX < size


def _job_id(order, body):
    return body[: order["id"]].decode(errors="surrogateescape")


def _note_start(job, order):
    now = datetime.now(timezone.utc)
    job.worker_name = order["worker"]
    job.last_heartbeat = job.started_at = now
    job._status = JobStatus.STARTED


def _date(fields, name):
    """Takes a time in rq's form out of the fields; what has another form is left to rq."""
    text = fields.get(name.encode())
    if text and len(text) == len("2026-01-02T03:04:05.000006Z") and text.endswith(b"Z"):
        try:
            date = datetime.fromisoformat(text[:-1].decode())
        except ValueError:
            return None
        fields[name.encode()] = b""
        return date.replace(tzinfo=timezone.utc)
    return None


def _timeout(fields):
    """Takes a timeout in seconds out of the fields; what has another form is left to rq."""
    text = fields.get(b"timeout", b"")
    if not text.isdigit():
        return None
    fields[b"timeout"] = b""
    return int(text)


def _succeed(job, value):
    job.ended_at = job.last_heartbeat = datetime.now(timezone.utc)
    job._status = JobStatus.FINISHED
    execute_success_callback(job, DeathPenalty, value)
    data = None if value is None else _dumped(job, value)
    # Older versions of rq know no repeats.
    meta = _meta(job) if getattr(job, "repeats_left", None) else None
    return _with_parts({"kind": "finished"}, data, meta)


def _ask_again(job, retry):
    """The job returned a `Retry`: no callbacks, as in RQ."""
    job.ended_at = job.last_heartbeat = datetime.now(timezone.utc)
    intervals = retry.intervals if isinstance(retry.intervals, list) else [retry.intervals or 0]
    asks = {
        "max": int(retry.max),
        "intervals": [min(FOR_EVER, float(interval)) for interval in intervals],
        "front": bool(getattr(retry, "enqueue_at_front", False)),
        "exceeded": None if EXCEEDED_IS_A_RESULT else f"Job failed after {retry.max} retry attempts",
    }
    return _with_parts({"kind": "finished", "retry": asks}, _dumped(job, retry), _meta(job))


def _dumped(job, value):
    try:
        data = job.serializer.dumps(value)
    except BaseException:  # noqa: BLE001  as RQ: the job has succeeded all the same
        data = job.serializer.dumps(UNSERIALIZABLE)
    if VALUE_BYTES_MAX < len(data):
        raise ValueError(f"the return value takes {len(data)} bytes; more than {VALUE_BYTES_MAX} are not stored")
    return data


def _changed(job, tools, before):
    """What the job changed in itself, as it stands in a job's hash: RQ goes by that at the end."""
    names = [name for name, old in zip(tools.changeable, before) if getattr(job, name) != old]
    try:
        fields = job.to_dict(include_meta=False, include_result=False)
    except Exception:  # noqa: BLE001  nothing that could be stored
        return {}
    return {name: str(fields.get(name, "")) for name in names}


def _with_parts(answer, value, meta):
    answer["value"] = None if value is None else len(value)
    answer["meta"] = None if meta is None else len(meta)
    return answer, [part for part in (value, meta) if part is not None]


def _fail(job, tools, worker, exc_info):
    job.ended_at = job.last_heartbeat = datetime.now(timezone.utc)
    job._status = JobStatus.FAILED
    exc_info = _without_our_frames(exc_info)
    try:
        execute_failure_callback(job, DeathPenalty, *exc_info)
    except BaseException:  # noqa: BLE001
        exc_info = _without_our_frames(sys.exc_info())
    text = _shortened("".join(traceback.format_exception(*exc_info)))
    func = logs.failed(job, worker, text)
    call_handlers(tools.hooks.exception_handlers, job, exc_info)
    summary = text.strip().splitlines()[-1]
    frames = traceback.extract_tb(exc_info[2])
    answer = {
        "kind": "failed",
        "exc": text,
        "summary": summary,
        "place": f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None,
        "func": func,
        "signature": _signature(exc_info, job),
    }
    return _with_parts(answer, None, _meta(job))


def _signature(exc_info, job):
    """Tells failures apart; equal ones stay so when lines or folders move."""
    kind, _, tb = exc_info
    where = job.func_name if issubclass(kind, JobTimeoutException) else ""  # it may strike anywhere
    while tb is not None and not where:
        if tb.tb_next is None:
            frame = tb.tb_frame
            where = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}"
        tb = tb.tb_next
    return f"{kind.__module__}.{kind.__qualname__} in {where}"


def _shortened(text):
    if len(text) <= TRACEBACK_CHARS_MAX:
        return text
    half = TRACEBACK_CHARS_MAX // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters are left out ...\n{text[-half:]}"


def call_handlers(handlers, job, exc_info):
    """In order; one that answers with something false, other than None, is the last. As in RQ one that raises
    ends the horse."""
    for handler in handlers:
        answer = handler(job, *exc_info)
        if answer is not None and not answer:
            break


def _without_our_frames(exc_info):
    """The same exception, its traceback beginning where rq's or the user's code does."""
    kind, error, tb = exc_info
    while tb is not None and tb.tb_frame.f_code.co_filename == __file__:
        tb = tb.tb_next
    return kind, error, tb


def _meta(job):
    """The job's meta as it stands now, for the case that the job is put back on its queue."""
    try:
        if not job.meta:
            return None
        # Since rq 3; it writes bytes that it could not read back as they were.
        serialize = getattr(job, "_serialize_meta", None)
        return serialize() if serialize else job.serializer.dumps(job.meta)
    except BaseException:  # noqa: BLE001
        return None


def _learned(tools, loaded):
    """What this job imported beyond its generation."""
    user = tools.user
    entries = user.entries[loaded:]
    if not entries and newest_module() == tools.newest_module:
        return None
    unfit = [name for name in user.unfit if name in entries]
    libraries = new_libraries(user, tools.newest_module)
    return {"modules": entries, "unfit": unfit, "files": user.files, "libraries": libraries}
