"""Alignments as files: JSON, LRC with times of words, SubRip, WebVTT, TTML, Praat TextGrid and JAMS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from ..errors import StemfeaturesError
from .alignment import AlignedWord, Alignment

Block = tuple[str, tuple[AlignedWord, ...]]


class LyricsFormatError(StemfeaturesError):
    """There is no writer for a file."""

    stage = "lyrics"


def to_json(alignment: Alignment) -> str:
    """All that is known: ``status``, ``score``, ``duration_s``, ``words``, ``lines``, ``repeats``, ``settings``,
    ``message``, null where there is nothing to say of the file.

    A word is ``{"word", "start", "end", "confidence", "line", "phones"}``, times in seconds, null where it is not sung.
    """
    document = {
        "status": alignment.status,
        "score": alignment.score,
        "duration": round(alignment.duration_s, 3),
        "words": [_word(word) for word in alignment.words],
        "lines": [{"text": line.text, "start": line.start_s, "end": line.end_s} for line in alignment.lines],
        "repeats": [_word(word) for word in alignment.repeats],
        "settings": alignment.settings,
        "message": alignment.message or None,
    }
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _word(word: AlignedWord) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": word.start_s,
        "end": word.end_s,
        "confidence": word.confidence,
        "line": word.line,
        "phones": [{"phone": p.phone, "start": p.start_s, "end": p.end_s} for p in word.phones],
    }


def to_lrc(alignment: Alignment) -> str:
    """LRC with the time of each word in angle brackets, and the end of the line."""
    lines = [f"[length:{_clock(alignment.duration_s, '{m:02d}:{s:02d}')}]"]
    for _, words in sung_lines(alignment):
        stamps = [_clock(_start(word), "{m:02d}:{s:02d}.{c:02d}") for word in words]
        end = _clock(_end(words[-1]), "{m:02d}:{s:02d}.{c:02d}")
        lines.append(f"[{stamps[0]}]" + " ".join(f"<{t}>{w.word}" for t, w in zip(stamps, words)) + f" <{end}>")
    return "\n".join(lines) + "\n"


def to_srt(alignment: Alignment) -> str:
    """SubRip, a block a line."""
    clock, blocks = "{h:02d}:{m:02d}:{s:02d},{ms:03d}", []
    for number, (text, words) in enumerate(sung_lines(alignment), 1):
        start, end = (_clock(t, clock, hours=True) for t in (_start(words[0]), _end(words[-1])))
        blocks.append(f"{number}\n{start} --> {end}\n{text}\n")
    return "\n".join(blocks)


def to_vtt(alignment: Alignment) -> str:
    """WebVTT, a cue a line, with the time of each further word in it."""
    clock = "{h:02d}:{m:02d}:{s:02d}.{ms:03d}"
    cues = ["WEBVTT\n"]
    for _, words in sung_lines(alignment):
        start, end = (_clock(t, clock, hours=True) for t in (_start(words[0]), _end(words[-1])))
        stamped = [_escaped(words[0].word)]
        stamped += [f"<{_clock(_start(word), clock, hours=True)}>{_escaped(word.word)}" for word in words[1:]]
        cues.append(f"{start} --> {end}\n{' '.join(stamped)}\n")
    return "\n".join(cues)


def to_ttml(alignment: Alignment) -> str:
    """TTML, a paragraph a line and a span a word; times of a span count from the start of its paragraph."""
    clock = "{h:02d}:{m:02d}:{s:02d}.{ms:03d}"

    def times(start: float, end: float) -> dict[str, str]:
        return {"begin": _clock(start, clock, hours=True), "end": _clock(end, clock, hours=True)}

    root = xml.Element("tt", {"xmlns": "http://www.w3.org/ns/ttml", "xml:lang": ""})
    division = xml.SubElement(xml.SubElement(root, "body"), "div")
    for _, words in sung_lines(alignment):
        begin = _start(words[0])
        paragraph = xml.SubElement(division, "p", times(begin, _end(words[-1])))
        for word in words:
            span = xml.SubElement(paragraph, "span", times(_start(word) - begin, _end(word) - begin))
            span.text, span.tail = word.word, " "
        span.tail = None
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def to_textgrid(alignment: Alignment) -> str:
    """A long TextGrid of Praat with the tiers ``lines``, ``words`` and ``phones``."""
    lines = [(_start(words[0]), _end(words[-1]), text) for text, words in sung_lines(alignment)]
    words = [(_start(word), _end(word), word.word) for word in alignment.sung]
    phones = [(p.start_s, p.end_s, p.phone) for word in alignment.sung for p in word.phones]
    end = max([alignment.duration_s, *(stop for _, stop, _ in phones)])
    out = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}"]
    out += ["tiers? <exists>", "size = 3", "item []:"]
    for number, (name, intervals) in enumerate((("lines", lines), ("words", words), ("phones", phones)), 1):
        whole = list(_without_gaps(intervals, end))
        out += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        out += ["        xmin = 0", f"        xmax = {end:.3f}", f"        intervals: size = {len(whole)}"]
        for k, (start, stop, label) in enumerate(whole, 1):
            quoted = label.replace('"', '""')
            out += [f"        intervals [{k}]:", f"            xmin = {start:.3f}", f"            xmax = {stop:.3f}"]
            out.append(f'            text = "{quoted}"')
    return "\n".join(out) + "\n"


def to_jams(alignment: Alignment) -> str:
    """JAMS with annotations of namespace ``lyrics``: the words, then the lines."""
    words = [(_start(w), _end(w), w.word, w.confidence) for w in alignment.sung]
    lines = [(_start(ws[0]), _end(ws[-1]), text, None) for text, ws in sung_lines(alignment)]
    annotations = []
    for name, rows in (("words", words), ("lines", lines)):
        data = [
            {"time": start, "duration": round(end - start, 3), "value": value, "confidence": confidence}
            for start, end, value, confidence in rows
        ]
        annotations.append(
            {
                "namespace": "lyrics",
                "data": data,
                "annotation_metadata": {"annotation_tools": "stemfeatures align", "data_source": "program"},
                "sandbox": {"level": name},
                "time": 0,
                "duration": alignment.duration_s,
            }
        )
    document = {
        "annotations": annotations,
        "file_metadata": {"duration": alignment.duration_s, "jams_version": "0.3.4"},
        "sandbox": {"status": alignment.status, "score": alignment.score},
    }
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


#: Writers by the end of the file's name.
WRITERS: dict[str, Callable[[Alignment], str]] = {
    ".json": to_json,
    ".lrc": to_lrc,
    ".srt": to_srt,
    ".vtt": to_vtt,
    ".ttml": to_ttml,
    ".textgrid": to_textgrid,
    ".jams": to_jams,
}


def write_alignment(alignment: Alignment, path: str | Path) -> None:
    """Write a file in the format that its name asks for, one of :data:`WRITERS`, in UTF-8.

    Raises
    ------
    LyricsFormatError
        For another name.
    """
    Path(path).write_text(writer_of(path)(alignment), encoding="utf-8")


def writer_of(path: str | Path) -> Callable[[Alignment], str]:
    """The writer for a file's name; raises LyricsFormatError, naming those that there are."""
    writer = WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        raise LyricsFormatError(f"no such format; there are {', '.join(WRITERS)}", source=str(path))
    return writer


