"""Imports a configuration module as `rq worker --config` does, and prints what the supervisor needs of it.

Arguments: the module, the seconds that may take, the folders to append to `sys.path`.
"""

import importlib
import json
import os
import signal
import sys

MODULE, LIMIT, *PATHS = sys.argv[1:]


def plain(value):
    """A value that JSON does not know."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (set, frozenset)):
        return list(value)
    return str(value)


def wanted(name):
    return name.startswith("REDIS_") or name in ("SENTINEL", "QUEUES", "NAME")


signal.alarm(int(LIMIT))
if sys.path[:1] == [""]:
    del sys.path[0]  # Python put it there; RQ's comes last
sys.path.extend(path for path in PATHS if path not in sys.path)
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the module prints is no answer
settings = vars(importlib.import_module(MODULE))
json.dump({name: settings[name] for name in settings if wanted(name)}, answer, default=plain, skipkeys=True)
