"""Spectra at thirds of a semitone and at semitones, beside each other, as if played higher and through an equaliser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...spectra.thirds import BINS_PER_SEMITONE, N_SEMITONES, N_THIRDS

#: Spread and number of the knots of an equaliser's gain, in the unit of the features.
EQUALISER, KNOTS = 0.25, 6


def moved(features: np.ndarray, thirds: int, sizes: Sequence[int] = (N_THIRDS, N_SEMITONES)) -> np.ndarray:
    """Features as if all were higher.

    Parameters
    ----------
    features : np.ndarray
        (n_frames, sum of ``sizes``).
    thirds : int
        Of a semitone, negative for lower; spectra of semitones move by the nearest one.
    sizes : sequence of int
        Of the spectra beside each other, each ``N_THIRDS`` or ``N_SEMITONES``.

    Returns
    -------
    np.ndarray
        Of the same shape; 0 where nothing comes from.

    Examples
    --------
    >>> x = np.zeros((1, N_SEMITONES))
    >>> x[0, 5] = 1.0
    >>> moved(x, -6, [N_SEMITONES]).argmax()
    np.int64(3)
    """
    out, first = np.zeros_like(features), 0
    for size in sizes:
        by = thirds if size == N_THIRDS else round(thirds / BINS_PER_SEMITONE)
        there = np.arange(max(0, by), min(size, size + by))
        out[:, first + there] = features[:, first + there - by]
        first += size
    return out


def equalised(
    features: np.ndarray, random: np.random.Generator, sizes: Sequence[int] = (N_THIRDS, N_SEMITONES)
) -> np.ndarray:
    """Features as if through an equaliser that is drawn; what is silent stays so.

    Parameters
    ----------
    features : np.ndarray
        (n_frames, sum of ``sizes``), from 0 on.
    random : np.random.Generator
        Draws :data:`KNOTS` normal numbers.
    sizes : sequence of int
        As of :func:`moved`; all spectra have the same gain at the same pitch.

    Returns
    -------
    np.ndarray
        Of the same shape, from 0 on.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0, 1.0]])
    >>> equalised(x, np.random.default_rng(0), [3])[0, 0]
    np.float64(0.0)
    """
    knots = random.normal(0, EQUALISER, KNOTS)
    curve = [np.interp(np.linspace(0, KNOTS - 1, n), np.arange(KNOTS), knots) for n in sizes]
    return np.where(features > 0, np.maximum(features + np.concatenate(curve).astype(np.float32), 0), 0)
