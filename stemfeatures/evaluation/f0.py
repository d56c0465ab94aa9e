"""F0 (melody) metrics: mir_eval's, with the time axes matched here.

Notes
-----
Annotations are ``(times_s, f0_hz)``: frame centres in seconds and Hz, 0 = unvoiced, negative = called unvoiced, but if
it is voiced then at this pitch (mir_eval). Such guesses count for raw pitch and raw chroma accuracy, not for the
overall one.

The estimate is brought to the times of the reference by its *nearest* frame, and its pitch is interpolated
between neighbours less than a semitone apart. mir_eval's own resampling holds the previous frame instead, which
delays an estimate by half its hop on average. Reference times further than one hop from any estimate are unvoiced.
"""

from __future__ import annotations

import math
import warnings

import numpy as np


def resample_f0(times_s: np.ndarray, f0_hz: np.ndarray, new_times_s: np.ndarray) -> np.ndarray:
    """F0 (mir_eval's signs) at ``new_times_s``; ``times_s`` must increase. NaN counts as 0."""
    times, f0 = np.asarray(times_s, np.float64), np.nan_to_num(np.asarray(f0_hz, np.float64))
    if len(times) == 0:
        return np.zeros(len(new_times_s))
    if times.shape != f0.shape or np.any(np.diff(times) <= 0):
        raise ValueError("times and F0 must be one-dimensional, equally long, and times must increase")
    nearest, within = nearest_frame(times, new_times_s)
    pitch = np.abs(f0[nearest])

    right = np.clip(np.searchsorted(times, new_times_s), min(1, len(times) - 1), len(times) - 1)
    left = np.maximum(right - 1, 0)
    a, b = np.abs(f0[left]), np.abs(f0[right])
    close = (a > 0) & (b > 0)
    close[close] = np.abs(np.log2(b[close] / a[close])) < 1 / 12
    close &= (new_times_s > times[left]) & (new_times_s < times[right])
    share = (new_times_s[close] - times[left[close]]) / (times[right[close]] - times[left[close]])
    pitch[close] = a[close] * (b[close] / a[close]) ** share
    return np.where(within, np.copysign(pitch, f0[nearest]), 0.0)


def nearest_frame(times_s: np.ndarray, new_times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of the frame nearest to each of ``new_times_s``, and whether it is within one hop (the median step)."""
    times = np.asarray(times_s, np.float64)
    right = np.clip(np.searchsorted(times, new_times_s), min(1, len(times) - 1), len(times) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(new_times_s - times[left] <= times[right] - new_times_s, left, right)
    hop = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    # a millionth of tolerance, so that a frame exactly one hop away does not depend on rounding
    return nearest, np.abs(new_times_s - times[nearest]) <= hop * (1 + 1e-6)


def f0_scores(
    ref_times_s: np.ndarray,
    ref_f0_hz: np.ndarray,
    est_times_s: np.ndarray,
    est_f0_hz: np.ndarray,
    *,
    cent_tolerance: float = 50.0,
) -> dict[str, float]:
    """Melody metrics (Poliner et al. 2007; Salamon et al. 2014), each 0..1.

    ``raw_pitch_accuracy, raw_chroma_accuracy, voicing_recall`` over the voiced reference frames (NaN if there are
    none), ``voicing_false_alarm`` over the unvoiced ones (NaN if there are none), ``overall_accuracy`` over all.

    Raises ValueError if an axis does not increase or the reference is empty.
    """
    try:
        from mir_eval import melody
    except ImportError as error:
        raise ImportError("F0 metrics need mir_eval: pip install 'stemfeatures[evaluate]'") from error

    if len(ref_times_s) == 0:
        raise ValueError("the reference has no frames")
    est_f0_hz = resample_f0(est_times_s, est_f0_hz, np.asarray(ref_times_s, np.float64))
    (ref_hz, ref_voicing), (est_hz, est_voicing) = map(
        melody.freq_to_voicing, (np.asarray(ref_f0_hz, np.float64), est_f0_hz)
    )
    arrays = ref_voicing, melody.hz2cents(ref_hz), est_voicing, melody.hz2cents(est_hz)
    with warnings.catch_warnings():  # "no voiced frames" is answered here by NaN or an honest 0
        warnings.simplefilter("ignore", UserWarning)
        scores = {
            "raw_pitch_accuracy": melody.raw_pitch_accuracy(*arrays, cent_tolerance=cent_tolerance),
            "raw_chroma_accuracy": melody.raw_chroma_accuracy(*arrays, cent_tolerance=cent_tolerance),
            "voicing_recall": melody.voicing_recall(ref_voicing, est_voicing),
            "voicing_false_alarm": melody.voicing_false_alarm(ref_voicing, est_voicing),
            "overall_accuracy": melody.overall_accuracy(*arrays, cent_tolerance=cent_tolerance),
        }
    if not ref_voicing.any():
        scores |= dict.fromkeys(("raw_pitch_accuracy", "raw_chroma_accuracy", "voicing_recall"), float("nan"))
    if ref_voicing.all():
        scores["voicing_false_alarm"] = float("nan")
    return {name: float(value) for name, value in scores.items()}


#: Classes of voiced frames by how fast their pitch changes, up to so many semitones a second: held notes; slow slides
#: and the turning points of vibrato; scoops, leaps and the flanks of vibrato (half a semitone at 5.5 Hz: 17).
SPEEDS = {"steady": 2.0, "moving": 12.0, "fast": math.inf}


def pitch_by_speed(
    ref_times_s: np.ndarray,
    ref_f0_hz: np.ndarray,
    est_times_s: np.ndarray,
    est_f0_hz: np.ndarray,
    *,
    cent_tolerance: float = 50.0,
) -> dict[str, float]:
    """Raw pitch accuracy of the voiced reference frames of each of :data:`SPEEDS`, and how many there are.

    The speed of a frame is the slope between its two neighbours; where one of them is unvoiced, or further away than
    two median steps, it is not known, and the frame belongs to no class.

    Returns
    -------
    ``rpa_steady``, ``rpa_moving``, ``rpa_fast``, 0..1, NaN for a class without frames, and ``n_steady`` ...
    """
    times, f0 = np.asarray(ref_times_s, np.float64), np.asarray(ref_f0_hz, np.float64)
    estimate = np.abs(resample_f0(est_times_s, est_f0_hz, times))
    right = np.zeros(len(times), bool)
    both = (f0 > 0) & (estimate > 0)
    right[both] = np.abs(1200 * np.log2(estimate[both] / f0[both])) <= cent_tolerance
    speed = np.full(len(times), np.nan)
    if len(times) > 2:
        before, after = f0[:-2], f0[2:]
        span = times[2:] - times[:-2]
        known = (before > 0) & (f0[1:-1] > 0) & (after > 0) & (span <= 4 * np.median(np.diff(times)))
        speed[1:-1][known] = np.abs(12 * np.log2(after[known] / before[known])) / span[known]
    scores: dict[str, float] = {}
    slowest = -1.0
    for name, fastest in SPEEDS.items():
        chosen = (speed > slowest) & (speed <= fastest)
        scores[f"rpa_{name}"] = float(right[chosen].mean()) if chosen.any() else math.nan
        scores[f"n_{name}"] = int(chosen.sum())
        slowest = fastest
    return scores
