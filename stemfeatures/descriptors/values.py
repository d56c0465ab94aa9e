"""Small helpers that keep made-up numbers out of the tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._util.large_arrays import release

OK = "ok"
SILENT = "silent"
ABSENT = "absent"
TOO_SHORT = "too_short"
NOT_APPLICABLE = "not_applicable"


def number(value: Any) -> float | None:
    """A Python float, or None for None, NaN and infinities."""
    if value is None:
        return None
    value = float(value)
    return value if math.isfinite(value) else None


def mean(values: np.ndarray) -> float | None:
    return number(np.mean(values, dtype=np.float64)) if len(values) else None


def std(values: np.ndarray) -> float | None:
    """Population standard deviation; None for fewer than two values."""
    return number(np.std(values, dtype=np.float64)) if len(values) > 1 else None


def median(values: np.ndarray) -> float | None:
    return number(middle(values)) if len(values) else None


def middle(values: np.ndarray) -> float:
    """``numpy.median`` of the values of one row, of which there is one at least, in a fraction of its time."""
    ordered = np.sort(values, axis=None)
    half, last = len(ordered) // 2, ordered[-1]
    if last != last:  # NaN comes last
        return float("nan")
    return float(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)


def runs(mask: np.ndarray) -> np.ndarray:
    """``(n_runs, 2)`` first frame and end (exclusive) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return edges.reshape(-1, 2)


def bridged(stretches: np.ndarray, gap: float) -> np.ndarray:
    """``(n, 2)`` stretches as of :func:`runs`, those less than ``gap`` apart joined."""
    if len(stretches) < 2:
        return stretches
    apart = stretches[1:, 0] - stretches[:-1, 1] >= gap
    return np.stack([stretches[np.r_[True, apart], 0], stretches[np.r_[apart, True], 1]], axis=1)


#: Frames that are worked on at a time where bands take much memory: six minutes.
BLOCK_FRAMES = 16_384
#: The same of frames that are picked out of a whole track, as those of beats and onsets: 80 bands of them take 2.6 MB.
PICKED_FRAMES = 4096
#: Bands that are looked at together along a whole track: eight take 5 MB an hour.
BANDS_TOGETHER = 8


