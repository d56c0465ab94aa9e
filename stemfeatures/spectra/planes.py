"""Passes over whole spectrograms, which on a CPU take a fraction of the time in compiled code."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called

#: Columns that are taken together: a line of the cache.
_TILE = 16


def magnitudes(spectrum: Tensor) -> Tensor:
    """Absolute values of complex spectra, of a range that audio has: squares must not overflow.

    Parameters
    ----------
    spectrum : Tensor
        ``(n_bins, n_frames)`` complex.

    Returns
    -------
    Tensor
        ``(n_bins, n_frames)``.

    Examples
    --------
    >>> magnitudes(torch.tensor([[3 + 4j]])).tolist()
    [[5.0]]
    """
    if spectrum.device.type != "cpu" or spectrum.dtype != torch.complex64:
        return spectrum.abs()
    found = torch.empty(spectrum.shape)
    _magnitudes(torch.view_as_real(spectrum.contiguous()).flatten(1).numpy(), found.numpy())
    return found


def turned(planes: Tensor) -> Tensor:
    """Frames as rows: the contiguous transpose of planes.

    Parameters
    ----------
    planes : Tensor
        ``(n, n_bins, n_frames)``.

    Returns
    -------
    Tensor
        ``(n, n_frames, n_bins)``.

    Examples
    --------
    >>> turned(torch.arange(6).reshape(1, 2, 3)).tolist()
    [[[0, 3], [1, 4], [2, 5]]]
    """
    if planes.device.type != "cpu" or planes.stride(-1) != 1:
        return planes.transpose(1, 2).contiguous()
    found = planes.new_empty(len(planes), planes.shape[2], planes.shape[1])
    _turn(planes.numpy(), found.numpy())
    return found


@compiled_when_called(fastmath=True)
def _magnitudes(parts: np.ndarray, found: np.ndarray) -> None:  # pragma: no cover - compiled
    """Of real and imaginary parts by turns."""
    for k in range(len(found)):
        row, into = parts[k], found[k]
        for t in range(len(into)):
            into[t] = np.sqrt(row[2 * t] * row[2 * t] + row[2 * t + 1] * row[2 * t + 1])


@compiled_when_called()
def _turn(planes: np.ndarray, found: np.ndarray) -> None:  # pragma: no cover - compiled
    n, n_bins, n_frames = planes.shape
    whole = n_bins - n_bins % 8
    for i in range(n):
        for low in range(0, whole, 8):
            a, b, c, d = planes[i, low], planes[i, low + 1], planes[i, low + 2], planes[i, low + 3]
            e, f, g, h = planes[i, low + 4], planes[i, low + 5], planes[i, low + 6], planes[i, low + 7]
            for first in range(0, n_frames, _TILE):
                for t in range(first, min(first + _TILE, n_frames)):
                    into = found[i, t]
                    # All are read before any is written: it is not known that they do not overlap.
                    p, q, r, s = a[t], b[t], c[t], d[t]
                    u, v, w, x = e[t], f[t], g[t], h[t]
                    into[low], into[low + 1], into[low + 2], into[low + 3] = p, q, r, s
                    into[low + 4], into[low + 5], into[low + 6], into[low + 7] = u, v, w, x
        for t in range(n_frames):
            for k in range(whole, n_bins):
                found[i, t, k] = planes[i, k, t]
