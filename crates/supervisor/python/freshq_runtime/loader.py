"""Imports user code from what is on disk now, never from a trusted `.pyc`.

Python validates a `.pyc` by whole-second time and size, so that two edits of
equal length within a second run old code. Here a user's file is read once,
those bytes are hashed (the proof of what was loaded), and the code object comes
from a cache keyed by that hash. The user's `__pycache__` is neither read nor
written. Libraries are imported as ever.
"""

import hashlib
import importlib.util
import itertools
import marshal
import os
import sys
from importlib.machinery import ExtensionFileLoader, SourceFileLoader

from .leftovers import Before
from .opened import Opened
from .past import ABSENT, Past
from .progress import Progress

READ_BYTES = 64 * 1024
LIBRARY_FOLDERS = frozenset(("site-packages", "dist-packages", "node_modules"))


class UserCode:
    """Which files are the user's, and what was loaded of them so far."""

    def __init__(self, settings, snapshot=None):
        # Module -> path and hash: code of this version is loaded, whatever is on disk by now.
        self.pinned = snapshot or {}
        self.snapshot = {}  # the same, of what was loaded
        self._roots = tuple(os.path.join(root, "") for root in settings["roots"])
        self._cache = settings["code_cache"]
        self.past = Past(settings["manifest"])
        self.opened = Opened(self, os.path.dirname(self._cache))  # files that are no Python
        self._depth = 0
        self.files = {}  # real path -> hash of the bytes that were compiled
        self.modules = []  # user modules in the order they were begun
        self.progress = Progress()
        self.entries = []  # those that no other user module asked for
        self.forks = True  # the process goes on to fork horses
        self.noting = False  # it is a horse: which entries leave behind what no fork survives?
        self.unfit = []  # those that do
        self._not_mine = {}  # folder -> whether it is a library's
        self._real_folders = {}  # folder -> without symlinks
        self._last_real = None, None  # the last file that was asked for, and without symlinks

    def owns(self, path):
        for root in self._roots:
            if path.startswith(root):
                return not self._in_library(root, os.path.dirname(path))
        return False

    def real(self, path):
        """As `os.path.realpath`, which asks for each folder on the way each time."""
        last, real = self._last_real
        if last != path:
            joined = self.in_real_folder(path)
            real = os.path.realpath(joined) if os.path.islink(joined) else joined
            self._last_real = path, real
        return real

    def real_folder(self, folder):
        real = self._real_folders.get(folder)
        if real is None:
            real = self._real_folders[folder] = os.path.realpath(folder)
        return real

    def in_real_folder(self, path):
        folder, name = os.path.split(path)
        return os.path.join(self.real_folder(folder), name)

    def _in_library(self, root, folder):
        known = self._not_mine.get(folder)
        if known is None:
            known = len(folder) >= len(root) and (
                os.path.basename(folder) in LIBRARY_FOLDERS
                or os.path.exists(os.path.join(folder, "pyvenv.cfg"))
                or self._in_library(root, os.path.dirname(folder))
            )
            self._not_mine[folder] = known
        return known

    def code(self, name, path, compile_source):
        """The code object of `path` as it is on disk now, or as it was when it was pinned."""
        pinned = self.pinned.get(name, (path, None))[1]
        code = _read_cached(self._cache_path(pinned, path)) if pinned else None
        if code is not None:
            self._note(name, path, pinned)
            return code
        if self.past.position is not None:
            version = self.past.find(self.in_real_folder(path))
            if version is not None:
                return self._past_code(name, path, version, compile_source)
        source, digest = _read(path)
        if pinned and digest != pinned:
            raise ImportError(f"{path} is another by now, and what it was is no longer in the cache")
        self._note(name, path, digest)  # also if it cannot be compiled
        return self._compiled(source, digest, path, compile_source)

    def _past_code(self, name, path, version, compile_source):
        if version is ABSENT:
            raise ImportError(f"{path} was not there when this job began", name=name, path=path)
        self._note(name, path, version.digest)
        code = _read_cached(self._cache_path(version.digest, path))
        if code is not None:
            return code
        source = self.past.source(path, version)
        digest = version.digest
        if source is None:
            source, digest = _read(path)
        if digest != version.digest:
            raise ImportError(f"{path} is another by now, and what it was is not kept", name=name, path=path)
        return self._compiled(source, digest, path, compile_source)

    def _compiled(self, source, digest, path, compile_source):
        cached = self._cache_path(digest, path)
        code = _read_cached(cached)
        if code is None:
            code = compile_source(source, path)
            _write_cached(cached, code)
        return code

    def same_code(self, compiled):
        """The hashes of files that compile to what they were, line tables included; none if any does not.

        `compiled` has their paths and the hashes of what they were.
        """
        hashes = {}
        try:
            for path, before in compiled.items():
                source, hashes[path] = _read(path)
                loader = SourceFileLoader("", path)
                code = self._compiled(source, hashes[path], path, loader.source_to_code)
                if _plain(_read_cached(self._cache_path(before, path))) != _plain(code):
                    return {}
        except Exception:  # noqa: BLE001  loading it will tell what is wrong
            return {}
        return hashes

    def spec(self, name, path):
        """Of a module whose code comes from here, also if the file is no longer there."""
        within = [os.path.dirname(path)] if os.path.basename(path) == "__init__.py" else None
        spec = importlib.util.spec_from_file_location(
            name, path, loader=UserLoader(self, name, path), submodule_search_locations=within
        )
        spec.cached = None
        return spec

    def _note(self, name, path, digest):
        self.files[self.real(path)] = digest
        self.snapshot[name] = (path, digest)

    def _cache_path(self, digest, path):
        optimization = f"-O{sys.flags.optimize}" if sys.flags.optimize else ""
        # The path is part of the key because code objects carry it, for tracebacks.
        key = hashlib.sha256(f"{digest}\0{path}".encode(errors="surrogateescape")).hexdigest()
        return os.path.join(self._cache, sys.implementation.cache_tag + optimization, key[:2], key[2:])


