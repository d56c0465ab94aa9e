"""Lyrics in time as rows of tables, and what they say of the singing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..constants import FRAME_RATE
from ..descriptors.f0 import cents, notes
from ..descriptors.types import F0Contour, TrackDescription
from .acoustic_model import VOWELS
from .alignment import AlignedWord, Alignment
from .formats import sung_lines

#: A word whose first vowel is no further from a beat than this is on it.
ON_BEAT = 1 / 8


def describe_lyrics(
    alignment: Alignment | None, source: str | None, description: TrackDescription
) -> dict[str, Mapping[str, Sequence[Any]]]:
    """Columns of the tables of :mod:`stemfeatures.descriptors.lyric_tables`.

    Parameters
    ----------
    alignment : Alignment | None
        Lyrics in time; None where none were found.
    source : str | None
        Where they were found.
    description : TrackDescription
        Of the track: F0 of the vocals and beats.

    Returns
    -------
    dict[str, Mapping[str, Sequence[Any]]]
        Columns by table: ``lyrics`` and ``lyric_text`` (a word a place), ``lyric_lines``, ``lyric_songs`` (one place).
    """
    if alignment is None:
        return {"lyric_songs": _transposed([{"lyrics_status": "no_lyrics", "source": source}])}
    blocks = [words for _, words in sung_lines(alignment)]
    contour, beats_s = description.contours["vocals"].on_frames(), np.asarray(description.events.beats_s)
    found = _steady_notes(contour)
    words = [
        {"line": line, **_word(word, found, beats_s)}
        for line, block in enumerate(blocks)
        for word in block
    ]  # fmt: skip
    lines = [
        _line(line, block, contour) | _together([w for w in words if w["line"] == line])
        for line, block in enumerate(blocks)
    ]
    song = {"lyrics_status": alignment.status, "source": source, "score": alignment.score}
    if words:
        song |= _song(alignment, lines, words)
    return {
        "lyrics": _transposed([{"word": k, **word} for k, word in enumerate(words)]),
        "lyric_text": _transposed(
            [{"word": k, "text": word.word} for k, word in enumerate(w for b in blocks for w in b)]
        ),
        "lyric_lines": _transposed(lines),
        "lyric_songs": _transposed([song]),
    }


def _transposed(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _steady_notes(contour: F0Contour) -> np.ndarray:
    """(n_notes, 2) seconds at which the steady notes begin and end."""
    with np.errstate(invalid="ignore"):
        frames = notes(cents(contour.f0_hz))
    return frames[:, :2] / FRAME_RATE


def _word(word: AlignedWord, notes_s: np.ndarray, beats_s: np.ndarray) -> dict[str, Any]:
    assert word.start_s is not None
    assert word.end_s is not None
    vowel_s = next((phone.start_s for phone in word.phones if phone.phone in VOWELS), None)
    shared_s = np.minimum(notes_s[:, 1], word.end_s) - np.maximum(notes_s[:, 0], word.start_s)
    return {
        "token": word.index,
        "start_s": word.start_s,
        "end_s": word.end_s,
        "confidence": word.confidence,
        "vowel_s": vowel_s,
        "n_notes": int((shared_s > np.minimum(notes_s[:, 1] - notes_s[:, 0], word.end_s - word.start_s) / 2).sum()),
        "beat_offset": None if vowel_s is None else beat_offset(vowel_s, beats_s),
    }


def beat_offset(time_s: float, beats_s: np.ndarray) -> float | None:
    """From the nearest beat to a time, in beats.

    Parameters
    ----------
    time_s : float
        Seconds.
    beats_s : np.ndarray
        (n_beats,) increasing.

    Returns
    -------
    float | None
        -0.5 to 0.5; None before the first beat and after the last.

    Examples
    --------
    >>> beat_offset(1.25, np.array([0.0, 1.0, 2.0]))
    0.25
    """
    after = int(np.searchsorted(beats_s, time_s, side="right"))
    if not 0 < after < len(beats_s):
        return None
    before_s, after_s = float(beats_s[after - 1]), float(beats_s[after])
    phase = (time_s - before_s) / (after_s - before_s)
    return phase - round(phase)


def _line(line: int, block: Sequence[AlignedWord], contour: F0Contour) -> dict[str, Any]:
    start_s, end_s = block[0].start_s, block[-1].end_s
    assert start_s is not None
    assert end_s is not None
    hz = contour.f0_hz[(contour.times_s >= start_s) & (contour.times_s < end_s)]
    hz = hz[np.isfinite(hz)]
    low, high = np.percentile(hz, [5, 95]).tolist() if len(hz) else (None, None)
    return {
        "line": line,
        "text_line": block[0].line,
        "start_s": start_s,
        "end_s": end_s,
        "n_words": len(block),
        "words_per_s": len(block) / (end_s - start_s) if end_s > start_s else None,
        "f0_low_hz": low,
        "f0_high_hz": high,
        "f0_range_semitones": None if low is None or high is None else 12 * math.log2(high / low),
    }


def _together(words: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Means over words."""
    counts = [word["n_notes"] for word in words if word["n_notes"]]
    offsets = [abs(word["beat_offset"]) for word in words if word["beat_offset"] is not None]
    return {
        "notes_per_word": float(np.mean(counts)) if counts else None,
        "on_beat_ratio": float(np.mean(np.array(offsets) <= ON_BEAT)) if offsets else None,
    }


def _song(
    alignment: Alignment, lines: Sequence[Mapping[str, Any]], words: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    in_lines_s = sum(line["end_s"] - line["start_s"] for line in lines)
    sung_s = sum(word["end_s"] - word["start_s"] for word in words)
    ranges = [line["f0_range_semitones"] for line in lines if line["f0_range_semitones"] is not None]
    return {
        "n_words": len(words),
        "words_per_s": len(words) / in_lines_s if in_lines_s > 0 else None,
        "sung_ratio": min(sung_s / alignment.duration_s, 1.0) if alignment.duration_s else None,
        **_together(words),
        "line_range_semitones": float(np.median(ranges)) if ranges else None,
    }
