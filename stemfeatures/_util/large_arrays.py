"""Arrays that lie in memory while they are small, and beyond a size in a file, of which what is in use is in memory.

The file is one of the temporary folder (``TMPDIR``) without a name: whatever ends the process, nothing is left of it.
There the last axis is the slowest, so that a stretch of it lies in one place. What is read of it stays with the process
until :func:`release`. Where the folder has no room, arrays stay in memory.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import tempfile
from collections.abc import Mapping
from math import prod
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

log = logging.getLogger(__name__)

#: Bytes that arrays which belong together may take in memory.
IN_MEMORY = 64 << 20
#: Bytes that are written to a file at a time.
_STEP = 8 << 20


def allocate(
    shapes: Mapping[str, tuple[int, ...]], *, dtype: DTypeLike = np.float32, in_memory: int | None = None
) -> dict[str, np.ndarray]:
    """Arrays of unknown content, to write to.

    Parameters
    ----------
    shapes : mapping
        Shape by name.
    dtype : DTypeLike, optional
        Of all of them.
    in_memory : int, optional
        Bytes that all of them together may take in memory; :data:`IN_MEMORY` by default.

    Returns
    -------
    dict of str to np.ndarray
        Of the same names.

    Examples
    --------
    >>> arrays = allocate({"mel": (80, 1000), "energy": (1000,)}, in_memory=100_000)
    >>> arrays["energy"][:] = 1.0
    >>> release(arrays["energy"])  # what was written is read from the file again
    >>> float(arrays["energy"].sum())
    1000.0
    """
    dtype = np.dtype(dtype)
    sizes = {name: dtype.itemsize * prod(shape) for name, shape in shapes.items()}
    places, total = {}, 0
    for name, size in sizes.items():
        places[name] = total
        total += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    limit = IN_MEMORY if in_memory is None else in_memory
    mapping = _mapping(total) if sum(sizes.values()) > limit else None
    if mapping is None:
        return {name: np.empty(shape, dtype) for name, shape in shapes.items()}
    return {name: np.ndarray(shape, dtype, mapping, places[name], order="F") for name, shape in shapes.items()}


def rows(shape: tuple[int, ...], *, in_memory: int | None = None) -> np.ndarray:
    """A float32 array of unknown content, to write to, whose last axis is the fastest wherever it lies.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    in_memory : int, optional
        Bytes that it may take in memory; :data:`IN_MEMORY` by default.

    Returns
    -------
    np.ndarray
        In the order of C.

    Examples
    --------
    >>> array = rows((1000, 25), in_memory=10_000)
    >>> array[:] = 2.0
    >>> release(array)
    >>> float(array[999].sum())
    50.0
    """
    return allocate({"": (prod(shape),)}, in_memory=in_memory)[""].reshape(shape)


def release(*arrays: np.ndarray) -> None:
    """Take what was read of and written to arrays out of memory, where they lie in a file; no value changes.

    Parameters
    ----------
    *arrays : np.ndarray
        Of :func:`allocate`, or views of such; others are left alone.
    """
    mappings = {id(mapping): mapping for array in arrays if (mapping := _mapping_of(array)) is not None}
    for mapping in mappings.values():
        if hasattr(mapping, "madvise"):
            mapping.madvise(mmap.MADV_DONTNEED)


def _mapping_of(array: np.ndarray) -> mmap.mmap | None:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    return base if isinstance(base, mmap.mmap) else None


def _mapping(size: int) -> mmap.mmap | None:
    """A file of the temporary folder in memory; None where it has no room."""
    try:
        with tempfile.TemporaryFile(prefix="stemfeatures-") as file:
            _reserve(file, size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        _no_room(error, size)
        return None


def _reserve(file: BinaryIO, size: int) -> None:
    """Make room on the disk at once: writing to a mapped file that finds none ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    zeros = bytes(_STEP)
    for at in range(0, size, _STEP):
        file.write(zeros[: size - at])
    file.flush()


def _no_room(error: OSError, size: int) -> None:
    why = "no room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"no file ({error.strerror})"
    log.warning(
        "%s for %d MB in the temporary folder %s: they stay in memory; TMPDIR names another",
        why, size >> 20, tempfile.gettempdir(),
    )  # fmt: skip


