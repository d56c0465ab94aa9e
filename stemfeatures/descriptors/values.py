"""Small helpers that keep made-up numbers out of the tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

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
    return number(np.median(values)) if len(values) else None


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


def blocks(n: int, size: int | None = None) -> Iterator[tuple[int, int]]:
    """First frame and end of nearly equal blocks of ``n`` frames, of ``BLOCK_FRAMES`` or ``size`` each at most.

    An hour of 80 bands in float64 takes 100 MB, and every step of a formula one more of it.
    """
    edges = np.linspace(0, n, -(-n // (size or BLOCK_FRAMES)) + 1).astype(int)
    return zip(edges[:-1].tolist(), edges[1:].tolist())


def band_percentiles(power: np.ndarray, q: float) -> np.ndarray:
    """(n_bands,) float64 percentile of each band of (n_bands, n_frames) power."""
    return np.array([np.percentile(np.asarray(band, dtype=np.float64), q) for band in power])


def loud_level(power: np.ndarray) -> float:
    """95th percentile of the largest value of each sounding frame of ``(n_bands, n_frames)`` power; 0 for silence."""
    loudest = np.asarray(power.max(axis=0), dtype=np.float64)
    sounding = loudest[loudest > 0]
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
