"""What is decoded: a file, or a piece of one that is a file of its own."""

from __future__ import annotations

import io
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, TypeAlias

from .._util.files import open_regular
from .._util.system import read_at

_SCAN_BYTES = 1 << 20


@dataclass(frozen=True)
class Piece:
    """One of several files that were joined end to end.

    Attributes
    ----------
    path : Path
        The file that they were joined to.
    start, end : int
        First byte of the piece, and the byte behind its last.
    """

    path: Path
    start: int
    end: int


Source: TypeAlias = Path | Piece


def path_of(source: Source) -> Path:
    """The file that holds the source."""
    return source.path if isinstance(source, Piece) else source


def start_of(source: Source) -> int:
    """The first byte of the source in its file."""
    return source.start if isinstance(source, Piece) else 0


def open_source(source: Source) -> BinaryIO:
    """The bytes of a source, as of :func:`open_regular`, whose errors are raised."""
    if not isinstance(source, Piece):
        return open_regular(source)
    file = open_regular(source.path)
    return io.BufferedReader(ByteRanges(file, [(source.start, source.end)], owned=True))


def n_bytes(source: Source) -> int:
    """Size of a source."""
    return source.end - source.start if isinstance(source, Piece) else source.stat().st_size


class ByteRanges(io.RawIOBase):
    """Some bytes of an open file, as a file of their own.

    Parameters
    ----------
    file : BinaryIO
        The open file; its position is left alone.
    ranges : sequence of (int, int)
        First byte, and byte behind the last, of each piece.
    head : bytes
        What is read in front of them.
    owned : bool
        Whether the file is closed with it.
    """

    def __init__(
        self, file: BinaryIO, ranges: Sequence[tuple[int, int]], head: bytes = b"", *, owned: bool = False
    ) -> None:
        super().__init__()
        self._file, self._ranges, self._head, self._owned = file, ranges, head, owned
        lengths = [len(head), *(end - start for start, end in ranges)]
        self._ends = list(accumulate(lengths))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        if self._owned and not self.closed:
            self._file.close()
        super().close()

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence]
        self._at = max(offset + base, 0)
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        done = 0  # whole: libsndfile takes what is short for the end
        while done < len(buffer) and (data := self._some(len(buffer) - done)):
            buffer[done : done + len(data)] = data
            done += len(data)
            self._at += len(data)
        return done

    def _some(self, n: int) -> bytes:
        """Up to ``n`` bytes from the position on, of one piece."""
        if self._at >= self._ends[-1]:
            return b""
        if self._at < len(self._head):
            return self._head[self._at : self._at + n]
        k = bisect_right(self._ends, self._at)
        _start, end = self._ranges[k - 1]
        n_left = self._ends[k] - self._at
        return read_at(self.fileno(), min(n, n_left), end - n_left)


def find_marks(file: BinaryIO, mark: re.Pattern[bytes], n_mark: int, begin: int = 0) -> Iterator[int]:
    """Where marks of ``n_mark`` bytes, which end where ``mark`` does, stand in a file from ``begin`` on, in order."""
    at, data = begin, b""
    while True:
        file.seek(at + len(data))
        chunk = file.read(_SCAN_BYTES)
        data += chunk
        for match in mark.finditer(data):
            yield at + match.end() - n_mark
        if not chunk:
            return
        kept = min(n_mark - 1, len(data))
        at, data = at + len(data) - kept, data[len(data) - kept :]
