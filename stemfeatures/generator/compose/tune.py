"""Melodies for lines of lyrics."""

from __future__ import annotations

import numpy as np

from .score import Note, Score, Slot, line_scale, nearest, pick, seeded_rng

#: No syllable is shorter.
SHORTEST_SYLLABLE_S = 0.13


def syllables_that_fit(score: Score, slot: Slot) -> int:
    """How many syllables a line in this slot can have at most."""
    seconds = score.grid.time(slot.bar + slot.n_bars - 1, score.grid.steps) - score.grid.time(slot.bar)
    return int(np.clip(0.8 * seconds / 0.21, 1, 14))


def melody(
    score: Score,
    slot: Slot,
    n_syllables: int,
    voice_range: tuple[float, float],
    rng: np.random.Generator,
    *,
    player: str = "melody",
) -> list[list[Note]]:
    """Notes for every syllable of a line; more than one where the syllable is sung on several (melisma).

    Lines of a section share a figure: the first and third begin alike, choruses return as they were and lie higher.
    Each ``player`` has figures of its own.
    """
    grid = score.grid
    figure = seeded_rng(score.seed, player, slot.section.label, slot.turn % 2)
    starts = _syllable_steps(score, slot, n_syllables, figure, rng)
    late = np.append(0.012 + 0.008 * rng.standard_normal(n_syllables), 0.0)
    times = [grid.time(slot.bar, s) + float(delay) for s, delay in zip(starts, late)]
    low, high = voice_range
    span = high - low
    height = {"chorus": 0.62, "bridge": 0.55}.get(slot.section.label, 0.42)
    home = float(np.clip(low + span * height + slot.section.transposition, low + 2, high - 2))
    bottom, top = max(low, home - 8), min(high, home + 8)
    place = home + float(figure.integers(-3, 4))
    contour = figure.choice([-3, -2, -1, 0, 1, 2, 3, 5], len(starts), p=[0.05, 0.16, 0.25, 0.16, 0.2, 0.1, 0.06, 0.02])
    syllables: list[list[Note]] = []
    previous = None
    for k in range(n_syllables):
        step = starts[k]
        start, end = times[k], times[k + 1]
        place += contour[k] * 1.4
        if place > top or place < bottom:
            place = home + (home - place) * 0.2
        chord = score.chord_at(start)
        strong = step % grid.steps_per_beat == 0 or k == n_syllables - 1
        melody_scale = line_scale(chord)
        midi = nearest(place, chord.pitch_classes if strong and figure.random() < 0.8 else melody_scale)
        while midi > high:
            midi -= 12
        while midi < low:
            midi += 12
        if previous is not None and abs(midi - previous) > 9:
            midi += 12 if previous > midi and midi + 12 <= high else -12 if midi - 12 >= low and previous < midi else 0
        previous = midi
        notes = [Note(start, end, midi, float(rng.uniform(0.75, 1.0)))]
        if end - start > 0.55 and rng.random() < 0.2:
            notes = _melisma(notes[0], melody_scale, (low, high), rng)
        syllables.append(notes)
    return syllables


def _melisma(note: Note, scale: tuple[int, ...], limits: tuple[float, float], rng: np.random.Generator) -> list[Note]:
    count = int(rng.integers(2, 4))
    cuts = np.concatenate([[0.0], np.sort(rng.uniform(0.25, 0.75, count - 1)), [1.0]])
    times = note.start_s + cuts * (note.end_s - note.start_s)
    if np.diff(times).min() < 0.12:
        times, count = np.array([note.start_s, 0.5 * (note.start_s + note.end_s), note.end_s]), 2
    notes, midi = [], note.midi
    for a, b in zip(times[:-1], times[1:]):
        notes.append(Note(float(a), float(b), midi, note.velocity))
        step = nearest(midi + float(pick(rng, (-2, 2))), scale)
        midi = step if limits[0] <= step <= limits[1] else midi
    return notes


def _syllable_steps(
    score: Score, slot: Slot, n: int, figure: np.random.Generator, rng: np.random.Generator
) -> list[float]:
    """(n + 1) steps from the start of the slot: where syllables begin, and where the last one ends."""
    grid = score.grid
    total = slot.n_bars * grid.steps
    step_s = (grid.time(slot.bar, grid.steps) - grid.time(slot.bar)) / grid.steps
    shortest = int(np.ceil(SHORTEST_SYLLABLE_S / step_s - 1e-6))
    lead = int(pick(figure, (0, 0, 1, 2, 2, grid.steps_per_beat)))
    rest = int(pick(figure, (2, grid.steps_per_beat, grid.steps_per_beat)))
    room = total - lead - rest
    if room < n * shortest:
        lead, rest = 0, 1
        room = total - rest
    if room < n * shortest:  # faster than the grid allows
        return list(np.linspace(0, room, n + 1))
    mean = room / n
    unit = 2 if mean >= 2.2 and shortest <= 2 else shortest
    weights = figure.choice([1, 1, 2, 3], n).astype(float)
    lengths = np.maximum(unit * weights, shortest)
    while lengths.sum() > room:
        longest = int(np.argmax(lengths))
        lengths[longest] -= 1
        if lengths.max() <= shortest:
            break
    spare = room - lengths.sum()
    lengths[-1] += min(spare, figure.integers(2, 9))
    spare = room - lengths.sum()
    if spare > n and rng.random() < 0.6:  # a slow line over a long slot: stretch evenly, on the eighths
        lengths += 2 * np.floor(spare / n / 2)
    return [float(s) for s in lead + np.concatenate([[0.0], np.cumsum(lengths)])]
