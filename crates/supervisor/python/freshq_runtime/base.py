"""The base: imports libraries, forks generations. It never runs user code."""

import faulthandler
import gc
import importlib
import os
import platform
import signal
import socket
import sys
import time

from . import config, django_project, forking, generation, heroku, lifeline, memory, release, renewal
from .children import Children, task_count, wait_status
from .frames import Closed, ControlLink
from .leftovers import Before, tasks_after_a_fork
from .loader import UserCode, forget_listings
from .shadows import Guard

OLDEST_RQ = (2, 0)


def main():
    try:
        link, settings = connect()
        problem = prepare(settings)
        if problem:
            link.send({"kind": "unusable", "problem": problem})
            return
        renewal.tell_clocks_apart()
        forking.find_hooks()
        report = _import_libraries(settings)
        gc.collect()
        gc.freeze()
        memory.use_huge_pages()
        link.send(report)
        _serve(link, settings)
    except Closed:
        pass  # the supervisor is gone or wants us gone


def connect():
    """Meet the supervisor; returns the link to it and what it says first."""
    link = ControlLink(_control_socket())
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the supervisor alone decides when we end
    settings, _ = link.receive()
    if settings["may_warn"]:
        heroku.hold_off()
    lifeline.hold(link.take_fd())
    # What crashes prints where; and what is stuck in an import, when it is asked to end.
    faulthandler.enable()
    return link, release.move(settings, settings["release"] and settings["release"]["now"])


def _control_socket():
    """The supervisor's socket came as standard input; job code must find an empty one there."""
    sock = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return sock


def prepare(settings):
    """Make this process look as one of `rq worker`; returns what makes that impossible, if anything."""
    django_project.hide()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    for path in settings["path"]:
        if path not in sys.path:
            sys.path.append(path)
    try:
        import rq
        from rq.version import VERSION
    except ImportError as error:
        return f"cannot import rq: {error}"
    if tuple(int(part) for part in VERSION.split(".")[:2]) < OLDEST_RQ:
        return f"rq {VERSION} is too old ({os.path.dirname(rq.__file__)})"
    return None


def _import_libraries(settings):
    from rq.version import VERSION

    from . import errand, horse  # noqa: F401  errands are run by horses, which are to find it here

    horse.rehearse(settings)
    begun = time.monotonic_ns()
    skipped, yours = [], []
    user = UserCode(settings)
    # What rq itself needs is here already and cannot be kept out.
    kept_out = [name for name in settings["kept_out"] if name not in sys.modules]
    guard = Guard(user)
    sys.meta_path.insert(0, guard)
    for name in settings["libraries"]:
        if name in sys.modules:
            continue  # most come with another; each look at what was left behind costs some system calls
        before = Before()
        guard.refused.clear()
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001  a library may raise anything, also SystemExit
            if _top(name) in map(_top, guard.refused):
                yours.append(name)
            else:
                skipped.append([name, f"{type(error).__name__}: {error}"])
        # An import cannot be undone: the next base leaves out what led to it.
        unwanted = [kept for kept in kept_out if kept in sys.modules]
        unwanted += [refused for refused in guard.refused if _top(refused) != _top(name)]
        if unwanted:
            return {"kind": "unwanted", "library": name, "imports": unwanted[0]}
        left = before.remains()
        if left:
            return {"kind": "unfit", "library": name, "left": left}
    sys.meta_path.remove(guard)
    if skipped or yours:
        _forget_orphans()
    forget_listings(user)
    config.prepare(settings)
    tasks = task_count()  # a thread may take its time to begin
    return {
        "kind": "ready",
        "rq_version": VERSION,
        "python_version": sys.version,
        "python_short": platform.python_version(),
        "skipped": skipped,
        "yours": yours,
        "tasks": tasks if tasks == 1 else tasks_after_a_fork(),
        "import_ns": time.monotonic_ns() - begun,
    }


def _top(name):
    return name.partition(".")[0]


def _forget_orphans():
    """A package that failed leaves its modules behind; Python would not make them a part of it later."""
    for name in sorted(sys.modules):
        package = name.rpartition(".")[0]
        if package and package not in sys.modules:
            del sys.modules[name]


def _serve(link, settings):
    children = Children(link)
    while True:
        message, ended = children.wait()
        for pid in ended:
            # Reaped only when the supervisor says so; if it hangs up first, it inherits the zombie.
            link.send({"kind": "ended", "pid": pid, "status": wait_status(pid)})
        if message:
            order, _ = link.receive()
            if order["kind"] == "reap":
                os.waitpid(order["pid"], 0)
                continue
            control, line, note = link.take_fd(), link.take_fd(), link.take_fd()
            pid = children.fork()
            if pid == 0:
                generation.main(socket.SocketType(fileno=control), line, note, order, settings)
            for fd in (control, line, note):
                os.close(fd)
            link.send({"kind": "forked", "generation": order["generation"], "pid": pid})
