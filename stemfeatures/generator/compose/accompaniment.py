"""What the other instruments play: comping, arpeggios, riffs, solos."""

from __future__ import annotations

import numpy as np

from .bass_line import pickup_line
from .form import STILL, slots_of
from .guitar_figures import Event, harmonics, power_figure
from .score import Chord, Grid, Note, Player, Score, line_scale, nearest, pick, seeded_rng
from .tune import melody, syllables_that_fit

#: Middle of the register by family.
_CENTRES = {
    "electric_guitar": 55, "pad": 62, "strings": 64, "mallet": 74, "vibraphone": 70, "synth_lead": 68, "sax": 60,
    "cello": 52,
}  # fmt: skip
#: Lowest notes of tunes by family, of which they use 19 semitones.
_TUNE_LOWS = {"electric_guitar": 52, "clean_guitar": 52, "sax": 50, "cello": 41, "flute": 63, "fiddle": 57}


def accompany(score: Score, player: Player, rng: np.random.Generator) -> list[Note]:
    notes: list[Note] = []
    if score.pickup_kind == "line" and player.name in score.sections[0].players and player.kind not in STILL:
        centre = _CENTRES.get(player.family, 62) + (6 if player.kind == "lead" else 0)
        target = centre + (score.chords[0].pitch_classes[0] - centre) % 12
        notes = pickup_line(score, target, 48, seeded_rng(score.seed, "pickup"))  # all in unison
    if player.kind in ("lead", "riff"):
        return notes + _lead(score, player, rng)
    if player.kind == "tune":
        return notes + _tune(score, player, rng)
    grid, style, kind = score.grid, score.style, player.kind
    low = _CENTRES.get(player.family, 60) - 6 + int(rng.integers(-3, 4))
    spread = rng.uniform(0.008, 0.025) if "guitar" in player.family else rng.uniform(0.0, 0.006)
    gate = float(rng.uniform(0.5, 1.0))
    wide = bool(rng.random() < 0.5)
    lowest = int(rng.choice([40, 38, 36], p=[0.6, 0.2, 0.2]))  # the lowest string, where it is tuned down
    for section in score.sections:
        if player.name not in section.players:
            continue
        variant = int(seeded_rng(score.seed, "figure", player.name, section.label).integers(1 << 30))
        for bar in section.bars:
            for chord in score.chords_of(bar):
                figure = np.random.default_rng(variant)
                if kind == "power":
                    root = lowest + (chord.pitch_classes[0] - lowest) % 12
                    voicing = [root, root + 7, root + 12]
                else:
                    voicing = sorted(low + (p - low) % 12 for p in chord.pitch_classes)
                    if wide:
                        voicing.append(voicing[0] + 12)
                events = power_figure(grid, chord, figure) if kind == "power" else _rhythm(kind, grid, chord, figure)
                for i, (step, length, strength, technique) in enumerate(events):
                    start = grid.time(bar, chord.step + step) + rng.normal(0, 0.5 * style.loose) / 1000
                    end = grid.time(bar, chord.step + min(step + length, chord.n_steps))
                    short = kind in ("stab", "skank", "comp", "strum16", "oompah")
                    held = (end - start) * (gate if kind != "pad" else 1.0)
                    held = min(held, 0.22) if short and kind != "comp" else held
                    chosen = voicing
                    if kind == "arpeggio":
                        order = figure_order(variant, len(voicing))
                        chosen = [voicing[order[i % len(order)]]]
                        held = max(held, end - start)
                    elif kind == "oompah":
                        chosen = voicing if step else []
                    downward = kind.startswith("strum") and i % 2 == 1
                    for j, midi in enumerate(reversed(chosen) if downward else chosen):
                        at = max(0.0, start + j * spread)
                        velocity = float(np.clip(strength * rng.uniform(0.85, 1.1), 0.15, 1.0))
                        notes.append(Note(at, max(at + held, at + 0.06), midi, velocity, technique=technique))
    return harmonics(notes, player, score) if "guitar" in player.family and kind == "arpeggio" else notes


def figure_order(variant: int, size: int) -> list[int]:
    """The order in which an arpeggio takes the tones of a chord: up, down, up and down, or a figure."""
    up = list(range(size))
    kinds = [up, up[::-1], up + up[-2:0:-1], [0, size - 1, *range(1, size)]]
    return kinds[variant % len(kinds)]


def _rhythm(kind: str, grid: Grid, chord: Chord, figure: np.random.Generator) -> list[Event]:
    """The strokes of one chord."""
    return [Event(*stroke, "") for stroke in _strokes(kind, grid, chord, figure)]


