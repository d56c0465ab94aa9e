"""One writer at a time."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import stat
from datetime import UTC, datetime
from types import TracebackType

from ..errors import BusyDatasetError, DatasetError
from .layout import COMMITS, DatasetLayout

log = logging.getLogger(__name__)


class DatasetLock:
    """Exclusive right to commit to a dataset, as a context manager.

    The kernel drops the lock when its process ends, however it ends, so a killed run never blocks the next; the file
    ``_commits/.lock`` itself stays and only says who holds or held it. Where a file system cannot lock, a warning is
    logged and the create-if-absent commit files remain the guard.

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
        self.is_exclusive = True
        self._fd: int | None = None

    def __enter__(self) -> DatasetLock:
        path = self.layout.path / COMMITS / ".lock"
        try:
            # A link is not followed: its target would be written to. A pipe would be waited for.
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as e:
            raise DatasetError(f"cannot write here: {e}", source=str(self.layout.path)) from e
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise DatasetError("is not a regular file", source=str(path))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _describe(os.pread(fd, 4096, 0))
            os.close(fd)
            raise BusyDatasetError(f"another writer is at work: {holder}", source=str(self.layout.path)) from None
        except OSError as e:
            self.is_exclusive = False
            log.warning("%s: this file system cannot lock (%s); make sure that only one run writes here", path, e)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": now, "purpose": self.purpose}
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(note).encode(), 0)
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let the next writer in. Harmless when called again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def lock_holder(layout: DatasetLayout) -> str | None:
    """Who is writing to the dataset now, in words; None when nobody is (on this machine)."""
    try:
        fd = os.open(layout.path / COMMITS / ".lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None  # nobody ever wrote here, or we may not look
    try:
        # A shared lock for an instant: a reader cannot know otherwise.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _describe(os.pread(fd, 4096, 0))
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
