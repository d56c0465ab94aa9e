"""Lyrics with times in the tags of a file: frames ``SYLT`` of ID3 versions 2.2 to 2.4.

Readers of tags that may be used freely (tinytag) give each syllable of them a line of its own. The structure is that of
the informal standards id3v2.3.0 (section 4.10) and id3v2.4.0 (4.9) on id3.org.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Larger tags are not read: pictures fill them, words do not.
MAX_BYTES = 64_000_000
_MILLISECONDS = 2
#: What the text of a frame may be, best first: lyrics, a transcription, other.
_KINDS = (1, 2, 0)
_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")


@dataclass(frozen=True)
class TimedText:
    """A piece of text and when it is sung.

    Attributes
    ----------
    text : str
        A syllable, word or line; a line feed at its start begins a line.
    start_s : float | None
        Seconds; None where the tag counts MPEG frames.
    """

    text: str
    start_s: float | None


def read_synchronised(path: str | Path) -> tuple[TimedText, ...]:
    """Pieces of the lyrics in the ``SYLT`` frame of a file, in the order of the frame.

    Parameters
    ----------
    path : str | Path
        A file that begins with an ID3 tag; others have none.

    Returns
    -------
    tuple[TimedText, ...]
        Empty where there is no such frame, or it is broken.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    with Path(path).open("rb") as file:
        header = file.read(10)
        if len(header) < 10 or header[:3] != b"ID3" or header[3] not in (2, 3, 4):
            return ()
        size = _synchsafe(header[6:10])
        body = file.read(size) if size <= MAX_BYTES else b""
    found = [parsed for frame in _frames(body, header[3], header[5]) if (parsed := _parsed(frame)) is not None]
    for kind in _KINDS:
        for of_kind, pieces in found:
            if of_kind == kind and any(piece.text.strip() for piece in pieces):
                return pieces
    return ()


def as_lrc(pieces: tuple[TimedText, ...]) -> str:
    """Pieces as text with times as in ``.lrc`` files: ``[..]`` before lines, ``<..>`` before words.

    Examples
    --------
    >>> as_lrc((TimedText("Shi", 1.0), TimedText("ning", 1.5), TimedText(" on", 2.0), TimedText("\\nNow", 3.25)))
    '[00:01.00]Shining <00:02.00>on\\n[00:03.25]Now'
    """
    # Who times whole lines may leave the line feeds out.
    several = [len(piece.text.split()) > 1 for piece in pieces if piece.text.strip()]
    whole = 2 * sum(several) > len(several) and not any(set(piece.text) & set("\r\n") for piece in pieces)
    out: list[str] = []
    for k, piece in enumerate(pieces):
        text = re.sub(r"\r\n?", "\n", piece.text)
        ends, text = text.endswith("\n"), text.rstrip("\n")
        fresh = k == 0 or whole or text.startswith("\n") or _ends_line(out)
        blanks = len(text) - len(text.lstrip("\n"))
        if fresh:
            # Line feeds beyond the one that ends a line are empty lines.
            out.append("\n" * (max(blanks, 1) if k and not _ends_line(out) else blanks))
            out.append(_clock(piece.start_s, "[]") + text.lstrip())
        elif text[:1].isspace() or out[-1][-1:].isspace():
            word = text.lstrip()
            out.append(("" if out[-1][-1:].isspace() else " ") + (_clock(piece.start_s, "<>") + word if word else ""))
        else:
            out.append(text)
        if ends:
            out.append("\n")
    return "".join(out).strip("\n")


def _ends_line(out: list[str]) -> bool:
    return bool(out) and out[-1].endswith("\n")


def _clock(start_s: float | None, marks: str) -> str:
    if start_s is None:
        return ""
    hundredths = round(100 * start_s)
    return f"{marks[0]}{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}{marks[1]}"


def _frames(body: bytes, version: int, flags: int) -> Iterator[bytes]:
    """Contents of the frames of synchronised text."""
    if flags & 0x80 and version < 4:
        body = body.replace(b"\xff\x00", b"\xff")
    place = 0
    if flags & 0x40 and version > 2:
        place = int.from_bytes(body[:4], "big") + 4 if version == 3 else _synchsafe(body[:4])
    wide = 3 if version == 2 else 4
    head = 6 if version == 2 else 10
    while place + head <= len(body) and body[place] != 0:
        name, counted = body[place : place + wide], body[place + wide : place + 2 * wide]
        size = _synchsafe(counted) if version == 4 else int.from_bytes(counted, "big")
        content = body[place + head : place + head + size]
        if name in (b"SLT", b"SYLT"):
            yield from _plain(content, version, body[place + 9] if version > 2 else 0)
        place += head + size


def _plain(content: bytes, version: int, flags: int) -> Iterator[bytes]:
    """The content without compression and the like; nothing where it is encrypted or cannot be unpacked."""
    packed, secret = (flags & 0x80, flags & 0x40) if version == 3 else (flags & 0x08, flags & 0x04)
    if secret:
        return
    if version == 3:
        content = content[(4 if packed else 0) + (1 if flags & 0x20 else 0) :]
    else:
        content = content[(1 if flags & 0x40 else 0) + (4 if flags & 0x01 else 0) :]
        if flags & 0x02:
            content = content.replace(b"\xff\x00", b"\xff")
    if packed:
        try:
            content = zlib.decompressobj().decompress(content, MAX_BYTES)
        except zlib.error:
            return
    yield content


def _parsed(content: bytes) -> tuple[int, tuple[TimedText, ...]] | None:
    """Kind and pieces of a frame; None where it is none."""
    if len(content) < 7 or content[0] >= len(_ENCODINGS):
        return None
    encoding, unit, kind = content[0], content[4], content[5]
    pieces: list[TimedText] = []
    mark = b""
    _, place, mark = _text(content, 6, encoding, mark)
    while place < len(content):
        text, place, mark = _text(content, place, encoding, mark)
        stamp = content[place : place + 4]
        if len(stamp) < 4:
            break
        place += 4
        pieces.append(TimedText(text, int.from_bytes(stamp, "big") / 1000 if unit == _MILLISECONDS else None))
    return kind, tuple(pieces)


def _text(content: bytes, place: int, encoding: int, mark: bytes) -> tuple[str, int, bytes]:
    """Text up to its zero, the place behind that, and the byte order that holds for text without a mark of its own."""
    step = 2 if encoding in (1, 2) else 1
    end = place
    while end + step <= len(content) and content[end : end + step] != b"\0" * step:
        end += step
    raw = content[place:end]
    if encoding == 1:
        own = raw[:2] if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else b""
        mark = own or mark
        raw = raw if own else mark + raw
    return raw.decode(_ENCODINGS[encoding], "replace"), end + step, mark


def _synchsafe(data: bytes) -> int:
    """A number of seven bits a byte."""
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value