class GrowingArrays:
    """Arrays that grow along their last axis, a part after the other.

    Parameters
    ----------
    in_memory : int, optional
        Bytes of parts that are kept in memory; those that come later go to a file, and so do the arrays of
        :meth:`finish`.

    Examples
    --------
    >>> arrays = GrowingArrays()
    >>> arrays.append("energy", np.ones((2, 3)))
    >>> arrays.append("energy", np.zeros((2, 1)))
    >>> arrays.finish()["energy"].tolist()
    [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    """

    def __init__(self, *, in_memory: int | None = None) -> None:
        self._in_memory = IN_MEMORY if in_memory is None else in_memory
        self._parts: dict[str, list[np.ndarray | tuple[int, tuple[int, ...]]]] = {}
        # One block: small parts each on its own would lie between the large arrays that come and go, and keep the
        # allocator from using their places again. What is not written to yet takes no memory.
        self._block: np.ndarray | None = None
        self._held = 0
        self._file: BinaryIO | None = None
        self._full = False

    def append(self, name: str, part: np.ndarray) -> None:
        """Add to an array.

        Parameters
        ----------
        name : str
            Of the array.
        part : np.ndarray
            ``(..., n)`` what follows; kept as float32. All parts of a name have the same leading axes.
        """
        parts = self._parts.setdefault(name, [])
        if part.shape[-1] == 0 and parts:
            return
        if self._held + 4 * part.size <= self._in_memory:
            parts.append((self._hold(part), part.shape))
            return
        part = np.array(part, dtype=np.float32, order="C")
        at = self._write(part)
        parts.append(part if at is None else (self._in_memory + at, part.shape))

    def finish(self) -> dict[str, np.ndarray]:
        """The arrays.

        Returns
        -------
        dict of str to np.ndarray
            ``(..., n)`` float32 of all parts, by name; nothing is left here.
        """
        shapes = {name: _joined_shape(parts) for name, parts in self._parts.items()}
        arrays = allocate(shapes, in_memory=self._in_memory)
        # One at a time, as the parts of a long array are as large as the whole.
        for name in list(self._parts):
            self._fill(arrays[name], self._parts.pop(name))
        self._block, self._held = None, 0
        if self._file is not None:
            self._file.close()
            self._file = None
        return arrays

    def _fill(self, array: np.ndarray, parts: list[np.ndarray | tuple[int, tuple[int, ...]]]) -> None:
        place, unreleased = 0, 0
        for part in parts:
            if not isinstance(part, np.ndarray):
                part = self._read(*part)
            array[..., place : place + part.shape[-1]] = part
            place, unreleased = place + part.shape[-1], unreleased + part.nbytes
            if unreleased >= _STEP:
                release(array)
                unreleased = 0
        release(array)

    def _hold(self, part: np.ndarray) -> int:
        """Where the part lies in the block, in bytes."""
        if self._block is None:
            self._block = np.empty(self._in_memory // 4, np.float32)
        at = self._held
        self._block[at // 4 : at // 4 + part.size].reshape(part.shape)[...] = part
        self._held += 4 * part.size
        return at

    def _write(self, part: np.ndarray) -> int | None:
        """Where the part lies in the file; None when there is no room."""
        if self._full:
            return None
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="stemfeatures-", buffering=0)  # noqa: SIM115
            return self._put(self._file, part)
        except OSError as error:
            self._full = True
            _no_room(error, part.nbytes)
            return None

    @staticmethod
    def _put(file: BinaryIO, part: np.ndarray) -> int:
        at = file.seek(0, os.SEEK_END)
        left = part.data.cast("B")
        while left:
            left = left[file.write(left) :]
        return at

    def _read(self, at: int, shape: tuple[int, ...]) -> np.ndarray:
        if at + 4 * prod(shape) <= self._in_memory:
            assert self._block is not None
            return self._block[at // 4 : at // 4 + prod(shape)].reshape(shape)
        part = np.empty(shape, np.float32)
        assert self._file is not None
        self._file.seek(at - self._in_memory)
        left = part.data.cast("B")
        while left:
            count = self._file.readinto(left)  # type: ignore[attr-defined]
            if not count:
                raise OSError(errno.EIO, "a temporary file ends early")
            left = left[count:]
        return part


def _joined_shape(parts: list[np.ndarray | tuple[int, tuple[int, ...]]]) -> tuple[int, ...]:
    shapes = [part.shape if isinstance(part, np.ndarray) else part[1] for part in parts]
    return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
