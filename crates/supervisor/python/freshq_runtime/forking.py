"""Forks of a process that has one thread, without what is done for those with many.

Around each fork Python takes the lock of `logging`, and makes new ones for `logging` and `threading` in
the child: another thread may have held them, and is not there any more. Where there is no other thread
this changes nothing, but the code for it writes to sixty pages that then are copied for each horse. So a
generation leaves these hooks out. All others stay, and in a horse that forks all are there again.
"""

import gc
import os
import threading

_FOR_OTHER_THREADS = ("logging", "threading")
_places = []


def find_hooks():
    """Learn where the interpreter keeps its hooks; to be called before the collector's memory is frozen."""
    marks = [lambda: None for _ in range(3)]
    os.register_at_fork(before=marks[0], after_in_parent=marks[1], after_in_child=marks[2])
    # It offers no way to see them, so what was just put there tells.
    found = [hooks for mark in marks for hooks in gc.get_referrers(mark) if _ends_with(hooks, mark, marks)]
    for hooks in found:
        hooks.pop()
    if len(found) == len(marks):
        _places[:] = found


def _ends_with(hooks, mark, marks):
    return type(hooks) is list and hooks is not marks and hooks[-1:] == [mark]


class LeftOut:
    """The hooks that this process does not need; of one with other threads, none."""

    def __init__(self):
        self._all = [_split(hooks) for hooks in _places if threading.active_count() == 1]
        for hooks, _, kept in self._all:
            hooks[:] = kept
        self._before = self._all[0][0] if self._all else []
        self._put_back_first = self._put_back

    def end(self):
        """In a child, which may have threads when it forks itself: the hooks are put back then, if ever."""
        self._before.append(self._put_back_first)

    def _put_back(self):
        """The hooks before a fork run from the last to the first, so of what was there this is the first."""
        for hooks, every, kept in self._all:
            hooks[: len(kept)] = every
        before, every, kept = self._all[0]
        before.remove(self._put_back_first)
        for hook in reversed(every):
            if hook not in kept:
                hook()


def _split(hooks):
    """(the interpreter's list, all that are in it, those that stay)"""
    every = list(hooks)
    return hooks, every, [hook for hook in every if getattr(hook, "__module__", None) not in _FOR_OTHER_THREADS]
