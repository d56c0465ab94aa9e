"""Interpolation between samples as one matrix product: several times faster than ``upfirdn`` or ``conv1d``.

A block of consecutive outputs of all phases is a band matrix times the samples it sees; neighbouring blocks overlap by
the taps less one. Nearly half of the matrix is zeros, and the product is faster all the same.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def band_matrix(phases: np.ndarray, *, outputs: int = 64) -> np.ndarray:
    """The matrix of a block.

    Parameters
    ----------
    phases : numpy.ndarray
        ``(n_phases, n_taps)``: output ``i`` of phase ``p`` is ``sum(phases[p, t] * x[i + t])``.
    outputs : int, optional
        Outputs of each phase in a block; decides the speed alone.

    Returns
    -------
    numpy.ndarray
        ``(outputs + n_taps - 1, n_phases * outputs)`` float64; a row of samples times it gives the outputs by phase.

    Examples
    --------
    >>> matrix = band_matrix(np.array([[1.0, 2.0]]))
    >>> (np.arange(65.0) @ matrix)[:3].tolist()
    [2.0, 5.0, 8.0]
    """
    n_phases, n_taps = phases.shape
    matrix = np.zeros((outputs + n_taps - 1, n_phases, outputs))
    for i in range(outputs):
        matrix[i : i + n_taps, :, i] = phases.T
    return matrix.reshape(-1, n_phases * outputs)


def largest_between(x: np.ndarray, matrix: np.ndarray, n_taps: int, *, least: float = 0.0) -> float:
    """Largest absolute value of the outputs.

    Parameters
    ----------
    x : numpy.ndarray
        ``(channels, n + n_taps - 1)`` samples.
    matrix : numpy.ndarray
        Of :func:`band_matrix`.
    n_taps : int
        Taps of a phase.
    least : float, optional
        What is known to be reached; blocks whose samples are too small to exceed it are left out.

    Returns
    -------
    float
        Over all channels, phases and the ``n`` outputs of each, or `least` where that is larger.

    Examples
    --------
    >>> matrix = band_matrix(np.array([[1.0, 2.0]]))
    >>> largest_between(np.array([[1.0, -3.0, 1.0]]), matrix, 2)
    5.0
    """
    width = matrix.shape[0]
    outputs = width - n_taps + 1
    n = x.shape[1] - n_taps + 1
    if n < 1:
        return least
    if n < outputs:
        found = np.pad(x, ((0, 0), (0, outputs - n))) @ matrix
        return max(least, float(np.abs(found.reshape(len(x), -1, outputs)[..., :n]).max()))
    # The last block ends with the signal, wherever it begins.
    starts = np.append(np.arange(0, n - outputs, outputs), n - outputs)
    cells = np.abs(x[:, : x.shape[1] // outputs * outputs]).reshape(len(x), -1, outputs).max(axis=2)
    cells = np.pad(cells, ((0, 0), (0, -(-width // outputs))), constant_values=np.inf)  # of the rest: not known
    around = sliding_window_view(cells, -(-width // outputs), axis=1).max(axis=2)[:, : len(starts)]
    # No output exceeds the largest sample that it sees times the sum of the taps' absolute values, but for rounding.
    channels, blocks = np.nonzero(around * ((1 + 1e-5) * np.abs(matrix).sum(axis=0).max()) > least)
    found = sliding_window_view(x, width, axis=1)[channels, starts[blocks]] @ matrix
    return max(least, float(found.max(initial=0.0)), -float(found.min(initial=0.0)))
