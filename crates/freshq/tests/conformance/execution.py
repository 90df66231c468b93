"""How a job is found, called, and what it sees around it."""

import json
import zlib
from datetime import datetime, timezone

from rq.job import Job
from rq.registry import FinishedJobRegistry
from rq.worker import Worker

import tasks
from context import (
    FRESHQS,
    PROJECT,
    burst,
    check,
    enqueue,
    failed_with,
    fetch,
    job_hash,
    latest,
    let_go,
    queue,
    redis,
    status,
    until,
    until_status,
    value_of,
    waiting,
    worker,
    written,
)


@check("C001")
def a_burst_on_an_empty_queue_ends():
    """A burst worker on an empty queue exits 0 by itself, and is in `Worker.all()` no more."""
    burst()
    assert Worker.count(connection=redis) == 0


@check("C002")
def a_job_finishes_with_its_value():
    """After a burst the job is finished, with its value in a result of type 1 of this worker."""
    job = enqueue("add", 2, b=3)
    burst("--name", "w2")
    result = latest(job)
    assert status(job) == "finished" and result.return_value == 5
    assert result.type.value == 1 and getattr(result, "worker_name", "w2") == "w2"


@check("C003")
def a_path_and_a_function_are_the_same_job():
    """A job enqueued by dotted path runs the same as one enqueued by the function."""
    by_path, by_function = enqueue("add", 1), queue().enqueue(tasks.add, 1)
    burst()
    assert value_of(by_path) == value_of(by_function) == 1


@check("C004")
def jobs_run_in_order_and_those_at_the_front_first():
    """Jobs run first in, first out; one enqueued with `at_front=True` runs first."""
    for value in range(3):
        enqueue("push", "order", value)
    enqueue("push", "order", 9, at_front=True)
    burst()
    assert written("order") == "9012"


@check("C005")
def methods_and_callable_objects_are_jobs():
    """A bound method, a callable instance, a static and a class method can all be jobs."""
    thing = tasks.Multiplier(3)
    functions = [thing.method, thing, tasks.Multiplier.static, tasks.Multiplier.of_the_class]
    jobs = [queue().enqueue(function, 2) for function in functions]
    burst()
    assert [value_of(job) for job in jobs] == [6, 5, 2, ["Multiplier", 2]]


@check("C006")
def a_coroutine_is_awaited():
    """A coroutine function is awaited: its value is stored, and what it raises fails the job."""
    job, failing = enqueue("coroutine", 4), enqueue("failing_coroutine")
    burst()
    assert value_of(job) == 5
    failed_with(failing, "ValueError: from a coroutine")


@check("C007")
def the_times_of_a_job_are_in_order():
    """enqueued_at <= started_at <= ended_at, all set and in UTC after the run."""
    job = enqueue("add", 1)
    burst()
    job.refresh()
    now = datetime.now(timezone.utc).replace(tzinfo=job.ended_at.tzinfo)
    assert job.enqueued_at <= job.started_at <= job.ended_at <= now


@check("C008")
def a_job_can_look_at_itself():
    """Inside the job `get_current_job()` is the job: started, with its origin and its worker."""
    job = enqueue("what_the_job_is")
    burst("--name", "w2")
    assert value_of(job) == [job.id, "started", "default", "w2"]


@check("C009")
def the_environment_names_worker_and_job():
    """In the job's environment are RQ_WORKER_ID, the worker's name, and RQ_JOB_ID."""
    job = enqueue("environment")
    burst("--name", "w2")
    assert value_of(job) == {"RQ_WORKER_ID": "w2", "RQ_JOB_ID": job.id}


@check("C010")
def jobs_share_nothing():
    """Each job runs in a process of its own: globals start anew, and random numbers differ."""
    jobs = [enqueue("how_many_seen") for _ in range(2)]
    numbers = [enqueue("random_number") for _ in range(2)]
    burst()
    assert [value_of(job) for job in jobs] == [1, 1]
    assert value_of(numbers[0]) != value_of(numbers[1])


@check("C011")
def the_process_of_a_job_leads_a_group():
    """The job runs in a process other than the worker's, which leads a process group."""
    job = enqueue("pid_and_group")
    with worker() as process:
        until_status(job, "finished")
        pid, group = value_of(job)
        assert pid == group and pid != process.pid


@check("C012")
def signals_of_a_job_are_as_documented():
    """In the job SIGINT is ignored and SIGTERM has its default effect."""
    job = enqueue("handlers_of_signals")
    burst()
    assert value_of(job) == ["ignored", "default"]


@check("C013")
def a_value_that_cannot_be_serialized_is_replaced():
    """The job still finishes; its value is the text `Unserializable return value`."""
    job = enqueue("unserializable")
    burst()
    assert status(job) == "finished" and value_of(job) == "Unserializable return value"


