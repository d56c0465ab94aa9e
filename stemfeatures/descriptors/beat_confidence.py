"""How far tracked beats are to be trusted: the F-measure that they are likely to reach.

A tracker finds beats wherever it is asked for them. That they are those of the music shows in activations that are
high on them and low between, in periods that stay, and in notes and strokes that fall on them rather than beside.
:mod:`stemfeatures.training.tempo` fits a logistic model to generated songs, some of which swing their tempo from phrase
to phrase. Its target is the F-measure (70 ms) at the best of the levels: which of these is the beat is another question
(:mod:`stemfeatures.descriptors.levels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import maximum_filter1d

from ..constants import FRAME_RATE
from .accents import AccentStreams, summed_rises
from .beats import BeatTrack, beat_periods, tempogram
from .fitted import logistic, stored_model

FEATURES = (
    "strength", "weakest", "contrast", "unexplained", "periodicity", "deviation", "jitter", "on_events", "steady",
)  # fmt: skip
#: A frame within this many of a beat is on it (70 ms).
_REACH = 3
#: Activation of a peak that wants a beat, and what is added to activations and to mean accents before a ratio is taken.
_PEAK, _LEAST_ACTIVATION, _FLOOR = 0.1, 0.02, 0.3
#: Periods this much longer than the median span a stretch without beats, and deviate so far at most when steady.
_GAP, _STEADY = 1.8, 0.04
WEIGHTS = "beat_confidence_weights.json"


def confidence_features(activation: np.ndarray, streams: AccentStreams, track: BeatTrack) -> np.ndarray:
    """What tells beats that were tracked from beats that were made up.

    Parameters
    ----------
    activation : np.ndarray
        (n_frames,) of beats, in which they were tracked.
    streams : AccentStreams
        Of the track.
    track : BeatTrack
        The beats, four at least.

    Returns
    -------
    (n_features,) ndarray
        In the order of :data:`FEATURES`: mean and fifth of the activation on the beats; logarithm of its median over
        the mean between them; share of the activation's peaks beside beats; periodicity at the tempo; deviation of the
        logarithms of the intervals and of their changes; logarithm of the accents on beats over those anywhere; share
        of the beats with a steady tempo.
    """
    beats_s, n = track.beats_s, len(activation)
    at = np.clip(np.rint(beats_s * FRAME_RATE).astype(int), 0, n - 1)
    tracked = np.zeros(n, dtype=bool)
    tracked[at[0] : at[-1] + 1] = True
    near = np.zeros(n, dtype=bool)
    near[np.clip(at[:, None] + np.arange(-_REACH, _REACH + 1), 0, n - 1)] = True
    between = activation[tracked & ~near]
    peak = (activation >= maximum_filter1d(activation, 2 * _REACH + 1)) & (activation > _PEAK) & tracked
    bpm, periodicity, _ = tempogram(activation)
    periods = beat_periods(beats_s)
    intervals = np.diff(beats_s)
    steps = np.log(intervals[intervals < _GAP * np.median(intervals)])
    busy = summed_rises(streams, 5)
    return np.array([
        track.strength.mean(),
        np.percentile(track.strength, 20),
        np.log(
            (np.median(track.strength) + _LEAST_ACTIVATION)
            / ((between.mean() if len(between) else 0.0) + _LEAST_ACTIVATION)
        ),
        activation[peak & ~near].sum() / max(activation[peak].sum(), 1e-9),
        np.interp(60 / np.median(periods), bpm, periodicity),
        steps.std(),
        np.diff(steps).std() if len(steps) > 1 else 0.0,
        np.log((np.median(busy[at]) + _FLOOR) / (np.median(busy[tracked]) + _FLOOR)),
        (np.abs(periods / np.median(periods) - 1) <= _STEADY).mean(),
    ])  # fmt: skip


@dataclass(frozen=True)
class ConfidenceModel:
    """Logistic model of the F-measure.

    Attributes
    ----------
    weights : np.ndarray
        (n_features,) in the order of :data:`FEATURES`.
    bias : float
        Of the score.
    """

    weights: np.ndarray
    bias: float

    def expected_f(self, features: np.ndarray) -> np.ndarray:
        """F-measure that is expected, 0..1, of ``(..., n_features)``."""
        return logistic(features @ self.weights + self.bias)


@cache
def confidence_model() -> ConfidenceModel:
    """The model that comes with the package."""
    stored = stored_model(WEIGHTS, FEATURES)
    return ConfidenceModel(np.array(stored["weights"]), float(stored["bias"]))


def beat_confidence(activation: np.ndarray, streams: AccentStreams, track: BeatTrack) -> float:
    """F-measure (70 ms) that the beats are expected to reach at the best of the levels, 0..1.

    Parameters
    ----------
    activation : np.ndarray
        (n_frames,) of beats, in which they were tracked.
    streams : AccentStreams
        Of the track.
    track : BeatTrack
        The beats, four at least.
    """
    return float(confidence_model().expected_f(confidence_features(activation, streams, track)))
