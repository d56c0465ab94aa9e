"""Periods of a voice, one after the other, and how far they and their amplitudes differ.

A period is the lag at which the waveform around a point of it, as long as a period, is most like itself again
(normalised cross-correlation, as Praat's ``To PointProcess (cc)``; Boersma, "Should jitter be measured by peak picking
or by waveform matching?", Folia Phoniatrica et Logopaedica 61, 2009). From there the next one is looked for.
"""

from __future__ import annotations

import numpy as np

from .._util.numba_cache import compiled
from ..constants import HOP_LENGTH

#: Samples around a frame whose periods are measured: two hops, and at least so many periods.
SPAN, LEAST_PERIODS = 2 * HOP_LENGTH, 5
#: Periods up to this factor apart are measured together.
GROUP_RATIO = 1.25
#: How far from the one before a period is looked for, as a share of it.
REACH = 0.12
#: Least cross-correlation of what is a period.
SIMILAR = 0.5
#: Part of a period around its pulse whose level is its amplitude (that of Praat).
PULSE = 0.4
#: Between periods whose amplitudes are further apart something else begins (the limit of Praat).
MOST_AMPLITUDE_RATIO = 1.6
#: Samples before and after the centre of a frame that a walk may touch, for periods of up to so many samples.
LONGEST_PERIOD = 340
HALF = 1600


def perturbations(windows: np.ndarray, period: np.ndarray) -> np.ndarray:
    """Jitter and shimmer of the periods around the middle of each window.

    Parameters
    ----------
    windows : np.ndarray
        (n, 2 * HALF) samples around the centres of frames.
    period : np.ndarray
        (n,) about how long a period is, in samples, up to :data:`LONGEST_PERIOD`.

    Returns
    -------
    np.ndarray
        (n, 4) shares of the mean, NaN where periods are not found: jitter (local), jitter (three-point, RAP), shimmer
        (local), shimmer (three-point, APQ3), as Praat defines them.

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * np.arange(2 * HALF) / 100)[None]
    >>> bool(np.nanmax(perturbations(tone, np.array([99.0]))) < 1e-3)
    True
    """
    found = np.full((len(windows), 4), np.nan)
    group = np.floor(np.log(np.maximum(period, 1.0)) / np.log(GROUP_RATIO)).astype(int)
    for number in np.unique(group):
        rows = np.flatnonzero(group == number)
        found[rows] = _of_periods(*walk(windows[rows], period[rows]))
    return found


