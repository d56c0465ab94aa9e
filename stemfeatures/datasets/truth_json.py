"""``truth.json``: the exact truth of a generated song.

::

    f0              {"vocals": [{"times_s": [...], "f0_hz": [...]}, one a voice, lead first], "bass": {...}}
    notes           {stem: [{"start_s": , "end_s": , "midi": , ["voice": ]}, ...]}
    onsets_s        {stem: [...]}
    beats_s, beat_positions, downbeats_s
    chords          [{"start_s": , "end_s": , "label": }, ...]                Harte labels
    key             "A:minor", the first
    keys            [{"time_s": , "key": }, ...]                              where one begins
    tempo           [{"time_s": , "bpm": }, ...]
    sections        [{"start_s": , "end_s": , "label": }, ...]
    lyrics          {"words": [{"word": , "start_s": , "end_s": }], "lines": [{"text": , "start_s": , "end_s": }]}
    choices         what was drawn at random

All keys may be missing. Unvoiced F0 is 0 or null.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CatalogError
from .annotations import F0, Annotations, Lyrics, Notes, Segment, Tempo, make_beats, make_f0, make_notes


def read_truth_json(path: Path) -> Annotations:
    """Annotations of a ``truth.json``. Raises CatalogError naming the file and the key that is wrong."""
    return _read(path, path.stat().st_mtime_ns)


def lead_singer(known: Annotations) -> str | None:
    """Who sings a generated song, ``choices["vocals"]["voices"][0]["singer"]``; None for instrumentals.

    Harmonies may be sung by others: a split by lead singer can still have a voice of the test in a choir of training.
    """
    vocals = known.choices.get("vocals") or {}
    voices = vocals.get("voices") or [{}]
    return voices[0].get("singer")


@lru_cache(maxsize=4)
def _read(path: Path, _mtime_ns: int) -> Annotations:
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CatalogError(f"not readable as JSON: {error}", source=str(path)) from error
    if not isinstance(truth, dict):
        raise CatalogError("expected a JSON object", source=str(path))
    parsers: dict[str, Callable[[Any], Any]] = {
        "f0": lambda value: {stem: _voices(voices) for stem, voices in value.items()},
        "notes": lambda value: {stem: _notes(rows) for stem, rows in value.items()},
        "onsets_s": lambda value: {stem: np.asarray(times, np.float64) for stem, times in value.items()},
        "beats_s": lambda value: make_beats(value, truth.get("beat_positions")),
        "chords": _segments,
        "sections": _segments,
        "key": lambda value: None if value is None else str(value),
        "keys": _keys,
        "tempo": _tempo,
        "lyrics": _lyrics,
        "choices": dict,
    }
    found: dict[str, Any] = {}
    for key, parse in parsers.items():
        if truth.get(key) is not None:
            try:
                found["beats" if key == "beats_s" else key] = parse(truth[key])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise CatalogError(f"{key}: {type(error).__name__}: {error}", source=str(path)) from error
    return Annotations(**found)


def _voices(voices: Any) -> tuple[F0, ...]:
    if isinstance(voices, dict):
        voices = [voices]
    return tuple(make_f0(voice["times_s"], [hz or 0.0 for hz in voice["f0_hz"]]) for voice in voices)


def _notes(rows: list[dict[str, Any]]) -> Notes:
    midi = [row.get("midi", row.get("pitch")) for row in rows]
    return make_notes(
        [row["start_s"] for row in rows],
        [row["end_s"] for row in rows],
        [np.nan if number is None else float(number) for number in midi],
        [row.get("voice", 0) for row in rows],
    )


def _segments(rows: list[dict[str, Any]], name: str = "label") -> tuple[Segment, ...]:
    return tuple(Segment(float(row["start_s"]), float(row["end_s"]), str(row[name])) for row in rows)


def _keys(rows: list[dict[str, Any]]) -> tuple[Segment, ...]:
    starts = [float(row["time_s"]) for row in rows]
    if any(b <= a for a, b in zip(starts, starts[1:])):
        raise ValueError("times must increase")
    return tuple(Segment(a, b, str(row["key"])) for a, b, row in zip(starts, [*starts[1:], np.nan], rows))


def _tempo(rows: list[dict[str, float]]) -> Tempo:
    return Tempo(np.array([row["time_s"] for row in rows], float), np.array([row["bpm"] for row in rows], float))


def _lyrics(lyrics: dict[str, Any]) -> Lyrics:
    return Lyrics(
        _segments(lyrics.get("words", []), "word"), _segments(lyrics.get("lines", []), "text"), lyrics.get("language")
    )
