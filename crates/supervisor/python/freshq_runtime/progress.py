"""Which module is being imported, for the case that this process does not survive it.

Written into a file in memory that the supervisor has open as well; twin of `src/forkserver/import_note.rs`.
"""

import os


class Progress:
    """Writes nothing before it is given a file, and after it is closed."""

    def __init__(self):
        self._fd = None
        self._begun = []

    def write_to(self, fd):
        self._fd = fd

    def close(self):
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    def begins(self, module, path):
        self._begun.append(f"{module}\0{path}\0")
        self._write(self._begun[-1])

    def ended(self):
        self._begun.pop()
        self._write(self._begun[-1] if self._begun else "\0\0")

    def _write(self, text):
        if self._fd is not None:
            os.pwrite(self._fd, text.encode(errors="surrogateescape"), 0)
