"""When a worker ends, which queue it serves next, what it prints, and how it is suspended."""

import re
import time

from rq.suspension import resume, suspend

from context import (
    PROJECT,
    burst,
    check,
    client,
    command,
    enqueue,
    let_go,
    members,
    redis,
    running,
    status,
    until,
    until_status,
    value_of,
    waiting,
    worker,
    worker_hash,
    written,
)


def fill(names, times=2):
    """Puts jobs on queues that write the name of their queue."""
    for name in names:
        for _ in range(times):
            enqueue("push", "order", name, queue_name=name)


@check("C120")
def max_jobs_ends_the_worker():
    """`--max-jobs 2` ends the worker after two jobs, and leaves the rest."""
    for _ in range(3):
        enqueue("add", 1)
    with running(command("--max-jobs", "2")) as process:
        process.end()
    assert len(waiting()) == 1


@check("C121")
def max_idle_time_ends_the_worker():
    """`--max-idle-time 2` ends a worker that has waited for two seconds, with exit code 0."""
    enqueue("add", 1)
    begun = time.monotonic()
    with running(command("--max-idle-time", "2")) as process:
        process.end()
    assert time.monotonic() - begun >= 2 and waiting() == []


@check("C122")
def queues_are_served_in_order():
    """All jobs of the first queue come before any of the second."""
    fill("ba")
    burst(queues=("a", "b"))
    assert written("order") == "aabb"


@check("C123")
def round_robin_takes_turns():
    """`--dequeue-strategy round_robin` takes one job from each queue in turn."""
    fill("abc")
    burst("--dequeue-strategy", "round_robin", queues=("a", "b", "c"))
    assert written("order") == "abcabc"


@check("C124")
def random_serves_all_queues():
    """`--dequeue-strategy random` serves all queues; an unknown strategy ends with exit code 1."""
    fill("abc")
    burst("--dequeue-strategy", "random", queues=("a", "b", "c"))
    assert sorted(written("order")) == list("aabbcc")
    burst("--dequeue-strategy", "wrong", code=1)


@check("C125")
def a_suspended_worker_does_not_start():
    """While RQ is suspended a worker ends at its start: a message, exit code 1, nothing done."""
    enqueue("add", 1)
    suspend(redis)
    output = burst("--name", "w2", code=1)
    assert "suspended" in output and len(waiting()) == 1 and not redis.exists("rq:worker:w2")


@check("C126")
def a_worker_is_suspended_between_jobs():
    """Suspended while busy, a worker runs nothing more, says so, and goes on when resumed."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        other = enqueue("add", 1)
        suspend(redis)
        let_go()
        until(lambda: worker_hash()["state"] == "suspended")
        assert status(job) == "finished" and waiting() == [other.id]
        before = worker_hash()["last_heartbeat"]
        until(lambda: worker_hash()["last_heartbeat"] > before)
        resume(redis)
        until_status(other, "finished")


@check("C127")
def a_suspension_can_end_by_itself():
    """`rq suspend --duration n` ends by itself."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        other = enqueue("add", 1)
        client("suspend", "--duration", "1")
        let_go()
        until_status(other, "finished")
        assert not redis.exists("rq:suspended")


@check("C251")
def a_suspended_burst_ends():
    """A burst worker that is suspended between jobs ends with exit code 0 and leaves the rest."""
    job, other = enqueue("hold"), enqueue("add", 1)
    with worker("--burst") as process:
        until_status(job, "started")
        suspend(redis)
        let_go()
        process.end()
    assert status(job) == "finished" and waiting() == [other.id]


@check("C252", only_freshq=True)
def an_idle_worker_is_suspended_at_once():
    """A job that is enqueued after the suspension waits, also if the worker was idle."""
    with worker():
        until(lambda: worker_hash()["state"] == "idle")
        suspend(redis)
        job = enqueue("add", 1)
        until(lambda: worker_hash()["state"] == "suspended")
        assert status(job) == "queued" and waiting() == [job.id]
        resume(redis)
        until_status(job, "finished")


@check("C253")
def a_suspended_worker_can_be_stopped():
    """SIGTERM ends a suspended worker with exit code 0."""
    job = enqueue("hold")
    with worker() as process:
        until_status(job, "started")
        suspend(redis)
        let_go()
        until(lambda: worker_hash()["state"] == "suspended")
        process.terminate_and_end()


@check("C254")
def random_is_no_order():
    """With `random` the order differs from that of the queues at some time."""
    names = [f"q{number}" for number in range(6)]
    fill(names, times=3)
    burst("--dequeue-strategy", "random", queues=tuple(names))
    in_order = "".join(name * 3 for name in names)
    assert sorted(written("order")) == sorted(in_order) and written("order") != in_order


@check("C255")
def max_jobs_counts_failures_and_retries():
    """A failed attempt counts as a job."""
    from rq import Retry

    job = enqueue("fail", retry=Retry(max=5))
    with running(command("--max-jobs", "2")) as process:
        process.end()
    job.refresh()
    assert job.retries_left == 3 and status(job) == "queued"


