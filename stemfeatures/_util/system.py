"""What Unix has and Windows has not, in one place: file locks, flags of opening, reading and writing at a position.

Where something is missing it is left out, or an ``OSError`` says so as a file system does that cannot do it: callers
are ready for that. Nothing but the import of the library is tested without them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NO_BLOCKING = getattr(os, "O_NONBLOCK", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
#: Bytes as they are, and closed in programs that are started.
PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def lock_file(file: Any, *, shared: bool = False, wait: bool = True) -> None:
    """Lock an open file until it is closed.

    Parameters
    ----------
    file : int or file
        A descriptor, or what has one.
    shared : bool
        Whether others may lock it as well that ask for no more.
    wait : bool
        Whether to wait for others.

    Raises
    ------
    BlockingIOError
        Somebody else has locked it.
    OSError
        The file system, or the system, has no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this system has no locks of files")
    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))


def read_at(descriptor: int, n: int, position: int) -> bytes:
    """Up to ``n`` bytes from a position on; that of the file stays."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, n, position)
    with _at(descriptor, position):
        return os.read(descriptor, n)


def write_at(descriptor: int, data: bytes, position: int) -> None:
    """Write bytes to a position; that of the file stays."""
    if hasattr(os, "pwrite"):
        os.pwrite(descriptor, data, position)
        return
    with _at(descriptor, position):
        os.write(descriptor, data)


@contextmanager
def _at(descriptor: int, position: int) -> Iterator[None]:
    """Threads must not share the descriptor."""
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, position, os.SEEK_SET)
    try:
        yield
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


def user_id() -> int:
    """Number of the user; 0 where users have none, as ``st_uid`` is there."""
    return os.getuid() if hasattr(os, "getuid") else 0