def blocks(n: int, size: int | None = None) -> Iterator[tuple[int, int]]:
    """First frame and end of nearly equal blocks of ``n`` frames, of ``BLOCK_FRAMES`` or ``size`` each at most.

    An hour of 80 bands in float64 takes 100 MB, and every step of a formula one more of it.
    """
    count = -(-n // (size or BLOCK_FRAMES))
    edges = [n * k // max(count, 1) for k in range(count + 1)]
    return zip(edges[:-1], edges[1:])


def windows(*arrays: np.ndarray) -> Iterator[slice]:
    """Frames of consecutive :func:`blocks` of arrays ``(..., n)``, those that are done no longer in memory.

    A long array lies in a file (:mod:`stemfeatures._util.large_arrays`); so no more of it than a block is in memory.
    """
    for start, end in blocks(arrays[0].shape[-1]):
        yield slice(start, end)
        release(*arrays)


def step_windows(first: np.ndarray, n_frames: int) -> Iterator[tuple[slice, slice]]:
    """Steps that begin at the frames ``first``, increasing, and the frames of these steps, about a block at a time."""
    cuts = np.searchsorted(first, np.arange(BLOCK_FRAMES, n_frames, BLOCK_FRAMES))
    edges = np.unique(np.concatenate([[0], cuts, [len(first)]])).tolist()
    places = [*first, n_frames]
    for a, b in zip(edges[:-1], edges[1:]):
        yield slice(a, b), slice(int(places[a]), int(places[b]))


def step_sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(..., n_steps) sums of ``(..., n_frames)`` from each frame of ``first``, increasing, to the next.

    A step without a frame of its own has the value of its beginning.
    """
    sums = []
    for steps, part in step_windows(first, values.shape[-1]):
        sums.append(np.add.reduceat(values[..., part], first[steps] - part.start, axis=-1))
        release(values)
    return np.concatenate(sums, axis=-1)


def sums_before(values: np.ndarray) -> np.ndarray:
    """(n + 1,) float64 sums of the first values of ``(n,)``: differences are those of what lies between.

    Examples
    --------
    >>> sums_before(np.array([1, 2, 4])).tolist()
    [0.0, 1.0, 3.0, 7.0]
    """
    return np.cumsum(np.append(0.0, values), dtype=np.float64)


class Moments:
    """Mean and deviation of rows whose values come in parts.

    Parameters
    ----------
    n_rows : int
        Number of rows.

    Examples
    --------
    >>> moments = Moments(1)
    >>> moments.add(np.array([[1.0, 2.0]])), moments.add(np.array([[6.0]]))
    (None, None)
    >>> moments.mean(0), moments.std(0) == float(np.std([1, 2, 6]))
    (3.0, True)
    """

    def __init__(self, n_rows: int) -> None:
        self._n = 0
        self._mean, self._squares = np.zeros(n_rows), np.zeros(n_rows)

    def add(self, values: np.ndarray) -> None:
        """Take further (n_rows, n) values (Chan, Golub and LeVeque, The American Statistician 37, 1983)."""
        n = values.shape[1]
        if n:
            mean = values.mean(axis=1, dtype=np.float64)
            self._squares += np.square(values - mean[:, None]).sum(axis=1)
            apart, total = mean - self._mean, self._n + n
            self._squares += np.square(apart) * (self._n * n / total)
            self._mean += apart * (n / total)
            self._n = total

    def mean(self, row: int) -> float | None:
        """Mean of a row; None without values."""
        return number(self._mean[row]) if self._n else None

    def std(self, row: int) -> float | None:
        """Population standard deviation of a row; None for fewer than two values."""
        return number(np.sqrt(self._squares[row] / self._n)) if self._n > 1 else None


def band_percentiles(power: np.ndarray, q: float) -> np.ndarray:
    """(n_bands,) float64 percentile of each band of (n_bands, n_frames) power, between neighbours as numpy's."""
    place = (power.shape[1] - 1) * q / 100
    below = int(place)
    found: list[np.ndarray] = []
    for first, end in blocks(len(power), BANDS_TOGETHER):
        bands = np.concatenate([power[first:end, part] for part in windows(power)], axis=1)
        # To have one value in its place takes a fraction of the time of `percentile`, which selects two in float64.
        bands.partition(below, axis=1)
        low = bands[:, below].astype(np.float64)
        high = bands[:, below + 1 :].min(axis=1).astype(np.float64) if below + 1 < bands.shape[1] else low
        found.append(low + (high - low) * (place - below))
    return np.concatenate(found) if found else np.zeros(0)


def loud_level(power: np.ndarray, active: np.ndarray | None = None) -> float:
    """95th percentile of the largest value of each sounding frame of ``(n_bands, n_frames)`` power; 0 for silence.

    Of the frames that are ``active`` (n_frames,) alone, if given.
    """
    loudest = np.concatenate([power[:, part].max(axis=0) for part in windows(power)] or [[]]).astype(np.float64)
    sounding = loudest[loudest > 0 if active is None else (loudest > 0) & active]
    return float(np.percentile(sounding, 95)) if len(sounding) else 0.0


def parabolic_offset(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Where between its neighbours the peak at ``index`` lies, in samples from -0.5 to 0.5."""
    if len(values) < 3:
        return np.zeros(len(index))
    inner = np.clip(index, 1, len(values) - 2)
    left, centre, right = values[inner - 1], values[inner], values[inner + 1]
    curvature = left - 2 * centre + right
    offset = np.where(curvature < 0, 0.5 * (left - right) / np.where(curvature < 0, curvature, -1.0), 0.0)
    return np.where(index == inner, np.clip(offset, -0.5, 0.5), 0.0)
