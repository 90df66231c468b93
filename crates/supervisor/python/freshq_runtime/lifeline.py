"""The life line: no process of ours outlives the supervisor.

Each process holds one end of a socket pair on which nothing is ever sent. The
kernel is told to signal SIGKILL to the process's whole group when something
happens on it, and the only thing that can happen is that the other end closes:
the supervisor is gone. No thread is needed, and job code cannot block it.
"""

import fcntl
import os
import select
import signal

_held = []


def hold(fd):
    """Arm `fd` for this process group and drop the one inherited from the parent."""
    _arm(fd)
    if _is_cut(fd):
        os._exit(1)  # before it was armed: nobody would be signalled any more
    for inherited in _held:
        os.close(inherited)
    _held[:] = [fd]


def release():
    """The job is done: what it left running in this group, on purpose, may go on."""
    for fd in _held:
        _disarm(fd)


def rehearse(fd):
    """Arm and disarm a socket, so that the code for it is warm."""
    _arm(fd)
    _is_cut(fd)
    _disarm(fd)


def _arm(fd):
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDWR | os.O_ASYNC)


def _is_cut(fd):
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


def _disarm(fd):
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDWR)
