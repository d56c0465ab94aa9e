"""MPEG audio: whether a file is such a stream, and whether the length it states can be trusted.

libsndfile answers neither before it has opened the file, and mutagen states the length of the first part of joined
files without a sign of the rest, so the header of the first frame is read here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from .._util.files import open_regular


def starts_as_mpeg_audio(path: Path) -> bool:
    """Whether the file starts (behind ID3v2 tags) with the header of an MPEG audio frame; ADTS AAC does not."""
    with open_regular(path) as file:
        _skip_id3v2(file)
        head = file.read(2)
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def unreliable_length(path: Path) -> str | None:
    """Say why the length that an MP3 states cannot be trusted, or None when it can.

    libsndfile reads no further than the length it expects. Without a Xing/Info header that is an estimate from
    the first frames, which loses half of a VBR file with a quiet beginning; in joined files it is the first part.
    """
    with open_regular(path) as file:
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
