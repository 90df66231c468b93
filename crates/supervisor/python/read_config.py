"""Imports what says where Redis is, and prints what the supervisor needs of it.

A configuration module, as `rq worker --config` does, or a Django project's settings, as
`manage.py rqworker` does: these in RQ's names, and with what else they say about a worker.
"""

import importlib
import json
import os
import signal
import ssl
import sys
import traceback
from urllib.parse import quote, urlencode

ASKED = json.loads(sys.argv[1])


def plain(value):
    """A value that JSON does not know."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (set, frozenset)):
        return list(value)
    return str(value)


def wanted(name):
    return name.startswith("REDIS_") or name in ("SENTINEL", "QUEUES", "NAME")


def of_module(name):
    settings = vars(importlib.import_module(name))
    return {name: settings[name] for name in settings if wanted(name)}


def of_django(name, queues):
    os.environ["DJANGO_SETTINGS_MODULE"] = name
    from django.conf import settings

    known = getattr(settings, "RQ_QUEUES", None)
    if known is None:
        return {}
    missing = [queue for queue in queues if queue not in known]
    if missing:
        raise LookupError(f"RQ_QUEUES has no queue {missing[0]!r}")
    from django_rq import get_connection

    found, *others = [of_connection(get_connection(queue)) for queue in queues]
    if any(other != found for other in others):
        raise ValueError("the queues of one worker have to be in the same Redis")
    common, own = getattr(settings, "RQ", {}), known[queues[0]]
    return found | {
        "SERIALIZER": path(own.get("SERIALIZER")),
        "WORKER_CLASS": path(common.get("WORKER_CLASS")),
        "JOB_CLASS": path(common.get("JOB_CLASS")),
        "QUEUE_CLASS": path(own.get("QUEUE_CLASS", common.get("QUEUE_CLASS"))),
        "EXCEPTION_HANDLERS": [path(handler) for handler in getattr(settings, "RQ_EXCEPTION_HANDLERS", [])],
    }


def path(named):
    """The dotted path of something that is named, or there itself."""
    return named if named is None or isinstance(named, str) else f"{named.__module__}.{named.__qualname__}"


def of_connection(connection):
    """RQ's settings for what django-rq connects to, in all of its ways."""
    pool = connection.connection_pool
    given = options(pool.connection_kwargs)
    manager = getattr(pool, "sentinel_manager", None)
    encrypted = any(kind.__name__ == "SSLConnection" for kind in pool.connection_class.__mro__)
    if manager is None:
        return {"REDIS_URL": url(given, encrypted)}
    instances = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
    sentinel = {"INSTANCES": [(instance["host"], instance["port"]) for instance in instances]}
    sentinel |= {"MASTER_NAME": pool.service_name, "SSL": encrypted}
    sentinel |= {"CONNECTION_KWARGS": given, "SENTINEL_KWARGS": options(manager.sentinel_kwargs)}
    return {"SENTINEL": sentinel}


def options(kwargs):
    """The options of a connection that a URL can say and that are not redis-py's own."""
    from redis import Redis

    defaults = Redis(ssl=True).connection_pool.connection_kwargs
    found = {}
    for name, value in kwargs.items():
        if isinstance(value, ssl.VerifyMode):
            value = value.name.removeprefix("CERT_").lower()
        place = name in ("host", "port", "path", "db", "username", "password")
        special = name.startswith(("socket_", "ssl_")) and value != defaults.get(name)
        if (place or special) and isinstance(value, (str, int, float)):
            found[name] = value
    return found


def url(given, encrypted):
    given = dict(given)
    login = ":".join(quote(str(given.pop(name, "")), safe="") for name in ("username", "password"))
    host, port = str(given.pop("host", "localhost")), given.pop("port", 6379)
    if "path" in given:
        scheme, place = "unix", quote(given.pop("path"))
    else:
        scheme = "rediss" if encrypted else "redis"
        place = (f"[{host}]" if ":" in host else host) + f":{port}/{given.pop('db', 0)}"
    login = "" if login == ":" else f"{login}@"
    return f"{scheme}://{login}{place}" + (f"?{urlencode(given)}" if given else "")


def place(error):
    """Where in the user's code it is, as far as that can be told."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename[:1] != "<" and frame.filename != importlib.__file__]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def found():
    try:
        return of_django(ASKED["module"], ASKED["queues"]) if ASKED["django"] else of_module(ASKED["module"])
    except Exception as error:
        # The last line is what the supervisor shows.
        said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        sys.exit(f"{traceback.format_exc()}{said}{place(error)}")


signal.alarm(ASKED["seconds"])
if sys.path[:1] == [""]:
    del sys.path[0]  # Python put it there; RQ's comes last
sys.path.extend(path for path in ASKED["path"] if path not in sys.path)
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the module prints is no answer
json.dump(found(), answer, default=plain, skipkeys=True)
