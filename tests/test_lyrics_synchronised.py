"""Synchronised lyrics in ID3 tags, written here byte by byte after the informal standard."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

pytest.importorskip("pocketsphinx")

from stemfeatures.lyrics.sources import find_lyrics, lyrics_in_tags
from stemfeatures.lyrics.synchronised import TimedText, as_lrc, read_synchronised
from stemfeatures.lyrics.text import parse_lyrics

SUNG = (("Shi", 1000), ("ning", 1500), (" on,", 2000), ("\nNow and", 3250), (" then", 65_432))
LRC = "[00:01.00]Shining <00:02.00>on,\n[00:03.25]Now and <01:05.43>then"
ZEROS = {0: b"\0", 1: b"\0\0", 2: b"\0\0", 3: b"\0"}


def _synchsafe(n: int) -> bytes:
    return bytes(n >> shift & 0x7F for shift in (21, 14, 7, 0))


def _content(pieces, *, encoding: int = 0, unit: int = 2, kind: int = 1) -> bytes:
    codec = ("latin-1", "utf-16", "utf-16-be", "utf-8")[encoding]
    out = bytes([encoding]) + b"eng" + bytes([unit, kind]) + "words".encode(codec) + ZEROS[encoding]
    for text, stamp in pieces:
        out += text.encode(codec) + ZEROS[encoding] + struct.pack(">I", stamp)
    return out


def _frame(name: bytes, content: bytes, version: int, flags: int = 0) -> bytes:
    if version == 2:
        return name + struct.pack(">I", len(content))[1:] + content
    size = _synchsafe(len(content)) if version == 4 else struct.pack(">I", len(content))
    return name + size + bytes([0, flags]) + content


def _tag(frames: bytes, version: int, flags: int = 0) -> bytes:
    return b"ID3" + bytes([version, 0, flags]) + _synchsafe(len(frames) + 20) + frames + bytes(20)


def _written(folder: Path, tag: bytes) -> Path:
    path = folder / "song.mp3"
    path.write_bytes(tag + b"\xff\xfb\x90\x00" + bytes(413))
    return path


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("encoding", [0, 1, 2, 3])
def test_pieces_come_with_their_times(tmp_path: Path, version: int, encoding: int):
    title = _frame(b"TT2" if version == 2 else b"TIT2", b"\0A song", version)
    frame = _frame(b"SLT" if version == 2 else b"SYLT", _content(SUNG, encoding=encoding), version)
    path = _written(tmp_path, _tag(title + frame, version))
    pieces = read_synchronised(path)
    assert pieces == tuple(TimedText(text, stamp / 1000) for text, stamp in SUNG)
    assert as_lrc(pieces) == LRC
    assert lyrics_in_tags(path) == LRC


def test_lines_become_hints_of_the_alignment(tmp_path: Path):
    found = find_lyrics(_written(tmp_path, _tag(_frame(b"SYLT", _content(SUNG), 3), 3)))
    assert found is not None
    assert found.source == "tags"
    text = parse_lyrics(found.text)
    assert [(line.text, line.start_s) for line in text.lines] == [("Shining on,", 1.0), ("Now and then", 3.25)]


def test_text_with_times_is_taken_before_text_without(tmp_path: Path):
    plain = _frame(b"USLT", b"\0eng\0Shining on\nNow and then", 3)
    path = _written(tmp_path, _tag(plain + _frame(b"SYLT", _content(SUNG), 3), 3))
    assert lyrics_in_tags(path) == LRC
    assert lyrics_in_tags(_written(tmp_path, _tag(plain, 3))) == "Shining on\nNow and then"


@pytest.mark.parametrize("version", [3, 4])
def test_packed_and_unsynchronised_frames(tmp_path: Path, version: int):
    content = _content((("a\u00ff", 255),))  # has ff 00 in it
    packed = zlib.compress(content)
    if version == 3:
        frame = _frame(b"SYLT", struct.pack(">I", len(content)) + packed, 3, 0x80)
    else:
        frame = _frame(b"SYLT", _synchsafe(len(content)) + packed, 4, 0x08 | 0x01)
    assert read_synchronised(_written(tmp_path, _tag(frame, version))) == (TimedText("a\u00ff", 0.255),)
    safe = content.replace(b"\xff", b"\xff\x00")
    if version == 3:
        tag = _tag(_frame(b"SYLT", content, 3).replace(b"\xff", b"\xff\x00"), 3, 0x80)
    else:
        tag = _tag(_frame(b"SYLT", safe, 4, 0x02), 4)
    assert read_synchronised(_written(tmp_path, tag)) == (TimedText("a\u00ff", 0.255),)


def test_chords_are_no_lyrics_and_frames_no_seconds(tmp_path: Path):
    chords = _frame(b"SYLT", _content((("Am", 0), ("F", 2000)), kind=5), 3)
    words = _frame(b"SYLT", _content((("one line", 12), ("\nand another", 80)), unit=1, kind=2), 3)
    path = _written(tmp_path, _tag(chords + words, 3))
    assert read_synchronised(path) == (TimedText("one line", None), TimedText("\nand another", None))
    assert lyrics_in_tags(path) == "one line\nand another"
    assert read_synchronised(_written(tmp_path, _tag(chords, 3))) == ()


def test_lines_without_line_feeds_stay_lines():
    pieces = (TimedText("So long my love", 1.0), TimedText("I go home", 4.0), TimedText("", 6.0), TimedText("Bye", 7.0))
    assert as_lrc(pieces).splitlines()[:2] == ["[00:01.00]So long my love", "[00:04.00]I go home"]
    ended = (TimedText("So long\n", 1.0), TimedText("my ", 2.0), TimedText("love\n", 2.5), TimedText("bye", 4.0))
    assert as_lrc(ended) == "[00:01.00]So long\n[00:02.00]my <00:02.50>love\n[00:04.00]bye"


def test_broken_tags_have_no_lyrics(tmp_path: Path):
    whole = _tag(_frame(b"SYLT", _content(SUNG), 3), 3)
    for tag in (b"", b"ID3", whole[:40], whole.replace(b"ID3\x03", b"ID3\x09"), whole[:20] + b"\x07" + whole[21:]):
        path = _written(tmp_path, tag)
        assert all(isinstance(piece.text, str) for piece in read_synchronised(path))
    assert read_synchronised(_written(tmp_path, whole[:20] + b"\x07" + whole[21:])) == ()
    assert read_synchronised(_written(tmp_path, b"")) == ()