@check("C014")
def text_may_be_in_any_language():
    """Descriptions and arguments outside ASCII disturb neither the worker nor its log."""
    job = enqueue("add", "阿", "é", description="你好 世界!")
    output = burst()
    assert status(job) == "finished" and value_of(job) == "阿é" and "你好" in output


@check("C015", needs=(2, 9))
def json_can_be_the_serializer():
    """With `--serializer json` jobs of a JSON queue run, and their values are JSON."""
    job = queue(serializer="json").enqueue("tasks.add", 2, 3)
    burst("--serializer", "json")
    assert Job.fetch(job.id, connection=redis, serializer="json").return_value() == 5


@check("C016")
def a_job_class_performs_its_jobs():
    """A job class given with `-j` is the class whose `perform()` runs."""
    job = enqueue("add", 2)
    burst("-j", "tasks.CustomJob")
    assert value_of(job) == ["custom", 2]


@check("C017")
def jobs_may_enqueue_jobs():
    """Jobs that a job enqueues run in the same burst."""
    enqueue("enqueue_other", "default", 2)
    burst()
    assert waiting() == [] and len(FinishedJobRegistry(queue=queue())) == 3


@check("C018")
def saved_meta_is_kept():
    """Meta that the job saves is kept with what it had before, also when the job then raises."""
    given = {"k": 1, "z": 1}
    finishing = enqueue("save_meta", {"k": 2}, meta=given)
    failing = enqueue("save_meta", {"k": 2}, True, meta=given)
    burst()
    assert [status(finishing), status(failing)] == ["finished", "failed"]
    assert [job.get_meta(refresh=True) for job in (finishing, failing)] == [{"k": 2, "z": 1}] * 2


@check("C019")
def unsaved_meta_is_not_kept():
    """Meta that the job changes without saving is lost at a plain end, good or bad."""
    finishing = enqueue("change_meta", {"k": 2}, meta={"k": 1})
    failing = enqueue("change_meta", {"k": 2}, True, meta={"k": 1})
    burst()
    assert [job.get_meta(refresh=True) for job in (finishing, failing)] == [{"k": 1}] * 2


@check("C020")
def undecodable_data_fails_the_job():
    """A job whose data cannot be deserialized fails with DeserializationError, and the log says so."""
    job, next_job = enqueue("add", 1), enqueue("add", 1)
    redis.hset(job.key, "data", zlib.compress(b"garbage"))
    output = burst()
    failed_with(job, "DeserializationError")
    assert "exception raised while executing" in output and status(next_job) == "finished"


@check("C021")
def data_may_be_stored_uncompressed():
    """Data that is not compressed is understood."""
    job = enqueue("add", 1)
    redis.hset(job.key, "data", zlib.decompress(redis.hget(job.key, "data")))
    burst()
    assert value_of(job) == 1


@check("C154")
def the_object_of_a_job_is_complete():
    """In the job its object has timeout, times, retries and description; an execution is recorded."""
    job = enqueue("what_the_job_has", description="described", retry=__import__("rq").Retry(3))
    burst()
    found = value_of(job)
    assert found.pop("executions") == 1
    assert found == {
        "timeout": 180,
        "started_at": True,
        "last_heartbeat": True,
        "enqueued_at": True,
        "retries_left": 3,
        "description": "described",
    }


@check("C155")
def functions_that_are_not_there_fail_the_job():
    """A function, a module, or a method that does not exist fails its job, and only that."""
    jobs = [enqueue("missing"), queue().enqueue("no_such_module.function")]
    good = enqueue("add", 1)
    burst()
    failed_with(jobs[0], "missing")
    failed_with(jobs[1], "no_such_module")
    assert status(good) == "finished"


@check("C156")
def a_stored_status_keeps_no_job_from_running():
    """Whatever id is in the queue is run, also when its hash says canceled or finished."""
    jobs = [enqueue("add", 1), enqueue("add", 1)]
    redis.hset(jobs[0].key, "status", "canceled")
    redis.hset(jobs[1].key, "status", "finished")
    burst()
    assert [value_of(job) for job in jobs] == [1, 1]
    assert [status(job) for job in jobs] == ["finished", "finished"]


@check("C157")
def what_a_job_prints_is_seen():
    """What a job writes to its standard output comes out of the worker."""
    enqueue("say", "printed by a job")
    assert "printed by a job" in burst("--disable-job-desc-logging")


@check("C158")
def descriptions_are_logged_unless_forbidden():
    """The log shows the call, or the given description; `--disable-job-desc-logging` hides it."""
    enqueue("add", "visible-argument")
    enqueue("add", "other-argument", description="a description")
    output = burst()
    assert "tasks.add('visible-argument')" in output and "a description" in output
    enqueue("add", "secret-argument")
    assert "secret-argument" not in burst("--disable-job-desc-logging")


