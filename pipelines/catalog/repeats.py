"""Rows of a long column that hold the same value, found on disk: in memory is a piece of the column at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from stemfeatures._util.numba_cache import compiled

#: Files that hashes go to; what may be equal is in the same one, and each fits into memory.
_FILES = 64
_RECORD = np.dtype([("hash", np.uint64), ("row", np.int64)])
#: FNV-1a (Fowler, Noll and Vo) in 64 bits.
_BASIS, _PRIME = 0xCBF29CE484222325, 0x100000001B3


class Repeats:
    """Takes a column of text piece by piece, and tells which rows repeat a value.

    Parameters
    ----------
    folder : Path
        Is made, and takes 16 bytes a row.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder

    def add(self, values: pa.ChunkedArray, first: int) -> None:
        """Take further values, of rows ``first`` and on; null is like nothing."""
        known = values.is_valid().to_numpy()
        bounds, records = _by_file(hashes(values.drop_null()), first + known.nonzero()[0])
        for i, (start, end) in enumerate(zip(bounds, bounds[1:])):
            if start < end:
                with open(self._folder / str(i), "ab") as file:
                    file.write(records[start:end].data)

    def rows(self) -> Iterator[np.ndarray]:
        """The rows of each hash that occurs more than once, in order.

        That any two of a hundred thousand values have one hash has a probability below 10^-9; whoever asks compares
        values, too.
        """
        for file in sorted(self._folder.iterdir()):
            records = np.fromfile(file, _RECORD)
            in_order = np.sort(records["hash"])
            if not (in_order[1:] == in_order[:-1]).any():  # as in nearly all catalogues
                continue
            records = records[np.argsort(records["hash"], kind="stable")]
            bounds = np.append(np.flatnonzero(np.diff(records["hash"], prepend=~records["hash"][:1])), len(records))
            for i in np.flatnonzero(np.diff(bounds) > 1):
                yield records["row"][bounds[i] : bounds[i + 1]]


def hashes(values: pa.ChunkedArray) -> np.ndarray:
    """64 bits of each text, equal where texts are.

    Parameters
    ----------
    values : pyarrow.ChunkedArray
        Of type string, without null.

    Returns
    -------
    ndarray
        ``(len(values),)`` of uint64.

    Examples
    --------
    >>> import pyarrow as pa
    >>> one, other, same = hashes(pa.chunked_array([["a.flac", "b.flac"], ["a.flac"]]))
    >>> bool(one == same), bool(one == other)
    (True, False)
    """
    out = np.empty(len(values), np.uint64)
    first = 0
    for chunk in values.cast(pa.large_string()).chunks:
        _, offsets, text = chunk.buffers()
        ends = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        _hash(ends, np.frombuffer(text or b"", np.uint8), out[first : first + len(chunk)])
        first += len(chunk)
    return out


@compiled()
def _hash(ends: np.ndarray, text: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        value = np.uint64(_BASIS)
        for place in range(ends[i], ends[i + 1]):
            value = (value ^ np.uint64(text[place])) * np.uint64(_PRIME)
        # what differs in the last bytes alone differs in all bits (the finish of MurmurHash3)
        value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        out[i] = value ^ (value >> np.uint64(33))


@compiled()
def _by_file(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Where the records of each file begin, with the end of all, and ``(n, 2)`` hashes and rows in that order."""
    bounds = np.zeros(_FILES + 1, np.int64)
    for value in values:
        bounds[np.int64(value % np.uint64(_FILES)) + 1] += 1
    bounds = bounds.cumsum()
    ends = bounds.copy()
    records = np.empty((len(values), 2), np.uint64)
    for i in range(len(values)):
        file = np.int64(values[i] % np.uint64(_FILES))
        records[ends[file], 0], records[ends[file], 1] = values[i], np.uint64(rows[i])
        ends[file] += 1
    return bounds, records


__all__ = ["Repeats", "hashes"]
