"""Forking, and noticing the end of what was forked, in one thread.

A base waits for a message of the supervisor or for a child to end. A pidfd per
child makes both one `poll`.
"""

import os
import select
import sys


class Children:
    def __init__(self, link):
        self._link = link
        self._pid_by_pidfd = {}
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)

    def fork(self):
        """As `fork`, with nothing of ours left open in the child."""
        flush()
        pid = fork()
        if pid == 0:
            for pidfd in self._pid_by_pidfd:
                os.close(pidfd)
            self._link.close()
        else:
            pidfd = os.pidfd_open(pid)
            self._pid_by_pidfd[pidfd] = pid
            self._poll.register(pidfd, select.POLLIN)
        return pid

    def wait(self):
        """Wait for something; returns (message waiting?, pids that have ended)."""
        if self._link.pending():
            return True, []
        message, ended = False, []
        for fd, _ in self._poll.poll():
            pid = self._pid_by_pidfd.pop(fd, None)
            if pid is None:
                message = True
            else:
                self._poll.unregister(fd)
                os.close(fd)
                ended.append(pid)
        return message, ended


def flush():
    """To be called before forks: a child would write again what is left buffered."""
    sys.stdout.flush()
    sys.stderr.flush()


def fork():
    """As `os.fork`. The child has a group of its own from the start.

    It makes that itself too, but may come to it late: until then it would die with this group, at the end of
    this process.
    """
    pid = os.fork()
    if pid:
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # it has ended already
    return pid


def wait_status(pid):
    """The raw wait status of a child that has ended; it stays unreaped."""
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if result.si_code == os.CLD_EXITED:
        return result.si_status << 8
    return result.si_status | (0x80 if result.si_code == os.CLD_DUMPED else 0)


def task_count():
    """Kernel tasks of this process; more than one means that forking is not safe."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1
