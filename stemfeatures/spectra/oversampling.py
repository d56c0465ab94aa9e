"""Interpolation between samples as one matrix product: several times faster than ``upfirdn`` or ``conv1d``.

A block of consecutive outputs of all phases is a band matrix times the samples it sees; neighbouring blocks overlap by
the taps less one. Nearly half of the matrix is zeros, and the product is faster all the same.
"""

from __future__ import annotations

import numpy as np


def band_matrix(phases: np.ndarray, *, outputs: int = 32) -> np.ndarray:
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
    >>> (np.arange(33.0) @ matrix)[:3].tolist()
    [2.0, 5.0, 8.0]
    """
    n_phases, n_taps = phases.shape
    matrix = np.zeros((outputs + n_taps - 1, n_phases, outputs))
    for i in range(outputs):
        matrix[i : i + n_taps, :, i] = phases.T
    return matrix.reshape(-1, n_phases * outputs)


def largest_between(x: np.ndarray, matrix: np.ndarray, n_taps: int) -> float:
    """Largest absolute value of the outputs.

    Parameters
    ----------
    x : numpy.ndarray
        ``(channels, n + n_taps - 1)`` samples.
    matrix : numpy.ndarray
        Of :func:`band_matrix`.
    n_taps : int
        Taps of a phase.

    Returns
    -------
    float
        Over all channels, phases and the ``n`` outputs of each; 0 without any.
    """
    width = matrix.shape[0]
    outputs = width - n_taps + 1
    n = x.shape[1] - n_taps + 1
    if n < 1:
        return 0.0
    blocks = -(-n // outputs)
    padded = np.pad(x, ((0, 0), (0, (blocks - 1) * outputs + width - x.shape[1])))
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)[:, ::outputs]
    found = (windows.reshape(-1, width) @ matrix).reshape(len(x), blocks, -1, outputs)
    # The last block reaches beyond the signal.
    whole, last = found[:, :-1], np.abs(found[:, -1, :, : n - (blocks - 1) * outputs])
    return float(max(whole.max(initial=0.0), -whole.min(initial=0.0), last.max(initial=0.0)))
