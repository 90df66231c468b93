"""Signals, warm and cold shutdowns, and what is left of the job."""

import os
import signal
import time

from context import (
    burst,
    check,
    enqueue,
    failed_with,
    fetch,
    let_go,
    pass_a_job_through,
    redis,
    status,
    until,
    until_status,
    waiting,
    worker,
    worker_hash,
)

# A second signal counts when it comes later than this after the first.
SIGNALS_APART = 1.1


def is_gone(pid):
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def shut_down_cold(process):
    process.send_signal(signal.SIGTERM)
    until(lambda: worker_hash().get("shutdown_requested_date"))
    time.sleep(SIGNALS_APART)
    process.send_signal(signal.SIGTERM)
    return process.end()


@check("C115")
def sigterm_ends_an_idle_worker():
    """SIGTERM to an idle worker ends it at once, with exit code 0."""
    with worker() as process:
        until(lambda: worker_hash()["state"] == "idle")
        process.terminate_and_end()
        assert worker_hash()["death"]


@check("C116")
def sigint_ends_an_idle_worker():
    """SIGINT to an idle worker ends it at once, with exit code 0."""
    with worker() as process:
        until(lambda: worker_hash()["state"] == "idle")
        process.send_signal(signal.SIGINT)
        process.end()


@check("C117")
def sigterm_lets_the_job_finish():
    """A busy worker notes the request, finishes its job, takes no other, and exits 0."""
    job, other = enqueue("hold"), enqueue("add", 1)
    with worker() as process:
        until_status(job, "started")
        process.send_signal(signal.SIGTERM)
        until(lambda: worker_hash().get("shutdown_requested_date"))
        let_go()
        process.end()
    assert status(job) == "finished" and waiting() == [other.id]


@check("C118")
def a_second_signal_ends_the_job_too():
    """A second signal more than a second later is a cold shutdown: job killed, exit code 0."""
    job = enqueue("hold_with_pid")
    with worker() as process:
        pid = until(lambda: redis.get("pid"))
        shut_down_cold(process)
        until(lambda: is_gone(int(pid)))
        assert worker_hash()["death"] and not redis.exists("rq:workers")
        assert status(job) != "finished" and not redis.exists("rq:finished:default")


@check("C119")
def a_second_signal_at_once_is_ignored():
    """A second signal within a second of the first changes nothing."""
    job = enqueue("hold")
    with worker() as process:
        until_status(job, "started")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        until(lambda: worker_hash().get("shutdown_requested_date"))
        process.send_signal(signal.SIGINT)
        let_go()
        process.end()
    assert status(job) == "finished"


@check("C243")
def sigint_lets_the_job_finish():
    """SIGINT to the worker's whole process group, as from a terminal, does not reach the job."""
    job = enqueue("hold")
    with worker() as process:
        until_status(job, "started")
        os.killpg(process.pid, signal.SIGINT)
        until(lambda: worker_hash().get("shutdown_requested_date"))
        let_go()
        process.end()
    assert status(job) == "finished"


@check("C244")
def a_burst_can_be_interrupted():
    """A worker in burst mode that is told to stop finishes its job and leaves the rest."""
    job, other = enqueue("hold"), enqueue("add", 1)
    with worker("--burst") as process:
        until_status(job, "started")
        process.send_signal(signal.SIGTERM)
        until(lambda: worker_hash().get("shutdown_requested_date"))
        let_go()
        process.end()
    assert status(job) == "finished" and waiting() == [other.id]


@check("C245", only_freshq=True)
def a_cold_shutdown_fails_the_job():
    """The job that a cold shutdown killed is failed at once, and nothing says that it runs."""
    job = enqueue("hold")
    with worker() as process:
        until_status(job, "started")
        shut_down_cold(process)
    failed_with(job, "")
    assert redis.keys("rq:wip:*") + redis.keys("rq:execution*") == []


@check("C246", only_freshq=True)
def no_job_outlives_its_worker():
    """When the worker is killed with SIGKILL, the process of its job ends too."""
    job = enqueue("hold_with_pid")
    with worker() as process:
        pid = int(until(lambda: redis.get("pid")))
        process.kill()
        until(lambda: is_gone(pid))
        assert status(job) == "started"


@check("C247", only_freshq=True)
def no_signal_loses_a_job():
    """However often a worker is stopped between jobs, each job runs once and none is stranded."""
    jobs = [enqueue("push", "order", "x", queue_name=name) for name in "ab" for _ in range(15)]
    for turn in range(6):
        with worker(name=f"w{turn}", queues=("a", "b")) as process:
            until(lambda: redis.llen("order") > 3 * turn)  # noqa: B023
            process.terminate_and_end()
    burst(queues=("a", "b"))
    assert redis.llen("order") == len(jobs)
    assert {status(job) for job in jobs} == {"finished"} and redis.keys("rq:queue:*") == []


@check("C248", only_freshq=True)
def a_result_survives_an_outage():
    """A job that ends while Redis drops all connections is recorded, and the worker lives on."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        for one in redis.client_list(_type="normal"):
            if one["name"].startswith("w1"):
                redis.client_kill_filter(_id=one["id"])
        let_go()
        until_status(job, "finished")
        pass_a_job_through()


@check("C249")
def an_idle_worker_survives_a_lost_connection():
    """When Redis drops all its connections, an idle worker connects again and goes on."""
    with worker():
        until(lambda: worker_hash()["state"] == "idle")
        own = redis.client_id()
        for one in redis.client_list():
            if int(one["id"]) != own:
                redis.client_kill_filter(_id=one["id"])
        pass_a_job_through()


@check("C250")
def a_worker_ends_with_its_queue_untouched():
    """Stopping an idle worker changes no job: what comes afterwards waits for the next worker."""
    with worker() as process:
        process.terminate_and_end()
    job = enqueue("add", 1)
    assert waiting() == [job.id] and status(job) == "queued"
    burst()
    assert fetch(job).return_value() == 1
