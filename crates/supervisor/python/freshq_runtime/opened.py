"""Which files the user's code opens while it is imported: templates, settings, tables, shared objects.

They are a part of what was loaded, as much as Python files are, so they are reported, watched and compared.
A hook hears of each file that is opened; it cannot be taken away, and is deaf after the import. A file is
hashed before its reader gets it: what changes later then differs from the disk.
"""

import hashlib
import os
import stat
import sys

# Files beyond that number are not learned; of longer ones size and time stand for the bytes. The latter is
# the same in `src/reload/relevance.rs`.
FILES_MAX = 1_000
HASHED_BYTES_MAX = 16 * 1024 * 1024
_PYTHON = (".py", ".pyc", ".pyo")
_NOT_ONLY_READ = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_DIRECTORY


class Opened:
    """Files of the user's that were opened, as they were; none of one that was not there."""

    def __init__(self, user, cache):
        self._user = user
        # Ours, which may lie in the user's folder; as we open it, and whatever way leads to it.
        self._cache = (os.path.join(cache, ""), os.path.join(os.path.realpath(cache), ""))
        self._files = {}
        self._written = set()
        self._deaf = True

    def listen(self):
        self._deaf = False

        def heard(event, args):
            if event == "open" and not self._deaf:
                self._heard(*args)

        sys.addaudithook(heard)

    def report(self):
        """All that were only read. Nothing is heard any more."""
        self._deaf = True
        return {path: stamp for path, stamp in self._files.items() if path not in self._written}

    def _heard(self, path, _mode, flags):
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or path.endswith(_PYTHON) or path.startswith(self._cache):
            return
        real = self._user.in_real_folder(os.path.abspath(path))
        if real.startswith(self._cache) or "/__pycache__/" in real or not self._user.owns(real):
            return
        if flags & _NOT_ONLY_READ:
            self._written.add(real)
        else:
            self._note(real)

    def note_extension(self, path):
        """A shared object that is to be imported; the system opens it, and no hook hears of that."""
        real = self._user.in_real_folder(path)
        if not self._deaf and self._user.owns(real):
            self._note(real)

    def _note(self, path):
        if path in self._files or FILES_MAX <= len(self._files):
            return
        self._deaf = True  # to what happens here
        try:
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):
                self._files[path] = _stamp(path, status)
        except OSError:
            self._files[path] = None
        finally:
            self._deaf = False


def _stamp(path, status):
    if HASHED_BYTES_MAX < status.st_size:
        return f"{status.st_size} {status.st_mtime_ns}"
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
