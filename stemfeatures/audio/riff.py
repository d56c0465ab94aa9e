"""RIFF files whose header does not say where all of their samples are.

libsndfile refuses a WAV with two chunks of samples, and takes one for empty whose size was left open; ffmpeg reads the
last chunk alone; neither reads a second WAV behind the first. No library lists the chunks of such a file.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from .source import Source, find_marks, open_source, start_of

UNKNOWN_SIZE = 0x7FFFF000  # sox and ffmpeg write this and more into the header of a pipe, where the size is not known
_UNKNOWN_SIZE_64 = 1 << 62
_LARGEST_SIZE = 0xFFFFFFFF
_MOST_CHUNKS = 10_000
_MOST_FORMAT_BYTES = 4096
_OTHER_FORMAT = "the next samples of this WAV have another format"
_CUT = "the last samples of this WAV are cut off"
#: PCM, floating point, A-law, mu-law, and those with a long header: what can be cut anywhere between two samples.
_PLAIN_FORMATS = (1, 3, 6, 7, 0xFFFE)
# The end of the mark comes first: ten times as fast as a choice of beginnings.
_MARK, _MARK_BYTES = re.compile(rb"WAVE(?<=(?:RIFF|RF64|BW64).{4}WAVE)", re.DOTALL), 12
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


@dataclass(frozen=True)
class WavLayout:
    """What a WAV holds.

    Attributes
    ----------
    starts : tuple of int
        Where the files begin that were joined in it; empty where there is one, or where ``pieces`` tells of them all.
    pieces : WavPieces or None
        Where its samples are, if decoders would not read them whole.
    """

    starts: tuple[int, ...] = ()
    pieces: WavPieces | None = None


def wav_layout(source: Source) -> WavLayout:
    """Where the samples of a WAV are; ``WavLayout()`` where its decoders know, and for other files."""
    with open_source(source) as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(12)
        if head[:4] not in _FORMS or head[8:] != b"WAVE":
            return WavLayout()
        chunks = _Chunks(size)
        at = 0
        for _ in range(_MOST_CHUNKS):
            if at >= size:
                break
            at = chunks.add(file, at)
    if len(chunks.starts) > 1 and (chunks.differ or not chunks.is_plain):
        return WavLayout(tuple(chunks.starts))
    return WavLayout(pieces=chunks.pieces(start_of(source)))


@dataclass
class _Chunks:
    """What has been found on the way through the chunks of a file of ``size`` bytes."""

    size: int
    format: bytes = b""
    #: Where RIFF files begin.
    starts: list[int] = field(default_factory=list)
    #: Whether their formats differ.
    differ: bool = False
    n_data: int = 0
    #: Whether sizes have 64 bits in the RIFF file that is being read, and in any.
    is_64_bit: bool = False
    has_64_bit: bool = False
    #: Whether a size is open in the header that its decoders do not read to the end of the file.
    is_unknown: bool = False
    data_size: int | None = None
    cut: str | None = None
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether a sample has the same number of bits everywhere."""
        return int.from_bytes(self.format[:2], "little") in _PLAIN_FORMATS

    @property
    def _align(self) -> int:
        """Bytes of a sample of all channels."""
        return max(int.from_bytes(self.format[12:14], "little"), 1)

    def add(self, file: BinaryIO, at: int) -> int:
        """Take the chunk at ``at``; where the next one begins, or the size of the file behind the last."""
        file.seek(at)
        head = file.read(12)
        kind, size = head[:4], int.from_bytes(head[4:8], "little")
        if kind in _FORMS and head[8:] == b"WAVE":
            self.starts.append(at)
            self.is_64_bit, self.data_size = _FORMS[kind], None
            self.has_64_bit = self.has_64_bit or self.is_64_bit
            return at + 12
        if not _is_chunk(head):
            return self._behind_data(file, at)
        file.seek(at + 8)
        if kind == b"ds64":
            whole, data = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
            self.data_size = data if 0 < whole < _UNKNOWN_SIZE_64 and data < _UNKNOWN_SIZE_64 else None
        elif kind == b"fmt ":
            fmt = file.read(min(size, _MOST_FORMAT_BYTES))
            if self.format and fmt != self.format:
                self.differ = True
                if len(self.starts) == 1:
                    self.cut = _OTHER_FORMAT
                    return self.size
            self.format = self.format or fmt
        elif kind == b"data":
            return self._add_data(file, at + 8, size)
        return at + 8 + size + (size & 1)

    def _next_form(self, file: BinaryIO, at: int) -> int:
        """Where the next RIFF file begins."""
        return next(find_marks(file, _MARK, _MARK_BYTES, at), self.size)

    def _behind_data(self, file: BinaryIO, at: int) -> int:
        """The same where no chunk is at ``at``: within the samples before, if the file that they are of was cut off."""
        if not (self.ranges and self.ranges[-1][0] > self.starts[-1]):
            return self._next_form(file, at)
        start, end = self.ranges[-1]
        found = self._next_form(file, start)
        if found < end:
            self.cut = _CUT
            self.ranges[-1] = (start, start + (found - start) // self._align * self._align)
        return found

    def _add_data(self, file: BinaryIO, start: int, size: int) -> int:
        self.n_data += 1
        is_open = size >= UNKNOWN_SIZE and not self.is_64_bit
        if self.is_64_bit and size == _LARGEST_SIZE:
            is_open = self.data_size is None
            self.is_unknown = self.is_unknown or is_open
            size = self.data_size or 0
        elif not size and start < self.size:
            file.seek(start)
            is_open = not _is_chunk(file.read(8))
            self.is_unknown = self.is_unknown or is_open
        end = self._next_form(file, start) if is_open else start + size
        if end > self.size:
            self.cut = _CUT
        n_bytes = (min(end, self.size) - start) // self._align * self._align
        if n_bytes:
            self.ranges.append((start, start + n_bytes))
        if end > self.size:
            return self._behind_data(file, self.size)
        return end if is_open else end + (size & 1)

    def pieces(self, offset: int) -> WavPieces | None:
        """The result, where there is need of one; places are told from ``offset`` bytes earlier."""
        is_needed = self.n_data > 1 or self.is_unknown or self.cut == _OTHER_FORMAT
        if not (is_needed and self.is_plain and self.ranges):
            return None
        ranges = tuple((start + offset, end + offset) for start, end in self.ranges)
        n_bytes = sum(end - start for start, end in ranges)
        fmt = self.format + bytes(len(self.format) & 1)
        fmt = b"fmt " + len(self.format).to_bytes(4, "little") + fmt
        whole = 4 + len(fmt) + 8 + n_bytes
        if self.has_64_bit or whole > _LARGEST_SIZE:
            sizes = b"ds64" + struct.pack("<IQQQI", 28, whole + 36, n_bytes, n_bytes // self._align, 0)
            head = b"RF64" + _LARGEST_SIZE.to_bytes(4, "little") + b"WAVE" + sizes + fmt
            return WavPieces(head + b"data" + _LARGEST_SIZE.to_bytes(4, "little"), ranges, self.cut)
        head = b"RIFF" + whole.to_bytes(4, "little") + b"WAVE" + fmt + b"data" + n_bytes.to_bytes(4, "little")
        return WavPieces(head, ranges, self.cut)


def _is_chunk(head: bytes) -> bool:
    kind = head[:4]
    return len(head) >= 8 and kind.isascii() and kind.decode("ascii").isprintable()
