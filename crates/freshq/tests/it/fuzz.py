"""Changed payloads and frames for the Python side; the same in each run, unless the environment says otherwise.

`crates/embedded/src/testing/fuzz.rs` does it for the Rust side, from the same variables.
"""

import hashlib
import os
import pathlib
import random
import sys
import tempfile
import time
import tracemalloc
import zlib

FOLDER = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(FOLDER / "python"))
from freshq_runtime import frames, horse  # noqa: E402

INPUTS = 2000
INPUT_BYTES_MAX = 16 * 1024
# What a call may allocate at a time: some times what it has been given, and what it inflates at once.
MEMORY_BYTES_MAX = 4 * 1024 * 1024
SEED = int(os.environ.get("FRESHQ_FUZZ_SEED", 0x5EED))
SECONDS = os.environ.get("FRESHQ_FUZZ_SECONDS")
WORDS = [b"", b"\0", b"\xff\xff\xff\xff", b"\0\0\0\x20", b"{", b"[" * 64, b'"', b"x\x9c", b"\x80\x04", b"null"]

# So that what a test makes is much; a payload is not looked at if it cannot become too much.
horse.INFLATED_BYTES_MAX = 1024 * 1024
horse.INFLATED_AT_ONCE = min(horse.INFLATED_AT_ONCE, 64 * 1024)


def changed(corpus, dice):
    data = bytearray(dice.choice(corpus))
    for _ in range(dice.randint(1, 6)):
        at = dice.randint(0, len(data))
        end = min(len(data), at + dice.randint(0, 32))
        how = dice.randrange(5)
        if how == 0 and at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        elif how == 1:
            del data[at:end]
        elif how == 2:
            data[at:at] = data[at:end]
        elif how == 3:
            other = dice.choice(corpus)
            data[at:] = other[dice.randint(0, len(other)) :]
        else:
            data[at : dice.choice((at, end))] = dice.choice(WORDS)
    return bytes(data[:INPUT_BYTES_MAX])


def inflated(value):
    """How much a payload becomes, counted without keeping it; none for what is no payload."""
    inflater, size = zlib.decompressobj(), 0
    try:
        for at in range(0, len(value), 16):
            piece = value[at : at + 16]
            while piece:
                size += len(inflater.decompress(piece, 4096))
                piece = inflater.unconsumed_tail
    except zlib.error:
        return None
    return size


def payload(value):
    bomb, size = horse._is_bomb(value), inflated(value)
    if size is not None and not bomb:
        # What is left in the inflater comes with its next call only.
        assert size <= horse.INFLATED_BYTES_MAX + 4096, size
    if bomb:
        assert size is None or horse.INFLATED_BYTES_MAX - 4096 <= size, size


class Socket:
    """Gives out bytes, in pieces, and counts what it is asked for."""

    def __init__(self, data):
        self.data = data
        self.asked = 0

    def fileno(self):
        return sys.stdin.fileno()  # any that is open

    def recv(self, count):
        self.asked = max(self.asked, count)
        piece, self.data = self.data[: min(count, 100)], self.data[min(count, 100) :]
        return piece


def connection(data):
    sock = Socket(data)
    link = frames.Link(sock)
    try:
        while True:
            header, body = link.receive()
            assert len(body) <= len(data)
            again = frames.Link(Socket(frames.encode(header, body))).receive()
            assert again == (header, body) or header != header, header
    except (frames.Closed, frames.FrameError, ValueError, StopIteration, RecursionError):
        pass  # the only ways in which a connection ends
    assert sock.asked <= 1024 * 1024, sock.asked


def attempt(name, target, data):
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        target(data)
        used = tracemalloc.get_traced_memory()[1] - before
        assert used <= MEMORY_BYTES_MAX, f"{used} bytes for {len(data)}"
    except BaseException:
        kept = pathlib.Path(tempfile.gettempdir(), f"freshq-fuzz-{name}-{hashlib.sha256(data).hexdigest()[:8]}")
        kept.write_bytes(data)
        print(f"fuzz {name}: {kept} fails; FRESHQ_FUZZ_SEED={SEED}", file=sys.stderr)
        raise


def fuzz(name, target):
    corpus = [path.read_bytes() for path in sorted((FOLDER / "fuzz" / name).iterdir())]
    for data in corpus:
        attempt(name, target, data)
    dice, made = random.Random(SEED), 0
    end = SECONDS and time.monotonic() + int(SECONDS)
    while time.monotonic() < end if end else made < INPUTS:
        attempt(name, target, changed(corpus, dice))
        made += 1
    print(f"fuzz {name} in Python: {made} inputs, FRESHQ_FUZZ_SEED={SEED}")


tracemalloc.start()
fuzz("payloads", payload)
fuzz("frames", connection)
