"""What lies between two jobs of a horse that runs many: may it run another, and is all as it was?

A fork gives each job a process as its generation left it. Here that is made up for as far as a process
can be mended: what jobs commonly change is put back. A horse with something that cannot be mended runs
no other job.
"""

import _signal
import os
import sys
import threading
import time

# What the jobs of a horse may leave behind, all together: libraries keep some connections and threads.
DESCRIPTORS_MAX = 64
TASKS_MAX = 256
# Growth after which a limit on memory is looked at again, and the pauses without.
GROWTH_BYTES = 1024 * 1024
WALK_SECONDS = 1
WALK_REST = 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)
_STREAMS = ("stdin", "stdout", "stderr")


class Keeper:
    """Keeps one horse fit for its next job. Made in the horse, before its first."""

    def __init__(self, limits):
        self._jobs_left = limits["max_jobs"]
        self._memory = _Memory(limits["max_memory"]) if limits["max_memory"] is not None else None
        self._threads = threading.active_count()
        self._tasks = _tasks()
        # The dictionary below `os.environ`, which compares in a microsecond what that does in many.
        self._variables = dict(os.environ._data)
        self._environ = dict(os.environ)
        self._folder = os.open(".", os.O_PATH)
        self._path = list(sys.path)
        self._streams = [getattr(sys, name) for name in _STREAMS]
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        # What was installed by native code is None: Python cannot put it back.
        handlers = ((number, _signal.getsignal(number)) for number in sorted(_signal.valid_signals()))
        self._lowest_fd = _lowest_fd()
        self._handlers = [(number, handler) for number, handler in handlers if handler is not None]

    def counts(self):
        """A job was run; returns whether its number allows another."""
        if self._jobs_left is not None:
            self._jobs_left -= 1
        return self._jobs_left is None or 0 < self._jobs_left

    def mend(self):
        """Put back what the job changed; returns what of the rest makes this horse unfit for another, if anything."""
        self._put_back()
        return self._left()

    def _left(self):
        threads = threading.active_count() - self._threads
        if threads > 0:
            return f"it left {threads} thread{'s' * (threads > 1)} behind"
        if _has_children():
            return "it left a child process behind"
        lowest_fd = _lowest_fd()
        if lowest_fd < 3 <= self._lowest_fd or any(stream and stream.closed for stream in self._streams):
            return "it closed a standard stream"
        if self._tasks + TASKS_MAX < _tasks():
            return f"its jobs left more than {TASKS_MAX} threads of libraries behind"
        if self._lowest_fd + DESCRIPTORS_MAX < lowest_fd:
            return f"its jobs left more than {DESCRIPTORS_MAX} descriptors open"
        return self._memory and self._memory.too_much()

    def _put_back(self):
        for timer in _TIMERS:
            _signal.setitimer(timer, 0)
        for number, handler in self._handlers:
            if _signal.getsignal(number) is not handler:
                _signal.signal(number, handler)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)
        os.fchdir(self._folder)
        if os.environ._data != self._variables:
            for name in [name for name in os.environ if name not in self._environ]:
                del os.environ[name]
            os.environ.update(self._environ)
        if sys.path != self._path:
            sys.path[:] = self._path
        for name, stream in zip(_STREAMS, self._streams):
            setattr(sys, name, stream)


class _Memory:
    """Memory of this process that it shares with nobody. Telling that apart walks all pages, so it is done only
    when all that is resident is more than the limit, and then when it has grown, or is due again."""

    def __init__(self, most):
        self._most = most
        self._resident = 0  # at the last walk
        self._due = 0

    def too_much(self):
        resident = _resident()
        grown = self._resident + GROWTH_BYTES < resident
        begun = time.monotonic()
        if resident <= self._most or not (grown or self._due <= begun):
            return None
        private = _private()
        took = time.monotonic() - begun
        self._resident, self._due = resident, begun + max(WALK_SECONDS, took * WALK_REST)
        if private <= self._most:
            return None
        return f"it has {private >> 20} MB of memory, and may have {self._most >> 20} MB (--max-memory)"


def _resident():
    with open("/proc/self/statm", "rb") as sizes:
        return int(sizes.read().split()[1]) * _PAGE_BYTES


def _private():
    with open("/proc/self/smaps_rollup", "rb") as sizes:
        return sum(int(line.split()[1]) for line in sizes if line.startswith(b"Private_")) * 1024


def _tasks():
    """Threads, also those that Python does not know; the folder has a link to each, and two of its own."""
    return os.stat("/proc/self/task").st_nlink - 2


def _lowest_fd():
    """The lowest descriptor that is free: so many are open at least."""
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


def _has_children():
    """Whether the job left a process behind, running or not waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
