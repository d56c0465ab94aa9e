"""FLAC: whether the number of samples that a file states can be trusted, and whether other files follow in it.

libsndfile reads no further than the header says, without a word on what stands behind; so the last frame is looked at,
which states its own place (RFC 9639, section 9.1). No library reads frames without decoding all of them.
"""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

from .mpeg import id3v2_size, skip_id3v2
from .source import Source, find_marks, open_source

_TAIL = 1 << 17  # bytes; more than any frame of usual size
_POLYNOMIAL = 0x07


def _crc8_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte << 1) ^ (_POLYNOMIAL if byte & 0x80 else 0)
        table.append(byte & 0xFF)
    return table


_CRC8 = _crc8_table()
_BLOCK_SIZES = {1: 192, **{k: 576 << (k - 2) for k in range(2, 6)}, **{k: 256 << (k - 8) for k in range(8, 16)}}
_RATES = {
    1: 88200,
    2: 176400,
    3: 192000,
    4: 8000,
    5: 16000,
    6: 22050,
    7: 24000,
    8: 32000,
    9: 44100,
    10: 48000,
    11: 96000,
}


# How a stream begins (section 8), by its first block, STREAMINFO of 34 bytes, which may be the last one.
_MARK, _MARK_BYTES = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"), 8
_TAG_BYTES = 1 << 20
_LOOKS = 8


class _StreamInfo(NamedTuple):
    largest_block: int
    sample_rate: int
    channels: int
    n_samples: int


def understated_length(source: Source) -> str | None:
    """Say so where a FLAC file holds samples behind the number that it states; None otherwise, and for other files."""
    with open_source(source) as file:
        info = _stream_info(file)
        if info is None or not info.n_samples:
            return None
        end = _end_before(file, file.seek(0, 2), info)
    if end is None or end <= info.n_samples:
        return None
    return f"this FLAC file states {info.n_samples} samples and has {end}"


def flac_links(source: Source) -> tuple[int, ...]:
    """Where the streams begin of FLAC files that were joined end to end, in bytes; empty where there is one stream.

    All bytes are read only where the frames do not show that there is one: streams of one length of which all but one
    are an eighth of the others in bytes are not found.
    """
    with open_source(source) as file:
        info = _stream_info(file)
        if info is None or _is_one_stream(file, info):
            return ()
        starts = tuple(find_marks(file, _MARK, _MARK_BYTES))
        return tuple(_tag_before(file, start) for start in starts) if len(starts) > 1 else ()


def _is_one_stream(file: BinaryIO, info: _StreamInfo) -> bool:
    """Whether the last frame is the end that is stated, and those before it, here and there, follow each other."""
    size = file.seek(0, 2)
    ends = [_end_before(file, size * k // _LOOKS, info) for k in range(1, _LOOKS + 1)]
    if not info.n_samples or ends[-1] != info.n_samples:
        return False
    found = [end for end in ends if end is not None]
    return all(before <= end for before, end in zip(found, found[1:]))


def _end_before(file: BinaryIO, at: int, info: _StreamInfo) -> int | None:
    """Sample behind the last frame that begins in the bytes before ``at``; None where none is found there."""
    file.seek(max(at - _TAIL, 0))
    return _last_end(file.read(min(at, _TAIL)), info)


def _tag_before(file: BinaryIO, start: int) -> int:
    """Where the ID3v2 tag in front of a stream begins, or the stream itself where there is none of usual size."""
    begin = max(start - _TAG_BYTES, 0)
    file.seek(begin)
    data, at = file.read(start - begin), -1
    while (at := data.find(b"ID3", at + 1)) >= 0:
        head = data[at : at + 10]
        if len(head) == 10 and begin + at + 10 + id3v2_size(head) == start:
            return begin + at
    return start


def _stream_info(file: BinaryIO) -> _StreamInfo | None:
    file.seek(skip_id3v2(file))
    head = file.read(42)
    if len(head) < 42 or head[:4] != b"fLaC" or head[4] & 0x7F:
        return None
    packed = int.from_bytes(head[18:26], "big")
    return _StreamInfo(
        largest_block=int.from_bytes(head[10:12], "big"),
        sample_rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        n_samples=packed & (1 << 36) - 1,
    )


def _last_end(data: bytes, info: _StreamInfo) -> int | None:
    """Sample behind the last frame whose header is found and fits the file; None where there is none."""
    at = len(data)
    while (at := data.rfind(b"\xff", 0, at)) >= 0:
        if (end := _frame_end(data[at : at + 16], info)) is not None:
            return end
    return None


def _frame_end(head: bytes, info: _StreamInfo) -> int | None:
    """Sample behind the frame that begins with ``head``; None where that is no header of a frame of this file."""
    if len(head) < 16 or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[3] >> 1 & 7 == 3:
        return None
    size_code, rate_code, place = head[2] >> 4, head[2] & 15, head[3] >> 4
    if place > 10 or (place + 1 if place < 8 else 2) != info.channels or rate_code == 15:
        return None
    if rate_code in _RATES and _RATES[rate_code] != info.sample_rate:
        return None
    number, at = _coded_number(head, 4)
    if size_code in (6, 7):
        n_bytes = size_code - 5
        block = int.from_bytes(head[at : at + n_bytes], "big") + 1
        at += n_bytes
    else:
        block = _BLOCK_SIZES.get(size_code, 0)
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if number is None or not 0 < block <= info.largest_block or at >= len(head):
        return None
    crc = 0
    for byte in head[:at]:
        crc = _CRC8[crc ^ byte]
    if crc != head[at]:
        return None
    # Frames are counted where all are of one size, the last one but shorter; else samples are.
    return (number if head[1] & 1 else number * info.largest_block) + block


def _coded_number(head: bytes, at: int) -> tuple[int | None, int]:
    """A number of one to seven bytes, coded as UTF-8 codes characters, and the position behind it."""
    first = head[at]
    n_more = 0
    while n_more < 7 and first << n_more & 0x80:
        n_more += 1
    if n_more == 1 or n_more > 7 or first == 0xFF:
        return None, at
    n_more = max(n_more - 1, 0)
    number = first & (0x7F >> n_more + 1 if n_more else 0x7F)
    for byte in head[at + 1 : at + 1 + n_more]:
        if byte & 0xC0 != 0x80:
            return None, at
        number = number << 6 | byte & 0x3F
    return number, at + 1 + n_more
