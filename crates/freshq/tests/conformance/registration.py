"""What Redis says about a worker, from its start to its end."""

import socket

from rq.version import VERSION
from rq.worker import Worker

from context import (
    burst,
    check,
    client,
    enqueue,
    let_go,
    members,
    near,
    pass_a_job_through,
    queue,
    redis,
    status,
    until,
    until_status,
    waiting,
    worker,
    worker_hash,
)

KEY = "rq:worker:w1"


@check("C098")
def a_live_worker_is_found():
    """The client finds it, in all and by queue, with all that there is to know about it."""
    with worker(queues=("hi", "lo")) as process:
        (found,) = Worker.all(connection=redis)
        assert found.name == "w1" and found.pid == process.pid and found.get_state() == "idle"
        assert found.queue_names() == ["hi", "lo"] and found.hostname == socket.gethostname()
        assert ":" in found.ip_address and "." in found.version and "." in found.python_version
        assert found.birth_date <= found.last_heartbeat
        counts = [Worker.count(queue=queue("hi")), Worker.count(queue=queue("lo"))]
        assert counts == [1, 1] and Worker.count(connection=redis) == 1
        assert [one.name for one in Worker.all(queue=queue("lo"))] == ["w1"]


@check("C099")
def an_idle_worker_is_known_for_its_ttl_and_a_minute():
    """The hash of an idle worker expires `--worker-ttl` (420 s) and 60 s after its heartbeat."""
    with worker():
        near(redis.ttl(KEY), 480)
    with worker("--worker-ttl", "100", name="w2"):
        near(redis.ttl("rq:worker:w2"), 160)


@check("C100")
def an_idle_worker_says_that_it_lives():
    """With a short `--worker-ttl` the heartbeat of an idle worker is renewed often."""
    with worker("--worker-ttl", "17"):
        before = worker_hash()["last_heartbeat"]
        until(lambda: worker_hash()["last_heartbeat"] > before)


@check("C101")
def the_hash_of_a_worker_has_its_fields():
    """All fields are there from the start; counters come with the first job."""
    with worker(queues=("hi", "lo")):
        found = worker_hash()
        expected = {"birth", "last_heartbeat", "queues", "pid", "hostname", "ip_address"}
        expected |= {"version", "python_version", "state"}
        assert expected <= set(found) and found["queues"] == "hi,lo", found
        assert found["birth"][-1] == "Z" and "death" not in found
        assert members("rq:workers") == members("rq:workers:hi") == members("rq:workers:lo") == {KEY}
        until(lambda: worker_hash()["state"] == "idle")


@check("C102")
def a_name_that_is_taken_ends_the_worker():
    """A second worker of the same name ends with exit code 1 and leaves the first alone."""
    with worker() as process:
        job = enqueue("add", 1, queue_name="other")
        output = burst("--name", "w1", queues=("other",), code=1)
        assert "active worker named" in output and "w1" in output, output
        assert worker_hash()["pid"] == str(process.pid) and waiting("other") == [job.id]
        pass_a_job_through()


@check("C103")
def the_name_of_a_dead_worker_is_free():
    """A worker may take the name of one that has registered its death."""
    enqueue("add", 1)
    burst("--name", "w2")
    burst("--name", "w2")
    # The hash is begun anew.
    assert "successful_job_count" not in worker_hash("w2")


@check("C104")
def a_worker_counts_its_jobs():
    """Successes, failures and the seconds worked are counted in its hash."""
    enqueue("sleep", 1)
    enqueue("fail")
    enqueue("kill_itself")
    burst("--name", "w2")
    found = worker_hash("w2")
    assert (found["successful_job_count"], found["failed_job_count"]) == ("1", "2")
    assert 1 <= float(found["total_working_time"]) < 10


@check("C105")
def a_dead_worker_is_remembered_for_a_minute():
    """At its end a worker writes `death`, and its hash expires in 60 s."""
    burst("--name", "w2")
    assert worker_hash("w2")["death"][-1] == "Z"
    assert 0 < redis.ttl("rq:worker:w2") <= 60


@check("C106")
def a_dead_worker_is_in_no_set():
    """After the end of a worker it is in no set of workers, and has no executions."""
    enqueue("add", 1, queue_name="a")
    burst("--name", "w2", queues=("a", "b"))
    left = redis.exists("rq:workers", "rq:workers:a", "rq:workers:b", "rq:worker:w2:executions")
    assert left == 0


