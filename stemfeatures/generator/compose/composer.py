"""Songs as symbols: form, harmony, melody and what each player plays, all exact, nothing audible yet.

A :class:`Score` is a function of the seed and the wishes alone.
"""

from __future__ import annotations

from .accompaniment import accompany
from .bass_line import bass_line
from .drum_hits import drum_hits
from .form import LINEUPS, draw_form
from .grooves import GrooveBank
from .harmony import chord_label
from .score import (
    BASS_HIGH,
    BASS_LOW,
    DRUM_KEYS,
    NOTE_NAMES,
    Chord,
    Grid,
    Hit,
    Note,
    Player,
    Score,
    Section,
    Slot,
    nearest,
    pick,
    seeded_rng,
)  # fmt: skip
from .tune import SHORTEST_SYLLABLE_S, melody, syllables_that_fit

__all__ = [
    "BASS_HIGH", "BASS_LOW", "DRUM_KEYS", "LINEUPS", "NOTE_NAMES", "SHORTEST_SYLLABLE_S", "Chord", "Grid", "Hit",
    "Note", "Player", "Score", "Section", "Slot", "chord_label", "compose", "melody", "nearest", "pick", "seeded_rng",
    "syllables_that_fit",
]  # fmt: skip


def compose(
    seed: int,
    *,
    duration_s: float | None = None,
    style: str | None = None,
    grooves: GrooveBank | None = None,
    rubato: float = 0.0,
    lineup: str | None = None,
) -> Score:
    """The score of song ``seed``.

    Parameters
    ----------
    seed : int
        Number of the song.
    duration_s : float, optional
        About how long, 8 s or more (whole bars are written); drawn from 60 to 150 s by default.
    style : str, optional
        One of ``STYLES``; drawn by default.
    grooves : GrooveBank, optional
        Recorded drum performances, which most songs then have where there is one of their metre and tempo.
    rubato : float
        How far the tempo swings from phrase to phrase: deviation of the logarithm of the beat periods, 0 to 0.5.
    lineup : str, optional
        One of ``LINEUPS``: who plays at all; drawn by default.

    Returns
    -------
    Score
        What is played and when.
    """
    score = draw_form(seed, duration_s, style, grooves, rubato, lineup)
    score.drums = drum_hits(score, seeded_rng(seed, "drums"))
    score.bass = bass_line(score, seeded_rng(seed, "bass"))
    for player in score.players:
        player.notes = accompany(score, player, seeded_rng(seed, "other", player.name))
    for notes in (score.bass, *(p.notes for p in score.players)):
        _respect_stops(score, notes)
    score.drums = [h for h in score.drums if not any(a - 0.02 <= h.time_s < b - 0.02 for a, b in score.stops)]
    return score


def _respect_stops(score: Score, notes: list[Note]) -> None:
    for start, end in score.stops:
        notes[:] = [n for n in notes if not start - 0.03 <= n.start_s < end - 0.03]
        for note in notes:
            if note.start_s < start < note.end_s:
                note.end_s = start
                note.fall = 0.0
