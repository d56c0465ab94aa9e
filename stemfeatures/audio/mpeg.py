"""MPEG audio: whether a file is such a stream, and whether the length it states can be trusted.

libsndfile answers neither before it has opened the file, and mutagen states the length of the first part of joined
files without a sign of the rest, so the header of the first frame is read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import BinaryIO, NamedTuple

from .source import Source, open_source

_CHUNK = 1 << 18
_LOOKAHEAD = 4096  # bytes; a frame, and the header of the next
_SAME_BITS = 0xFE0C  # of two bytes of a header: version, layer and rate
#: What stands behind the last frame of a file.
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")
#: Those that noise hardly holds: where the last frame of a file is cut off, its tags do not begin where it should end.
_TAGS_WITHIN = re.compile(rb"APETAGEX|LYRICSBEGIN|ID3[\x02-\x04]\x00")
_LONGEST_TAG = 11
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


def starts_as_mpeg_audio(source: Source) -> bool:
    """Whether the file starts (behind ID3v2 tags) with the header of an MPEG audio frame; ADTS AAC does not."""
    with open_source(source) as file:
        skip_id3v2(file)
        head = file.read(2)
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def unreliable_length(source: Source) -> str | None:
    """Say why the length that an MP3 states cannot be trusted, or None when it can.

    libsndfile reads no further than the length it expects. Without a Xing/Info header that is an estimate from
    the first frames, which loses half of a VBR file with a quiet beginning; in joined files it is the first part. A
    header that states all bytes of the file may state another number of frames than they are.
    """
    header = _xing(source)
    if header is None:
        return "an MP3 without a Xing header states no length"
    if not header.is_complete:
        return "the Xing header of this MP3 states no length"
    if not header.is_whole:
        return f"the Xing header of this MP3 states {header.n_bytes} bytes, the file has {header.size}"
    return _miscount(header, _count(source, header.start))


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
    n_samples : int or None
        Samples per channel of the music; None where frames are damaged.
    """

    message: str
    first_frame: int
    n_delay: int
    n_samples: int | None


@dataclass(frozen=True)
class MpegReport:
    """What the frames of an MP3 show.

    Attributes
    ----------
    recount : Recount or None
        Where it is whole by its Xing header, which yet states another number of frames than there are.
    lost_s : float
        Seconds that the frames last which would fit into the bytes between them that are none.
    """

    recount: Recount | None = None
    lost_s: float = 0.0


def inspect_mpeg(source: Source) -> MpegReport:
    """Count the frames of an MP3; ``MpegReport()`` for any other file.

    What is cut off or joined has another number of bytes than its header states, too: there it tells of what is
    missing.
    """
    if not starts_as_mpeg_audio(source):
        return MpegReport()
    header = _xing(source)
    frames = _count(source, _first_frame(source) if header is None else header.start)
    if not frames.n:
        return MpegReport()
    n_per_frame = _N_SAMPLES if frames.head & 0x0800 else _N_SAMPLES // 2
    lost_s = frames.n_lost * n_per_frame / _sample_rate(frames.head)
    if header is None or not (header.is_complete and header.is_whole):
        return MpegReport(None, lost_s)
    message, size = _miscount(header, frames), _FRAME_SIZES.get(header.head)
    if message is None or not size:
        return MpegReport(None, lost_s)
    delay, padding = header.gap
    n_samples = max((frames.n - 1) * n_per_frame - delay - padding, 1)
    n_delay = delay + _DECODER_DELAY if delay or padding else 0
    return MpegReport(Recount(message, header.start + size, n_delay, None if frames.n_lost else n_samples), lost_s)


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


def _xing(source: Source) -> _Xing | None:
    with open_source(source) as file:
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


def _first_frame(source: Source) -> int:
    with open_source(source) as file:
        return skip_id3v2(file)


def _sample_rate(head: int) -> int:
    """Hz, by the bits of a header that are a key of the sizes."""
    rate = {3: 44_100, 2: 22_050}.get(head >> 11 & 3, 11_025)
    return (rate, rate * 160 // 147, rate * 320 // 441)[head >> 2 & 3]


class _Frames(NamedTuple):
    n: int
    n_lost: int  # would fit into the bytes between the others that are none
    head: int  # of the first, a key of the sizes


def _miscount(header: _Xing, frames: _Frames) -> str | None:
    # Those that are lost may have been of any size.
    if not frames.n or abs(frames.n + frames.n_lost - header.n_frames) <= _FRAMES_TOLERANCE + frames.n_lost // 2:
        return None
    return f"the Xing header of this MP3 states {header.n_frames} frames, the file has {frames.n}"


def _count(source: Source, start: int) -> _Frames:
    """The frames from ``start`` on, and what is lost between them; n = 0 where none begins there."""
    n_frames = n_bytes = n_between = n_other = first = at = last = 0
    data, is_end = b"", False
    with open_source(source) as file:
        file.seek(start)
        while True:
            if at + _LOOKAHEAD >= len(data) and not is_end:
                chunk, kept = file.read(_CHUNK), max(at - _LOOKAHEAD, 0)  # with the frame that may be cut off
                at, data, is_end = at - kept, data[kept:] + chunk, not chunk
            if at + 4 > len(data):
                if is_end:
                    break
                continue
            if size := _frame_size(data, at):
                first = first or _kind(data, at)
                n_frames, n_bytes, n_between, n_other = n_frames + 1, n_bytes + size, n_between + n_other, 0
                at, last = at + size, size
                continue
            if not n_frames or data.startswith(_TAGS, at):
                break
            found = _next_frame(data, at + 1, len(data) - (3 if is_end else _LOOKAHEAD), first)
            if _TAGS_WITHIN.search(data, at - last + 4, found + _LONGEST_TAG):
                break
            n_other, at, last = n_other + found - at, found, 4
    return _Frames(n_frames, round(n_between * n_frames / max(n_bytes, 1)), first)


def _kind(data: bytes, at: int) -> int:
    return (data[at + 1] & 0xFE) << 8 | data[at + 2] & 0xFE


def _frame_size(data: bytes, at: int) -> int:
    """Bytes of the frame there, 0 where there is none."""
    return _FRAME_SIZES.get(_kind(data, at), 0) if data[at] == 0xFF else 0


def _next_frame(data: bytes, at: int, end: int, like: int) -> int:
    """Where before ``end`` a frame of version and rate ``like`` begins that another follows; else ``end``."""
    while (at := data.find(b"\xff", at, end)) >= 0:
        size = _frame_size(data, at)
        fits = size and at + size + 4 <= len(data) and (_kind(data, at) ^ like) & _SAME_BITS == 0
        if fits and _frame_size(data, at + size):
            return at
        at += 1
    return end


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
