"""What an import leaves behind that no fork survives: threads, and connected sockets.

A thread does not live on in a child, but the locks that it held stay locked. A connection in two
processes mixes up what both say.
"""

import os
import socket
import threading
import time

from . import django_project
from .children import task_count

# A thread that is done, and joined, still takes a moment to end.
_ENDING_SECONDS_MAX = 0.25
_LOOK_AGAIN_SECONDS = 0.002


class Before:
    """How things were before something is imported or called. Cheap, as long as nothing is left behind."""

    def __init__(self):
        self._tasks = task_count()
        self._open = _descriptors()

    def left(self):
        """What was left behind since then, for people; None if nothing was."""
        if self._tasks < task_count() and self._tasks < tasks_after_a_fork():
            names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
            return f"threads ({', '.join(names) or 'of native code'})"
        for fd in sorted(_descriptors() - self._open):
            peer = _peer(fd)
            if peer:
                return f"a connection to {peer}"
        return None

    def remains(self):
        """As `left`, of what is still there when it had the time to end; for a process that runs no job."""
        until = time.monotonic() + _ENDING_SECONDS_MAX
        while left := self.left():
            if until < time.monotonic():
                return left
            django_project.close_connections()
            time.sleep(_LOOK_AGAIN_SECONDS)
        return None


def tasks_after_a_fork():
    """Some libraries end their threads when they see a fork coming (OpenBLAS does): try it."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return task_count()


def _descriptors():
    own = os.dup(0)
    os.close(own)  # the lowest that is free, which the listing takes too
    return {int(name) for name in os.listdir("/proc/self/fd")} - {own}


def _peer(fd):
    """Whom a descriptor is connected to; None if it is no such socket."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        peer = sock.getpeername()
        if sock.type == socket.SOCK_DGRAM:
            return None  # messages are whole, whoever sends them (a log's)
    except OSError:
        return None
    finally:
        sock.detach()
    if isinstance(peer, tuple):
        return ":".join(map(str, peer[:2]))
    return os.fsdecode(peer) or "another socket of its own"
