"""What is known of a track besides its audio, in one form for every data set.

Times are seconds, float64, from the first sample of the mixture. F0 is in Hz with 0 = unvoiced (the convention of
mir_eval), notes are MIDI numbers, chords are Harte labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class F0(NamedTuple):
    """The F0 of one voice: ``times_s`` and ``f0_hz``, float64 of one length, times increasing, 0 Hz = unvoiced."""

    times_s: np.ndarray
    f0_hz: np.ndarray


class Beats(NamedTuple):
    """``beats_s``, increasing, and ``beat_positions``: int64, 1-indexed in the bar, 1 = downbeat, 0 = not known."""

    beats_s: np.ndarray
    beat_positions: np.ndarray


class Notes(NamedTuple):
    """Notes in order of their start: ``start_s, end_s, midi`` (float64, fractions are cents) and ``voice`` (int64).

    ``midi`` is NaN for a note without a pitch (a drum without a note number). ``voice`` counts singers from 0.
    """

    start_s: np.ndarray
    end_s: np.ndarray
    midi: np.ndarray
    voice: np.ndarray


class Segment(NamedTuple):
    """A labelled stretch of time: a word, a line, a chord, a section. A time that is not known is NaN."""

    start_s: float
    end_s: float
    label: str


class Tempo(NamedTuple):
    """A tempo curve: ``bpm[i]`` holds from ``times_s[i]`` on; float64."""

    times_s: np.ndarray
    bpm: np.ndarray


@dataclass(frozen=True)
class Lyrics:
    """Words and lines as sung, in the order of their start; either may be empty. ``language`` as the data set says."""

    words: tuple[Segment, ...] = ()
    lines: tuple[Segment, ...] = ()
    language: str | None = None

    @property
    def timed(self) -> bool:
        """Whether every word, or without words every line, has a start time."""
        segments = self.words or self.lines
        return bool(segments) and all(np.isfinite(segment.start_s) for segment in segments)


@dataclass(frozen=True)
class Annotations:
    """Everything a data set says of one track; what it does not say is empty or None.

    Attributes
    ----------
    f0 : dict[str, tuple[F0, ...]], default={}
        ``{stem: (F0 of the lead, F0 of the next voice, ...)}``. The key is a stem, or the name of the annotation where
        nobody says which stem it follows (``melody``).
    beats : Beats, optional
        Of the whole track.
    notes : dict[str, Notes], default={}
        ``{stem: Notes}``.
    onsets_s : dict[str, np.ndarray], default={}
        ``{stem: (n_onsets,) float64}``.
    chords, sections : tuple[Segment, ...], default=()
        Consecutive segments.
    key : str, optional
        ``tonic:mode``, for example ``G#:minor``; of the track, or the first where it modulates.
    keys : tuple[Segment, ...], default=()
        Where it modulates, for data sets that say so; ``end_s`` of the last is NaN.
    tempo : Tempo, optional
        The tempo curve, for data sets that state one.
    lyrics : Lyrics, optional
        Words and lines.
    choices : dict[str, Any], default={}
        What a generator drew to make the song.
    """

    f0: dict[str, tuple[F0, ...]] = field(default_factory=dict)
    beats: Beats | None = None
    notes: dict[str, Notes] = field(default_factory=dict)
    onsets_s: dict[str, np.ndarray] = field(default_factory=dict)
    chords: tuple[Segment, ...] = ()
    sections: tuple[Segment, ...] = ()
    key: str | None = None
    keys: tuple[Segment, ...] = ()
    tempo: Tempo | None = None
    lyrics: Lyrics | None = None
    choices: dict[str, Any] = field(default_factory=dict)


def make_f0(times_s: Any, f0_hz: Any) -> F0:
    """F0 from two sequences; unvoiced may be None, NaN, 0 or negative.

    Raises ValueError if lengths differ or times do not increase.
    """
    times, f0 = np.asarray(times_s, np.float64), np.asarray(f0_hz, np.float64)
    if times.ndim != 1 or times.shape != f0.shape:
        raise ValueError(f"{times.shape} times and {f0.shape} F0 values")
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise ValueError("F0 times must increase")
    if np.any(np.isinf(f0)):
        raise ValueError("infinite F0")
    return F0(times, np.where(f0 > 0, f0, 0.0))


def make_beats(beats_s: Any, beat_positions: Any = None) -> Beats:
    """Beats from one or two sequences; without positions all of them are 0. Raises ValueError as :func:`make_f0`."""
    beats = np.asarray(beats_s, np.float64)
    positions = np.zeros(len(beats)) if beat_positions is None else np.asarray(beat_positions, np.float64)
    if beats.ndim != 1 or beats.shape != positions.shape:
        raise ValueError(f"{beats.shape} beats and {positions.shape} beat positions")
    if not np.all(np.isfinite(beats)) or np.any(np.diff(beats) <= 0):
        raise ValueError("beat times must increase")
    if np.any(positions < 0) or np.any(positions != np.round(positions)):
        raise ValueError("beat positions must be whole numbers from 0")
    return Beats(beats, positions.astype(np.int64))


def make_notes(start_s: Any, end_s: Any, midi: Any, voice: Any = None) -> Notes:
    """Notes in the order of their start. Raises ValueError if lengths differ or a note ends before it starts."""
    start, end, pitch = (np.asarray(values, np.float64) for values in (start_s, end_s, midi))
    voices = np.zeros(len(start), np.int64) if voice is None else np.asarray(voice, np.int64)
    if start.ndim != 1 or not start.shape == end.shape == pitch.shape == voices.shape:
        raise ValueError(f"{start.shape} starts, {end.shape} ends, {pitch.shape} pitches, {voices.shape} voices")
    if not np.all(end >= start):
        raise ValueError("a note ends before it starts")
    order = np.argsort(start, kind="stable")
    return Notes(start[order], end[order], pitch[order], voices[order])


def hz_to_midi(hz: Any) -> np.ndarray:
    """MIDI note numbers with fractions, A4 = 69 = 440 Hz; NaN where not positive."""
    hz = np.asarray(hz, np.float64)
    return 69.0 + 12.0 * np.log2(np.where(hz > 0, hz, np.nan) / 440.0)


def midi_to_hz(midi: Any) -> np.ndarray:
    """Hz of MIDI note numbers; 0 where the number is not positive (the unvoiced of ``.pv`` files)."""
    midi = np.asarray(midi, np.float64)
    return np.where(midi > 0, 440.0 * 2 ** ((midi - 69.0) / 12.0), 0.0)
