"""Jobs that raise, take too long, or die; and exception handlers."""

import json
import os

from rq import Retry
from rq.command import send_stop_job_command
from rq.registry import FailedJobRegistry
from rq.results import Result

from context import (
    FRESHQS,
    burst,
    check,
    enqueue,
    failed_with,
    fetch,
    job_hash,
    latest,
    newest_entry,
    pass_a_job_through,
    queue,
    redis,
    result_types,
    status,
    until,
    waiting,
    worker,
    worker_hash,
)

DIED = "Work-horse terminated unexpectedly; waitpid returned "


def handled():
    """What exception handlers have seen, oldest first."""
    return [json.loads(line) for line in redis.lrange("handled", 0, -1)]


@check("C034")
def a_job_that_raises_fails():
    """It is in the failed registry with its traceback as result, and `enqueued_at` is kept."""
    job = enqueue("fail", "xyzzy")
    burst("--name", "w2")
    failed_with(job, "ValueError: xyzzy")
    assert "Traceback (most recent call last)" in latest(job).exc_string
    assert newest_entry(job)["worker_name"] == "w2"
    assert fetch(job).enqueued_at == job.enqueued_at and waiting() == []


@check("C035")
def a_message_may_be_in_any_language():
    """A message outside ASCII is stored intact."""
    job = enqueue("fail_with_non_ascii")
    burst()
    failed_with(job, "💪 ünï")


@check("C036")
def whatever_is_raised_fails_the_job_only():
    """`sys.exit()`, KeyboardInterrupt and other BaseExceptions fail the job; the worker lives on."""
    kinds = {"exit_python": "SystemExit: 7", "interrupt": "KeyboardInterrupt"}
    kinds["fail_strangely"] = "not an Exception"
    jobs = {enqueue(function): text for function, text in kinds.items()}
    good = enqueue("add", 1)
    burst()
    for job, text in jobs.items():
        failed_with(job, text)
    assert status(good) == "finished"


@check("C037")
def a_job_that_takes_too_long_fails():
    """At its timeout JobTimeoutException is raised in the job, with the limit in its message."""
    job = enqueue("sleep", 600, job_timeout=1)
    burst()
    failed_with(job, "JobTimeoutException: Task exceeded maximum timeout value (1 seconds)")


@check("C038")
def a_timeout_can_be_caught():
    """The timeout is an ordinary exception, so the job can catch it and finish."""
    job = enqueue("catch_timeout", 600, job_timeout=1)
    burst()
    assert latest(job).return_value == "rq.timeouts.JobTimeoutException"


@check("C039")
def a_timeout_of_minus_one_is_none():
    """`job_timeout=-1` means no timeout."""
    job = enqueue("sleep", 1, job_timeout=-1)
    burst()
    assert status(job) == "finished"


@check("C040")
def a_killed_process_fails_its_job():
    """A job whose process a signal killed fails and says which; the worker lives on."""
    killed, terminated = enqueue("kill_itself"), enqueue("kill_itself", 15)
    good = enqueue("add", 1)
    burst()
    failed_with(killed, DIED + "9 (signal 9); ")
    failed_with(terminated, DIED + "15 (signal 15); ")
    assert status(good) == "finished"


@check("C041")
def a_process_that_exits_fails_its_job():
    """The raw wait status is told: exit code 3 reads 768, and no signal is named."""
    job = enqueue("exit_process", 3)
    burst()
    assert status(job) == "failed" and latest(job).exc_string.splitlines()[0] == DIED + "768; "


@check("C042")
def a_killed_process_is_retried():
    """A killed process is a normal failure for retries."""
    job = enqueue("kill_itself", retry=Retry(max=1))
    burst("--name", "w2")
    job.refresh()
    assert status(job) == "failed" and job.retries_left == 0
    assert worker_hash("w2")["failed_job_count"] == "2" and result_types(job) == [2]


@check("C043")
def nobody_is_called_for_a_killed_process():
    """For a killed process neither `on_failure` nor an exception handler is called."""
    job = enqueue("kill_itself", on_failure="tasks.on_failure")
    burst("--exception-handler", "tasks.handle")
    failed_with(job, DIED)
    assert not redis.exists("failure:" + job.id, "handled")


@check("C044")
def children_of_a_job_die_with_it():
    """Processes that a job started are killed with it when the worker kills the job."""

    def is_gone(pid):
        path = f"/proc/{pid}/stat"
        return not os.path.exists(path) or open(path).read().split()[2] == "Z"

    job = enqueue("spawn_child_and_hold")
    with worker():
        pid = int(until(lambda: redis.get("child")))
        send_stop_job_command(redis, job.id)
        until(lambda: status(job) == "stopped")
        until(lambda: is_gone(pid))


@check("C045")
def a_failed_job_can_be_requeued():
    """A job put back with `FailedJobRegistry.requeue()` runs again and leaves the registry."""
    job = enqueue("fail")
    burst()
    FailedJobRegistry(queue=queue()).requeue(job.id)
    assert status(job) == "queued" and waiting() == [job.id]
    burst()
    assert status(job) == "failed" and Result.count(job) == 2


