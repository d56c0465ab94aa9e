"""What a look at the container says, where the decoders keep silent about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

_OGG_TAIL_BYTES = 1 << 17  # more than the longest Ogg page (65,307 bytes)
_OGG_END_OF_STREAM = 0x04


def starts_as_mp3(path: Path) -> bool:
    """Whether the file starts (behind ID3v2 tags) with the header of an MPEG audio frame; ADTS AAC does not."""
    with path.open("rb") as file:
        _skip_id3v2(file)
        head = file.read(2)
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def doubtful_mp3_length(path: Path) -> str | None:
    """Say why the length that an MP3 states cannot be trusted, or None when it can.

    libsndfile reads no further than the length it believes in. Without a Xing/Info header that is an estimate from
    the first frames, which loses half of a VBR file with a quiet beginning; in joined files it is the first part.
    """
    with path.open("rb") as file:
        start = _skip_id3v2(file)
        head = file.read(8192)
        size = file.seek(0, 2) - start
    header = re.search(rb"(?:Xing|Info)(.{12})", head, re.DOTALL)
    if header is None:
        return "an MP3 without a Xing header states no length"
    flags, _frames, n_bytes = (int.from_bytes(header[1][k : k + 4], "big") for k in (0, 4, 8))
    if flags & 3 != 3:
        return "the Xing header of this MP3 states no length"
    if abs(n_bytes - size) > max(size // 100, 4096):
        return f"the Xing header of this MP3 states {n_bytes} bytes, the file has {size}"
    return None


def _skip_id3v2(file: BinaryIO) -> int:
    """Move behind any ID3v2 tags; return the position."""
    position = 0
    while (head := file.read(10))[:3] == b"ID3" and len(head) == 10:
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))
        position += 10 + size + (10 if head[5] & 0x10 else 0)
        file.seek(position)
    return file.seek(position)


def look_at_ogg(path: Path) -> tuple[str | None, str | None]:
    """``(joined, cut)``: why an Ogg file is more than one stream, and why it is cut off; None where it is not.

    An Ogg file states no length: its decoders take the last page for the end, whatever is missing behind it. And
    libsndfile reads the first of several joined streams only.
    """
    with path.open("rb") as file:
        head = file.read(18)
        if head[:4] != b"OggS":
            return None, None
        size = file.seek(0, 2)
        file.seek(max(0, size - _OGG_TAIL_BYTES))
        tail = file.read()
    last = tail.rfind(b"OggS")
    page = tail[last:]
    if last < 0 or len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return None, "the last Ogg page is incomplete"
    joined = None if page[14:18] == head[14:18] else "this Ogg file holds more than one stream"
    return joined, None if page[5] & _OGG_END_OF_STREAM else "the last Ogg page does not end the stream"
