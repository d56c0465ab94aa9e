"""RIFF files whose header does not say where all of their samples are.

libsndfile refuses a WAV with two chunks of samples, and takes a 64 bit one that was written into a pipe for empty;
ffmpeg reads the last chunk alone; neither reads a second WAV behind the first. No library lists the chunks of such a
file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .._util.files import open_regular

UNKNOWN_SIZE = 0x7FFFF000  # sox and ffmpeg write this and more into the header of a pipe, where the size is not known
_UNKNOWN_SIZE_64 = 1 << 62
_LARGEST_SIZE = 0xFFFFFFFF
_MOST_CHUNKS = 10_000
_MOST_FORMAT_BYTES = 4096
_OTHER_FORMAT = "the next WAV in this file has another format"
_FORMS = {b"RIFF": False, b"RF64": True, b"BW64": True}  # whether sizes have 64 bits (EBU Tech 3306, ITU-R BS.2088)


@dataclass(frozen=True)
class WavPieces:
    """A WAV whose samples lie in several places, or elsewhere than its header says.

    Attributes
    ----------
    head : bytes
        A header for all of the samples, to be read in front of them.
    ranges : tuple of (int, int)
        First byte of each piece of the samples, and the byte behind its last.
    cut : str or None
        Why something is missing.
    """

    head: bytes
    ranges: tuple[tuple[int, int], ...]
    cut: str | None


def wav_pieces(path: Path) -> WavPieces | None:
    """Where the samples of a WAV are that decoders would not read whole; None for others, and for other files."""
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(12)
        if head[:4] not in _FORMS or head[8:] != b"WAVE":
            return None
        chunks = _Chunks(size)
        at: int | None = 0
        for _ in range(_MOST_CHUNKS):
            if at is None:
                break
            at = chunks.add(file, at)
    return chunks.pieces()


def riff_size(path: Path) -> int | None:
    """Bytes that a RIFF file is to have by its header; None where it states no size, nor whatever else is known at the
    end, as it was written into a pipe."""
    with open_regular(path) as file:
        head = file.read(8)
    size = int.from_bytes(head[4:], "little")
    return 8 + size if 0 < size < UNKNOWN_SIZE else None


@dataclass
class _Chunks:
    """What has been found on the way through the chunks of a file of ``size`` bytes."""

    size: int
    is_64_bit: bool = False
    is_unknown: bool = False
    n_data: int = 0
    data_size: int | None = None  # as a 64 bit WAV states it
    format: bytes = b""
    cut: str | None = None
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def add(self, file: BinaryIO, at: int) -> int | None:
        """Take the chunk at ``at``; where the next one begins, None behind the last."""
        file.seek(at)
        head = file.read(12)
        if len(head) < 8:
            return None
        kind, size = head[:4], int.from_bytes(head[4:8], "little")
        if kind in _FORMS:
            self.is_64_bit, self.data_size = self.is_64_bit or _FORMS[kind], None
            return at + 12 if head[8:] == b"WAVE" else None
        file.seek(at + 8)
        if kind == b"ds64":
            whole, data = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
            self.data_size = data if 0 < whole < _UNKNOWN_SIZE_64 and data < _UNKNOWN_SIZE_64 else None
        elif kind == b"fmt ":
            fmt = file.read(min(size, _MOST_FORMAT_BYTES))
            if self.format and fmt != self.format:
                self.cut = _OTHER_FORMAT
                return None
            self.format = fmt
        elif kind == b"data":
            return self._add_data(at + 8, size)
        elif not kind.isascii() or not kind.decode("ascii").isprintable():
            return None
        return at + 8 + size + (size & 1)

    def _add_data(self, start: int, size: int) -> int | None:
        self.n_data += 1
        if self.is_64_bit and size == _LARGEST_SIZE:
            self.is_unknown = self.is_unknown or self.data_size is None
            size = self.size - start if self.data_size is None else self.data_size
        elif size >= UNKNOWN_SIZE and not self.is_64_bit:
            size = self.size - start
        end = start + size
        if end > self.size:
            self.cut = "the last samples of this WAV are cut off"
        align = max(int.from_bytes(self.format[12:14], "little"), 1)
        n_bytes = (min(end, self.size) - start) // align * align
        if n_bytes:
            self.ranges.append((start, start + n_bytes))
        return end + (size & 1) if end < self.size else None

    def pieces(self) -> WavPieces | None:
        """The result, where there is need of one."""
        if not (self.n_data > 1 or self.is_unknown or self.cut == _OTHER_FORMAT) or not self.format or not self.ranges:
            return None
        n_bytes = sum(end - start for start, end in self.ranges)
        fmt = self.format + bytes(len(self.format) & 1)
        fmt = b"fmt " + len(self.format).to_bytes(4, "little") + fmt
        whole = 4 + len(fmt) + 8 + n_bytes
        if self.is_64_bit or whole > _LARGEST_SIZE:
            align = max(int.from_bytes(self.format[12:14], "little"), 1)
            sizes = b"ds64" + struct.pack("<IQQQI", 28, whole + 36, n_bytes, n_bytes // align, 0)
            head = b"RF64" + _LARGEST_SIZE.to_bytes(4, "little") + b"WAVE" + sizes + fmt
            return WavPieces(head + b"data" + _LARGEST_SIZE.to_bytes(4, "little"), tuple(self.ranges), self.cut)
        head = b"RIFF" + whole.to_bytes(4, "little") + b"WAVE" + fmt + b"data" + n_bytes.to_bytes(4, "little")
        return WavPieces(head, tuple(self.ranges), self.cut)
