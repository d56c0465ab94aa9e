"""Tempo, beats and bars of the mixture and the drums."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..constants import FRAME_RATE, MIXTURE
from ..fields import DURATION, NOT_A_COORDINATE, Field, Scale, status_field
from .accents import AccentStreams, accent_streams
from .activity import active_rows
from .beat_confidence import beat_confidence
from .beats import MIN_BEATS, MIN_DURATION_S, BeatTrack, beat_periods, track_beats
from .inputs import DescriptorInputs
from .metre import Bars, find_bars
from .pitch_classes import row_chroma
from .registry import Extractor, register
from .values import OK, SILENT, TOO_SHORT, mean, number

#: A beat period within this fraction of the median counts as steady.
STEADY = 0.04

#: The drums are heard as a rhythm for this many frames (1 s) after and before their last sounding frame.
DRUMS_REACH = 43
#: They have a beat of their own when they sound within 70 ms of this share of the beats.
DRUMS_SHARE = 1 / 3

#: Rows whose onsets and beats are read off the network's activations.
BEAT_ROWS = (MIXTURE, "drums")

#: F-measure that beats are expected to reach at least, to be told.
LEAST_CONFIDENCE = 0.7

NO_BEATS = "no_beats"
NO_STEADY_BEAT = "no_steady_beat"

_tempo = partial(Field, type="float32", family="rhythm", rows=BEAT_ROWS)
TEMPO_FIELDS = (
    status_field(
        "tempo_status",
        f"ok | silent | absent | too_short | no_beats | {NO_STEADY_BEAT} | not_applicable",
        "tempo and beats (3 s at least)",
        family="rhythm",
    ),
    _tempo(
        "tempo_bpm",
        description="Tempo of the tracked beats; pulses over 220 bpm count half.",
        unit="bpm",
        range="40..220",
        scale=Scale("circular", octaves=True),
    ),
    _tempo("tempo_strength", description="Its share of the tempogram's peaks.", range="0..1"),
    _tempo(
        "tempo_2_bpm",
        description="Next best tempo, often an octave away.",
        unit="bpm",
        range="40..220",
        scale=Scale("circular", octaves=True, strength="tempo_2_strength"),
    ),
    _tempo(
        "tempo_2_strength",
        description="Its share of the tempogram's peaks; with tempo_strength 1 or less.",
        range="0..1",
    ),
    _tempo(
        "tempo_stability",
        description="Share of beats whose local tempo is within 4 % of the median.",
        range="0..1",
    ),
    _tempo("beat_count", type="int32", description="Tracked beats.", range=">= 0", scale=DURATION),
    _tempo(
        "beat_regularity",
        description="One less the relative deviation (1.48 MAD) of the inter-beat intervals.",
        range="0..1",
    ),
    _tempo("beat_strength", description="Mean beat activation on the beats.", range="0..1"),
    _tempo(
        "meter_numerator",
        type="int8",
        description="Upper number of the metre; 6, 9 and 12 where a beat is three eighths. Null when downbeats do not "
        "stand out.",
        range="2..12",
    ),
    _tempo(
        "meter_denominator",
        type="int8",
        description="Lower number of the metre: 4, or 8 where a beat is three eighths that are played; swung eighths "
        "leave one out, and are 4. Null as the upper one.",
        range="4..8",
        since="1.1",
        scale=NOT_A_COORDINATE,
    ),
    _tempo(
        "meter_confidence",
        description="Probability of the metre among all at this tempo.",
        range="0..1",
    ),
    _tempo(
        "tempo_level_confidence",
        description="Probability of this tempo rather than half, twice or a third of it, of which the octave of slow "
        "music without drums is often a guess, however sure the beats are (tempo_confidence).",
        range="0..1",
        since="1.1",
        scale=NOT_A_COORDINATE,
    ),
    _tempo(
        "tempo_confidence",
        description="F-measure (70 ms) that the tracked beats are expected to reach, at this tempo or an octave of it "
        "(tempo_level_confidence says how likely it is this one); below 0.7 the status is no_steady_beat, and nothing "
        "that rests on beats is told.",
        range="0..1",
        since="1.1",
        scale=NOT_A_COORDINATE,
    ),
    *(
        _tempo(
            f"bpm_histogram_{place}_peak_{what}",
            description=text,
            unit="bpm" if what == "bpm" else "",
            range="> 0" if what == "bpm" else "0..1",
            since="1.1",
            scale=NOT_A_COORDINATE,
        )
        for place in ("first", "second")
        for what, text in (
            (
                "bpm",
                f"Where the {place} peak of the histogram of the beat intervals lies (essentia); null without one.",
            ),
            ("weight", "Share of the intervals within 1 bpm of it."),
            ("spread", "One less the weight over the share of the intervals within 4 bpm of it."),
        )
    ),
)
#: Half widths in bpm over which the weight and the spread of a peak of the histogram are taken, and its end.
PEAK_WEIGHT, PEAK_SPREAD, HISTOGRAM_BPM = 1, 4, 250


def bpm_histogram_peaks(intervals_s: np.ndarray) -> list[tuple[float, float, float]]:
    """The two highest peaks of the histogram of tempi, as essentia's ``BpmHistogramDescriptors`` has them.

    Parameters
    ----------
    intervals_s : (n,) ndarray
        Seconds from beat to beat; those shorter than that of 250 bpm do not count.

    Returns
    -------
    list of (float, float, float)
        Tempo in bpm, weight and spread of up to two peaks that do not share an interval.
    """
    bpm = np.floor(60 / np.maximum(intervals_s, 1e-3) + 0.5).astype(int)
    histogram = np.bincount(bpm[(bpm > 0) & (bpm < HISTOGRAM_BPM)], minlength=HISTOGRAM_BPM).astype(float)
    histogram /= max(histogram.sum(), 1.0)
    peaks = []
    for _ in range(2):
        peak = int(histogram.argmax())
        if histogram[peak] <= 0:
            break
        around = slice(max(peak - PEAK_SPREAD, 0), peak + PEAK_SPREAD + 1)
        weight = float(histogram[max(peak - PEAK_WEIGHT, 0) : peak + PEAK_WEIGHT + 1].sum())
        peaks.append((float(peak), weight, 1 - weight / float(histogram[around].sum())))
        histogram[around] = 0.0
    return peaks


def _histogram_fields(intervals_s: np.ndarray) -> dict[str, float]:
    peaks = zip(("first", "second"), bpm_histogram_peaks(intervals_s))
    return {
        f"bpm_histogram_{place}_peak_{what}": value
        for place, peak in peaks
        for what, value in zip(("bpm", "weight", "spread"), peak)
    }


def describe_tempo(
    bars: Bars | None, active: np.ndarray, duration_s: float, confidence: float | None = None
) -> dict[str, Any]:
    """Tempo, beat and bar fields of the family ``rhythm`` for one row; ``confidence`` is that of the tracked pulses."""
    if not active.any():
        return {"tempo_status": SILENT}
    if duration_s < MIN_DURATION_S:
        return {"tempo_status": TOO_SHORT}
    if bars is None and confidence is not None and confidence < LEAST_CONFIDENCE:
        return {"tempo_status": NO_STEADY_BEAT, "tempo_confidence": confidence}
    if bars is None:
        return {"tempo_status": NO_BEATS, "beat_count": 0}
    track = bars.track
    periods = beat_periods(track.beats_s)
    typical = np.median(periods)
    intervals = np.diff(track.beats_s)
    # Intervals over a stretch without rhythm are no beat periods.
    intervals = intervals[intervals < 1.8 * typical]
    second = track.tempo_bpm[1] if len(track.tempo_bpm) > 1 else (None, None)
    deviation = 1.4826 * np.median(np.abs(intervals - np.median(intervals))) if len(intervals) else None
    return {
        "tempo_status": OK,
        "tempo_bpm": track.tempo_bpm[0][0],
        "tempo_strength": track.tempo_bpm[0][1],
        "tempo_2_bpm": second[0],
        "tempo_2_strength": second[1],
        "tempo_stability": number((np.abs(periods / typical - 1) <= STEADY).mean()),
        "beat_count": len(track.beats_s),
        "beat_regularity": None if deviation is None else number(max(0.0, 1 - deviation / typical)),
        "beat_strength": mean(track.strength),
        "meter_numerator": bars.numerator,
        "meter_denominator": bars.denominator,
        "meter_confidence": bars.confidence,
        "tempo_level_confidence": bars.level_confidence,
        "tempo_confidence": confidence,
        **_histogram_fields(intervals),
    }


def accents(inputs: DescriptorInputs) -> AccentStreams:
    """Accents of every frame, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    AccentStreams
        Strokes, bass notes and changes of harmony.
    """
    chroma = inputs.get(row_chroma)
    return accent_streams(inputs.frames, inputs.get(active_rows), chroma["other"], chroma["bass"])


@dataclass(frozen=True)
class Pulses:
    """What the tracker found in a track.

    Attributes
    ----------
    activation : np.ndarray
        (n_frames,) of beats, 0 where nothing sounds.
    track : BeatTrack or None
        Pulses; None where there is no rhythm.
    """

    activation: np.ndarray
    track: BeatTrack | None


def tracked_pulses(inputs: DescriptorInputs) -> Pulses:
    """Pulses of the track, whichever of them are beats, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    Pulses
        With the activation in which they were tracked.
    """
    on = inputs.get(active_rows)[MIXTURE]
    activation = np.where(_heard(on), np.nan_to_num(inputs.frames.beat), 0.0)
    return Pulses(activation, track_beats(activation) if on.any() else None)


def pulse_confidence(inputs: DescriptorInputs) -> float | None:
    """How far the pulses are to be trusted, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    float or None
        See :func:`~.beat_confidence.beat_confidence`; None without pulses.
    """
    pulses = inputs.get(tracked_pulses)
    if pulses.track is None:
        return None
    return beat_confidence(pulses.activation, inputs.get(accents), pulses.track)


def row_bars(inputs: DescriptorInputs) -> dict[str, Bars | None]:
    """Beats and bars of the rows that have them, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{row: Bars or None}`` for ``BEAT_ROWS``; None where there is no rhythm, or beats that cannot be trusted.
        Beats of the drums are those of the mixture at which the drums are heard as a rhythm.
    """
    active, track = inputs.get(active_rows), inputs.get(tracked_pulses).track
    trusted = (inputs.get(pulse_confidence) or 0.0) >= LEAST_CONFIDENCE
    bars = find_bars(track, inputs.get(accents)) if track and trusted else None
    return {MIXTURE: bars, "drums": _heard_bars(bars, active["drums"])}


def _heard(active: np.ndarray) -> np.ndarray:
    """(n_frames,) bool: whether a row sounds within a second."""
    return np.convolve(active, np.ones(2 * DRUMS_REACH + 1), "full")[DRUMS_REACH:-DRUMS_REACH] > 0


def _heard_bars(bars: Bars | None, active: np.ndarray) -> Bars | None:
    if bars is None or not active.any():
        return None
    beats_s = bars.track.beats_s
    heard = _heard(active)[np.clip(np.rint(beats_s * FRAME_RATE).astype(int), 0, len(active) - 1)]
    if heard.sum() < MIN_BEATS or _share_sounding(beats_s[heard], active) < DRUMS_SHARE:
        return None
    track = replace(bars.track, beats_s=beats_s[heard], strength=bars.track.strength[heard])
    return replace(bars, track=track, positions=bars.positions[heard])


def _share_sounding(beats_s: np.ndarray, active: np.ndarray) -> float:
    near = np.convolve(active, np.ones(7), "same") > 0
    return float(near[np.clip(np.rint(beats_s * FRAME_RATE).astype(int), 0, len(near) - 1)].mean())


def _tempo_of(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    return describe_tempo(
        inputs.get(row_bars)[row],
        inputs.get(active_rows)[row],
        inputs.frames.duration_s,
        inputs.get(pulse_confidence),
    )


register(Extractor("tempo", 35, TEMPO_FIELDS, "tempo_status", _tempo_of))
