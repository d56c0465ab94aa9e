"""One writer at a time.

On file systems the kernel keeps a lock, and drops it with its process. Stores have no locks. There every writer puts
a **claim** into ``_commits``, renews it every few seconds, and is the only one if nobody else's is there: of two that
come at once at least one sees the other, since what was written is listed from then on. Whoever is found to be there is
watched for as long as a claim lasts; a claim that is not renewed in that time is of a dead process, and is deleted. No
clock is compared with another one's. A writer whose claim was deleted while it could not run stops; and as every commit
is created only if its number is free, it could not have done harm.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from .._util import objects
from .._util.clock import awake_s
from .._util.system import NO_BLOCKING, NO_LINK, PLAIN, lock_file, read_at, write_at
from .._util.urls import Url
from ..errors import BusyDatasetError, DatasetError
from .layout import COMMITS, DatasetLayout

log = logging.getLogger(__name__)

#: A claim that was not renewed for so long is of a dead process; and how often it is renewed.
CLAIM_S = 60.0
RENEWAL_S = 10.0
_LOOK_S = 1.0
_CLAIM = ".writer-"


class DatasetLock:
    """Exclusive right to commit to a dataset, as a context manager.

    A killed run never blocks the next: on file systems the kernel drops the lock when its process ends, however it
    ends, and the file ``_commits/.lock`` only says who holds or held it; in stores a claim ends :data:`CLAIM_S` after
    its process. Where a file system cannot lock, or a store cannot create conditionally, a warning says what is left.

    Attributes
    ----------
    is_exclusive : bool
        False where the file system cannot lock, so that there may be others.

    Raises
    ------
    BusyDatasetError
        Another process (or another writer in this one) holds it; the message says which.
    """

    def __init__(self, layout: DatasetLayout, purpose: str) -> None:
        self.layout = layout
        self.purpose = purpose
        where = layout.path
        self._lock: _Lock = _Claim(layout, where) if isinstance(where, Url) else _FileLock(where)

    @property
    def is_exclusive(self) -> bool:
        return self._lock.is_exclusive

    def __enter__(self) -> DatasetLock:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": now, "purpose": self.purpose}
        self._lock.take(note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def require(self) -> None:
        """DatasetError when another writer has taken the place of this one, which could not run for a while."""
        self._lock.require()

    def release(self) -> None:
        """Let the next writer in. Harmless when called again."""
        self._lock.release()


@contextmanager
def reading(layout: DatasetLayout, purpose: str) -> Iterator[None]:
    """Keep writers away while what is committed is read, as :class:`DatasetLock` does; where nothing may be written
    (a disk that is mounted for reading, a store that denies it), only see that none is at work now.

    Parameters
    ----------
    layout : DatasetLayout
        What is read.
    purpose : str
        Told to those who are kept away.

    Raises
    ------
    BusyDatasetError
        A writer is at work.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(DatasetLock(layout, purpose))
        except DatasetError as error:
            cause = error.__cause__
            if not (isinstance(cause, PermissionError) or (isinstance(cause, OSError) and cause.errno == errno.EROFS)):
                raise
            _require_nobody(layout)
            log.debug("%s: read without a lock: %s", layout.path, cause)
        yield


def _require_nobody(layout: DatasetLayout) -> None:
    """BusyDatasetError when a writer is at work. A claim in a store that a dead one has left is none."""
    if isinstance(layout.path, Url):
        try:
            _outlasted(layout)
        except OSError as error:
            raise DatasetError(f"the store cannot be asked: {error}", source=str(layout.path)) from error
    elif (holder := lock_holder(layout)) is not None:
        raise BusyDatasetError(f"another writer is at work: {holder}", source=str(layout.path))


class _Lock(Protocol):
    is_exclusive: bool

    def take(self, note: dict[str, Any]) -> None: ...

    def require(self) -> None: ...

    def release(self) -> None: ...