class UserLoader(SourceFileLoader):
    def __init__(self, user, name, path):
        super().__init__(name, path)
        self._user = user

    def get_code(self, fullname):
        return self._user.code(fullname, self.path, self.source_to_code)

    def exec_module(self, module):
        user = self._user
        user.modules.append(module.__name__)
        if user._depth:
            self._execute(module)
            return
        user.entries.append(module.__name__)
        before = Before() if user.noting else None
        self._execute(module)
        if before and before.left():
            user.unfit.append(module.__name__)

    def _execute(self, module):
        user = self._user
        user._depth += 1
        user.progress.begins(module.__name__, self.path)
        try:
            super().exec_module(module)
        finally:
            user.progress.ended()
            user._depth -= 1


class UserFinder:
    """First on `sys.meta_path`: asks the others, and swaps the loader of user code."""

    def __init__(self, user):
        self._user = user

    def find_spec(self, name, path=None, target=None):
        if name in self._user.pinned:
            return self._user.spec(name, self._user.pinned[name][0])
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                return self._adopt(spec)
        return None

    def _adopt(self, spec):
        if type(spec.loader) is SourceFileLoader and self._user.owns(self._user.real(spec.origin)):
            spec.loader = UserLoader(self._user, spec.name, spec.origin)
            spec.cached = None
        elif type(spec.loader) is ExtensionFileLoader:
            self._user.opened.note_extension(spec.origin)
        return spec


def install(user):
    sys.meta_path.insert(0, UserFinder(user))


def forget_listings(user):
    """Python remembers what is in the folders that it looked into. For the user's that is from before a save.

    Others are known by their time, which is right for libraries, and kept: there are many and they are long.
    """
    for folder in list(sys.path_importer_cache):
        if user.owns(os.path.join(os.path.realpath(folder), "")):
            del sys.path_importer_cache[folder]


def newest_module():
    return next(reversed(sys.modules))


def new_libraries(user, last):
    """Library modules in `sys.modules` that came after `last`, in order of import. Others are not even
    looked at: the memory of their names would have to be copied."""
    mine = set(user.modules)
    found = []
    for name in list(itertools.takewhile(lambda name: name != last, reversed(sys.modules))):
        if name in mine or name.startswith(("freshq_runtime", "__")):
            continue
        module = sys.modules[name]
        path = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
        if getattr(module, "__spec__", None) is None or (path and user.owns(user.real(path))):
            continue
        found.append(name)
    found.reverse()
    return found


def _read(path):
    source = _content(path)
    return source, hashlib.sha256(source).hexdigest()


def _content(path):
    """The bytes of a file, for half the system calls that a file object makes."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = [os.read(fd, READ_BYTES)]
        while len(chunks[-1]) == READ_BYTES:
            chunks.append(os.read(fd, READ_BYTES))
    finally:
        os.close(fd)
    return b"".join(chunks)


def _plain(code):
    """As bytes that do not depend on who else holds a part of it, as those of later formats do."""
    return marshal.dumps(code, 2)


def _read_cached(path):
    try:
        data = _content(path)
        magic = importlib.util.MAGIC_NUMBER
        if data[: len(magic)] == magic:
            return marshal.loads(data[len(magic) :])
    except (OSError, ValueError, EOFError, TypeError):
        pass  # no entry, or a damaged one: compile
    return None


def _write_cached(path, code):
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(importlib.util.MAGIC_NUMBER + marshal.dumps(code))
        os.replace(temporary, path)
    except OSError:
        pass  # a full or read-only disk costs speed, nothing else
