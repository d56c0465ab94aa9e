"""What the drums play: grooves, ghost notes, fills, count-ins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .grooves import Performance
from .score import DRUM_KEYS, Hit, Score, pick

_BACKBEAT = ("kick", "snare", "rim", "clap")


def drum_hits(score: Score, rng: np.random.Generator) -> list[Hit]:
    grid, style = score.grid, score.style
    late = {role: rng.normal(0, 0.4 * style.loose) / 1000 for role in DRUM_KEYS}
    hits: list[Hit] = []

    def strike(bar: int, step: float, role: str, velocity: float) -> None:
        time = grid.time(bar, step) + late[role] + rng.normal(0, 0.5 * style.loose) / 1000
        hits.append(Hit(max(time, 0.0), role, float(np.clip(velocity * rng.uniform(0.88, 1.08), 0.08, 1.0))))

    if score.pickup_kind in ("count_in", "fill"):
        first = grid.steps - grid.pickup * grid.steps_per_beat
        if score.pickup_kind == "fill":
            strike(-1, first, "snare", 0.8)
            _fill(strike, -1, first + 1, grid.steps, rng)
        else:
            sticks = str(pick(rng, ("rim", "pedal_hat", "hat", "cowbell")))
            for step in range(first, grid.steps, grid.steps_per_beat):
                strike(-1, step, sticks, 0.75)
    if score.groove is not None:
        hits += _recorded(score, score.groove, rng)
    else:
        _written(score, strike, rng)
    final = score.sections[-1]
    if "drums" in final.players and rng.random() < 0.7:  # the last stroke
        for role in ("kick", "crash"):
            hits.append(Hit(float(grid.beat_s[-1]), role, 0.9))
    return sorted(hits, key=lambda h: (h.time_s, h.role))


def _recorded(score: Score, groove: Performance, rng: np.random.Generator) -> list[Hit]:
    """A performance laid on the song's beats; its velocities and what it is early or late by are kept."""
    grid = score.grid
    beats = np.arange(len(grid.beat_s)) - grid.pickup
    played = groove.bars(score.groove_bar, grid.n_bars)
    times = np.interp([beat for beat, _, _ in played], beats, grid.beat_s)
    hits = [Hit(max(0.0, float(time)), role, velocity) for time, (_, role, velocity) in zip(times, played)]
    kept = []
    for section in score.sections:
        if "drums" not in section.players:
            continue
        kept += [h for h in hits if section.start_s - 0.04 <= h.time_s < section.end_s - 0.04]
        opened = any(h.role == "crash" and abs(h.time_s - section.start_s) < 0.1 for h in kept)
        if section.label != "intro" and not opened and rng.random() < 0.35:
            kept.append(Hit(section.start_s, "crash", 0.85))
    return kept


_Strike = Callable[[int, float, str, float], None]


def _written(score: Score, strike: _Strike, rng: np.random.Generator) -> None:
    """Grooves of the style with ghost notes and fills."""
    grid, style = score.grid, score.style
    grooves: dict[str, dict[str, list[float]]] = {}
    ghosts = rng.uniform(0, 0.06) if style.name not in ("four_to_the_floor", "punk") else 0.0
    for section in score.sections:
        if "drums" not in section.players:
            continue
        if section.label not in grooves:
            chosen = style.grooves[int(rng.integers(len(style.grooves)))]
            grooves[section.label] = {r: _thinned(p, grid.steps, rng) for r, p in chosen.items()}
        groove = grooves[section.label]
        quiet = 0.8 if section.label in ("verse", "intro") else 1.0
        for k, bar in enumerate(section.bars):
            last = k == section.n_bars - 1
            fill = rng.random() < (0.75 if last else 0.06)
            length = int(pick(rng, (grid.steps_per_beat, grid.steps // 2))) if fill else 0
            for role, whole in groove.items():
                velocities = _half_time(whole, k % 2) if section.half_time and role in _BACKBEAT else whole
                for step, velocity in enumerate(velocities):
                    if velocity and not (step >= grid.steps - length and role != "kick"):
                        strike(bar, step, role, velocity * quiet)
            for step in range(grid.steps - length):
                if rng.random() < ghosts and not groove.get("snare", [0] * grid.steps)[step]:
                    strike(bar, step, "snare", 0.2)
            if fill:
                _fill(strike, bar, grid.steps - length, grid.steps, rng)
            if k == 0 and rng.random() < 0.8 and section.label != "intro":
                strike(bar, 0, "crash", 0.85)


def _half_time(velocities: list[float], odd: int) -> list[float]:
    """One of the two bars into which a pattern spreads when it is played at half the pace."""
    half = len(velocities) // 2
    spread = [0.0] * len(velocities)
    spread[::2] = velocities[odd * half : (odd + 1) * half]
    return spread


def _thinned(pattern: str, steps: int, rng: np.random.Generator) -> list[float]:
    """Velocities of a pattern; its weak strokes do not all come."""
    velocities = [0.0 if c == "." else int(c) / 10 for c in pattern]
    keep = rng.random(len(velocities))
    kept = [v if v >= 0.6 or keep[i] < 0.75 or i == 0 else 0.0 for i, v in enumerate(velocities)]
    return kept[:steps]


def _fill(strike: _Strike, bar: int, first: int, last: int, rng: np.random.Generator) -> None:
    toms = ("snare", "tom_high", "tom_mid", "tom_low")
    density = rng.choice([1, 1, 2])
    place = int(rng.integers(0, 3))
    for step in range(first, last, density):
        if rng.random() < 0.85:
            strike(bar, step, toms[min(place, 3)], 0.55 + 0.4 * (step - first) / max(1, last - first))
        if rng.random() < 0.4:
            place += 1
