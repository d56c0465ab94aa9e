"""Files of a store as Arrow reads them, outlasting what passes.

Arrow reads by the file system of a store itself, whose own tries are few: a server that restarts, or answers twice in a
row that it cannot just now, would end a run at any of its thousands of commits.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TypeVar

from fsspec import AbstractFileSystem

from . import objects
from .urls import Url

T = TypeVar("T")


class PatientFileSystem(AbstractFileSystem):
    """The file system of an address, for reading; what fails for a reason that may pass is tried again, as
    :func:`~.objects.call` does it.

    Parameters
    ----------
    url : Url
        Of a file in it.
    **options
        Of fsspec.
    """

    def __init__(self, url: Url, **options: Any) -> None:
        super().__init__(**options)
        self._url, self._fs = url, objects.filesystem(url)
        self.protocol = self._fs.protocol

    def tried(self, what: Callable[[AbstractFileSystem], T]) -> T:
        """The result of ``what(file system)``."""
        return objects.call(self._url, lambda fs, _: what(fs))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return self.tried(lambda fs: dict(fs.info(path, **options)))

    def isfile(self, path: str) -> bool:
        try:  # that of fsspec says no whatever is wrong
            return bool(self.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        return self.tried(lambda fs: fs.ls(path, detail=detail, **options))

    def open(self, path: str, mode: str = "rb", **options: Any) -> io.RawIOBase:
        return _PatientFile(self, path, options)


class _PatientFile(io.RawIOBase):
    """A file that is opened again where reading it fails."""

    def __init__(self, filesystem: PatientFileSystem, path: str, options: dict[str, Any]) -> None:
        self._filesystem, self._path, self._options = filesystem, path, options
        self._file: Any = filesystem.tried(lambda fs: fs.open(path, "rb", **options))
        self._size, self._at = int(self._file.size), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        def read(fs: AbstractFileSystem) -> bytes:
            file, self._file = self._file or fs.open(self._path, "rb", **self._options), None
            file.seek(self._at)
            found = bytes(file.read(size))
            self._file = file
            return found

        found = self._filesystem.tried(read)
        self._at += len(found)
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()