@check("C107")
def rq_info_shows_the_worker():
    """`rq info` lists the worker with its state and counts, and the queue with its counts."""
    enqueue("add", 1)
    with worker():
        until(lambda: redis.zcard("rq:finished:default") == 1)
        until(lambda: worker_hash()["state"] == "idle")
        shown = client("info", "--raw")
        assert "queue default 0, 0 executing, 1 finished, 0 failed" in shown, shown
        assert "w1" in shown and "idle" in shown


@check("C108")
def the_state_follows_what_the_worker_does():
    """A worker is idle, then busy, and idle again."""
    with worker():
        until(lambda: worker_hash()["state"] == "idle")
        job = enqueue("hold")
        until_status(job, "started")
        assert worker_hash()["state"] == "busy"
        let_go()
        until(lambda: worker_hash()["state"] == "idle")
        assert status(job) == "finished"


@check("C226")
def a_connection_has_the_name_of_the_worker():
    """Among the clients of Redis there is one with the worker's name."""
    with worker():
        assert "w1" in {one["name"] for one in redis.client_list()}


@check("C317", only_freshq=True)
def a_connection_that_is_made_anew_has_the_name_too():
    """After a lost connection the new one has the worker's name."""
    with worker():
        (named,) = [one["id"] for one in redis.client_list() if one["name"] == "w1"]
        redis.client_kill_filter(_id=named)
        pass_a_job_through()
        assert "w1" in {one["name"] for one in redis.client_list()}


@check("C227")
def a_busy_worker_is_known_for_less():
    """While a job runs, the hash of the worker expires an interval and 60 s after a heartbeat."""
    job = enqueue("hold", job_timeout=-1)
    with worker("--job-monitoring-interval", "5"):
        until_status(job, "started")
        near(redis.ttl(KEY), 65)
        let_go()
        until(lambda: worker_hash()["state"] == "idle")
        near(redis.ttl(KEY), 480)


@check("C228")
def a_worker_without_a_name_gets_one():
    """Without `--name` the name is 32 hexadecimal digits."""
    job = enqueue("what_the_job_is")
    burst()
    name = fetch_value(job)[3]
    assert len(name) == 32 and int(name, 16) >= 0


def fetch_value(job):
    job.refresh()
    return job.return_value()


@check("C229")
def rq_info_knows_the_queues_of_a_worker():
    """`rq info -R` shows the worker below each of its queues."""
    queue("hi").enqueue("tasks.add", 1)
    with worker(queues=("hi", "lo")):
        until(lambda: redis.zcard("rq:finished:hi") == 1)
        lines = client("info", "--raw", "-R").splitlines()
        assert any(line.startswith("hi:") and "w1" in line for line in lines), lines


@check("C230", needs=(3, 0))
def a_worker_says_which_rq_it_speaks():
    """The version in the hash is that of the rq library it runs jobs with."""
    with worker():
        found = worker_hash()
        assert found["version"] == VERSION
        assert found["python_version"][:2] == "3."


@check("C231", only_freshq=True)
def a_forgotten_worker_registers_again():
    """A worker whose hash and places are lost registers again by itself."""
    with worker("--worker-ttl", "17"):
        redis.flushdb()
        until(lambda: members("rq:workers") == members("rq:workers:default") == {KEY})
        found = worker_hash()
        assert found["birth"] and found["queues"] == "default" and found["pid"]
        pass_a_job_through()


@check("C232", only_freshq=True)
def older_readers_see_the_current_job():
    """`current_job`, which readers up to 2.12 show, is there while a job runs and only then."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        assert worker_hash()["current_job"] == job.id
        let_go()
        until(lambda: worker_hash()["state"] == "idle")
        assert "current_job" not in worker_hash()


@check("C233")
def two_workers_share_a_queue():
    """Two workers run two jobs at the same time, each its own."""
    jobs = [enqueue("hold") for _ in range(2)]
    with worker(), worker(name="w2"):
        for job in jobs:
            until_status(job, "started")
        assert Worker.count(connection=redis) == 2
        assert {job_worker(job) for job in jobs} == {"w1", "w2"}
        let_go()
        let_go()
        for job in jobs:
            until_status(job, "finished")


def job_worker(job):
    return redis.hget(job.key, "worker_name").decode()
