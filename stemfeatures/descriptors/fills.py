"""Drum fills: ends of bars where toms and snare leave the pattern of the bars around.

A sixteenth is *unusual* where it has a stroke of the toms or the snare that few of the bars around have, *broken*
where a stroke of the hi-hat or the cymbals is missing that most of them have. A fill is the end of a bar, from one of
its beats on, that is unusual and broken often enough; a tom counts twice, since little but fills is played on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

from ..fields import Field, status_field
from .activity import active_rows
from .event_tables import END, START, Columns, EventTable, register_events
from .grooves import STEPS_PER_BEAT, drum_strokes, struck_steps, whole_bars
from .inputs import DescriptorInputs
from .metre import Bars
from .registry import Extractor, register
from .rhythm import row_bars
from .values import OK, SILENT, mean, number

#: Bars that are the measure of a bar, with itself, and how many there have to be.
AROUND = 9
MIN_BARS = 4
#: Share of the bars around below which a stroke is unusual, and above which a missing one breaks the pattern.
UNUSUAL, USUAL = 0.35, 0.6
#: Evidence of a fill: strokes, toms counted twice, and missing strokes. So much in all, of it so much in strokes, and
#: so much a beat.
LEAST, LEAST_STRUCK, LEAST_A_BEAT = 3.0, 2.0, 2.0


@dataclass(frozen=True)
class Fills:
    """Fills of a track.

    Attributes
    ----------
    start_s, end_s : np.ndarray
        (n,) seconds: the beat from which on a bar is filled, and its end.
    length_beats : np.ndarray
        (n,) int.
    n_strokes : np.ndarray
        (n,) int, strokes of the snare and the toms within.
    n_bars : int
        Whole bars that were looked at; 0 where bars are not known or fewer than four.
    """

    start_s: np.ndarray
    end_s: np.ndarray
    length_beats: np.ndarray
    n_strokes: np.ndarray
    n_bars: int


def find_fills(strokes: dict[str, np.ndarray], bars: Bars | None) -> Fills:
    """Fills among the strokes of the drums.

    Parameters
    ----------
    strokes : dict
        ``{kind: (n,) seconds}``, the times of :func:`~.drums.find_strokes`.
    bars : Bars or None
        Of the drums.
    """
    none = np.zeros(0, dtype=int)
    steps = {} if bars is None else {kind: struck_steps(times, bars) for kind, times in strokes.items()}
    if bars is None or len(steps["snare"]) < MIN_BARS:
        return Fills(np.zeros(0), np.zeros(0), none, none, 0)
    # A fill sounds unlike the bar it ends, and in the last of the bars around more often than not.
    usual = {kind: _share_around(struck) for kind, struck in steps.items()}
    unusual = {kind: steps[kind] & (usual[kind] <= UNUSUAL) for kind in ("snare", "tom")}
    struck = unusual["snare"] + 2.0 * unusual["tom"]
    time = np.maximum(steps["hat"], steps["cymbal"])
    broken = (np.maximum(usual["hat"], usual["cymbal"]) >= USUAL) & ~time
    per_beat = STEPS_PER_BEAT[bars.denominator or 4]
    whole = whole_bars(bars)
    length = _lengths(struck, broken, per_beat)
    filled = np.flatnonzero(length)
    beats_s, a_bar = bars.track.beats_s, struck.shape[1] // per_beat
    hits = np.maximum(steps["snare"], steps["tom"])
    counts = [int(hits[bar, -length[bar] * per_beat :].sum()) for bar in filled]
    return Fills(
        beats_s[whole[filled] + a_bar - length[filled]],
        beats_s[whole[filled] + a_bar],
        length[filled],
        np.array(counts, dtype=int),
        len(whole),
    )


def _share_around(struck: np.ndarray) -> np.ndarray:
    """(n_bars, n_steps) share of the other bars within four that have a stroke at each step."""
    count = uniform_filter1d(np.ones(len(struck)), AROUND, mode="constant")[:, None] * AROUND - 1
    total = uniform_filter1d(struck.astype(float), AROUND, axis=0, mode="constant") * AROUND - struck
    return np.asarray(total / np.maximum(count, 1))


def _lengths(struck: np.ndarray, broken: np.ndarray, per_beat: int) -> np.ndarray:
    """(n_bars,) beats at the end of each bar that are a fill; 0 for none. The likeliest is the fullest."""
    n_bars, n_steps = struck.shape
    beats = np.arange(1, n_steps // per_beat + 1)
    from_end = slice(None, None, -1)
    played = np.cumsum(struck[:, from_end], axis=1)[:, per_beat - 1 :: per_beat]
    evidence = played + np.cumsum(broken[:, from_end], axis=1)[:, per_beat - 1 :: per_beat]
    # What exceeds the least that every beat of a fill has is largest for the fill's own length.
    excess = evidence - LEAST_A_BEAT * beats
    best = excess.argmax(axis=1)
    rows = np.arange(n_bars)
    enough = (evidence[rows, best] >= LEAST) & (played[rows, best] >= LEAST_STRUCK) & (excess[rows, best] >= 0)
    return np.asarray(np.where(enough, beats[best], 0))


def drum_fills(inputs: DescriptorInputs) -> Fills:
    """Fills of the drums, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    Fills
        None where no bars are known.
    """
    return find_fills(inputs.get(drum_strokes), inputs.get(row_bars)["drums"])


NO_BARS = "no_bars"
_fill = partial(Field, type="float32", family="rhythm", rows=("drums",), since="1.1")
FIELDS = (
    status_field(
        "fills_status",
        f"ok | silent | absent | {NO_BARS} | not_applicable",
        "fills of the drums (four bars at least)",
        family="rhythm",
        since="1.1",
    ),
    _fill("fill_bar_ratio", description="Share of the bars that end in a fill.", range="0..1"),
    _fill(
        "fill_length_mean_beats",
        description="Mean length of a fill; null without any.",
        unit="beats",
        range=">= 1",
    ),
)
EVENT_FIELDS = (
    START,
    END,
    Field("length_beats", "int16", "Its length.", "beats", ">= 1", since="1.1", family="rhythm"),
    Field(
        "n_strokes",
        "int16",
        "Strokes of the snare and the toms in it; those that coincide count once.",
        "",
        ">= 0",
        since="1.1",
        family="rhythm",
    ),
)


def _fills(inputs: DescriptorInputs) -> Columns:
    fills = inputs.get(drum_fills)
    return {
        "start_s": fills.start_s,
        "end_s": fills.end_s,
        "length_beats": fills.length_beats,
        "n_strokes": fills.n_strokes,
    }


def _fill_values(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    if not inputs.get(active_rows)[row].any():
        return {"fills_status": SILENT}
    fills = inputs.get(drum_fills)
    if not fills.n_bars:
        return {"fills_status": NO_BARS}
    return {
        "fills_status": OK,
        "fill_bar_ratio": number(len(fills.start_s) / fills.n_bars),
        "fill_length_mean_beats": mean(fills.length_beats),
    }


register(Extractor("fills", 38, FIELDS, "fills_status", _fill_values))
register_events(
    EventTable(
        "fills",
        45,
        "One row per fill of the drums: the end of a bar, from one of its beats on.",
        EVENT_FIELDS,
        ("start_s",),
        compute=_fills,
    )
)
