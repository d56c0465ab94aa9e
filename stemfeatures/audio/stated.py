"""How many bytes a file is to have by its header, and how long its sound: of AVI, ASF (WMA) and CAF, for which ffmpeg
tells neither, but takes a file that is cut off for a shorter one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from .riff import UNKNOWN_SIZE
from .source import Source, open_source

_HEAD_BYTES = 1 << 16
_AVI_STREAM = struct.Struct("<4s16xIIII")  # of an AVIStreamHeader: kind, scale, rate, start, length
#: File Properties Object of ASF (section 3.2): size of the file, duration of 100 ns, preroll of milliseconds, flags.
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_FIGURES = struct.Struct("<16x8x16xQ8x8xQ8xQI")
_ASF_BROADCAST = 1
#: Data Object (section 5.1), which follows the header: its identity and size.
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_CAF_DESCRIPTION = struct.Struct(">d4sIIIII")  # rate, codec, flags, bytes and samples of a packet, channels, bits
_CAF_CHUNK = struct.Struct(">4sq")
_MOST_CHUNKS = 1000
_LARGEST = 1 << 48  # bytes; beyond this a header is damaged


class Stated(NamedTuple):
    """What a header states: the bytes of the whole file, and the seconds of its sound, None where unknown."""

    n_bytes: int
    duration_s: float | None


def read_stated(source: Source, container: str) -> Stated | None:
    """What the header of a file of ``container``, as ffmpeg calls it, states; None where it does not say."""
    read = _READERS.get(container)
    if read is None:
        return None
    with open_source(source) as file:
        return read(file)


def _avi(file: BinaryIO) -> Stated | None:
    head = file.read(_HEAD_BYTES)
    size = int.from_bytes(head[4:8], "little")
    if not 0 < size < UNKNOWN_SIZE:
        return None
    at = -1
    while (at := head.find(b"strh", at + 1)) >= 0:
        stream = head[at + 8 : at + 8 + _AVI_STREAM.size]
        if stream.startswith(b"auds") and len(stream) == _AVI_STREAM.size:
            _kind, scale, rate, _start, length = _AVI_STREAM.unpack(stream)
            return Stated(8 + size, length * scale / rate if rate and 0 < length < UNKNOWN_SIZE else None)
    return Stated(8 + size, None)


def _asf(file: BinaryIO) -> Stated | None:
    head = file.read(_HEAD_BYTES)
    at = head.find(_ASF_PROPERTIES)
    if not 0 <= at <= len(head) - _ASF_FIGURES.size:
        return None
    size, duration, preroll, flags = _ASF_FIGURES.unpack_from(head, at)
    # Programs that write shorter tags leave the size of the file as it was, not that of the header.
    header_size = int.from_bytes(head[16:24], "little")
    file.seek(min(header_size, file.seek(0, 2)))  # nor farther: file systems refuse what no file can reach
    data = file.read(24)
    if data.startswith(_ASF_DATA) and len(data) == 24:
        size = header_size + int.from_bytes(data[16:], "little")
    if flags & _ASF_BROADCAST or not 0 < size < _LARGEST:
        return None
    seconds = duration / 1e7 - preroll / 1e3
    return Stated(size, seconds if seconds > 0 else None)


def _caf(file: BinaryIO) -> Stated | None:
    at, end, duration_s = 8, file.seek(0, 2), None
    n_bytes = n_samples = 0
    rate = 0.0
    for _ in range(_MOST_CHUNKS):
        file.seek(min(at, end))
        head = file.read(_CAF_CHUNK.size)
        if len(head) < _CAF_CHUNK.size:
            return None
        kind, size = _CAF_CHUNK.unpack(head)
        if kind == b"desc" and size >= _CAF_DESCRIPTION.size:
            described = file.read(_CAF_DESCRIPTION.size).ljust(_CAF_DESCRIPTION.size, b"\0")
            rate, _codec, _flags, n_bytes, n_samples, *_ = _CAF_DESCRIPTION.unpack(described)
        at += _CAF_CHUNK.size + size
        if kind == b"data":
            if n_bytes and rate >= 1:
                duration_s = (size - 4) // n_bytes * n_samples / rate
            return Stated(at, duration_s) if 4 < size < _LARGEST else None
        if not 0 <= size < _LARGEST:
            return None
    return None


_READERS: dict[str, Callable[[BinaryIO], Stated | None]] = {"avi": _avi, "asf": _asf, "caf": _caf}
