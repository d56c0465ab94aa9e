"""What the drums play: strokes by kind, their pattern in the bar, swing, syncopation, coincidence with the bass."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..fields import LOG1P, NOT_A_COORDINATE, Field, status_field
from .activity import active_rows
from .drums import STROKES, find_strokes
from .event_tables import Columns, EventTable, register_events
from .inputs import DescriptorInputs
from .metre import Bars
from .onsets import row_onsets
from .registry import Extractor, register
from .rhythm import row_bars
from .values import OK, SILENT, mean, number, std

#: Sixteenths of a beat, by the denominator of the metre: the steps of a pattern.
STEPS_PER_BEAT = {4: 4, 8: 6}
#: Bars of a pattern, at least.
MIN_BARS = 2
#: Where in the beat the second eighth may fall, and the strokes there that are needed to tell how it swings.
SECOND_EIGHTH = (0.42, 0.72)
MIN_SWUNG = 8
#: Strokes this far from a beat, in beats, are strokes on it.
ON_BEAT = 1 / 8
#: A kick and a bass note are together within this time.
TOGETHER_S = 0.05
#: Metrical weight of the sixteenths of a bar of 4/4 (Longuet-Higgins and Lee, "The rhythmic interpretation of
#: monophonic music", Music Perception 1(4), 1984).
WEIGHTS = np.array([0, -4, -3, -4, -2, -4, -3, -4, -1, -4, -3, -4, -2, -4, -3, -4])

NO_STROKES = "no_strokes"

_stroke = partial(Field, type="float32", family="rhythm", rows=("drums",), since="1.1")
# Read against the beats of the whole track or its bass, so one drum part has other values in another mixture.
_placed = partial(_stroke, scale=NOT_A_COORDINATE)
FIELDS = (
    status_field(
        "strokes_status",
        "ok | silent | absent | no_strokes | not_applicable",
        "strokes of the drums",
        family="rhythm",
        since="1.1",
    ),
    *(
        _stroke(
            f"stroke_{kind}_rate",
            description=f"Strokes of the {kind} a second of the whole track.",
            unit="1/s",
            range=">= 0",
            scale=LOG1P,
        )
        for kind in STROKES
    ),
    *(
        _stroke(
            f"stroke_{kind}_pattern",
            type="string",
            description=f"Share of the bars with a stroke of the {kind} on each sixteenth, in tenths rounded down, 9 "
            "at most: sixteen digits in 4/4, twelve in 6/8. Null when the bar is not known.",
        )
        for kind in STROKES
    ),
    _placed(
        "swing_ratio",
        description="Length of the first over the second eighth of a beat, from the strokes between the beats: 1 is "
        "straight, 2 triplets. Null for fewer than eight such strokes.",
        range="> 0",
    ),
    _placed(
        "syncopation",
        description="Longuet-Higgins and Lee's syncopation of the kicks and snares that most bars share, a bar of 4/4. "
        "Null in other metres, and when the bar is not known.",
        range=">= 0",
    ),
    *(
        _placed(
            f"stroke_beat_offset_{statistic}_s",
            description=f"{text} time from a beat to the stroke on it; positive is late.",
            unit="s",
            range=limits,
            feature="stroke_beat_offset",
            statistic=statistic,
        )
        for statistic, text, limits in (("mean", "Mean", ""), ("std", "Standard deviation of the", ">= 0"))
    ),
    _placed(
        "kick_bass_coincidence",
        description="Share of the kicks within 50 ms of an onset of the bass; null without either.",
        range="0..1",
    ),
)


def beat_places(times_s: np.ndarray, beats_s: np.ndarray) -> np.ndarray:
    """(n,) place of moments on the count of beats, from 0 for the first; NaN before the first and after the last."""
    return np.interp(times_s, beats_s, np.arange(len(beats_s)), left=np.nan, right=np.nan)


def whole_bars(bars: Bars) -> np.ndarray:
    """(n_bars,) number of the first beat of each bar that has all its beats, with the next downbeat behind them."""
    count = int(bars.positions.max(initial=0))
    downbeats = np.flatnonzero(bars.positions == 1)
    return downbeats[:-1][np.diff(downbeats) == count] if count else downbeats[:0]


def struck_steps(times_s: np.ndarray, bars: Bars) -> np.ndarray:
    """(n_bars, n_steps) bool: sixteenths of each whole bar that have a stroke."""
    whole = whole_bars(bars)
    per_beat = STEPS_PER_BEAT[bars.denominator or 4]
    n_steps = int(bars.positions.max(initial=0)) * per_beat
    places = beat_places(times_s, bars.track.beats_s)
    steps = np.rint(places[np.isfinite(places)] * per_beat).astype(int)
    struck = np.zeros((len(whole), n_steps), dtype=bool)
    if len(whole):
        bar = np.searchsorted(whole, steps // per_beat, side="right") - 1
        step = steps - whole[np.maximum(bar, 0)] * per_beat
        inside = (bar >= 0) & (step < n_steps)
        struck[bar[inside], step[inside]] = True
    return struck


def bar_pattern(times_s: np.ndarray, bars: Bars) -> np.ndarray | None:
    """Share of the bars with a stroke on each sixteenth.

    Parameters
    ----------
    times_s : (n,) ndarray
        Strokes in seconds.
    bars : Bars
        Of the track.

    Returns
    -------
    (n_steps,) ndarray or None
        None for fewer than two whole bars.
    """
    struck = struck_steps(times_s, bars)
    return np.asarray(struck.mean(axis=0)) if len(struck) >= MIN_BARS else None


def swing_ratio(times_s: np.ndarray, beats_s: np.ndarray) -> float | None:
    """First over second eighth of a beat, from where the strokes between the beats fall; None for too few."""
    part = beat_places(times_s, beats_s) % 1
    second = part[(part >= SECOND_EIGHTH[0]) & (part <= SECOND_EIGHTH[1])]
    if len(second) < MIN_SWUNG:
        return None
    middle = float(np.median(second))
    return middle / (1 - middle)


def syncopation(struck: np.ndarray) -> float:
    """Syncopation of a repeated bar of 4/4.

    Parameters
    ----------
    struck : (16,) bool ndarray
        Sixteenths with a stroke.

    Returns
    -------
    float
        Sum over strokes followed by a rest on a stronger sixteenth, before the next stroke, of how much stronger it is.
    """
    at = np.flatnonzero(struck)
    total = 0.0
    for k, first in enumerate(at):
        rests = np.arange(first + 1, at[(k + 1) % len(at)] + (16 if k + 1 == len(at) else 0)) % 16
        total += max(0.0, float(WEIGHTS[rests].max(initial=WEIGHTS[first]) - WEIGHTS[first]))
    return total


def beat_offsets(times_s: np.ndarray, beats_s: np.ndarray) -> np.ndarray:
    """(n,) seconds from a beat to each stroke on it (an eighth of a beat to either side)."""
    places = beat_places(times_s, beats_s)
    near = np.isfinite(places) & (np.abs(places - np.rint(places)) <= ON_BEAT)
    return np.asarray(times_s[near] - beats_s[np.rint(places[near]).astype(int)])


def coincidence(times_s: np.ndarray, others_s: np.ndarray) -> float | None:
    """Share of moments within 50 ms of one of the others; None without either."""
    if not len(times_s) or not len(others_s):
        return None
    place = np.searchsorted(others_s, times_s)
    before, after = others_s[np.maximum(place - 1, 0)], others_s[np.minimum(place, len(others_s) - 1)]
    return float((np.minimum(np.abs(times_s - before), np.abs(times_s - after)) <= TOGETHER_S).mean())


def describe_strokes(
    strokes: dict[str, np.ndarray], bars: Bars | None, bass_onsets_s: np.ndarray, duration_s: float
) -> dict[str, Any]:
    """Stroke fields of the drums.

    Parameters
    ----------
    strokes : dict
        ``{kind: (n,) seconds}``, the times of :func:`~.drums.find_strokes`.
    bars : Bars or None
        Of the drums.
    bass_onsets_s : (n,) ndarray
        Onsets of the bass, increasing.
    duration_s : float
        Of the track.

    Returns
    -------
    dict
        Values by field name.
    """
    every = np.sort(np.concatenate(list(strokes.values())))
    if not len(every):
        return {"strokes_status": NO_STROKES}
    values: dict[str, Any] = {
        "strokes_status": OK,
        "kick_bass_coincidence": coincidence(strokes["kick"], bass_onsets_s),
        **{f"stroke_{kind}_rate": number(len(times) / duration_s) for kind, times in strokes.items()},
    }
    if bars is None:
        return values
    offsets = beat_offsets(every, bars.track.beats_s)
    values |= {
        "swing_ratio": swing_ratio(every, bars.track.beats_s),
        "stroke_beat_offset_mean_s": mean(offsets),
        "stroke_beat_offset_std_s": std(offsets),
    }
    for kind, times in strokes.items():
        share = bar_pattern(times, bars)
        if share is not None:
            values[f"stroke_{kind}_pattern"] = "".join(str(min(9, int(10 * s + 1e-9))) for s in share)
    backbone = bar_pattern(np.sort(np.concatenate([strokes["kick"], strokes["snare"]])), bars)
    if backbone is not None and (bars.numerator, bars.denominator) == (4, 4):
        values["syncopation"] = syncopation(backbone > 0.5)
    return values


def drum_strokes(inputs: DescriptorInputs) -> dict[str, np.ndarray]:
    """Strokes of the drums by kind, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{kind: (n,) seconds}``, the times of :func:`~.drums.find_strokes`.
    """
    return {kind: times_s for kind, (times_s, _) in inputs.get(_likely).items()}


def _likely(inputs: DescriptorInputs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return find_strokes(inputs.frames.stems["drums"].mel, inputs.frames.onset, inputs.get(active_rows)["drums"])


def _strokes(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    if not inputs.get(active_rows)[row].any():
        return {"strokes_status": SILENT}
    onsets = inputs.get(row_onsets)["bass"][0]
    return describe_strokes(inputs.get(drum_strokes), inputs.get(row_bars)[row], onsets, inputs.frames.duration_s)


register(Extractor("strokes", 37, FIELDS, "strokes_status", _strokes))

EVENT_FIELDS = (
    Field("time_s", "float64", "When it is struck.", "s", ">= 0", nullable=False, since="1.1", family="rhythm"),
    Field(
        "kind",
        "category",
        "What is struck; snare includes rim shots and claps, hat open and closed ones, cymbal crash and ride.",
        range=" | ".join(STROKES),
        nullable=False,
        since="1.1",
        family="rhythm",
    ),
    Field("confidence", "float32", "Probability of the stroke.", "", "0..1", since="1.1", family="rhythm"),
)


def _events(inputs: DescriptorInputs) -> Columns:
    found = inputs.get(_likely)
    times_s, confidence = (np.concatenate(values) for values in zip(*found.values()))
    kinds = np.repeat(list(found), [len(times) for times, _ in found.values()])
    order = np.argsort(times_s, kind="stable")
    return {"time_s": times_s[order], "kind": kinds[order].tolist(), "confidence": confidence[order]}


register_events(
    EventTable(
        "strokes",
        44,
        "One row per stroke of the drums, on request (extract --strokes); two kinds may be struck at once.",
        EVENT_FIELDS,
        ("time_s", "kind"),
        compute=_events,
        on_request=True,
    )
)
