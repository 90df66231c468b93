"""Where settings come from: the command line, the environment, a module."""

from urllib.parse import urlparse

from context import (
    PROJECT,
    URL,
    burst,
    check,
    enqueue,
    latest,
    newest_entry,
    status,
    value_of,
    waiting,
)

SERVER = urlparse(URL)
HOST = {
    "REDIS_HOST": SERVER.hostname,
    "REDIS_PORT": str(SERVER.port),
    "REDIS_DB": SERVER.path.strip("/"),
}


def module(name, content):
    (PROJECT / f"{name}.py").write_text(content)
    return name


@check("C136")
def a_module_has_settings():
    """`-c MODULE` gives REDIS_URL, QUEUES and NAME; the command line wins."""
    job = enqueue("add", 1, queue_name="configured")
    burst("-c", "settings", queues=(), url=None)
    assert newest_entry(job)["worker_name"] == "configured-name"
    other = enqueue("add", 1, queue_name="given")
    burst("-c", "settings", "-n", "other", queues=("given",), url=None)
    assert newest_entry(other)["worker_name"] == "other"


@check("C137")
def rq_redis_url_is_the_url():
    """RQ_REDIS_URL is used when no URL is given; the command line wins."""
    job = enqueue("add", 1)
    burst(url=None, env={"RQ_REDIS_URL": URL})
    assert status(job) == "finished"
    other = enqueue("add", 1)
    burst(env={"RQ_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert status(other) == "finished"


@check("C138")
def redis_host_and_its_like_are_used():
    """Without a URL REDIS_HOST, REDIS_PORT and REDIS_DB of the environment are used."""
    job = enqueue("add", 1)
    burst(url=None, env=HOST)
    assert status(job) == "finished"


@check("C139")
def redis_url_of_the_environment_is_used():
    """REDIS_URL of the environment is used, and RQ_REDIS_URL wins over it."""
    job = enqueue("add", 1)
    burst(url=None, env={"REDIS_URL": URL})
    assert status(job) == "finished"
    other = enqueue("add", 1)
    burst(url=None, env={"REDIS_URL": "redis://127.0.0.1:1/0", "RQ_REDIS_URL": URL})
    assert status(other) == "finished"


@check("C140")
def a_module_may_name_host_and_port():
    """REDIS_HOST, REDIS_PORT and REDIS_DB of the module are used."""
    lines = [f"{name} = {value!r}" for name, value in HOST.items()]
    name = module("settings_of_host", "\n".join(lines) + "\n")
    job = enqueue("add", 1)
    burst("-c", name, url=None)
    assert status(job) == "finished"


@check("C141")
def an_unreachable_redis_is_exit_code_1():
    """When Redis cannot be reached at the start, the worker ends with exit code 1."""
    burst(url=None, env={"RQ_REDIS_URL": "redis://127.0.0.1:1/0"}, code=1)


@check("C142")
def a_module_that_is_not_there_is_exit_code_1():
    """A config module that cannot be imported ends the worker with exit code 1."""
    burst("-c", "no_such_module", code=1)


@check("C278")
def rq_config_is_the_module():
    """RQ_CONFIG names the module when no `-c` is given."""
    job = enqueue("add", 1, queue_name="configured")
    burst(queues=(), url=None, env={"RQ_CONFIG": "settings"})
    assert newest_entry(job)["worker_name"] == "configured-name"


@check("C279")
def the_command_line_wins_over_the_module():
    """A URL on the command line is used, whatever the module says."""
    name = module("settings_of_nowhere", "REDIS_URL = 'redis://127.0.0.1:1/0'\nQUEUES = ['a', 'b']\n")
    jobs = [enqueue("add", 1, queue_name=queue_name) for queue_name in "ab"]
    burst("-c", name, queues=())
    assert [status(job) for job in jobs] == ["finished"] * 2


@check("C280")
def classes_can_come_from_the_environment():
    """RQ_JOB_CLASS names the job class."""
    job = enqueue("add", 2)
    burst(env={"RQ_JOB_CLASS": "tasks.CustomJob"})
    assert value_of(job) == ["custom", 2]


@check("C281")
def the_default_queue_is_default():
    """Without any queue the worker serves the one named `default`."""
    job = enqueue("add", 1)
    burst(queues=())
    assert status(job) == "finished"


@check("C282")
def a_url_may_have_options():
    """The database of a URL may be given as `?db=`, too."""
    job = enqueue("add", 1)
    base = f"redis://{SERVER.hostname}:{SERVER.port}"
    burst(url=f"{base}?db={HOST['REDIS_DB']}")
    assert status(job) == "finished"


@check("C283")
def a_module_may_configure_logging():
    """DICT_CONFIG of the module is applied, here to a handler that writes a file."""
    path = PROJECT / "configured.log"
    config = {
        "version": 1,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(path)}},
        "loggers": {"rq.worker": {"handlers": ["file"], "level": "INFO"}},
    }
    name = module("settings_of_logging", f"DICT_CONFIG = {config!r}\n")
    enqueue("fail", "into the file")
    burst("-c", name)
    assert "into the file" in path.read_text()
    path.unlink()


@check("C284")
def a_queue_class_can_be_given():
    """With a queue class of `--queue-class` jobs run as ever."""
    job = enqueue("add", 1)
    burst("--queue-class", "tasks.CustomQueue")
    assert latest(job).return_value == 1 and waiting() == []
