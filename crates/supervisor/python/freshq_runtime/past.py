"""What the user's code was: imports that come late see the tree as it was when their job began.

The supervisor keeps each version of each file and a manifest that tells from which position on a file had
which (`src/reload/sources.rs` has the format). A job is told its position, and the manifest is read when it
imports something that its generation has not. What the manifest does not know is not watched and is
imported from the disk: extension modules, ignored files.
"""

import importlib.machinery
import itertools
import os
import sys
import time
from collections import namedtuple

# How long the first reading of all files is waited for.
COMPLETE_SECONDS_MAX = 60
_POLL_SECONDS = 0.005
# A file that the manifest does not know and that is younger than this was made a moment ago, most likely, and
# that is waited for; else it is not watched.
YOUNG_SECONDS = 1
_COMPLETE = b"\n0 complete "

Version = namedtuple("Version", "digest place")
ABSENT = Version(None, None)  # it is known, and was not there


class Past:
    """The tree at one position. Without a position the disk is the tree."""

    def __init__(self, manifest):
        self.position = None
        self._manifest = manifest
        self._lines = b""
        self._lines_of = None  # the position that they were read for

    def find(self, path):
        """What a file was: a version, or `ABSENT`; None if it is not watched."""
        version = self._newest(os.fsencode(path) + b"\n").get(os.fsencode(path))
        if version and version.digest == "unknown":
            raise ImportError(f"{path} was saved before freshq had read what it was", path=path)
        return version

    def is_watched(self, path):
        """Whether a file that is there now is one of those that the manifest knows."""
        while self.find(path) is None:
            try:
                age = time.time() - os.stat(path).st_ctime
            except OSError:
                return False
            if not 0 <= age < YOUNG_SECONDS:
                return False
            time.sleep(_POLL_SECONDS)
            self._lines_of = None
        return True

    def had_folder(self, folder):
        return any(version is not ABSENT for version in self._newest(os.fsencode(folder) + b"/").values())

    def source(self, path, version):
        """The bytes of a version; None if they are not kept."""
        if version.place == "-":
            return None
        number, offset, length = map(int, version.place.split(":"))
        try:
            with open(f"{os.path.splitext(self._manifest)[0]}.{number}", "rb") as kept:
                return os.pread(kept.fileno(), length, offset)
        except OSError as error:
            raise _lost(path, error) from None

    def _newest(self, needle):
        """The version of each file whose line ends so from its path on, or whose path begins so."""
        lines, found = self._read(), {}
        at = lines.find(b" " + needle)
        while at >= 0:
            begin, end = lines.rindex(b"\n", 0, at) + 1, lines.index(b"\n", at + 1)
            number, digest, place, path = lines[begin:end].split(b" ", 3)
            number = int(number)
            if (path + b"\n").startswith(needle):
                newest, _ = found.setdefault(path, (-1, ABSENT))
                if newest <= number <= self.position:
                    found[path] = (number, ABSENT if digest == b"gone" else Version(digest.decode(), place.decode()))
            at = lines.find(b" " + needle, end)
        return {path: version for path, (_, version) in found.items()}

    def _read(self):
        """All lines; there are those of this position, and those of the files that were there at the start."""
        if self._lines_of == self.position:
            return self._lines
        until = time.monotonic() + COMPLETE_SECONDS_MAX
        while True:
            try:
                with open(self._manifest, "rb") as manifest:
                    lines = b"\n" + manifest.read()
            except OSError as error:
                raise _lost(self._manifest, error) from None
            if _COMPLETE in lines:
                break
            if until < time.monotonic():
                raise ImportError(f"freshq has not read all of your code within {COMPLETE_SECONDS_MAX} s")
            time.sleep(_POLL_SECONDS)
        lines = lines[: lines.rindex(b"\n") + 1]
        if self.position and b"\n%d " % self.position not in lines:
            raise _lost(self._manifest, "it could not be written")
        self._lines, self._lines_of = lines, self.position
        return lines


def _lost(path, error):
    return ImportError(f"what your code was when this job began is not kept any more: {path}: {error}", path=path)


class PastFinder(importlib.machinery.FileFinder):
    """Finds in a folder of the user's what was in it."""

    def __init__(self, user, folder):
        machinery = importlib.machinery
        super().__init__(
            folder,
            (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
            (machinery.SourceFileLoader, machinery.SOURCE_SUFFIXES),
            (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
        )
        self._user = user
        self._real = user.real_folder(self.path)

    def find_spec(self, name, target=None):
        spec, past = super().find_spec(name, target), self._user.past
        loader = type(spec.loader) if spec else None
        if past.position is None or loader not in (None, type(None), importlib.machinery.SourceFileLoader):
            return spec
        tail = name.rpartition(".")[2]
        for file in (os.path.join(tail, "__init__.py"), f"{tail}.py"):
            if past.find(os.path.join(self._real, file)) not in (None, ABSENT):
                return self._user.spec(name, os.path.join(self.path, file))
        if loader is importlib.machinery.SourceFileLoader:
            if not past.is_watched(os.path.join(self._real, os.path.relpath(spec.origin, self.path))):
                return spec
            spec = None  # it was made since
        if spec is None and past.had_folder(os.path.join(self._real, tail)):
            spec = importlib.machinery.ModuleSpec(name, None)
            spec.submodule_search_locations = [os.path.join(self.path, tail)]
        return spec


def newest_folder():
    """The last of those that Python has looked into so far."""
    return next(reversed(sys.path_importer_cache), None)


def install(user, last):
    """From now on folders of the user's are looked into as they were. None was looked into up to `last`."""

    def hook(folder):
        real = user.real_folder(os.path.abspath(folder))
        if not user.owns(os.path.join(real, "")):
            raise ImportError
        # Not a folder in a zip file, but one that is no longer there.
        if not os.path.isdir(folder) and (user.past.position is None or not user.past.had_folder(real)):
            raise ImportError
        return PastFinder(user, folder)

    sys.path_hooks.insert(0, hook)
    # Where those lead that are known, counts from now on, whatever becomes of symlinks.
    for folder in list(itertools.takewhile(lambda folder: folder != last, reversed(sys.path_importer_cache))):
        if user.owns(os.path.join(user.real_folder(os.path.abspath(folder)), "")):
            del sys.path_importer_cache[folder]
