"""Digests of the contents of files, remembered, so that a file that nobody has touched is not read again.

What is remembered lies in the user's cache folder, by path, and counts as long as size, times and inode are the same;
the time of the last change of the inode cannot be set. Without such a folder every file is read each time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing, suppress

from .files import cache_folders, open_regular

_BYTES = 32
_WAIT_S = 5.0
_TABLE = "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT NOT NULL, digest TEXT NOT NULL)"


def content_digest(path: str | os.PathLike[str]) -> str:
    """BLAKE2b of a file's bytes.

    Parameters
    ----------
    path : str or path-like
        A regular file.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    OSError
        It cannot be read.
    """
    where = os.fsencode(os.path.abspath(path)).hex()
    with open_regular(path) as file:
        state = _state(file.fileno())
        if (known := _remembered(where, state)) is not None:
            return known
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_BYTES)).hexdigest()
        if _state(file.fileno()) == state:
            _remember(where, state, digest)
    return digest


def _state(descriptor: int) -> str:
    s = os.fstat(descriptor)
    return f"{s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}"


def _open() -> sqlite3.Connection | None:
    for folder in cache_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return sqlite3.connect(folder / "digests.sqlite", timeout=_WAIT_S, isolation_level=None)
        except (OSError, sqlite3.Error):
            continue
    return None


def _remembered(where: str, state: str) -> str | None:
    try:
        if (connection := _open()) is None:
            return None
        with closing(connection):
            row = connection.execute("SELECT state, digest FROM digests WHERE path = ?", (where,)).fetchone()
    except sqlite3.Error:  # there is no table yet, or somebody writes for a long time
        return None
    return str(row[1]) if row is not None and row[0] == state else None


def _remember(where: str, state: str, digest: str) -> None:
    with suppress(sqlite3.Error):
        if (connection := _open()) is not None:
            with closing(connection):
                connection.execute(_TABLE)
                connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (where, state, digest))
