"""What lies between two jobs of a horse that runs many: may it run another, and is all as it was?

A fork gives each job a process as its generation left it. Here that is made up for as far as a process
can be mended: what jobs commonly change is put back. A horse with something that cannot be mended runs
no other job.
"""

import _signal
import os
import sys
import threading

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)
_STREAMS = ("stdin", "stdout", "stderr")


class Keeper:
    """Keeps one horse fit for its next job. Made in the horse, before its first."""

    def __init__(self, limits):
        self._jobs_left = limits["max_jobs"]
        self._memory_max = limits["max_memory"]
        self._threads = threading.active_count()
        # The dictionary below `os.environ`, which compares in a microsecond what that does in many.
        self._variables = dict(os.environ._data)
        self._environ = dict(os.environ)
        self._folder = os.open(".", os.O_PATH)
        self._path = list(sys.path)
        self._streams = [getattr(sys, name) for name in _STREAMS]
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        # What was installed by native code is None: Python cannot put it back.
        handlers = ((number, _signal.getsignal(number)) for number in sorted(_signal.valid_signals()))
        self._handlers = [(number, handler) for number, handler in handlers if handler is not None]

    def counts(self):
        """A job was run; returns whether its number allows another."""
        if self._jobs_left is not None:
            self._jobs_left -= 1
        return self._jobs_left is None or 0 < self._jobs_left

    def mend(self):
        """Put back what the job changed; returns whether this horse is fit for another."""
        self._put_back()
        return not (self._threads < threading.active_count() or _has_children() or self._is_too_big())

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

    def _is_too_big(self):
        if self._memory_max is None:
            return False
        with open("/proc/self/statm", "rb") as sizes:
            return self._memory_max < int(sizes.read().split()[1]) * _PAGE_BYTES


def _has_children():
    """Whether the job left a process behind, running or not waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
