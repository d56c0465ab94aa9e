"""Interpolation between samples as one matrix product: several times faster than ``upfirdn`` or ``conv1d``.

A block of consecutive outputs of all phases is a band matrix times the samples it sees; neighbouring blocks overlap by
the taps less one. Nearly half of the matrix is zeros, and the product is faster all the same.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .._util.numba_cache import compiled_when_called


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


class Interpolator:
    """Finds the largest of the values between samples, block by block.

    Parameters
    ----------
    phases : numpy.ndarray
        ``(n_phases, n_taps)`` as of :func:`band_matrix`.
    dtype : numpy.dtype, optional
        In which outputs are computed.

    Examples
    --------
    >>> Interpolator(np.array([[1.0, 2.0]])).largest(np.array([[1.0, -3.0, 1.0]]))
    5.0
    """

    def __init__(self, phases: np.ndarray, dtype: type = np.float64) -> None:
        matrix = band_matrix(phases)
        self._matrix: np.ndarray = matrix.astype(dtype)
        self._n_taps = phases.shape[1]
        self._bounded = _line_and_bend(matrix, self._n_taps)

    def largest(self, x: np.ndarray, *, least: float = 0.0) -> float:
        """Largest absolute value of the outputs.

        Parameters
        ----------
        x : numpy.ndarray
            ``(channels, n + n_taps - 1)`` samples.
        least : float, optional
            What is known to be reached; blocks whose samples are too small to exceed it are left out.

        Returns
        -------
        float
            Over all channels, phases and the ``n`` outputs of each, or `least` where that is larger.
        """
        width = len(self._matrix)
        outputs = width - self._n_taps + 1
        n = x.shape[1] - self._n_taps + 1
        if n < 1:
            return least
        if n < outputs:
            found = np.pad(x, ((0, 0), (0, outputs - n))) @ self._matrix
            return max(least, float(np.abs(found.reshape(len(x), -1, outputs)[..., :n]).max()))
        # The last block ends with the signal, wherever it begins.
        starts = np.append(np.arange(0, n - outputs, outputs), n - outputs)
        bounds = _bounds(np.ascontiguousarray(x, np.float32), starts, width, *self._bounded)
        channels, blocks = np.nonzero((1 + 1e-5) * bounds > least)  # room for rounding
        found = sliding_window_view(x, width, axis=1)[channels, starts[blocks]] @ self._matrix
        return max(least, float(found.max(initial=0.0)), -float(found.min(initial=0.0)))


def _line_and_bend(matrix: np.ndarray, n_taps: int) -> tuple[int, int, float, float]:
    """What bounds the outputs of a block by its samples.

    The taps of a phase are those of a straight line between two samples, with their sum and first moment, and a rest
    whose sum and first moment are 0. That rest filters second differences, by ``g``, its double sum. So
    ``|y| <= sum(taps) max|x| + sum|g| max|x[i - 1] - 2 x[i] + x[i + 1]|``, which where the signal is smooth is hardly
    more than its largest sample.

    Returns
    -------
    first, stop : int
        Samples of a block from and to which the lines of its outputs reach.
    line, bend : float
        The two factors; of phases without such a line the sum of the taps' absolute values, and 0.
    """
    width = len(matrix)
    outputs = width - n_taps + 1
    taps = matrix[:n_taps, ::outputs].astype(np.float64)
    number, total = np.arange(n_taps), taps.sum(axis=0)
    place = number @ taps / np.where(total > 0, total, 1.0)
    if (total <= 0).any() or place.min() < 0 or place.max() > n_taps - 1:
        return 0, width, float(np.abs(taps).sum(axis=0).max()), 0.0
    rest = taps - total * np.maximum(1 - np.abs(number[:, None] - place), 0)
    bend = np.abs(rest.cumsum(axis=0).cumsum(axis=0)).sum(axis=0).max()
    return int(place.min()), int(np.ceil(place.max())) + outputs, float(total.max()), float(bend)


@compiled_when_called(fastmath=True)
def _bounds(
    x: np.ndarray, starts: np.ndarray, width: int, first: int, stop: int, line: float, bend: float
) -> np.ndarray:  # pragma: no cover - compiled
    """(channels, n_blocks) what the outputs of the blocks that begin at ``starts`` do not exceed."""
    found = np.empty((len(x), len(starts)), np.float32)
    for channel in range(len(x)):
        for block, start in enumerate(starts):
            seen = x[channel, start : start + width]
            near = seen[first:stop]
            largest = curved = np.float32(0)
            for i in range(len(near)):
                largest = max(largest, abs(near[i]))
            for i in range(len(seen) - 2):
                curved = max(curved, abs(seen[i] - seen[i + 1] - (seen[i + 1] - seen[i + 2])))
            found[channel, block] = line * largest + bend * curved
    return found
