"""MPEG audio: whether a file is such a stream, and whether the length it states can be trusted.

libsndfile answers neither before it has opened the file, and mutagen states the length of the first part of joined
files without a sign of the rest, so the header of the first frame is read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .._util.files import open_regular

_CHUNK = 1 << 18
#: What stands behind the last frame of a file.
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")
#: Frames by which the count may differ: some encoders count the frame of the header, some files lack the last one.
_FRAMES_TOLERANCE = 3
#: Samples of a frame of MPEG 1; of the other versions it is half of that.
_N_SAMPLES = 1152
#: Samples by which a decoder of layer III is late (of its filter bank, and one more), which LAME does not count.
_DECODER_DELAY = 529


def _frame_sizes() -> dict[int, int]:
    """Bytes of a frame of layer III by the second and third byte of its header (ISO/IEC 11172-3, section 2.4.2.3, and
    13818-3), the bits for protection and private use left out; free formats state none."""
    kbits = {
        1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    }
    sizes = {}
    versions = ((3, 1, 144_000, 44_100), (2, 2, 72_000, 22_050), (0, 2, 72_000, 11_025))  # MPEG 1, 2 and 2.5
    for (version, table, factor, rate), (i, kbit), place, padding in product(
        versions, enumerate(range(14)), range(3), range(2)
    ):
        hz = (rate, rate * 160 // 147, rate * 320 // 441)[place]
        head = (0xE2 | version << 3) << 8 | (i + 1) << 4 | place << 2 | padding << 1
        sizes[head] = factor * kbits[table][kbit] // hz + padding
    return sizes


_FRAME_SIZES = _frame_sizes()


def starts_as_mpeg_audio(path: Path) -> bool:
    """Whether the file starts (behind ID3v2 tags) with the header of an MPEG audio frame; ADTS AAC does not."""
    with open_regular(path) as file:
        skip_id3v2(file)
        head = file.read(2)
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def unreliable_length(path: Path) -> str | None:
    """Say why the length that an MP3 states cannot be trusted, or None when it can.

    libsndfile reads no further than the length it expects. Without a Xing/Info header that is an estimate from
    the first frames, which loses half of a VBR file with a quiet beginning; in joined files it is the first part. A
    header that states all bytes of the file may state another number of frames than they are.
    """
    header = _xing(path)
    if header is None:
        return "an MP3 without a Xing header states no length"
    if not header.is_complete:
        return "the Xing header of this MP3 states no length"
    if not header.is_whole:
        return f"the Xing header of this MP3 states {header.n_bytes} bytes, the file has {header.size}"
    return _miscount(header, _n_frames(path, header.start))


@dataclass(frozen=True)
class Recount:
    """Of an MP3 whose Xing header states a wrong number of frames: what a right one would say.

    Attributes
    ----------
    message : str
        Says so.
    first_frame : int
        Where the music begins, in bytes: behind the frame of the header.
    n_delay : int
        Samples of a decoder in front of it: those of the encoder, and its own.
    n_samples : int
        Samples per channel of the music.
    """

    message: str
    first_frame: int
    n_delay: int
    n_samples: int


def recount(path: Path) -> Recount | None:
    """The frames of an MP3 that is whole by its Xing header and holds another number of them; None for all others.

    What is cut off or joined has another number of bytes, too: there the header tells of what is missing.
    """
    if not starts_as_mpeg_audio(path):
        return None
    header = _xing(path)
    if header is None or not (header.is_complete and header.is_whole):
        return None
    n_frames = _n_frames(path, header.start)
    message = _miscount(header, n_frames)
    size = _FRAME_SIZES.get(header.head)
    if message is None or n_frames is None or not size:
        return None
    delay, padding = header.gap
    n_per_frame = _N_SAMPLES if header.head & 0x0800 else _N_SAMPLES // 2
    n_samples = (n_frames - 1) * n_per_frame - delay - padding
    return Recount(message, header.start + size, delay + _DECODER_DELAY if delay or padding else 0, max(n_samples, 1))


class _Xing(NamedTuple):
    start: int  # of the first frame, in bytes
    size: int  # of the file from there on
    flags: int
    n_frames: int
    n_bytes: int
    head: int  # of that frame, a key of the sizes
    gap: tuple[int, int]  # samples of delay and of padding of the encoder; zeros where nothing is known of them

    @property
    def is_complete(self) -> bool:
        return self.flags & 3 == 3

    @property
    def is_whole(self) -> bool:
        return abs(self.n_bytes - self.size) <= max(self.size // 100, 4096)


def _xing(path: Path) -> _Xing | None:
    with open_regular(path) as file:
        start = skip_id3v2(file)
        head = file.read(8192)
        size = file.seek(0, 2) - start
    header = re.search(rb"(?:Xing|Info)(.{12})", head, re.DOTALL)
    if header is None:
        return None
    flags, n_frames, n_bytes = (int.from_bytes(header[1][k : k + 4], "big") for k in (0, 4, 8))
    kind = (head[1] & 0xFE) << 8 | head[2] & 0xFE
    # Frames, bytes, a table of places and the quality, as far as there are any.
    behind = header.end() - 8 + sum(n for k, n in enumerate((4, 4, 100, 4)) if flags >> k & 1)
    return _Xing(start, size, flags, n_frames, n_bytes, kind, _gap(head[behind : behind + 24]))


def _gap(tag: bytes) -> tuple[int, int]:
    """Samples that an encoder put in front of the music and behind it, by the tag of LAME that others write too."""
    if not tag.startswith((b"LAME", b"Lavf", b"Lavc")):
        return 0, 0
    packed = int.from_bytes(tag[21:24], "big")
    return packed >> 12, packed & 0xFFF


def _miscount(header: _Xing, n_frames: int | None) -> str | None:
    if n_frames is None or abs(n_frames - header.n_frames) <= _FRAMES_TOLERANCE:
        return None
    return f"the Xing header of this MP3 states {header.n_frames} frames, the file has {n_frames}"


def _n_frames(path: Path, start: int) -> int | None:
    """Frames from ``start`` on; None where they do not follow each other up to the end or the tags there."""
    n_frames, at, data = 0, 0, b""
    with open_regular(path) as file:
        file.seek(start)
        while True:
            if at + 4 > len(data):
                at, data = max(at - len(data), 0), data[at:] + file.read(_CHUNK)
                if at + 4 > len(data):
                    return n_frames
            size = _FRAME_SIZES.get((data[at + 1] & 0xFE) << 8 | data[at + 2] & 0xFE, 0) if data[at] == 0xFF else 0
            if not size:
                break
            at += size
            n_frames += 1
        rest = data[at:] + file.read(len(_TAGS[2]))
    return n_frames if rest.startswith(_TAGS) else None


def skip_id3v2(file: BinaryIO) -> int:
    """Move behind any ID3v2 tags at the beginning of a file that has just been opened; return the position."""
    position = 0
    while (head := file.read(10))[:3] == b"ID3" and len(head) == 10:
        position += 10 + id3v2_size(head)
        file.seek(position)
    return file.seek(position)


def id3v2_size(head: bytes) -> int:
    """Bytes of an ID3v2 tag behind its header of ten bytes."""
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
    return size + (10 if head[5] & 0x10 else 0)
