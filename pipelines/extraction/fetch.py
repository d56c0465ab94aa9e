"""Audio of a store, brought to this machine to be decoded: once, with its digest on the way.

Every process has a folder of its own for it. What nobody uses any more stays, for a shard that is tried again, until
its room is needed: what was used last goes last. The folder goes with its process; what killed processes have left is
deleted by the next one that makes such a folder.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from stemfeatures._util import objects
from stemfeatures._util.files import printable_name
from stemfeatures._util.objects import Entry, StoreError
from stemfeatures._util.system import NO_LINK, PLAIN, lock_file, user_id
from stemfeatures._util.urls import Url
from stemfeatures.errors import AudioError, StemfeaturesError

from ..catalog import printable
from ..catalog.remote import too_large
from .file_state import FileState, state_of

_PREFIX = "stemfeatures-audio-"
_LOCK = ".lock"


class FetchError(AudioError):
    """A store does not give the file."""

    stage = "fetch"


class Abandoned(Exception):
    """Nobody waits for the file any more."""


@dataclass
class Fetched:
    """A file that has come.

    Attributes
    ----------
    path : Path
        Where it is.
    sha256 : str
        The digest of its bytes.
    state : FileState
        What the store said of it.
    """

    path: Path
    sha256: str
    state: FileState
    users: int = field(default=1, repr=False)


class AudioCache:
    """The files of one process.

    Parameters
    ----------
    max_bytes : int
        No file may be larger, and of files that nobody uses no more is kept. Those in work may exceed it.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._files: OrderedDict[str, Fetched] = OrderedDict()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._folder: Path | None = None
        self._held: int | None = None

    def fetch(
        self,
        address: str,
        *,
        on_open: Callable[[FileState], None],
        abandoned: Callable[[], bool],
        on_bytes: Callable[[int, int], None] = lambda done, total: None,
    ) -> Fetched:
        """Bring a file, or take the one that is there; call :meth:`release` when it is read.

        Parameters
        ----------
        address : str
            Of the object.
        on_open : callable
            Called with its state before its bytes come.
        abandoned : callable
            Whether nobody waits for it any more.
        on_bytes : callable, optional
            Called with the bytes that have come and those there are, 0 where the store does not say, as they come.

        Raises
        ------
        FetchError
            The store does not give it, or it is larger than the cache.
        Abandoned
            Nobody waits.
        """
        if (known := self._known(address)) is not None:
            on_open(known.state)
            return known
        url = Url(address)
        target = self._new_file(url)
        try:
            digest, state = self._download(url, target, on_open, abandoned, on_bytes)
        except BaseException as error:
            shutil.rmtree(target.parent, ignore_errors=True)
            if isinstance(error, StoreError):
                raise FetchError(error.what, source=str(url)) from error
            if isinstance(error, OSError):
                raise FetchError(f"cannot be kept on this machine: {error.strerror}", source=str(url)) from error
            raise
        fetched = Fetched(target, digest, state)
        with self._lock:
            self._forget(address)  # another thread may have brought it meanwhile
            self._files[address] = fetched
        return fetched

    def _known(self, address: str) -> Fetched | None:
        """What is there already, and still is what the store has."""
        with self._lock:
            if (known := self._files.get(address)) is None:
                return None
            known.users += 1
            self._files.move_to_end(address)
        if FileState.of(address) == known.state:
            return known
        with self._lock:
            if self._files.get(address) is known:
                self._forget(address)
        self.release(known)
        return None

    def _forget(self, address: str) -> None:
        """Take no file for this address any more; who reads one still has it until it is released."""
        if (known := self._files.pop(address, None)) is not None and not known.users:
            shutil.rmtree(known.path.parent, ignore_errors=True)

    def _download(
        self,
        url: Url,
        target: Path,
        on_open: Callable[[FileState], None],
        abandoned: Callable[[], bool],
        on_bytes: Callable[[int, int], None],
    ) -> tuple[str, FileState]:
        states: list[FileState] = []

        def opened(entry: Entry) -> None:
            states.append(state_of(entry))
            self._make_room(entry.size, url)
            on_open(states[0])

        digest, size = hashlib.sha256(), 0
        with target.open("wb") as file:
            for block in objects.blocks(url, opened):
                if abandoned():
                    raise Abandoned
                size += len(block)
                if size > self.max_bytes:  # the store did not say so
                    self._make_room(size, url)
                digest.update(block)
                file.write(block)
                on_bytes(size, states[0].size)
        stated = states[0]
        if stated.size and size != stated.size:
            raise StoreError(f"it has {stated.size:,} bytes, of which {size:,} came", url)
        return digest.hexdigest(), stated._replace(size=size)

    def _make_room(self, size: int, url: Url) -> None:
        """Forget what was used longest ago until ``size`` more bytes fit; FetchError when they never do."""
        if size > self.max_bytes:
            raise FetchError(too_large(self.max_bytes), source=str(url))
        with self._lock:
            kept = sum(f.state.size for f in self._files.values())
            for address, fetched in list(self._files.items()):
                if kept + size <= self.max_bytes:
                    break
                if not fetched.users:
                    kept -= fetched.state.size
                    self._forget(address)

    def release(self, fetched: Fetched) -> None:
        """Nobody reads the file any more, as far as one caller of :meth:`fetch` is concerned."""
        with self._lock:
            fetched.users -= 1
            if not fetched.users and all(fetched is not kept for kept in self._files.values()):
                shutil.rmtree(fetched.path.parent, ignore_errors=True)

    def close(self) -> None:
        """Delete everything. Harmless when called again, and in a process that was forked from the one that made it."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._files.clear()
            folder, held, self._folder, self._held = self._folder, self._held, None, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            with suppress(OSError):
                os.close(held)

    def _new_file(self, url: Url) -> Path:
        """A free place, with the name of the file: decoders look at the suffix."""
        with self._lock:
            if self._folder is None:
                _clear_abandoned(Path(tempfile.gettempdir()))
                self._folder, self._held = _own_folder()
                atexit.register(self.close)
            folder = Path(tempfile.mkdtemp(dir=self._folder))
        suffix = Path(url.name).suffix
        return folder / f"audio{suffix if suffix[1:].isalnum() and len(suffix) < 12 else ''}"


def _own_folder() -> tuple[Path, int]:
    """A new folder, and its lock, which is held as long as the file is open."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        held = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | PLAIN)
        with suppress(OSError):  # without locks nobody clears the folder away
            lock_file(held)
        if os.fstat(held).st_nlink:
            return folder, held
        os.close(held)  # another process has taken it for abandoned before it was locked


def _clear_abandoned(temporary: Path) -> None:
    """Delete the folders of our user whose process has died: nobody holds their lock."""
    for folder in temporary.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != user_id():
                continue
            fd = os.open(folder / _LOCK, os.O_RDWR | PLAIN | NO_LINK)
            try:
                lock_file(fd, wait=False)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(fd)


_Error = TypeVar("_Error", bound=StemfeaturesError)


def named_as(error: _Error, copy: Path, address: str) -> _Error:
    """An error about the copy of an object, or about nothing by name, as another one about the object."""
    return error.read_through(printable_name(copy), printable(address))


_caches: dict[int, AudioCache] = {}
_making = threading.Lock()


def audio_cache(max_bytes: int) -> AudioCache:
    """The cache of this process; with the size that was asked for last."""
    with _making:
        cache = _caches.setdefault(os.getpid(), AudioCache(max_bytes))
        cache.max_bytes = max_bytes
        return cache
