"""Scores: what is played and when, all exact, nothing audible yet.

Times are seconds from the start of the song.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np

from .grooves import Performance
from .styles import Style

NOTE_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

#: General MIDI keys of the drum roles.
DRUM_KEYS = {
    "kick": 36, "snare": 38, "rim": 37, "clap": 39, "hat": 42, "pedal_hat": 44, "open_hat": 46, "ride": 51,
    "crash": 49, "tom_high": 50, "tom_mid": 47, "tom_low": 43, "shaker": 70, "tambourine": 54, "cowbell": 56,
}  # fmt: skip

BASS_LOW, BASS_HIGH = 26, 57


def seeded_rng(seed: int, *names: str | int) -> np.random.Generator:
    """A random generator of song ``seed`` for what ``names`` say; draws of one do not disturb the others."""
    key = tuple(zlib.crc32(str(name).encode()) for name in names)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of ``options``."""
    return options[int(rng.integers(len(options)))]


@dataclass
class Note:
    """A pitched note. ``slide`` semitones are slid through at its start (from ``midi + slide``); ``fall`` at its end.
    ``ghost``: muted, all attack and no tone. ``technique``: ``palm_mute``, ``harmonic`` or nothing."""

    start_s: float
    end_s: float
    midi: float
    velocity: float
    slide: float = 0.0
    fall: float = 0.0
    ghost: bool = False
    technique: str = ""


@dataclass
class Hit:
    """A drum stroke."""

    time_s: float
    role: str
    velocity: float


@dataclass(frozen=True)
class Chord:
    """A chord and where it sounds. ``pitch_classes``: root first."""

    start_s: float
    end_s: float
    bar: int
    step: int
    n_steps: int
    pitch_classes: tuple[int, ...]
    label: str
    tonic: int
    scale: tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """A section of the form.

    ``players``: who plays, of ``drums``, ``bass``, ``vocals`` and the names of the song's players. ``transposition``:
    semitones from the song's key. ``tempo``: times the song's tempo. ``half_time``: drums at half the pace.
    """

    label: str
    first_bar: int
    n_bars: int
    players: frozenset[str]
    start_s: float = 0.0
    end_s: float = 0.0
    transposition: int = 0
    tempo: float = 1.0
    half_time: bool = False

    @property
    def bars(self) -> range:
        return range(self.first_bar, self.first_bar + self.n_bars)


@dataclass
class Player:
    """A player of the stem ``other``: what is played (``kind``), and on which ``family`` of instruments."""

    name: str
    kind: str
    family: str
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class Slot:
    """Where a line of lyrics is sung; ``turn`` counts the lines of its section."""

    section: Section
    turn: int
    bar: int
    n_bars: int


@dataclass(frozen=True)
class Grid:
    """Metrical time. ``beat_s``: every beat and the end of the last one; ``pickup``: beats before bar 0, in bar -1."""

    beat_s: np.ndarray
    beats_per_bar: int
    steps_per_beat: int
    swing: float
    swing_unit: int
    pickup: int = 0

    @property
    def steps(self) -> int:
        """Steps a bar."""
        return self.beats_per_bar * self.steps_per_beat

    @property
    def n_bars(self) -> int:
        return (len(self.beat_s) - 1 - self.pickup) // self.beats_per_bar

    def time(self, bar: int, step: float = 0.0) -> float:
        """Seconds of a step; steps beyond the bar run on into the next ones, at most to the end."""
        beat, within = divmod(step, self.steps_per_beat)
        within = self._swung(within) / self.steps_per_beat
        index = max(0, self.pickup + bar * self.beats_per_bar + int(beat))
        if index >= len(self.beat_s) - 1:
            return float(self.beat_s[-1])
        return float(self.beat_s[index] + within * (self.beat_s[index + 1] - self.beat_s[index]))

    def _swung(self, within: float) -> float:
        if not self.swing or self.steps_per_beat != 4:
            return within
        unit = self.swing_unit
        whole, rest = divmod(within, 2 * unit)
        middle = unit * (1 + self.swing / 3)  # 4 / 3 of the unit: triplets
        rest = rest / unit * middle if rest <= unit else middle + (rest - unit) / unit * (2 * unit - middle)
        return whole * 2 * unit + rest


@dataclass
class Score:
    """A song before it is played.

    Attributes
    ----------
    tonic : int
        Pitch class of the first key.
    mode : str
        See ``MODES``.
    tuning : float
        Cents of the whole song against A = 440 Hz.
    duration_s : float
        Of which the last ``lead_out_s`` are silence.
    lineup : str
        One of ``LINEUPS``.
    chords : list[Chord]
        One after the other without gaps.
    stops : list[tuple[float, float]]
        (start_s, end_s) where everybody but the singer pauses.
    slots : list[Slot]
        Where lines are sung.
    pickup_kind : str
        Who plays before the first bar, see ``_pickup``.
    groove : Performance, optional
        The recorded performance that the drums play from its bar ``groove_bar`` on; None for a written one.
    """

    seed: int
    style: Style
    tempo: float
    tonic: int
    mode: str
    tuning: float
    grid: Grid
    duration_s: float
    lead_out_s: float
    lineup: str
    pickup_kind: str
    sections: list[Section]
    chords: list[Chord]
    stops: list[tuple[float, float]]
    slots: list[Slot]
    power: bool
    drums: list[Hit] = field(default_factory=list)
    bass: list[Note] = field(default_factory=list)
    bass_family: str = ""
    bass_kind: str = ""
    kit: str = ""
    groove: Performance | None = None
    groove_bar: int = 0
    players: list[Player] = field(default_factory=list)

    @property
    def keys(self) -> list[tuple[float, str]]:
        """``(time_s, "A:minor")`` where the key begins or changes."""
        keys: list[tuple[float, str]] = []
        for section in self.sections:
            key = f"{NOTE_NAMES[(self.tonic + section.transposition) % 12]}:{self.mode}"
            if not keys or keys[-1][1] != key:
                keys.append((section.start_s if keys else 0.0, key))
        return keys

    def section_of(self, bar: int) -> Section:
        return next(s for s in self.sections if bar in s.bars)

    def chords_of(self, bar: int) -> list[Chord]:
        return [c for c in self.chords if c.bar == bar]

    def chord_at(self, time_s: float) -> Chord:
        index = np.searchsorted(self._chord_starts, time_s + 1e-3) - 1
        return self.chords[int(np.clip(index, 0, len(self.chords) - 1))]

    def scale_at(self, time_s: float) -> tuple[int, ...]:
        """Pitch classes of the key, tonic first."""
        return self.chord_at(time_s).scale

    def tonic_at(self, time_s: float) -> int:
        """Pitch class of the tonic."""
        return self.chord_at(time_s).tonic

    @cached_property
    def _chord_starts(self) -> np.ndarray:
        return np.array([c.start_s for c in self.chords])


def nearest(midi: float, pitch_classes: tuple[int, ...]) -> int:
    """The note of ``pitch_classes`` that is nearest to ``midi``; the upper one of two."""
    return min((round(midi) + d for d in range(6, -7, -1) if (round(midi) + d) % 12 in pitch_classes),
               key=lambda m: abs(m - midi))  # fmt: skip


def line_scale(chord: Chord) -> tuple[int, ...]:
    """The key's scale without what would rub against the chord's altered tones."""
    foreign = [p for p in chord.pitch_classes if p not in chord.scale]
    return tuple(p for p in chord.scale if all((p - f) % 12 not in (1, 11) for f in foreign)) + tuple(foreign)
