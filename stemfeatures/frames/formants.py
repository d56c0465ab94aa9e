"""Formants of a voice: resonances of a linear prediction of tenth order at 11,025 Hz, by Burg's method.

As Praat's ``To Formant (burg)`` at a ceiling of 5.5 kHz: pre-emphasis from 50 Hz, a Gaussian window of 50 ms, and the
poles of the prediction (Markel and Gray, "Linear Prediction of Speech", 1976, chapter 7).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE

#: Rate after decimation in Hz, and the half-band filter before it.
RATE, TAPS = ANALYSIS_SAMPLE_RATE / 2, 47
#: Samples of the window at that rate (50 ms).
WINDOW = 551
ORDER, N_FORMANTS = 10, 3
PRE_EMPHASIS_HZ = 50.0
#: Poles nearer to 0 Hz or the highest frequency are slopes of the spectrum (the limit of Praat).
EDGE_HZ = 50.0


def formants(windows: np.ndarray) -> np.ndarray:
    """Formants around the middle of each window.

    Parameters
    ----------
    windows : np.ndarray
        (n, size) samples at 22,050 Hz, at least ``2 * WINDOW + TAPS``.

    Returns
    -------
    np.ndarray
        (n, 6) Hz: frequencies of the first three, then their bandwidths; NaN where there are fewer or silence.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal(1200)
    >>> formants(noise[None]).shape
    (1, 6)
    """
    size = 2 * (WINDOW + 1) - 1 + TAPS - 1
    first = (windows.shape[1] - size) // 2
    filters, window = _filters()
    cut = np.ascontiguousarray(windows[:, first : first + size], dtype=np.float64)
    low = np.lib.stride_tricks.sliding_window_view(cut, TAPS, axis=1)[:, ::2] @ filters
    emphasised = low[:, 1:] - np.exp(-2 * np.pi * PRE_EMPHASIS_HZ / RATE) * low[:, :-1]
    return poles(burg(emphasised * window))


@lru_cache(maxsize=1)
def _filters() -> tuple[np.ndarray, np.ndarray]:
    """Low-pass taps and the window, which ends at -109 dB."""
    t = np.arange(TAPS) - TAPS // 2
    taps = np.sinc(t / 2) * np.kaiser(TAPS, 7.0)
    place = np.linspace(-1, 1, WINDOW)
    return taps / taps.sum(), (np.exp(-12 * np.square(place)) - np.exp(-12)) / (1 - np.exp(-12))


def burg(x: np.ndarray) -> np.ndarray:
    """Coefficients of the prediction error filter.

    Parameters
    ----------
    x : np.ndarray
        (n, size) windowed samples.

    Returns
    -------
    np.ndarray
        (n, ORDER + 1), the first 1.
    """
    coefficients = np.zeros((len(x), ORDER + 1))
    coefficients[:, 0] = 1
    forward, backward = x[:, 1:], x[:, :-1]
    for k in range(1, ORDER + 1):
        energy = np.einsum("nt,nt->n", forward, forward) + np.einsum("nt,nt->n", backward, backward)
        reflection = -2 * np.einsum("nt,nt->n", forward, backward) / np.maximum(energy, 1e-30)
        coefficients[:, 1 : k + 1] += reflection[:, None] * coefficients[:, k - 1 :: -1][:, :k]
        moved = forward + reflection[:, None] * backward
        backward = (backward + reflection[:, None] * forward)[:, :-1]
        forward = moved[:, 1:]
    return coefficients


def poles(coefficients: np.ndarray) -> np.ndarray:
    """Frequencies and bandwidths of the lowest resonances.

    Parameters
    ----------
    coefficients : np.ndarray
        (n, ORDER + 1) of :func:`burg`.

    Returns
    -------
    np.ndarray
        (n, 2 * N_FORMANTS) Hz.
    """
    n = len(coefficients)
    companion = np.zeros((n, ORDER, ORDER))
    companion[:, 0] = -coefficients[:, 1:]
    companion[:, np.arange(1, ORDER), np.arange(ORDER - 1)] = 1
    roots = np.linalg.eigvals(companion)
    hertz = np.angle(roots) * RATE / (2 * np.pi)
    width = -np.log(np.maximum(np.abs(roots), 1e-9)) * RATE / np.pi
    kept = (hertz > EDGE_HZ) & (hertz < RATE / 2 - EDGE_HZ)
    hertz, width = np.where(kept, hertz, np.inf), np.where(kept, width, np.nan)
    order = np.argsort(hertz, axis=1)[:, :N_FORMANTS]
    found = np.concatenate([np.take_along_axis(part, order, axis=1) for part in (hertz, width)], axis=1)
    return np.where(np.isfinite(found), found, np.nan)
