"""Horses that are warned of a stop, as those of RQ's HerokuWorker: what then happens is RQ's code.

A dyno that ends sends SIGTERM to every process of it and kills them some seconds later. So these
horses ignore SIGTERM, and SIGRTMIN is what gives a job a last delay.

The supervisor cannot send a real-time signal, and the generation of a horse, which could, may be gone.
It sends another one, where a class that wants it is or may be in use, and such a horse passes SIGRTMIN on to
its group.
"""

import _signal
import logging
import os

from rq.worker import HerokuWorker

# SIGSTKFLT: the kernel sends it to nobody, and libraries leave it alone. Python has its name since 3.11;
# `forkserver/reaper.rs` sends it.
WARNING = 16


def hold_off():
    """In the base, for all that is forked from it: a warning waits for a horse that listens, and is lost on
    any other."""
    _signal.signal(WARNING, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, {WARNING})


def listen():
    """In a horse, before its first job."""
    worker = HerokuWorker.__new__(HerokuWorker)  # its handlers need no more than this
    worker.log = logging.getLogger("rq.worker")
    worker.setup_work_horse_signals()
    _signal.signal(WARNING, _pass_on)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {WARNING})


def _pass_on(_number, _frame):
    os.killpg(0, _signal.SIGRTMIN)
