"""A generation: one loaded version of the user's code, which forks horses."""

import functools
import gc
import importlib
import os
import socket
import sys
import time
import traceback

from . import (
    config,
    django_project,
    failure,
    forking,
    hooks,
    horse,
    lifeline,
    loader,
    logs,
    memory,
    past,
    release,
    shadows,
    warmup,
)
from .children import flush, fork
from .frames import Closed, ControlLink
from .leftovers import Before

# Importing the user's code has written to most of the base's huge pages, which takes them apart. Having them
# whole again pays for a generation that forks more than a few horses.
FORKS_BEFORE_HUGE_PAGES = 16


def main(sock, line, note, order, settings):
    """Runs in the fork, and never returns."""
    status = 1
    try:
        os.setpgid(0, 0)
        lifeline.hold(line)
        link = ControlLink(sock)
        settings = release.move(settings, order["release_now"])
        user = loader.UserCode(settings)
        user.progress.write_to(note)
        # No collection while modules are imported: it would look at all of them again and again, and find
        # next to nothing. What there is stays shared by all horses.
        gc.disable()
        folder = past.newest_folder()
        shadowed = shadows.among([*order["changed"], *release.names(settings)], user)
        if shadowed:
            report = {"kind": "shadowed", "names": shadowed}
        else:
            user.past.position = order["position"]
            if user.past.position is not None:
                past.install(user, folder)
            make_tools, report = load(order, user, settings)
        user.noting = True
        if user.past.position is None:
            past.install(user, folder)
        gc.freeze()
        gc.enable()
        link.send(report)
        if report["kind"] == "ready":
            _serve(link, make_tools())
        elif report["kind"] == "same":
            link.receive()  # it hangs up
        status = 0
    except Closed:
        status = 0  # retired, or the supervisor is gone
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def load(order, user, settings):
    """Import the user's code; returns what makes the tools of horses, if it is good, and a report."""
    begun, before = time.monotonic_ns(), Before()
    same = user.same_code(order["compiled"])
    if same:
        return None, {"kind": "same", "files": same}
    loader.install(user)
    if settings["manifest"]:
        user.opened.listen()
    last = loader.newest_module()
    wanted, connection, report = _load(order["modules"], user, settings)
    user.progress.close()
    report["files"] = user.files
    report["opened"] = user.opened.report()
    report["libraries"] = loader.new_libraries(user, last)
    report["left"] = before.remains() if user.forks else None
    report["begun_ns"] = begun
    report["imported_ns"] = time.monotonic_ns()
    return functools.partial(horse.Tools, user, wanted, connection, settings["reuse"]), report


def _load(modules, user, settings):
    """Import the user's code in order; returns what jobs run with and reach Redis with, and a report."""
    gone = []
    try:
        django_project.set_up(settings["hooks"]["django"])
    except BaseException as error:  # noqa: BLE001  also SystemExit: user code must not end us
        return None, None, _broken(error, user)
    try:
        wanted = hooks.load(settings["hooks"], settings["worker"])
        connection = config.load(settings, wanted.connection_class)
    except hooks.Unusable as problem:
        return None, None, {**_broken(problem.__cause__ or problem, user), "hook": str(problem)}
    logs.set_up(settings["logging"])
    for name, required in modules:
        before = Before()
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001
            if not required and warmup.is_gone(error, name):
                gone.append(name)
                continue
            return None, None, _broken(error, user)
        left = user.forks and before.remains()
        if left:
            return None, None, {"kind": "unfit", "module": name, "left": left}
    try:
        took = warmup.run(settings["warmups"], user)
    except BaseException as error:  # noqa: BLE001
        return None, None, _broken(error, user)
    django_project.close_connections()
    return wanted, connection, {"kind": "ready", "gone": gone, "warmup_ns": took}


def _broken(error, user):
    if isinstance(error, SyntaxError) and error.filename:
        _note_unread(error.filename, user)
    return {"kind": "broken", **failure.describe(error, user)}


def _note_unread(path, user):
    real = os.path.realpath(path)
    if user.owns(real):
        user.files.setdefault(real, "")


def _serve(link, tools):
    """Fork what is asked for. The supervisor watches the horses itself; here they are only reaped,
    and only when it says so: until then a pid stays this horse's."""
    forked, left_out = 0, forking.LeftOut()
    while True:
        order, _ = link.receive()
        kind = order["kind"]
        if kind == "fork":
            flush()
            horses = []
            for n in order["horses"]:  # a comprehension would touch more pages
                horses.append([n, _fork(link, tools, left_out, order["relayed"])])
            link.send({"kind": "forked", "horses": horses})
            _reap(order["reap"])
            before, forked = forked, forked + len(horses)
            if before < FORKS_BEFORE_HUGE_PAGES <= forked:
                memory.use_huge_pages()  # now that there are spares, nobody waits for it
        elif kind == "reap":
            _reap(order["pids"])
        else:
            pid = order["pid"]
            _, status, usage = os.wait4(pid, 0)
            link.send({"kind": "exited", "pid": pid, "status": status, "peak_kib": usage.ru_maxrss})


def _fork(link, tools, left_out, relayed):
    control, line = link.take_fd(), link.take_fd()
    stderr = link.take_fd() if relayed else None
    pid = fork()
    if pid == 0:
        left_out.end()
        link.close()
        sock = socket.SocketType(fileno=control)  # the plain kind touches fewer pages
        horse.main(sock, line, stderr, tools)
    os.close(control)
    os.close(line)
    if relayed:
        os.close(stderr)
    return pid


def _reap(pids):
    for pid in pids:
        os.waitpid(pid, 0)