@check("C256")
def max_jobs_ends_a_burst_too():
    """Whatever comes first ends the worker: the end of the queue or of its jobs."""
    enqueue("add", 1)
    burst("--max-jobs", "5")
    for _ in range(2):
        enqueue("add", 1)
    burst("--max-jobs", "1")
    assert len(waiting()) == 1


@check("C257")
def the_process_id_can_be_written():
    """`--pid FILE` writes the id of the worker's process."""
    path = PROJECT / "worker.pid"
    with worker("--pid", str(path)) as process:
        assert path.read_text().strip() == str(process.pid)
    path.unlink(missing_ok=True)


@check("C258")
def quiet_and_verbose():
    """`--quiet` prints nothing of an ordinary run; a failure is printed all the same."""
    enqueue("add", 1)
    assert burst("--quiet").strip() == ""
    enqueue("fail", "said aloud")
    assert "said aloud" in burst("--quiet")
    enqueue("add", 1)
    ordinary = burst()
    enqueue("add", 1)
    assert len(burst("--verbose")) > len(ordinary)


@check("C259")
def the_level_of_the_log_can_be_set():
    """`--logging_level` takes the names of Python's levels."""
    enqueue("add", 1)
    assert burst("--logging_level", "ERROR").strip() == ""
    enqueue("fail", "said aloud")
    assert "said aloud" in burst("--logging_level", "ERROR")


@check("C260")
def lines_have_the_given_format():
    """`--log-format` and `--date-format` are those of Python's logging."""
    enqueue("add", 1)
    output = burst("--log-format", "<%(levelname)s> %(asctime)s %(message)s", "--date-format", "%Y!")
    assert re.search(r"^<INFO> 20\d\d! ", output, re.MULTILINE), output


@check("C261")
def the_log_has_the_lines_that_tools_look_for():
    """An ordinary run prints RQ's lines: start, queues, job, success, and the end."""
    job = enqueue("add", 3)
    output = burst("--name", "w2", "--log-format", "%(message)s")
    for line in (
        "Worker w2: started with PID ",
        "*** Listening on default...",
        f"Worker w2: default: tasks.add(3) ({job.id})",
        "Successfully completed tasks.add(3) job in 0:00:0",
        f"Worker w2: default: Job OK ({job.id})",
        f"Worker w2: job {job.id} result is kept for 500 seconds",
        "Worker w2: done, quitting",
    ):
        assert line in strip_colours(output), (line, output)


def strip_colours(text):
    return re.sub("\x1b\\[[0-9;]*m", "", text)


@check("C262")
def the_worker_says_why_it_ends():
    """The line at the end names the reason: the number of jobs, the time without, or the request."""
    plain = ("--name", "w2", "--log-format", "%(message)s")
    enqueue("add", 1)
    with running(command("--max-jobs", "1", *plain)) as process:
        assert "finished executing 1 jobs, quitting" in process.end()
    with running(command("--max-idle-time", "1", *plain)) as process:
        assert "idle for 1 seconds, quitting" in process.end()


@check("C263")
def wrong_usage_is_exit_code_2():
    """Unknown options and values that are no numbers end with exit code 2."""
    burst("--no-such-option", code=2)
    burst("--max-jobs", "many", code=2)


@check("C264")
def simple_workers_run_jobs():
    """`-w` takes RQ's own classes of workers."""
    classes = ["rq.worker.Worker", "rq.SimpleWorker", "rq.worker.SpawnWorker"]
    for number, path in enumerate(classes):
        job = enqueue("add", number)
        burst("-w", path)
        assert value_of(job) == number, path


@check("C265")
def round_robin_workers_take_turns():
    """`-w rq.worker.RoundRobinWorker` is the strategy of that name."""
    fill("abc")
    burst("-w", "rq.worker.RoundRobinWorker", queues=("a", "b", "c"))
    assert written("order") == "abcabc"


@check("C266")
def a_simple_worker_shares_its_process():
    """With SimpleWorker jobs run in one process, so that globals are kept."""
    jobs = [enqueue("how_many_seen") for _ in range(2)]
    burst("-w", "rq.SimpleWorker")
    assert [value_of(job) for job in jobs] == [1, 2]


@check("C267")
def a_class_that_is_not_there_ends_the_worker():
    """Paths of classes and serializers that cannot be imported end with exit code 1."""
    enqueue("add", 1)
    for option in ("-w", "-j", "--queue-class", "-S"):
        burst(option, "tasks.NoSuchThing", code=1)
    assert len(waiting()) == 1


@check("C268")
def the_queue_of_a_job_may_have_any_name():
    """Names of queues may have dashes, dots, colons, spaces and letters of any language."""
    names = ("a-b", "a.b", "a:b", "a b", "größe")
    fill(names, times=1)
    burst(queues=names)
    assert redis.llen("order") == len(names) and members("rq:queues") >= {"rq:queue:größe"}