@check("C159")
def the_current_folder_comes_last_on_the_path():
    """Jobs are imported from the current folder, which is on `sys.path`, and from `--path`."""
    other = PROJECT / "elsewhere"
    other.mkdir(exist_ok=True)
    (other / "far_tasks.py").write_text("def answer():\n    return 42\n")
    far = queue().enqueue("far_tasks.answer")
    burst("--path", str(other))
    assert value_of(far) == 42
    paths = enqueue("import_paths")
    burst()
    assert {".", str(PROJECT)} & set(value_of(paths)), value_of(paths)


@check("C160")
def a_serializer_may_be_a_path():
    """`-S` takes the dotted path of an object with `dumps` and `loads`, for data and value."""
    serializer = tasks.ShoutingSerializer
    job = queue(serializer=serializer).enqueue("tasks.add", 2, 3)
    burst("-S", "tasks.ShoutingSerializer")
    assert Job.fetch(job.id, connection=redis, serializer=serializer).return_value() == 5


@check("C161")
def times_are_stored_as_text_with_microseconds():
    """Stored times are UTC in the form YYYY-MM-DDTHH:MM:SS.ffffffZ, always with six digits."""
    job = enqueue("add", 1)
    burst()
    names = ["created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"]
    for text in [job_hash(job)[name].decode() for name in names]:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
        assert len(text) == len("2026-01-01T00:00:00.000000Z"), text


@check("C162")
def the_hash_of_a_running_job_says_so():
    """While a job runs its hash has status started, its worker, its start and a heartbeat."""
    job = enqueue("hold")
    with worker():
        until_status(job, "started")
        found = job_hash(job)
        assert found["worker_name"] == b"w1" and found["ended_at"] == b""
        assert found["started_at"] and found["last_heartbeat"] and "current_job" not in found
        let_go()
        until_status(job, "finished")


@check("C163")
def the_hash_of_a_finished_job_is_complete():
    """After success the hash has all that the client wrote, the end, and no field of our own but which code ran it."""
    job = enqueue("add", 1, meta={"a": 1}, result_ttl=1000, description="d")
    before = job_hash(job)
    burst("--name", "w2")
    after = job_hash(job)
    changed = {"status", "started_at", "ended_at", "last_heartbeat", "worker_name", "data"}
    kept = set(before) - changed
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert after["status"] == b"finished" and after["worker_name"] == b"w2"
    assert zlib.decompress(before["data"]) == zlib.decompress(after["data"])
    assert set(after) - FRESHQS == set(before)


@check("C164")
def a_job_without_a_hash_is_passed_over():
    """An id whose hash is gone, or has no data, is skipped in silence; the next job runs."""
    gone, empty, good = enqueue("add", 1), enqueue("add", 1), enqueue("add", 1)
    redis.delete(gone.key)
    redis.hdel(empty.key, "data")
    burst("--name", "w2")
    assert status(good) == "finished" and not redis.exists(gone.key)
    assert redis.hget("rq:worker:w2", "successful_job_count") == b"1"
    assert redis.zcard("rq:failed:default") == 0 and waiting() == []


@check("C165", only_freshq=True)
def a_hash_that_cannot_be_read_fails_that_job_only():
    """A hash with an unknown status or unreadable numbers fails its job; the worker lives on."""
    odd, numbers, good = enqueue("add", 1), enqueue("add", 1), enqueue("add", 1)
    redis.hset(odd.key, "status", "no-such-status")
    redis.hset(numbers.key, "timeout", "soon")
    burst("--name", "w2")
    assert status(good) == "finished"
    assert status(numbers) == "failed" and redis.zscore("rq:failed:default", numbers.id)
    assert status(odd) in ("failed", "finished")
    assert [key for key in redis.keys("rq:wip:*")] == [] and waiting() == []


@check("C166")
def jobs_of_many_arguments_arrive_whole():
    """Large arguments and values pass unharmed."""
    text = "äöü" * 200_000
    job = enqueue("add", text, "!")
    burst()
    assert value_of(job) == text + "!" and fetch(job).args == (text, "!")


@check("C167")
def a_job_that_is_passed_on_keeps_its_meta_in_json():
    """With a JSON serializer, meta is JSON too, and callbacks get decoded values."""
    serializer = tasks.ShoutingSerializer
    job = queue(serializer=serializer).enqueue(
        "tasks.save_meta", {"k": 2}, meta={"a": 1}, on_success=tasks.on_success
    )
    burst("-S", "tasks.ShoutingSerializer")
    stored = redis.hget(job.key, "meta")
    assert stored[:1] == b"!" and json.loads(stored[1:]) == {"a": 1, "k": 2}
    until(lambda: redis.exists("success:" + job.id))
