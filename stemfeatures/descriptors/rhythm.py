"""Onsets of every row; tempo, beats and bars of the mixture and the drums."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..constants import FRAME_RATE
from .beats import MIN_DURATION_S, BeatTrack, beat_periods
from .values import NOT_APPLICABLE, OK, SILENT, TOO_SHORT, mean, median, number, parabolic_offset, std, unmeasured

#: Shortest signal whose onsets are counted.
MIN_ONSET_DURATION_S = 0.5
#: Onsets of one stem lie at least this many frames apart (70 ms), peaks rule this many to either side.
MIN_DISTANCE = 3
#: Frames to either side of the local mean that an onset must exceed (0.3 s), and by how much.
MEAN_HALF_WIDTH = 13
FLUX_THRESHOLD = 0.08
ACTIVATION_THRESHOLD = 0.25
#: Distance in frames over which the flux is taken (half a window), and its log compression.
LAG = 2
COMPRESSION = 1e4
#: A beat period within this fraction of the median counts as steady.
STEADY = 0.04

NO_ONSETS = "no_onsets"
NO_BEATS = "no_beats"

ONSET_NAMES = (
    "onset_count",
    "onset_rate",
    "onset_strength_mean",
    "onset_strength_std",
    "onset_interval_mean_s",
    "onset_interval_median_s",
    "onset_interval_std_s",
)
TEMPO_NAMES = (
    "tempo_bpm",
    "tempo_strength",
    "tempo_2_bpm",
    "tempo_2_strength",
    "tempo_stability",
    "beat_count",
    "beat_regularity",
    "beat_strength",
    "meter_numerator",
    "meter_confidence",
)


def onset_strength(mel: np.ndarray) -> np.ndarray:
    """Spectral flux that vibrato does not excite (SuperFlux: Böck and Widmer, DAFx 2013).

    Parameters
    ----------
    mel : (n_mels, n_frames) power.

    Returns
    -------
    (n_frames,) mean over bands of the rise of the log power over the largest of three neighbouring bands two frames
    before. Powers are taken relative to the loud frames of the signal, so that its level does not matter.
    """
    strength = np.zeros(mel.shape[1])
    loudest = mel.max(axis=0)
    if mel.shape[1] <= LAG or not loudest.any():
        return strength
    reference = np.percentile(loudest[loudest > 0], 95)
    log_mel = np.log10(1 + COMPRESSION * (mel / reference))
    before = log_mel[:, :-LAG].copy()
    np.maximum(before[:-1], log_mel[1:, :-LAG], out=before[:-1])
    np.maximum(before[1:], log_mel[:-1, :-LAG], out=before[1:])
    strength[LAG:] = np.maximum(log_mel[:, LAG:] - before, 0.0).mean(axis=0)
    return strength


def pick_onsets(strength: np.ndarray, active: np.ndarray, *, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Peaks of an onset strength.

    A peak is the largest value within 70 ms to either side, exceeds the mean of 0.3 s to either side by ``threshold``,
    and lies in an active frame or just before one.

    Parameters
    ----------
    strength : (n_frames,) non-negative.
    active : (n_frames,) bool.
    threshold : in units of ``strength``.

    Returns
    -------
    onsets_s : (n_onsets,) float64 seconds, between frames by parabolic interpolation.
    height : (n_onsets,) strength at each onset.
    """
    x = np.nan_to_num(np.asarray(strength, dtype=np.float64))
    n = len(x)
    if n < 3:
        return np.zeros(0), np.zeros(0)
    width = 2 * MIN_DISTANCE + 1
    highest = np.lib.stride_tricks.sliding_window_view(np.pad(x, MIN_DISTANCE), width).max(axis=1)
    total = np.concatenate(([0.0], np.cumsum(x)))
    low = np.maximum(np.arange(n) - MEAN_HALF_WIDTH, 0)
    high = np.minimum(np.arange(n) + MEAN_HALF_WIDTH + 1, n)
    local_mean = (total[high] - total[low]) / (high - low)
    sounding = active | np.r_[active[1:], False] | np.r_[active[2:], False, False]
    # Of equal neighbours the first is the peak.
    rising = np.r_[True, x[1:] > x[:-1]]
    peaks = np.flatnonzero((x >= highest) & rising & (x >= local_mean + threshold) & sounding)
    times = (peaks + parabolic_offset(x, peaks)) / FRAME_RATE
    return np.maximum(times, 0.0), x[peaks]


def describe_onsets(onsets_s: np.ndarray, height: np.ndarray, active: np.ndarray, duration_s: float) -> dict[str, Any]:
    """Onset fields of the family ``rhythm`` for one row."""
    if not active.any():
        return unmeasured(ONSET_NAMES, "rhythm_status", SILENT)
    if duration_s < MIN_ONSET_DURATION_S:
        return unmeasured(ONSET_NAMES, "rhythm_status", TOO_SHORT)
    counted = {"onset_count": len(onsets_s), "onset_rate": number(len(onsets_s) / duration_s)}
    if not len(onsets_s):
        return {**unmeasured(ONSET_NAMES, "rhythm_status", NO_ONSETS), **counted}
    intervals = np.diff(onsets_s)
    return {
        "rhythm_status": OK,
        **counted,
        "onset_strength_mean": mean(height),
        "onset_strength_std": std(height),
        "onset_interval_mean_s": mean(intervals),
        "onset_interval_median_s": median(intervals),
        "onset_interval_std_s": std(intervals),
    }


def describe_tempo(
    track: BeatTrack | None,
    active: np.ndarray,
    duration_s: float,
    *,
    meter: int | None = None,
    meter_confidence: float | None = None,
    applicable: bool = True,
) -> dict[str, Any]:
    """Tempo, beat and bar fields of the family ``rhythm`` for one row."""
    if not applicable:
        return unmeasured(TEMPO_NAMES, "tempo_status", NOT_APPLICABLE)
    if not active.any():
        return unmeasured(TEMPO_NAMES, "tempo_status", SILENT)
    if duration_s < MIN_DURATION_S:
        return unmeasured(TEMPO_NAMES, "tempo_status", TOO_SHORT)
    if track is None:
        return {**unmeasured(TEMPO_NAMES, "tempo_status", NO_BEATS), "beat_count": 0}
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
        "meter_numerator": meter,
        "meter_confidence": meter_confidence,
    }
