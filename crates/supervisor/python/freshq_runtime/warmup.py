"""Warm-up: functions of the user's that fill caches once, for all horses of a generation."""

import gc
import importlib
import inspect
import time

from .leftovers import Before


def run(names, user):
    """Call what `--warmup` names, in order; returns how long that took, in nanoseconds."""
    if not names:
        return 0
    begun = time.monotonic_ns()
    gc.enable()  # unlike an import, a function may leave much behind that is not needed
    for name in names:
        _call(name, user)
    gc.collect()
    return time.monotonic_ns() - begun


def _call(name, user):
    function = _find(name)
    before = Before()
    result = function()
    if inspect.iscoroutine(result):  # as RQ does with jobs
        import asyncio

        asyncio.run(result)
    left = user.forks and before.remains()
    if left:
        raise RuntimeError(f"--warmup {name}: it left {left} behind, which does not survive the fork of a horse")


def _find(name):
    module, _, function = name.partition(":")
    try:
        target = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if is_gone(error, module):
            raise ImportError(f"--warmup {name}: there is no module {module}") from None
        raise
    for part in function.split("."):
        target = getattr(target, part, None)
    if not callable(target):
        raise AttributeError(f"--warmup {name}: module {module} has no function {function}")
    return target


def is_gone(error, name):
    """Whether a module does not exist (not: exists and misses another)."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return missing is not None and (name == missing or name.startswith(f"{missing}."))
