"""What electric guitars play that nobody else does: chugged power chords, flageolets."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .score import Chord, Grid, Note, Player, Score, pick, seeded_rng

#: How often an arpeggio of a section is played on natural harmonics.
_HARMONICS = 0.08


class Event(NamedTuple):
    """A stroke within a chord: its first step and length in steps, strength 0 to 1, technique as in ``Note``."""

    step: int
    length: int
    strength: float
    technique: str


def power_figure(grid: Grid, chord: Chord, figure: np.random.Generator) -> list[Event]:
    """The strokes of a power chord: held, pushed, driven eighths, or palm-muted with open accents."""
    n, beat = chord.n_steps, grid.steps_per_beat
    kind = str(figure.choice(["held", "pushed", "eighths", "muted", "gallop"], p=[0.18, 0.24, 0.2, 0.22, 0.16]))
    if kind == "held":
        return [Event(0, n, 0.95, "")]
    if kind == "pushed":
        return [Event(s, 4, 0.95, "") for s in range(0, n, 2) if s == 0 or figure.random() < 0.35]
    if kind == "eighths":
        return [Event(s, 2, 0.95 if s % beat == 0 else 0.75, "") for s in range(0, n, 2)]
    steps = list(range(0, n, int(pick(figure, (1, 2, 2)))))
    if kind == "gallop" and beat == 4:  # an eighth and two sixteenths
        steps = [s for s in range(n) if s % 4 != 1]
    accents = {0} | {s for s in steps if figure.random() < 0.18}
    ends = [*steps[1:], n]
    return [
        Event(s, min(e - s, 4), 0.95 if s in accents else float(figure.uniform(0.7, 0.85)),
              "" if s in accents else "palm_mute")
        for s, e in zip(steps, ends)
    ]  # fmt: skip


def harmonics(notes: list[Note], player: Player, score: Score) -> list[Note]:
    """``notes`` with those of some sections an octave higher, as natural harmonics."""
    chosen = [
        section
        for section in score.sections
        if seeded_rng(score.seed, "harmonics", player.name, section.first_bar).random() < _HARMONICS
    ]
    return [
        replace(n, midi=n.midi + 12, technique="harmonic")
        if any(s.start_s - 0.05 <= n.start_s < s.end_s - 0.05 for s in chosen)
        else n
        for n in notes
    ]