def sung_lines(alignment: Alignment) -> list[Block]:
    """Lines as they are sung, in order of time, with their text and words; a line that is repeated comes again."""
    blocks: list[list[AlignedWord]] = []
    for word in alignment.sung:
        if not blocks or blocks[-1][-1].line != word.line or word.index <= blocks[-1][-1].index:
            blocks.append([])
        blocks[-1].append(word)
    return [(" ".join(word.word for word in words), tuple(words)) for words in blocks]


def _without_gaps(intervals: list[tuple[float, float, str]], end: float) -> Iterator[tuple[float, float, str]]:
    """The intervals, and empty ones between them."""
    last = 0.0
    for start, stop, label in intervals:
        start = max(start, last)
        if stop <= start:
            continue
        if start > last:
            yield last, start, ""
        yield start, stop, label
        last = stop
    if end > last:
        yield last, end, ""


def _clock(seconds: float, pattern: str, *, hours: bool = False) -> str:
    """A time by a pattern of h, m, s, c (hundredths) and ms; minutes go on past 59 unless there are hours."""
    ms = round(seconds * 1000)
    if "{c" in pattern:
        ms = round(seconds * 100) * 10
    whole, ms = divmod(ms, 1000)
    minutes, s = divmod(whole, 60)
    h, m = divmod(minutes, 60) if hours else (0, minutes)
    return pattern.format(h=h, m=m, s=s, c=ms // 10, ms=ms)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _start(word: AlignedWord) -> float:
    assert word.start_s is not None
    return word.start_s


def _end(word: AlignedWord) -> float:
    assert word.end_s is not None
    return word.end_s