def _strokes(kind: str, grid: Grid, chord: Chord, figure: np.random.Generator) -> list[tuple[int, int, float]]:
    """(step, length, strength) of one chord."""
    n, beat = chord.n_steps, grid.steps_per_beat
    if kind == "pad":
        return [(0, n, 0.75)]
    if kind == "block":
        every = int(pick(figure, (beat, 2 * beat, n)))
        return [(s, every, 0.8 if s else 0.9) for s in range(0, n, max(1, every))]
    if kind == "strum":
        return [(s, 2, 0.9 if s % beat == 0 else 0.65) for s in range(0, n, 2) if s == 0 or figure.random() < 0.7]
    if kind == "strum16":
        return [(s, 1, 0.85 if s % 4 == 0 else 0.55) for s in range(n) if s == 0 or figure.random() < 0.55]
    if kind == "arpeggio":
        every = int(pick(figure, (1, 2, 2))) if beat == 4 else 2
        return [(s, every + 1, 0.85 if s % beat == 0 else 0.65) for s in range(0, n, every)]
    if kind == "stab":
        return [(s, 1, 0.9) for s in range(n) if s % beat == beat // 2 or (s and figure.random() < 0.06)]
    if kind == "skank":
        return [(s, 2, 0.85) for s in range(beat, n, 2 * beat)] if n > beat else [(n // 2, 2, 0.85)]
    if kind == "oompah":
        return [(s, beat, 0.75) for s in range(beat, n, beat)]
    # "comp": free syncopation
    steps = [s for s in range(0, n, 1) if figure.random() < (0.3 if s % 2 == 0 else 0.12)] or [0]
    return [(s, int(pick(figure, (1, 2, 3))), float(figure.uniform(0.55, 0.95))) for s in steps]


def _lead(score: Score, player: Player, rng: np.random.Generator) -> list[Note]:
    """A riff that comes back every bar, or a free line: everywhere in solos, elsewhere between the sung lines."""
    grid = score.grid
    centre = _CENTRES.get(player.family, 66) + int(rng.integers(-3, 6)) + (6 if player.kind == "lead" else 0)
    notes: list[Note] = []
    for section in score.sections:
        if player.name not in section.players:
            continue
        variant = int(seeded_rng(score.seed, "figure", player.name, section.label).integers(1 << 30))
        for bar in section.bars:
            free = player.kind == "lead"
            figure = rng if free else np.random.default_rng(variant + (bar % 2))
            step = 0
            if free and section.label != "solo" and "vocals" in section.players:
                if bar % 2 == 0:
                    continue
                step = grid.steps // 2
            place = centre
            while step < grid.steps:
                length = int(pick(figure, (1, 2, 2, 2, 4, 4, 6)))
                if figure.random() < (0.82 if section.label == "solo" or not free else 0.7):
                    place = int(
                        np.clip(place + pick(figure, (-4, -3, -2, -1, 0, 1, 2, 3, 4)), centre - 10, centre + 10)
                    )
                    chord = next(c for c in score.chords_of(bar) if c.step <= step < c.step + c.n_steps)
                    strong = step % grid.steps_per_beat == 0
                    midi = nearest(place, chord.pitch_classes if strong else line_scale(chord))
                    start = grid.time(bar, step) + rng.normal(0, 0.5 * score.style.loose) / 1000
                    end = grid.time(bar, min(step + length, grid.steps))
                    slide = float(pick(rng, (-2, -1))) if rng.random() < 0.08 and end - start > 0.2 else 0.0
                    held = max(0.07, (end - start) * rng.uniform(0.75, 1.0))
                    notes.append(Note(max(start, 0.0), start + held, midi, rng.uniform(0.65, 1.0), slide))
                step += length
    return notes


def _tune(score: Score, player: Player, rng: np.random.Generator) -> list[Note]:
    """A melody in lines, as a singer would have it."""
    low = _TUNE_LOWS.get(player.family, 55) + int(rng.integers(-2, 4))
    notes: list[Note] = []
    for slot in slots_of(score, player.name):
        figure = seeded_rng(score.seed, "tune-lines", slot.section.label, slot.turn % 2)
        most = syllables_that_fit(score, slot)
        count = int(figure.integers(max(1, round(0.35 * most)), most + 1))
        if slot.turn and rng.random() < 0.06:
            continue  # a rest
        sung = melody(score, slot, count, (low, low + 19), rng, player="tune")
        notes += [note for syllable in sung for note in syllable]
    return notes
