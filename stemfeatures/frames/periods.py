"""Periods of a voice, one after the other, and how far they and their amplitudes differ.

A period is the lag at which the waveform around a point of it, as long as a period, is most like itself again
(normalised cross-correlation, as Praat's ``To PointProcess (cc)``; Boersma, "Should jitter be measured by peak picking
or by waveform matching?", Folia Phoniatrica et Logopaedica 61, 2009). From there the next one is looked for.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

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
    longest = int(np.ceil(period.max()))
    count = max(LEAST_PERIODS, round(SPAN / longest))
    n_lags = 2 * int(np.ceil(REACH * longest)) + 1
    rows = np.arange(len(windows))
    at = HALF - np.rint((count + 0.5) / 2 * period).astype(int) + np.arange(longest)[:, None] - longest // 2
    at = at[np.abs(windows[rows, at]).argmax(axis=0), rows]  # where the pulse is
    periods, amplitudes = np.full((len(windows), count), np.nan), np.empty((len(windows), count))
    half = int(PULSE / 2 * longest)
    pulse, shape = slice(longest // 2 - half, longest // 2 + half + 1), np.hanning(2 * half + 3)[1:-1]
    stretches = sliding_window_view(windows, longest + n_lags - 1, axis=1)
    for k in range(count):
        first = at - longest // 2
        own = stretches[rows, first][:, :longest]
        least = np.rint(period).astype(int) - n_lags // 2
        after = stretches[rows, first + least]
        amplitudes[:, k] = np.sqrt(np.square(own[:, pulse]) @ shape / shape.sum())
        step, similar = _lag(own, after)
        periods[:, k] = np.where(similar >= SIMILAR, least + step, np.nan)
        moved = np.where(similar >= SIMILAR, least + step, period)
        period = np.clip(moved, period / (1 + REACH), period * (1 + REACH)).clip(2, LONGEST_PERIOD * (1 + REACH))
        at = np.minimum(at + np.rint(moved).astype(int), windows.shape[1] - 2 * longest - n_lags)
    return periods, amplitudes


def _lag(own: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place and height of the largest cross-correlation; NaN and -1 where it is at the edge."""
    rows = np.arange(len(own))
    products = np.einsum("nlw,nw->nl", sliding_window_view(after, own.shape[1], axis=1), own)
    squares = np.zeros((len(after), after.shape[1] + 1), after.dtype)
    np.cumsum(np.square(after), axis=1, out=squares[:, 1:])
    energy = squares[:, own.shape[1] :] - squares[:, : -own.shape[1]]
    similarity = products / np.sqrt(np.maximum(energy * np.square(own).sum(axis=1, keepdims=True), 1e-20))
    best = similarity.argmax(axis=1)
    inner = np.minimum(np.maximum(best, 1), similarity.shape[1] - 2)
    left, peak, right = (similarity[rows, inner + step] for step in (-1, 0, 1))
    offset = (left - right) / 2 / np.minimum(left - 2 * peak + right, -1e-12)
    is_peak = inner == best
    return inner + np.minimum(np.maximum(offset, -0.5), 0.5), np.where(is_peak, peak, -1.0)


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
