"""Power in bands of spectra, without the planes of powers between them.

In inference on a CPU one pass of compiled code goes through each plane; elsewhere torch makes the same sums.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called
from ..constants import N_BINS
from .filters import is_compiled, mel_filters


def mel_power(filters: Tensor, planes: Tensor, shares: Tensor | None = None) -> Tensor:
    """Power of magnitudes in mel bands.

    Parameters
    ----------
    filters : Tensor
        ``(n_mels, N_BINS)`` of :func:`.filters.mel_filters`, on the device of the planes.
    planes : Tensor
        ``(batch, n, N_BINS, n_frames)`` magnitudes, or factors of them.
    shares : Tensor, optional
        ``(batch, N_BINS, n_frames)``, the other factor.

    Returns
    -------
    Tensor
        ``(batch, n, n_mels, n_frames)``.

    Examples
    --------
    >>> mel_power(mel_filters(n_mels=24), torch.ones(1, 2, N_BINS, 3)).shape
    torch.Size([1, 2, 24, 3])
    """
    if is_compiled(planes, *([] if shares is None else [shares])):
        return _compiled_power(planes, shares, *_neighbours(len(filters)), len(filters))
    magnitude = planes if shares is None else planes * shares[:, None]
    return torch.matmul(filters, magnitude.square())


def even_power(planes: Tensor, shares: Tensor, *, n_bands: int) -> Tensor:
    """Power of magnitudes in bands of the same number of bins.

    Parameters
    ----------
    planes, shares : Tensor
        ``(batch, n, N_BINS, n_frames)`` and ``(batch, N_BINS, n_frames)``, whose product are the magnitudes.
    n_bands : int
        Number of bands, a divisor of ``N_BINS``.

    Returns
    -------
    Tensor
        ``(batch, n, n_bands, n_frames)``.
    """
    if is_compiled(planes, shares):
        first = np.arange(N_BINS) // (N_BINS // n_bands)
        return _compiled_power(planes, shares, first, np.eye(2, 1, dtype=np.float32).repeat(N_BINS, axis=1), n_bands)
    return (planes * shares[:, None]).square_().unflatten(2, (n_bands, -1)).sum(dim=3)


@lru_cache(maxsize=8)
def _neighbours(n_mels: int) -> tuple[np.ndarray, np.ndarray]:
    """The first of the two bands that see a bin, and their weights ``(2, N_BINS)``: triangles overlap no further."""
    filters = mel_filters(n_mels=n_mels).numpy()
    first = np.minimum((filters > 0).argmax(axis=0), n_mels - 2)
    weights = np.stack([filters[first, range(N_BINS)], filters[first + 1, range(N_BINS)]])
    return first, weights


def _compiled_power(
    planes: Tensor, shares: Tensor | None, first: np.ndarray, weights: np.ndarray, n_bands: int
) -> Tensor:
    batch, n, _, n_frames = planes.shape
    sums = np.zeros((batch, n, n_bands + 1, n_frames), np.float32)  # a row more: each bin has two bands
    for i in range(batch):
        _add_power(planes[i].numpy(), None if shares is None else shares[i].numpy(), first, weights, sums[i])
    return torch.from_numpy(sums[:, :, :n_bands])


@compiled_when_called(fastmath=True)
def _add_power(
    planes: np.ndarray, shares: np.ndarray | None, first: np.ndarray, weights: np.ndarray, sums: np.ndarray
) -> None:  # pragma: no cover - compiled
    for i in range(len(planes)):
        for k in range(planes.shape[1]):
            own, low, high = planes[i, k], sums[i, first[k]], sums[i, first[k] + 1]
            a, b = weights[0, k], weights[1, k]
            if shares is None:
                for t in range(len(own)):
                    power = own[t] * own[t]
                    low[t] += a * power
                    high[t] += b * power
            else:
                share = shares[k]
                for t in range(len(own)):
                    value = own[t] * share[t]
                    power = value * value
                    low[t] += a * power
                    high[t] += b * power