@check("C046")
def the_default_handler_can_be_switched_off():
    """With `-d` a failing job gets status and counters, but no place, no result, no expiry."""
    job = enqueue("fail")
    burst("-d", "--name", "w2")
    assert status(job) == "failed" and latest(job) is None
    assert redis.zscore("rq:failed:default", job.id) is None and redis.ttl(job.key) == -1
    assert worker_hash("w2")["failed_job_count"] == "1"
    assert redis.keys("rq:wip:*") + redis.keys("rq:execution*") == []


@check("C047")
def exception_handlers_are_called_in_their_order():
    """Each handler gets job, type, value and traceback; None and true go on to the next."""
    job = enqueue("fail", "seen")
    burst(
        *("--exception-handler", "tasks.handle_and_say_nothing"),
        *("--exception-handler", "tasks.handle"),
    )
    calls = handled()
    assert calls == [["none", job.id], ["true", job.id, "ValueError", "seen", True]], calls
    failed_with(job, "seen")


@check("C048")
def a_handler_can_end_the_chain():
    """A handler that returns False ends the chain; the failure is recorded all the same."""
    job = enqueue("fail", "seen")
    burst(
        *("--exception-handler", "tasks.handle_and_end"),
        *("--exception-handler", "tasks.handle"),
    )
    assert handled() == [["false", job.id]]
    failed_with(job, "seen")


@check("C175")
def handlers_are_called_on_every_attempt():
    """Exception handlers run on every failing attempt, before the retry, and not on success."""
    enqueue("fail", retry=Retry(max=1))
    enqueue("add", 1)
    burst("--exception-handler", "tasks.handle")
    assert len(handled()) == 2


@check("C176")
def a_handler_without_the_default_handler():
    """With `-d` the given handlers are still called."""
    job = enqueue("fail", "seen")
    burst("-d", "--exception-handler", "tasks.handle")
    assert handled() == [["true", job.id, "ValueError", "seen", True]]
    assert status(job) == "failed" and latest(job) is None


@check("C177")
def a_handler_that_is_not_there_ends_the_worker():
    """A path of a handler that cannot be imported ends the worker with exit code 1."""
    enqueue("add", 1)
    burst("--exception-handler", "tasks.no_such_handler", code=1)
    assert len(waiting()) == 1


@check("C178")
def the_hash_of_a_failed_job_is_complete():
    """After a failure the hash has status, end and worker, and keeps what the client wrote."""
    job = enqueue("fail", meta={"a": 1}, failure_ttl=1000, description="d")
    before = job_hash(job)
    burst("--name", "w2")
    after = job_hash(job)
    assert after["status"] == b"failed" and after["worker_name"] == b"w2"
    assert after["started_at"] <= after["ended_at"] and after["enqueued_at"] == before["enqueued_at"]
    assert after["meta"] == before["meta"] and after["description"] == b"d"
    assert set(after) - FRESHQS == set(before)


@check("C179")
def a_failed_job_leaves_only_what_it_must():
    """After a failure nothing of the execution is left, and the job is in no other registry."""
    job = enqueue("fail")
    burst()
    left = {key.decode() for key in redis.keys("*") if job.id.encode() in key}
    assert left == {"rq:job:" + job.id, "rq:results:" + job.id}, left
    assert redis.keys("rq:wip:*") + redis.keys("rq:finished:*") + redis.keys("rq:execution*") == []


@check("C180")
def a_job_that_failed_is_logged_with_its_traceback():
    """The log has the job's id, function and traceback."""
    job = enqueue("fail", "xyzzy")
    output = burst()
    assert "exception raised while executing" in output and job.id in output
    assert "ValueError: xyzzy" in output and "tasks.fail" in output


@check("C181", only_freshq=True)
def a_process_that_exits_in_silence_fails_its_job():
    """A process that ends with code 0 without having finished its job fails it at once."""
    job, good = enqueue("exit_process", 0), enqueue("add", 1)
    burst()
    failed_with(job, "Work-horse terminated unexpectedly")
    assert status(good) == "finished" and redis.keys("rq:wip:*") == []


@check("C182", only_freshq=True)
def a_killed_job_keeps_who_ran_it():
    """The hash of a job whose process was killed still names the worker and has its heartbeat."""
    job = enqueue("kill_itself")
    burst("--name", "w2")
    after = job_hash(job)
    assert after["worker_name"] == b"w2" and after["last_heartbeat"] and after["started_at"]


@check("C183")
def a_failing_job_does_not_stop_the_next():
    """After a failure, a timeout and a killed process a worker runs the next job as ever."""
    enqueue("fail")
    enqueue("sleep", 600, job_timeout=1)
    enqueue("kill_itself")
    with worker():
        pass_a_job_through()
        assert worker_hash()["failed_job_count"] == "3"
        assert worker_hash()["successful_job_count"] == "1"
