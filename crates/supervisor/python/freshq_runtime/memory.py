"""Memory that is cheap to fork.

A fork copies one table entry for each page that the parent has written to, and the end of the child takes
each back: for a base with libraries in it that is a good part of what a fork costs. In a huge page it is
one entry for 2 MiB. The interpreter takes its memory in pieces, between which the code of libraries comes
to lie, and too small for huge pages. So a base asks for much at once before it imports anything, and the
libraries fill that.

Where the system has no huge pages, or its owner wants none, nothing is done and nothing is lost.
"""

import sys

# About what rq and redis take. It stays with the base, also what nothing comes to use.
RESERVED_BYTES = 20 * 1024 * 1024
# The largest object that the interpreter's own allocator serves, and how many of them lie between two that
# keep their part of the memory (an arena) from being given back.
_OBJECT_BYTES = 512
_OBJECTS_FOR_A_PIN = 500
_MADV_COLLAPSE = 25  # Linux 6.1
_SETTINGS = "/sys/kernel/mm/transparent_hugepage/"
_pins = []


def reserve():
    """Take contiguous memory that the interpreter then fills; to be called before anything is imported."""
    if not _huge_page_bytes():
        return
    count = RESERVED_BYTES // _OBJECT_BYTES
    payload = _OBJECT_BYTES - sys.getsizeof(b"")
    objects = [None] * count  # its full length now: a list that grows would leave gaps
    for index in range(count):
        objects[index] = bytes(payload)
    _pins[:] = objects[::_OBJECTS_FOR_A_PIN]


def use_huge_pages():
    """Have the kernel put what this process has written to into huge pages, as far as it fits."""
    size = _huge_page_bytes()
    if not size:
        return
    try:
        import ctypes
    except ImportError:
        return  # a Python without it just forks a little slower
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for begin, end in _written():
        begin, end = -(-begin // size) * size, end // size * size
        if begin < end:
            madvise(begin, end - begin, _MADV_COLLAPSE)  # a refusal leaves things as they are


def _huge_page_bytes():
    """0 where there are none to be had."""
    try:
        with open(_SETTINGS + "enabled") as enabled, open(_SETTINGS + "hpage_pmd_size") as size:
            return 0 if "[never]" in enabled.read() else int(size.read())
    except (OSError, ValueError):
        return 0


def _written():
    """The address ranges of this process's own memory."""
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    for addresses, access, _, _, inode, *name in lines:
        if access == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            begin, end = addresses.split("-")
            yield int(begin, 16), int(end, 16)
