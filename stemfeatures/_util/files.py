"""Files that appear whole or not at all, whatever crashes in between; and files that are opened only if regular."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import printable_text
from .system import NO_BLOCKING, NO_LINK, PLAIN

#: What file systems without hard links answer to ``link``.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> io.BufferedReader:
    """Open a regular file to read its bytes.

    A pipe without a writer would keep the caller waiting for ever, and opening a device can act on it, so anything
    but a regular file is refused before it is opened.

    Parameters
    ----------
    path : str or path-like
        The file.
    follow : bool
        Whether it may be a link to one.

    Returns
    -------
    io.BufferedReader
        The open file.

    Raises
    ------
    OSError
        It cannot be opened; IsADirectoryError for a directory, errno EINVAL for a pipe, a socket or a device, errno
        ELOOP for a link that must not be followed.
    """
    _require_regular(os.stat(path).st_mode, path)
    # Not blocking, as a pipe may have taken its place since; regular files do not mind.
    flags = os.O_RDONLY | NO_BLOCKING | PLAIN | (0 if follow else NO_LINK)
    descriptor = os.open(path, flags)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is not a regular file", os.fspath(path))


def printable_name(path: str | os.PathLike[str]) -> str:
    r"""A name that can be printed and stored as UTF-8: bytes that are none become ``\xff`` and the like."""
    return printable_text(os.fsdecode(path))


def cache_folders() -> list[Path]:
    """Folders of this user in which what can be made again may be kept, the best first; none may be there yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    folders = [Path(base)] if base else []
    if "HOME" in os.environ:
        folders.append(Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache"))
    return [folder / "stemfeatures" for folder in folders]


def fsync_path(path: Path) -> None:
    """Flush a file or a directory to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as e:  # some network file systems refuse to sync directories
        if e.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def temporary_name(path: Path) -> Path:
    """A hidden neighbour of ``path`` that no reader's glob (``*.parquet``, ``*.json``) matches."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def _write_temporary(tmp: Path, data: bytes) -> None:
    with open(tmp, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def write_replace(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, replacing what is there in one step; nothing is left behind where that fails."""
    with replacing(path) as tmp:
        _write_temporary(tmp, data)
    fsync_path(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file to write to, for writers that want a path; it takes the place of ``path`` when they are done.

    Errors that name the temporary file name ``path`` instead.
    """
    tmp = temporary_name(path)
    try:
        with naming(path, tmp):
            yield tmp
            os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, temporary: Path) -> Iterator[None]:
    """Let errors about a temporary file, and those that name none, speak of the file that it would have become."""
    try:
        yield
    except OSError as error:
        name = error.filename  # a number, where a descriptor was opened
        if name is None and error.errno is not None:
            error.filename = os.fspath(path)
        elif isinstance(name, (str, bytes, os.PathLike)) and os.fsdecode(name).startswith(os.fspath(temporary)):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def write_new(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` unless it exists; no temporary file is left behind where that fails.

    Raises
    ------
    FileExistsError
        Somebody else created ``path``.
    """
    tmp = temporary_name(path)
    try:
        with naming(path, tmp):
            _write_temporary(tmp, data)
            try:
                os.link(tmp, path)
            except OSError as e:
                if e.errno not in _NO_LINKS:
                    raise
                with open(path, "xb") as f:
                    f.write(data)
                    f.flush()
                    os.fsync(f.fileno())
    finally:
        tmp.unlink(missing_ok=True)
    fsync_path(path.parent)
