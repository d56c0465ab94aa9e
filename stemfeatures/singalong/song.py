"""What a page knows of its song: lines and words in time, F0, key and tempo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..constants import MIXTURE
from ..descriptors.f0 import cents
from ..descriptors.types import F0Contour, TrackDescription
from ..lyrics import AlignedWord, Alignment, LyricsText
from ..lyrics.formats import sung_lines

#: Cents of A4 = 440 Hz above MIDI note 0.
_A4_CENTS = 6900
_PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
#: Why a page shows words without times.
_WHY = {
    "no_fit": "These do not seem to be the words of this song: they are shown without times.",
    "no_vocals": "Nobody was heard singing: the words are shown without times.",
    "no_words": "",
}

Word = tuple[str, float | None, float | None]


def song_document(
    description: TrackDescription, text: LyricsText | None, alignment: Alignment | None
) -> dict[str, Any]:
    """All of a song but its sound and its name.

    Parameters
    ----------
    description : TrackDescription
        What was heard in it.
    text : LyricsText | None
        Its lyrics.
    alignment : Alignment | None
        The same in time.

    Returns
    -------
    dict[str, Any]
        ``lines`` as of :func:`page_lines`, ``f0`` (``hop`` in seconds, ``cents`` above MIDI note 0 each hop, null where
        nothing is sung), ``key`` (``tonic`` 0 to 11 and ``mode``, or null), ``tempo`` in BPM or null, ``message`` and
        ``status`` of the alignment.
    """
    mixture = description.stems[MIXTURE]
    return {
        "status": "no_lyrics" if alignment is None else alignment.status,
        "message": "" if alignment is None else _WHY.get(alignment.status, ""),
        "lines": [] if text is None or alignment is None else page_lines(text, alignment),
        "f0": {"hop": 1 / description.contours["vocals"].rate, "cents": _cents(description.contours["vocals"])},
        "key": _key(mixture["key"]),
        "tempo": mixture["tempo_bpm"],
    }


def page_lines(text: LyricsText, alignment: Alignment) -> list[dict[str, Any]]:
    """Lines in the order in which they are sung.

    Parameters
    ----------
    text : LyricsText
        Lyrics.
    alignment : Alignment
        The same in time.

    Returns
    -------
    list[dict[str, Any]]
        ``{"start", "end", "words": [[text, start, end], ...]}`` in seconds. A line that is sung again comes again.
        Headings and lines that nobody sings have no times and stand before the line that follows them in the lyrics.
    """
    blocks = [words for _, words in sung_lines(alignment)]
    sung = [block[0].line for block in blocks]
    before: dict[int, list[int]] = {}
    for line in range(len(text.lines)):
        if line not in sung:
            follower = next((k for k in range(line, len(text.lines)) if k in sung), -1)
            before.setdefault(follower, []).append(line)
    lines = []
    for block, line in zip(blocks, sung):
        lines += [_untimed_line(text, k) for k in before.pop(line, [])]
        lines.append(_timed_line(text, block, whole=sung.count(line) == 1))
    return lines + [_untimed_line(text, k) for rest in before.values() for k in rest]


def _untimed_line(text: LyricsText, line: int) -> dict[str, Any]:
    first, stop = text.lines[line].first, text.lines[line].stop
    return {"start": None, "end": None, "words": [(token.text, None, None) for token in text.tokens[first:stop]]}


def _timed_line(text: LyricsText, block: Sequence[AlignedWord], *, whole: bool) -> dict[str, Any]:
    """A line as it is sung once; a part of it, where it is sung in several parts."""
    line = text.lines[block[0].line]
    first, stop = (line.first, line.stop) if whole else (block[0].index, block[-1].index + 1)
    times = {word.index: (word.start_s, word.end_s) for word in block}
    words: list[Word] = [
        (text.tokens[k].text, *times.get(k, (None, None)))
        for k in range(first, stop)
        if text.tokens[k].kind != "repeat"
    ]
    return {"start": block[0].start_s, "end": block[-1].end_s, "words": words}


def _cents(contour: F0Contour) -> list[int | None]:
    with np.errstate(invalid="ignore"):
        values = cents(contour.f0_hz) + _A4_CENTS
    return [None if np.isnan(value) else round(float(value)) for value in values]


def _key(name: str | None) -> dict[str, Any] | None:
    if name is None:
        return None
    tonic, mode = name.split(":")
    return {"tonic": _PITCH_CLASSES.index(tonic), "mode": mode}