class _FileLock:
    """The kernel's lock on ``_commits/.lock``."""

    def __init__(self, folder: Path) -> None:
        self.is_exclusive = True
        self._folder = folder
        self._fd: int | None = None

    def take(self, note: dict[str, Any]) -> None:
        path = self._folder / COMMITS / ".lock"
        try:
            # A link is not followed: its target would be written to. A pipe would be waited for.
            fd = os.open(path, os.O_RDWR | os.O_CREAT | PLAIN | NO_LINK | NO_BLOCKING, 0o666)
        except OSError as e:
            raise DatasetError(f"cannot write here: {e}", source=str(self._folder)) from e
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise DatasetError("is not a regular file", source=str(path))
        try:
            lock_file(fd, wait=False)
        except BlockingIOError:
            holder = _describe(read_at(fd, 4096, 0))
            os.close(fd)
            raise BusyDatasetError(f"another writer is at work: {holder}", source=str(self._folder)) from None
        except OSError as e:
            self.is_exclusive = False
            log.warning("%s: this file system cannot lock (%s); make sure that only one run writes here", path, e)
        os.ftruncate(fd, 0)
        write_at(fd, json.dumps(note).encode(), 0)
        self._fd = fd

    def require(self) -> None:
        """The kernel keeps the lock for as long as the process lives."""

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class _Claim:
    """A claim in ``_commits`` of a store, which a thread renews."""

    def __init__(self, layout: DatasetLayout, where: Url) -> None:
        self.is_exclusive = True
        self._layout = layout
        self._where = where
        self._name = f"{_CLAIM}{uuid.uuid4().hex}"
        self._note: dict[str, Any] = {}
        self._renewed_s = 0.0
        self._ended = threading.Event()
        self._lost = False

    def take(self, note: dict[str, Any]) -> None:
        self._note = note
        try:
            # First ours, then a look around: of two that come at once at least one sees the other.
            self._write()
            self._require_alone()
            if not objects.creates_once(self._where / COMMITS / f".probe-{uuid.uuid4().hex}"):
                log.warning(
                    "%s: this store replaces what should be created only once, so claims alone keep two writers apart; "
                    "make sure that only one run writes here",
                    self._where,
                )
        except BaseException as error:
            self.release()
            if isinstance(error, OSError):
                raise DatasetError(f"cannot write here: {error}", source=str(self._where)) from error
            raise
        threading.Thread(target=self._renew, daemon=True, name="claim").start()

    def _write(self) -> None:
        self._note = {**self._note, "renewal": self._note.get("renewal", 0) + 1}
        objects.write(self._where / COMMITS / self._name, json.dumps(self._note).encode())
        self._renewed_s = awake_s()

    def _require_alone(self) -> None:
        """BusyDatasetError when another claim is renewed within its time; delete those that are not."""
        for name, content in _outlasted(self._layout, but=self._name, meanwhile=self._write_in_time).items():
            log.info("%s: a writer has died: %s", self._where, _describe(content))
            objects.delete(self._where / COMMITS / name)

    def _write_in_time(self) -> None:
        if awake_s() - self._renewed_s > RENEWAL_S:
            self._write()

    def _renew(self) -> None:
        while not self._ended.wait(RENEWAL_S):
            try:
                if objects.info(self._where / COMMITS / self._name) is None:
                    self._lost = True
                    return
                if not self._ended.is_set():
                    self._write()
            except OSError as error:  # the next time may do
                log.debug("%s: the claim was not renewed: %s", self._where, error)

    def require(self) -> None:
        if not self._lost and awake_s() - self._renewed_s > CLAIM_S / 2:  # the process stood still, or the store
            try:
                self._lost = objects.info(self._where / COMMITS / self._name) is None
            except OSError as error:
                raise DatasetError(f"the store cannot be asked: {error}", source=str(self._where)) from error
        if self._lost:
            what = "this run stood still for so long that another writer has taken its place; start it again"
            raise DatasetError(what, source=str(self._where))

    def release(self) -> None:
        self._ended.set()
        if self._note:
            with suppress(OSError):
                objects.delete(self._where / COMMITS / self._name)
            self._note = {}


def _claims(layout: DatasetLayout, but: str = "") -> dict[str, bytes]:
    """The claims in a store by name."""
    found = {}
    for entry in layout.storage.entries(COMMITS):
        if entry.name.startswith(_CLAIM) and entry.name != but and isinstance(layout.path, Url):
            with suppress(FileNotFoundError):  # just released
                found[entry.name] = objects.read(layout.path / COMMITS / entry.name)
    return found


def _outlasted(
    layout: DatasetLayout, *, but: str = "", meanwhile: Callable[[], None] = lambda: None
) -> dict[str, bytes]:
    """The claims in a store that are not renewed within their time: of writers that have died. BusyDatasetError when
    one is renewed, or made, while they are watched."""
    others = _claims(layout, but)
    began = awake_s()
    while others and awake_s() - began < CLAIM_S:
        time.sleep(_LOOK_S)
        meanwhile()
        now = _claims(layout, but)
        for name, content in now.items():
            if others.get(name) != content:
                holder = _describe(content)
                raise BusyDatasetError(f"another writer is at work: {holder}", source=str(layout.path))
        others = now
    return others


def lock_holder(layout: DatasetLayout) -> str | None:
    """Who writes to the dataset now, in words; None when nobody does, on this machine or by a claim in the store."""
    if isinstance(layout.path, Url):
        try:
            return next((_describe(content) for content in _claims(layout).values()), None)
        except OSError:
            return None
    try:
        fd = os.open(layout.path / COMMITS / ".lock", os.O_RDONLY | PLAIN | NO_LINK | NO_BLOCKING)
    except OSError:
        return None  # nobody ever wrote here, or we may not look
    try:
        # A shared lock for an instant: a reader cannot know otherwise.
        lock_file(fd, shared=True, wait=False)
    except BlockingIOError:
        return _describe(read_at(fd, 4096, 0))
    except OSError:
        return None
    finally:
        os.close(fd)
    return None


def _describe(note: bytes) -> str:
    try:
        held = json.loads(note)
        return f"{held['purpose']}, process {held['pid']} on {held['host']} since {held['since']}"
    except (ValueError, KeyError, TypeError):
        return "an unknown process"
