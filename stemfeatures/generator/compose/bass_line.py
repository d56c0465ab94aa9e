"""What the bass plays: figures over the chords, slides, ghost notes, pick-ups."""

from __future__ import annotations

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
        figure = seeded_rng(score.seed, "bass-figure", section.label)
        variant = int(figure.integers(1 << 30))
        for bar in section.bars:
            for chord in score.chords_of(bar):
                following = score.chord_at(chord.end_s + 0.01)
                events = _bass_figure(score, chord, following, kind, low, np.random.default_rng(variant), rng, kicks)
                for step, length, midi, velocity, ghost in events:
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


def _bass_figure(
    score: Score,
    chord: Chord,
    following: Chord,
    kind: str,
    low: int,
    figure: np.random.Generator,
    rng: np.random.Generator,
    kicks: dict[int, list[int]],
) -> list[_BassEvent]:
    """(step, length, midi, velocity, ghost) of one chord. ``figure`` repeats from bar to bar, ``rng`` does not."""
    beat, first, n = score.grid.steps_per_beat, chord.step, chord.n_steps
    eighth = 2
    root = low + (chord.pitch_classes[0] - low) % 12
    fifth = root + (chord.pitch_classes[-1 if len(chord.pitch_classes) < 3 else 2] - root) % 12
    target = low + (following.pitch_classes[0] - low) % 12
    tones = [root + (p - root) % 12 for p in chord.pitch_classes]

    def run(steps: list[int], midi: object, velocity: float = 0.85) -> list[_BassEvent]:
        ends = [*steps[1:], n]
        pitches = midi if isinstance(midi, list) else [midi] * len(steps)
        return [
            (first + s, e - s, p, velocity * rng.uniform(0.88, 1.1), False) for s, e, p in zip(steps, ends, pitches)
        ]

    if kind == "roots":
        steps = list(range(0, n, eighth))
        return run(steps, [root if rng.random() < 0.93 else fifth for _ in steps])
    if kind in ("long", "808"):
        if kind == "808":
            steps = sorted({0} | {int(s) for s in figure.choice(np.arange(2, n), min(2, n // 6), replace=False)})
            return run(steps, [root if figure.random() < 0.75 else root + 12 for _ in steps], 0.95)
        return run([0] if figure.random() < 0.6 or n <= beat else [0, n // 2], root)
    if kind == "octaves":
        steps = list(range(0, n, eighth))
        return run(steps, [root + 12 * (i % 2) for i in range(len(steps))])
    if kind == "offbeat":
        return [(first + s, eighth, root, 0.9, False) for s in range(eighth, n, beat)]
    if kind == "sixteenths":
        steps = list(range(0, n, 1))
        pitches = [root if figure.random() < 0.8 else root + int(pick(figure, (12, 7, 10))) for _ in steps]
        return run([s for s in steps if s % beat or beat != 4], [p for s, p in zip(steps, pitches) if s % beat])
    if kind == "root_fifth":
        steps = list(range(0, n, beat if score.grid.beats_per_bar != 4 else 2 * beat)) or [0]
        return run(
            steps, [root if i % 2 == 0 else (fifth if fifth - 12 < BASS_LOW else fifth - 12) for i in range(len(steps))]
        )
    if kind == "walk":
        steps = list(range(0, n, beat))
        pitches = [root] + [int(pick(rng, tones[1:])) for _ in steps[1:]]
        if len(pitches) > 1:
            pitches[-1] = target + int(pick(rng, (-1, 1, 2, -2)))
        return run(steps, pitches)
    if kind == "triplets":
        return run(list(range(0, n, 2)), root)
    if kind == "bossa":
        steps = [s for s in (0, 6, 8, 14) if s < n]
        return run(steps, [root, fifth, fifth, root][: len(steps)])
    if kind == "reggae":
        options = [(0, 3, 6, 10), (2, 4, 6, 8, 11), (0, 2, 6, 8, 12), (4, 6, 8, 12, 14)]
        steps = [s for s in pick(figure, options) if s < n] or [0]
        return run(steps, [int(pick(figure, [root, *tones])) for _ in steps], 0.95)
    if kind == "funk":
        events: list[_BassEvent] = []
        for step in range(n):
            chance = 1.0 if step == 0 else 0.28 if step % 2 else 0.4
            if figure.random() < chance:
                midi = root if step == 0 else int(pick(figure, (root, root, root + 12, fifth, root + 10)))
                ghost = step > 0 and figure.random() < 0.25
                length = 1 if ghost else int(pick(figure, (1, 1, 2, 3)))
                events.append(
                    (first + step, min(length, n - step), midi, 0.5 if ghost else rng.uniform(0.75, 1), ghost)
                )
        return events
    # "kick": with the kick drum as it is played or, of the first groove, as it is written; now and then between
    pattern = score.style.grooves[0].get("kick", "9")
    struck = kicks.get(chord.bar) or [s for s, c in enumerate(pattern) if c != "."]
    steps = sorted({0} | {s - first for s in struck if first <= s < first + n})
    steps += [s for s in range(eighth, n, eighth) if s not in steps and figure.random() < 0.15]
    steps.sort()
    return run(steps, [root if figure.random() < 0.8 else int(pick(figure, (fifth, root + 12))) for _ in steps])