def walk(windows: np.ndarray, period: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Successive periods of windows, whose periods are of nearly one length.

    Parameters
    ----------
    windows : np.ndarray
        (n, 2 * HALF) samples.
    period : np.ndarray
        (n,) about how long a period is, in samples.

    Returns
    -------
    periods : np.ndarray
        (n, n_periods) samples; NaN where the next one is not like the last.
    amplitudes : np.ndarray
        (n, n_periods) root mean square around the pulse of each.
    """
    windows = np.ascontiguousarray(windows, dtype=np.float32)
    longest = int(np.ceil(period.max()))
    count = max(LEAST_PERIODS, round(SPAN / longest))
    rows = np.arange(len(windows))
    at = HALF - np.rint((count + 0.5) / 2 * period).astype(int) + np.arange(longest)[:, None] - longest // 2
    at = at[np.abs(windows[rows, at]).argmax(axis=0), rows]  # where the pulse is
    shape = np.hanning(2 * int(PULSE / 2 * longest) + 3)[1:-1]
    periods, amplitudes = np.empty((len(windows), count)), np.empty((len(windows), count))
    _walk(windows, at, np.asarray(period, np.float64), longest, shape / shape.sum(), periods, amplitudes)
    return periods, amplitudes


@compiled()
def _walk(
    windows: np.ndarray, starts: np.ndarray, lengths: np.ndarray, longest: int, shape: np.ndarray,
    periods: np.ndarray, amplitudes: np.ndarray,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Fill ``periods`` and ``amplitudes`` of :func:`walk` from the first pulse of each window on."""
    half_lags = int(np.ceil(REACH * longest))
    similarity = np.empty(2 * half_lags + 1, np.float32)
    for row in range(len(windows)):
        x, at, period = windows[row], starts[row], lengths[row]
        for k in range(periods.shape[1]):
            first = at - longest // 2
            least = min(int(np.rint(period)) - half_lags, len(x) - first - longest - 2 * half_lags)
            own = x[first : first + longest]
            amplitudes[row, k] = np.sqrt(_power(own, shape))
            _correlate(own, x[first + least : first + least + longest + 2 * half_lags], similarity)
            step, similar = _peak(similarity)
            moved = least + step if similar >= SIMILAR else period
            periods[row, k] = moved if similar >= SIMILAR else np.nan
            nearby = min(max(moved, period / (1 + REACH)), period * (1 + REACH))
            period = min(max(nearby, 2.0), LONGEST_PERIOD * (1 + REACH))
            at = min(at + int(np.rint(moved)), len(x) - 2 * longest - len(similarity))


@compiled(fastmath=True)
def _power(own: np.ndarray, shape: np.ndarray) -> float:  # pragma: no cover - compiled
    """Mean square around the middle, weighed by a window of unit sum."""
    first = len(own) // 2 - len(shape) // 2
    total = 0.0
    for i in range(len(shape)):
        total += shape[i] * own[first + i] * own[first + i]
    return total


@compiled(fastmath=True)
def _correlate(own: np.ndarray, after: np.ndarray, similarity: np.ndarray) -> None:  # pragma: no cover - compiled
    """Cross-correlation of a stretch with those that begin at each lag, normalised by the root of both energies."""
    n = len(own)
    energy_own, energy = 0.0, 0.0
    for i in range(n):
        energy_own += own[i] * own[i]
        energy += after[i] * after[i]
    for lag in range(len(similarity)):
        stretch, product = after[lag : lag + n], np.float32(0)
        for i in range(n):
            product += own[i] * stretch[i]
        similarity[lag] = product / np.sqrt(max(energy * energy_own, 1e-20))
        if lag + n < len(after):
            energy += float(after[lag + n]) ** 2 - float(after[lag]) ** 2


@compiled()
def _peak(similarity: np.ndarray) -> tuple[float, float]:  # pragma: no cover - compiled
    """Place and height of the largest value; a height of -1 where it is at the edge."""
    best = similarity.argmax()
    if best == 0 or best == len(similarity) - 1:
        return float(best), -1.0
    left, peak, right = float(similarity[best - 1]), float(similarity[best]), float(similarity[best + 1])
    offset = (left - right) / 2 / min(left - 2 * peak + right, -1e-12)
    return best + min(max(offset, -0.5), 0.5), peak


def _of_periods(periods: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """(n, 4) of :func:`perturbations`; NaN for fewer than three successive periods."""
    ratio = amplitudes[:, 1:] / np.maximum(amplitudes[:, :-1], 1e-12)
    known = np.isfinite(periods)
    next_to = known[:, 1:] & known[:, :-1] & (np.maximum(ratio, 1 / np.maximum(ratio, 1e-12)) < MOST_AMPLITUDE_RATIO)
    between = next_to[:, 1:] & next_to[:, :-1]
    enough = between.any(axis=1)
    values = []
    for x in (np.where(known, periods, 0.0), amplitudes):
        middle = (x * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        local = (np.abs(np.diff(x)) * next_to).sum(axis=1) / np.maximum(next_to.sum(axis=1), 1)
        three = np.abs(x[:, 1:-1] - (x[:, :-2] + x[:, 1:-1] + x[:, 2:]) / 3)
        smoothed = (three * between).sum(axis=1) / np.maximum(between.sum(axis=1), 1)
        values += [part / np.maximum(middle, 1e-12) for part in (local, smoothed)]
    return np.where(enough[:, None], np.stack(values, axis=1), np.nan)
