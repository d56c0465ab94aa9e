"""Chords."""

from __future__ import annotations

import numpy as np

from .score import NOTE_NAMES, Chord, Score, pick
from .styles import MODES, PROGRESSIONS

#: Harte's shorthand by the semitones above the root.
QUALITIES = {
    (4, 7): "maj", (3, 7): "min", (3, 6): "dim", (4, 8): "aug", (5, 7): "sus4", (2, 7): "sus2", (7,): "5",
    (4, 7, 11): "maj7", (4, 7, 10): "7", (3, 7, 10): "min7", (3, 6, 10): "hdim7", (3, 7, 11): "minmaj7",
    (3, 6, 9): "dim7", (4, 8, 11): "aug(7)", (4, 8, 10): "aug(b7)",
}  # fmt: skip


def harmony(score: Score, rng: np.random.Generator) -> list[Chord]:
    grid, chords = score.grid, []
    steps = grid.steps
    sevenths = rng.random() < score.style.sevenths
    plans: dict[str, tuple[str, int]] = {}
    for section in score.sections:
        label = "verse" if section.label in ("intro", "outro") else section.label
        if label not in plans:
            options = PROGRESSIONS[score.mode]
            rate = int(rng.choice([1, 2], p=[0.8, 0.2])) if grid.beats_per_bar == 4 else 1  # chords a bar
            plans[label] = str(pick(rng, options)), rate
        progression, rate = plans[label]
        for k, bar in enumerate(section.bars):
            for half in range(rate):
                degree = int(progression[(k * rate + half) % len(progression)])
                step, n_steps = half * steps // rate, steps // rate
                classes = _chord_tones(score, degree, sevenths, rng)
                classes = tuple((p + section.transposition) % 12 for p in classes)
                start, end = grid.time(bar, step), grid.time(bar, step + n_steps)
                tonic = (score.tonic + section.transposition) % 12
                scale = tuple((tonic + s) % 12 for s in MODES[score.mode])
                chords.append(Chord(start, end, bar, step, n_steps, classes, chord_label(classes), tonic, scale))
    return chords


def _chord_tones(score: Score, degree: int, seventh: bool, rng: np.random.Generator) -> tuple[int, ...]:
    """Pitch classes in the song's first key, root first."""
    scale = [(score.tonic + s) % 12 for s in MODES[score.mode]]
    tones = [scale[(degree + 2 * i) % 7] for i in range(4 if seventh else 3)]
    if score.power:
        return tones[0], (tones[0] + 7) % 12
    if score.mode == "minor" and degree == 4 and rng.random() < 0.6:
        tones[1] = (score.tonic + 11) % 12  # the leading tone
    elif not seventh and rng.random() < 0.05 and (tones[0] + 5) % 12 in scale and (tones[0] + 7) % 12 in scale:
        tones[1] = (tones[0] + 5) % 12
    return tuple(tones)


def chord_label(pitch_classes: tuple[int, ...]) -> str:
    """Harte's label of pitch classes, root first."""
    root = pitch_classes[0]
    return f"{NOTE_NAMES[root]}:{QUALITIES[tuple((p - root) % 12 for p in pitch_classes[1:])]}"
