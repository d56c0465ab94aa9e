"""Alignments as files, read back by what reads such files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("pocketsphinx")

from stemfeatures.lyrics import AlignedLine, AlignedPhone, AlignedWord, Alignment, LyricsFormatError, write_alignment
from stemfeatures.lyrics.formats import WRITERS, sung_lines


def _word(word: str, index: int, line: int, start: float | None, end: float | None) -> AlignedWord:
    if start is None or end is None:
        return AlignedWord(word, index, line)
    half = (start + end) / 2
    phones = AlignedPhone("AA", start, half), AlignedPhone("B", half, end)
    return AlignedWord(word, index, line, start, end, 0.9, phones)


@pytest.fixture
def alignment() -> Alignment:
    words = (
        _word("[Chorus]", 0, 0, None, None),
        _word('"Rock"', 1, 1, 1.0, 1.5),
        _word("&", 2, 1, 1.5, 1.6),
        _word("<roll>", 3, 1, 1.7, 2.25),
        _word("gone", 4, 2, 61.004, 62.5),
    )
    lines = (
        AlignedLine("[Chorus]", None, None),
        AlignedLine('"Rock" & <roll>', 1.0, 2.25),
        AlignedLine("gone", 61.004, 62.5),
    )
    again = (_word('"Rock"', 1, 1, 70.0, 70.5), _word("&", 2, 1, 70.5, 70.6))
    return Alignment(words, lines, again, "ok", 0.97, 75.5, {"lag_s": 0.0})


def test_lines_come_as_they_are_sung(alignment: Alignment):
    assert [text for text, _ in sung_lines(alignment)] == ['"Rock" & <roll>', "gone", '"Rock" &']


def test_captions_have_no_chords_and_json_has_words_as_they_stand(alignment: Alignment):
    words = (_word("[Am]Hold", 0, 0, 1.0, 1.5), _word("[C/G]", 1, 0, None, None), _word("on[G]", 2, 0, 1.5, 2.0))
    found = replace(alignment, words=words, lines=(AlignedLine("[Am]Hold [C/G] on[G]", 1.0, 2.0),), repeats=())
    assert [text for text, _ in sung_lines(found)] == ["Hold on"]
    for kind in (".lrc", ".srt", ".vtt", ".ttml", ".textgrid", ".jams"):
        written = WRITERS[kind](found)
        assert "Hold" in written, kind
        assert not re.search(r"Am\]|C/G|\[G\]", written), kind
    assert [w["word"] for w in json.loads(WRITERS[".json"](found))["words"]] == ["[Am]Hold", "[C/G]", "on[G]"]


def test_captions_keep_letters_in_brackets_that_could_name_a_chord(alignment: Alignment):
    word = replace(_word("[H]ow", 0, 0, 1.0, 1.5), restored=True)
    found = replace(alignment, words=(word,), lines=(AlignedLine("[H]ow", 1.0, 1.5),), repeats=())
    assert [text for text, _ in sung_lines(found)] == ["[H]ow"]
    assert [text for text, _ in sung_lines(replace(found, words=(replace(word, restored=False),)))] == ["ow"]


def test_json(alignment: Alignment, tmp_path: Path):
    write_alignment(alignment, tmp_path / "words.json")
    found = json.loads((tmp_path / "words.json").read_text(encoding="utf-8"))
    assert [w["word"] for w in found["words"]] == ["[Chorus]", '"Rock"', "&", "<roll>", "gone"]
    assert found["words"][0] == {
        "word": "[Chorus]", "start": None, "end": None, "confidence": None, "line": 0, "phones": [],
    }  # fmt: skip
    assert (found["words"][4]["start"], found["words"][4]["end"], found["words"][4]["line"]) == (61.004, 62.5, 2)
    assert found["words"][1]["phones"][0] == {"phone": "AA", "start": 1.0, "end": 1.25}
    assert (found["status"], found["score"], found["duration"], len(found["repeats"])) == ("ok", 0.97, 75.5, 2)


def test_lrc(alignment: Alignment):
    assert WRITERS[".lrc"](alignment).splitlines() == [
        "[length:01:15]",
        '[00:01.00]<00:01.00>"Rock" <00:01.50>& <00:01.70><roll> <00:02.25>',
        "[01:01.00]<01:01.00>gone <01:02.50>",
        '[01:10.00]<01:10.00>"Rock" <01:10.50>& <01:10.60>',
    ]


def test_srt(alignment: Alignment):
    blocks = WRITERS[".srt"](alignment).split("\n\n")
    assert blocks[0] == '1\n00:00:01,000 --> 00:00:02,250\n"Rock" & <roll>'
    assert blocks[1] == "2\n00:01:01,004 --> 00:01:02,500\ngone"


def test_vtt(alignment: Alignment):
    text = WRITERS[".vtt"](alignment)
    assert text.startswith("WEBVTT\n\n00:00:01.000 --> 00:00:02.250\n")
    assert '"Rock" <00:00:01.500>&amp; <00:00:01.700>&lt;roll&gt;\n' in text


def test_ttml(alignment: Alignment):
    root = ElementTree.fromstring(WRITERS[".ttml"](alignment))
    name = "{http://www.w3.org/ns/ttml}"
    paragraphs = root.findall(f"{name}body/{name}div/{name}p")
    assert [p.get("begin") for p in paragraphs] == ["00:00:01.000", "00:01:01.004", "00:01:10.000"]
    assert [span.text for span in paragraphs[0]] == ['"Rock"', "&", "<roll>"]
    # The standard counts the times within an element from its own beginning.
    assert [(span.get("begin"), span.get("end")) for span in paragraphs[0]] == [
        ("00:00:00.000", "00:00:00.500"), ("00:00:00.500", "00:00:00.600"), ("00:00:00.700", "00:00:01.250"),
    ]  # fmt: skip
    assert paragraphs[1][0].get("begin") == "00:00:00.000"


def test_textgrid(alignment: Alignment):
    text = WRITERS[".textgrid"](alignment)
    tiers = text.split("    item [")[1:]
    assert [t.split('name = "')[1].split('"')[0] for t in tiers] == ["lines", "words", "phones"]
    edges = [
        tuple(float(line.split("=")[1]) for line in part.splitlines()[1:3])
        for part in tiers[1].split("intervals [")[1:]
    ]
    assert edges[0] == (0.0, 1.0)
    assert edges[-1] == (70.6, 75.5)
    assert all(a[1] == b[0] for a, b in zip(edges, edges[1:]))
    assert '            text = """Rock"""' in text
    assert f"intervals: size = {len(edges)}" in tiers[1]


def test_jams(alignment: Alignment):
    found = json.loads(WRITERS[".jams"](alignment))
    words, lines = found["annotations"]
    assert (words["namespace"], len(words["data"]), len(lines["data"])) == ("lyrics", 6, 3)
    assert words["data"][0] == {"time": 1.0, "duration": 0.5, "value": '"Rock"', "confidence": 0.9}
    assert found["file_metadata"]["duration"] == 75.5


def test_nothing_sung_makes_valid_empty_files():
    empty = Alignment((AlignedWord("x", 0, 0),), (AlignedLine("x", None, None),), (), "no_fit", 0.1, 3.0)
    for writer in WRITERS.values():
        assert isinstance(writer(empty), str)
    assert json.loads(WRITERS[".json"](empty))["status"] == "no_fit"
    assert ElementTree.fromstring(WRITERS[".ttml"](empty)).tag.endswith("tt")
    assert WRITERS[".textgrid"](empty).count("intervals: size = 1") == 3


def test_other_formats_are_refused(alignment: Alignment, tmp_path: Path):
    with pytest.raises(LyricsFormatError, match=r"words\.doc.*\.lrc"):
        write_alignment(alignment, tmp_path / "words.doc")
