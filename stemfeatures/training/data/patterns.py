"""Simple musical patterns: what a drummer, a bass player and a band would play in a few bars.

Everything is a list of events in seconds, drawn from a random generator; beats and bars are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
PROGRESSIONS = (
    (0, 4, 5, 3), (0, 3, 4, 4), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 0, 4), (0, 0, 3, 4),
    (1, 4, 0, 0), (0, 6, 3, 0), (0, 2, 3, 4), (5, 4, 3, 4), (0, 0, 0, 0), (0, 6, 5, 4),
)  # fmt: skip

#: Steps of a bar (16 in 4/4; 12 in 3/4 and 6/8): {role: [(step, probability)]}.
DRUM_STYLES: dict[str, tuple[int, dict[str, list[tuple[int, float]]]]] = {
    "rock": (16, {"kick": [(0, 1), (8, 0.8), (6, 0.3), (10, 0.4), (14, 0.2), (2, 0.1)], "snare": [(4, 1), (12, 1)]}),
    "house": (
        16,
        {
            "kick": [(0, 1), (4, 1), (8, 1), (12, 1)],
            "snare": [(4, 0.8), (12, 0.8)],
            "open_hat": [(2, 0.8), (6, 0.8), (10, 0.8), (14, 0.8)],
        },
    ),
    "funk": (
        16,
        {"kick": [(0, 1), (3, 0.4), (6, 0.5), (10, 0.7), (13, 0.3)], "snare": [(4, 1), (12, 1), (7, 0.3), (9, 0.3)]},
    ),
    "half": (16, {"kick": [(0, 1), (3, 0.3), (10, 0.5), (14, 0.2)], "snare": [(8, 1)]}),
    "onedrop": (16, {"kick": [(8, 1), (0, 0.15)], "snare": [(8, 0.9), (14, 0.15)]}),
    "hiphop": (16, {"kick": [(0, 1), (7, 0.5), (10, 0.6), (11, 0.2), (2, 0.3)], "snare": [(4, 1), (12, 1)]}),
    "punk": (
        16,
        {"kick": [(0, 1), (2, 0.2), (4, 0.5), (8, 1), (12, 0.5), (6, 0.5), (14, 0.4)], "snare": [(4, 1), (12, 1)]},
    ),
    "train": (
        16,
        {
            "kick": [(0, 1), (8, 1)],
            "snare": [(2, 0.6), (4, 1), (6, 0.6), (7, 0.4), (10, 0.6), (12, 1), (14, 0.6), (15, 0.4)],
        },
    ),
    "sparse": (16, {"kick": [(0, 0.8), (8, 0.4)], "snare": [(8, 0.3), (12, 0.5)]}),
    "waltz": (12, {"kick": [(0, 1), (6, 0.15)], "snare": [(4, 0.9), (8, 0.9)]}),
    "six": (12, {"kick": [(0, 1), (4, 0.3), (10, 0.3)], "snare": [(6, 1)]}),
}
HAT_GRIDS = ((4,), (2,), (2,), (1,), ())


@dataclass
class Context:
    """What all instruments of one excerpt share.

    ``bar_times`` : start of each bar, from before the excerpt to after its end. ``steps`` : steps a bar.
    ``beat_steps`` : steps a beat. ``chords`` : for each bar MIDI pitch classes, root first.
    """

    duration: float
    tempo: float
    style: str
    steps: int
    beat_steps: int
    step: float
    bar_times: np.ndarray
    swing: float
    chords: list[tuple[int, ...]]
    tuning: float

    def time(self, bar: int, step: float) -> float:
        """Seconds of a step; off-beat eighths come late by the swing."""
        unit = 2 if self.steps == 16 else 1
        late = self.swing * self.step * unit if self.steps == 16 and step % (2 * unit) == unit else 0.0
        return float(self.bar_times[bar] + step * self.step + late)

    def beats(self) -> tuple[np.ndarray, np.ndarray]:
        """Beat times within the excerpt and their 1-indexed places in the bar."""
        times, places = [], []
        for bar in range(len(self.bar_times)):
            for k in range(self.steps // self.beat_steps):
                t = float(self.bar_times[bar] + k * self.beat_steps * self.step)
                if 0 <= t < self.duration:
                    times.append(t)
                    places.append(k + 1)
        return np.array(times), np.array(places, int)


@dataclass
class Hit:
    """A drum stroke."""

    time: float
    role: str
    velocity: float


@dataclass
class Note:
    """A pitched note; ``midi`` may be fractional."""

    time: float
    duration: float
    midi: float
    velocity: float


def draw_context(duration: float, rng: np.random.Generator) -> Context:
    """A tempo, metre, groove and chord sequence."""
    style = str(rng.choice(list(DRUM_STYLES), p=_STYLE_WEIGHTS))
    steps, _ = DRUM_STYLES[style]
    tempo = float(np.clip(np.exp(rng.normal(np.log(112), 0.28)), 56, 200))
    beat_steps = 6 if style == "six" else 4
    if style == "six":
        tempo = float(np.clip(tempo * 0.6, 40, 90))
    step = 60.0 / tempo / beat_steps
    bar = steps * step
    start = -rng.uniform(0, 1) * bar
    bars = int(np.ceil((duration - start) / bar)) + 1
    root = int(rng.integers(12))
    scale = MAJOR if rng.random() < 0.6 else MINOR
    progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    first = int(rng.integers(4))
    seventh = rng.random() < 0.25
    chords = []
    for b in range(bars):
        degree = progression[(b + first) % 4]
        size = 4 if seventh else 3
        chords.append(tuple((root + scale[(degree + 2 * i) % 7]) % 12 for i in range(size)))
    return Context(
        duration=duration, tempo=tempo, style=style, steps=steps, beat_steps=beat_steps, step=step,
        bar_times=start + bar * np.arange(bars), swing=float(rng.choice([0.0, 0.0, 0.0, 0.17, 0.33])),
        chords=chords, tuning=float(rng.normal(0, 0.08)),
    )  # fmt: skip


_STYLE_WEIGHTS = np.array([0.24, 0.14, 0.1, 0.08, 0.06, 0.1, 0.06, 0.05, 0.05, 0.07, 0.05])


def drum_hits(context: Context, rng: np.random.Generator) -> list[Hit]:
    """A groove in the context's style with human timing, ghost notes, fills and cymbals."""
    _, pattern = DRUM_STYLES[context.style]
    chosen = {role: [s for s, p in steps if rng.random() < p] for role, steps in pattern.items()}
    grid = HAT_GRIDS[rng.integers(len(HAT_GRIDS))]
    cymbal = "ride" if rng.random() < 0.2 else "hat"
    loose = rng.uniform(0.001, 0.008)
    hits: list[Hit] = []

    def strike(bar: int, step: float, role: str, velocity: float) -> None:
        time = context.time(bar, step) + rng.normal(0, loose)
        hits.append(Hit(time, role, float(np.clip(velocity * rng.uniform(0.85, 1.1), 0.05, 1.0))))

    for bar in range(len(context.bar_times)):
        fill = rng.random() < 0.12
        for role, steps in chosen.items():
            for step in steps:
                if not (fill and step >= context.steps * 3 // 4):
                    strike(bar, step, role, 1.0 if role != "open_hat" else 0.6)
        if fill:
            for step in range(context.steps * 3 // 4, context.steps):
                if rng.random() < 0.75:
                    strike(bar, step, str(rng.choice(["tom", "snare", "tom"])), rng.uniform(0.5, 1))
        for every in grid:
            for step in range(0, context.steps, every):
                accent = 0.8 if step % context.beat_steps == 0 else 0.5
                strike(bar, step, cymbal, accent * rng.uniform(0.7, 1.0))
        for step in range(context.steps):
            if rng.random() < 0.02:
                strike(bar, step, "snare", 0.2)
            if rng.random() < 0.015:
                strike(bar, step, "perc", 0.5)
        if rng.random() < 0.15:
            strike(bar, 0, "crash", 0.9)
    return hits


def bass_notes(context: Context, rng: np.random.Generator) -> list[Note]:
    """A bass line on the chords' roots: held, pulsing, syncopated, octaves or walking."""
    kind = str(rng.choice(["held", "pulse", "groove", "octaves", "walk"], p=[0.15, 0.3, 0.3, 0.1, 0.15]))
    low = int(rng.integers(28, 36))
    gate = rng.uniform(0.5, 1.0)
    _, pattern = DRUM_STYLES[context.style]
    groove = sorted({s for s, p in pattern["kick"] if rng.random() < p} | {0})
    groove += [s for s in range(2, context.steps, 2) if s not in groove and rng.random() < 0.15]
    notes = []
    for bar, chord in enumerate(context.chords):
        root = low + (chord[0] - low) % 12
        if kind == "held":
            steps = [0]
        elif kind == "pulse" or kind == "octaves":
            steps = list(range(0, context.steps, 2))
        elif kind == "walk":
            steps = list(range(0, context.steps, context.beat_steps if context.beat_steps == 4 else 3))
        else:
            steps = sorted(groove)
        for i, step in enumerate(steps):
            midi = root
            if kind == "octaves" and i % 2:
                midi = root + 12
            elif kind == "walk" and i:
                midi = low + (chord[i % len(chord)] - low) % 12
            elif kind == "groove" and rng.random() < 0.25:
                midi = root + int(rng.choice([7, 12, -5, 5]))
            end = steps[i + 1] if i + 1 < len(steps) else context.steps
            start = context.time(bar, step)
            length = (context.time(bar, end) - start) * gate
            notes.append(
                Note(start + rng.normal(0, 0.004), max(length, 0.06), midi + context.tuning, rng.uniform(0.7, 1))
            )
    return notes


def chord_notes(context: Context, rng: np.random.Generator, *, low: int = 52) -> list[Note]:
    """Block chords, strums, stabs, arpeggios or pads on the chord sequence."""
    kind = str(rng.choice(["pad", "block", "strum", "stab", "arpeggio"], p=[0.2, 0.2, 0.25, 0.1, 0.25]))
    low += int(rng.integers(-5, 8))
    if kind == "strum":
        steps = [s for s in range(0, context.steps, 2) if s == 0 or rng.random() < 0.6]
    elif kind == "stab":
        steps = [s for s in range(context.steps) if s % context.beat_steps == context.beat_steps // 2]
    elif kind == "arpeggio":
        steps = list(range(0, context.steps, int(rng.choice([1, 2, 2]))))
    elif kind == "block":
        steps = list(range(0, context.steps, context.beat_steps * int(rng.choice([1, 2]))))
    else:
        steps = [0]
    notes = []
    spread = 0.012 if kind == "strum" else 0.004
    for bar, chord in enumerate(context.chords):
        voicing = sorted(low + (pc - low) % 12 for pc in chord)
        if rng.random() < 0.5:
            voicing.append(voicing[0] + 12)
        for i, step in enumerate(steps):
            end = steps[i + 1] if i + 1 < len(steps) else context.steps
            start = context.time(bar, step)
            length = context.time(bar, end) - start
            if kind == "stab":
                length = min(length, 0.15)
            chosen = [voicing[i % len(voicing)]] if kind == "arpeggio" else voicing
            velocity = rng.uniform(0.6, 1)
            for j, midi in enumerate(chosen):
                notes.append(Note(start + j * spread, length + 0.05, midi + context.tuning, velocity))
    return notes


def melody_notes(context: Context, rng: np.random.Generator, *, centre: int = 67) -> list[Note]:
    """A line of chord and passing tones with rests."""
    notes, place = [], centre + int(rng.integers(-4, 5))
    for bar, chord in enumerate(context.chords):
        step = 0
        while step < context.steps:
            length = int(rng.choice([1, 2, 2, 4, 4, 6, 8]))
            if rng.random() < 0.75:
                if rng.random() < 0.6:
                    target = chord[rng.integers(len(chord))]
                    place = place + (target - place + 6) % 12 - 6
                else:
                    place += int(rng.choice([-2, -1, 1, 2]))
                place = int(np.clip(place, centre - 9, centre + 12))
                start = context.time(bar, step)
                notes.append(Note(start, length * context.step * 0.95, place + context.tuning, rng.uniform(0.6, 1)))
            step += length
    return notes
