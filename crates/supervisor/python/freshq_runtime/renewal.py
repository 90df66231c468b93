"""What a fork copies and must not be the same in two horses.

Python sees to `random` and `tempfile` itself, the system to `secrets`, OpenSSL to `ssl`.
"""

import os
import random
import struct
import sys
import uuid

_CLOCK_SEQUENCE_BITS = 0x3FFF
_CLOCK_SEQUENCE_AT = 48
_SEED_BYTES = 32


def tell_clocks_apart():
    """Once, in the base: what is forked from a process that has made a `uuid1` would go on in its sequence.

    The C library keeps it, and nobody can tell it to begin another. So each process mixes a number of its
    own in.
    """
    generate = getattr(uuid, "_generate_time_safe", None)
    if generate is None:
        return  # Python's own code draws a sequence for each
    drawn = [None, 0]

    def apart():
        value, safety = generate()
        pid = os.getpid()
        if drawn[0] != pid:
            drawn[:] = pid, int.from_bytes(os.urandom(2), "big") & _CLOCK_SEQUENCE_BITS
        mixed = int.from_bytes(value, "big") ^ drawn[1] << _CLOCK_SEQUENCE_AT
        return mixed.to_bytes(len(value), "big"), safety

    uuid._generate_time_safe = apart


def after_fork():
    """In a new horse: what Python does not know of."""
    numbers = sys.modules.get("numpy.random")
    if numbers is None:
        return
    try:
        numbers.seed(struct.unpack("4I", os.urandom(16)))  # a tenth of what it takes without an argument
    except TypeError:  # not the usual generator
        numbers.set_bit_generator(type(numbers.get_bit_generator())())


def between_jobs():
    """In a horse that is reused: as a fork would have it."""
    # Without a number it would ask the system for as many random bytes as its state has.
    random.seed(int.from_bytes(os.urandom(_SEED_BYTES), "big"))
    after_fork()
