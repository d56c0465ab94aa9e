"""What the bass plays: figures over the chords, slides, ghost notes, pick-ups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .score import BASS_HIGH, BASS_LOW, Chord, Note, Score, nearest, pick, seeded_rng


def bass_line(score: Score, rng: np.random.Generator) -> list[Note]:
    grid, kind = score.grid, score.bass_kind
    low = int(rng.integers(28, 34)) if score.bass_family != "sub_bass" else int(rng.integers(26, 31))
    gate = float(rng.uniform(0.55, 0.98))
    slides = float(rng.choice([0.0, 0.05, 0.2], p=[0.35, 0.45, 0.2]))
    kicks = _kick_steps(score) if score.groove is not None else {}
    notes: list[Note] = []
    if score.pickup_kind == "line" and "bass" in score.sections[0].players:
        notes = pickup_line(score, low + (score.chords[0].pitch_classes[0] - low) % 12, BASS_LOW, rng)
    for section in score.sections:
        if "bass" not in section.players:
            continue
        variant = int(seeded_rng(score.seed, "bass-figure", section.label).integers(1 << 30))
        for bar in section.bars:
            for chord in score.chords_of(bar):
                following = score.chord_at(chord.end_s + 0.01)
                figure = _Figure(score, chord, following, low, np.random.default_rng(variant), rng, kicks)
                for step, length, midi, velocity, ghost in _FIGURES[kind](figure):
                    midi = int(midi)
                    while midi > BASS_HIGH:
                        midi -= 12
                    while midi < BASS_LOW:
                        midi += 12
                    start = grid.time(bar, step) + rng.normal(0, 0.4 * score.style.loose) / 1000
                    end = grid.time(bar, step + length)
                    held = 0.07 if ghost else max(0.08, (end - start) * min(1.0, gate * rng.uniform(0.9, 1.1)))
                    slide = fall = 0.0
                    if rng.random() < slides and not ghost and held > 0.2:
                        if rng.random() < 0.7:
                            slide = float(pick(rng, (-5, -3, -2, -1, 2)))
                        else:
                            fall = float(rng.uniform(2, 7))
                    notes.append(Note(max(start, 0.0), start + held, midi, velocity, slide, fall, ghost))
    notes.sort(key=lambda n: n.start_s)
    for note, later in zip(notes, notes[1:]):  # one string at a time
        note.end_s = min(note.end_s, later.start_s - 0.004)
    return [n for n in notes if n.end_s - n.start_s > 0.045]


def _kick_steps(score: Score) -> dict[int, list[int]]:
    """The steps nearest to the strokes of the kick drum, by bar."""
    grid = score.grid
    times = np.array([h.time_s for h in score.drums if h.role == "kick" and h.velocity > 0.3])
    steps: dict[int, list[int]] = {}
    for bar in range(grid.n_bars):
        places = np.array([grid.time(bar, s) for s in range(grid.steps + 1)])
        inside = times[(times > places[0] - 0.04) & (times < places[-1] - 0.04)]
        steps[bar] = sorted({int(np.argmin(np.abs(places[:-1] - t))) for t in inside})
    return steps


def pickup_line(score: Score, target: int, lowest: int, rng: np.random.Generator) -> list[Note]:
    """Notes that lead up or down the scale into ``target`` on the first downbeat."""
    grid, scale = score.grid, score.chords[0].scale
    pace = 2 if grid.steps_per_beat == 4 and rng.random() < 0.6 else grid.steps_per_beat
    steps = range(grid.steps - grid.pickup * grid.steps_per_beat, grid.steps, pace)
    direction = -1 if target - 2 * len(steps) >= lowest and rng.random() < 0.6 else 1
    notes = []
    for k, step in enumerate(steps):
        start, end = grid.time(-1, step), grid.time(-1, step + pace)
        midi = nearest(target + direction * 1.8 * (len(steps) - k), scale)
        notes.append(Note(start, start + 0.9 * (end - start), midi, float(rng.uniform(0.7, 0.95))))
    return notes


_BassEvent = tuple[float, float, int, float, bool]


@dataclass(frozen=True)
class _Figure:
    """The bass under one chord: its tones, and two random generators, of which ``figure`` repeats from bar to bar."""

    score: Score
    chord: Chord
    following: Chord
    low: int
    figure: np.random.Generator
    rng: np.random.Generator
    kicks: dict[int, list[int]]

    @property
    def root(self) -> int:
        return self._above_low(self.chord.pitch_classes[0])

    @property
    def fifth(self) -> int:
        classes = self.chord.pitch_classes
        return self.root + (classes[-1 if len(classes) < 3 else 2] - self.root) % 12

    @property
    def target(self) -> int:
        """The root of the chord that follows."""
        return self._above_low(self.following.pitch_classes[0])

    @property
    def tones(self) -> list[int]:
        return [self.root + (p - self.root) % 12 for p in self.chord.pitch_classes]

    def _above_low(self, pitch_class: int) -> int:
        return self.low + (pitch_class - self.low) % 12

    def run(self, steps: list[int], midi: int | list[int], velocity: float = 0.85) -> list[_BassEvent]:
        """Notes on these steps of the chord, each up to the next."""
        ends = [*steps[1:], self.chord.n_steps]
        pitches = midi if isinstance(midi, list) else [midi] * len(steps)
        first, rng = self.chord.step, self.rng
        return [
            (first + s, e - s, p, velocity * rng.uniform(0.88, 1.1), False) for s, e, p in zip(steps, ends, pitches)
        ]


def _roots(f: _Figure) -> list[_BassEvent]:
    steps = list(range(0, f.chord.n_steps, _EIGHTH))
    return f.run(steps, [f.root if f.rng.random() < 0.93 else f.fifth for _ in steps])


def _long(f: _Figure) -> list[_BassEvent]:
    n = f.chord.n_steps
    return f.run([0] if f.figure.random() < 0.6 or n <= f.score.grid.steps_per_beat else [0, n // 2], f.root)


def _808(f: _Figure) -> list[_BassEvent]:
    n = f.chord.n_steps
    steps = sorted({0} | {int(s) for s in f.figure.choice(np.arange(2, n), min(2, n // 6), replace=False)})
    return f.run(steps, [f.root if f.figure.random() < 0.75 else f.root + 12 for _ in steps], 0.95)


def _octaves(f: _Figure) -> list[_BassEvent]:
    steps = list(range(0, f.chord.n_steps, _EIGHTH))
    return f.run(steps, [f.root + 12 * (i % 2) for i in range(len(steps))])


def _offbeat(f: _Figure) -> list[_BassEvent]:
    steps = range(_EIGHTH, f.chord.n_steps, f.score.grid.steps_per_beat)
    return [(f.chord.step + s, _EIGHTH, f.root, 0.9, False) for s in steps]


def _sixteenths(f: _Figure) -> list[_BassEvent]:
    beat, steps = f.score.grid.steps_per_beat, range(f.chord.n_steps)
    pitches = [f.root if f.figure.random() < 0.8 else f.root + int(pick(f.figure, (12, 7, 10))) for _ in steps]
    return f.run([s for s in steps if s % beat or beat != 4], [p for s, p in zip(steps, pitches) if s % beat])


def _root_fifth(f: _Figure) -> list[_BassEvent]:
    grid = f.score.grid
    pace = grid.steps_per_beat * (2 if grid.beats_per_bar == 4 else 1)
    steps = list(range(0, f.chord.n_steps, pace)) or [0]
    fifth = f.fifth if f.fifth - 12 < BASS_LOW else f.fifth - 12
    return f.run(steps, [f.root if i % 2 == 0 else fifth for i in range(len(steps))])


def _walk(f: _Figure) -> list[_BassEvent]:
    steps = list(range(0, f.chord.n_steps, f.score.grid.steps_per_beat))
    pitches = [f.root] + [int(pick(f.rng, f.tones[1:])) for _ in steps[1:]]
    if len(pitches) > 1:
        pitches[-1] = f.target + int(pick(f.rng, (-1, 1, 2, -2)))
    return f.run(steps, pitches)


def _triplets(f: _Figure) -> list[_BassEvent]:
    return f.run(list(range(0, f.chord.n_steps, 2)), f.root)


def _bossa(f: _Figure) -> list[_BassEvent]:
    steps = [s for s in (0, 6, 8, 14) if s < f.chord.n_steps]
    return f.run(steps, [f.root, f.fifth, f.fifth, f.root][: len(steps)])


def _reggae(f: _Figure) -> list[_BassEvent]:
    options = [(0, 3, 6, 10), (2, 4, 6, 8, 11), (0, 2, 6, 8, 12), (4, 6, 8, 12, 14)]
    steps = [s for s in pick(f.figure, options) if s < f.chord.n_steps] or [0]
    return f.run(steps, [int(pick(f.figure, [f.root, *f.tones])) for _ in steps], 0.95)


def _funk(f: _Figure) -> list[_BassEvent]:
    n, root = f.chord.n_steps, f.root
    events: list[_BassEvent] = []
    for step in range(n):
        chance = 1.0 if step == 0 else 0.28 if step % 2 else 0.4
        if f.figure.random() < chance:
            midi = root if step == 0 else int(pick(f.figure, (root, root, root + 12, f.fifth, root + 10)))
            ghost = step > 0 and f.figure.random() < 0.25
            length = 1 if ghost else int(pick(f.figure, (1, 1, 2, 3)))
            velocity = 0.5 if ghost else f.rng.uniform(0.75, 1)
            events.append((f.chord.step + step, min(length, n - step), midi, velocity, ghost))
    return events


def _kick(f: _Figure) -> list[_BassEvent]:
    """With the kick drum as it is played or, of the first groove, as it is written; now and then between."""
    first, n = f.chord.step, f.chord.n_steps
    pattern = f.score.style.grooves[0].get("kick", "9")
    struck = f.kicks.get(f.chord.bar) or [s for s, c in enumerate(pattern) if c != "."]
    steps = sorted({0} | {s - first for s in struck if first <= s < first + n})
    steps += [s for s in range(_EIGHTH, n, _EIGHTH) if s not in steps and f.figure.random() < 0.15]
    steps.sort()
    pitches = [f.root if f.figure.random() < 0.8 else int(pick(f.figure, (f.fifth, f.root + 12))) for _ in steps]
    return f.run(steps, pitches)


_EIGHTH = 2
#: Figures by the kind of bass that a style names.
_FIGURES = {
    "roots": _roots, "long": _long, "808": _808, "octaves": _octaves, "offbeat": _offbeat, "sixteenths": _sixteenths,
    "root_fifth": _root_fifth, "walk": _walk, "triplets": _triplets, "bossa": _bossa, "reggae": _reggae,
    "funk": _funk, "kick": _kick,
}  # fmt: skip
