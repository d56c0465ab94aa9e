"""How much single bins of a spectrum rise from one frame to the next, relative to the loudest of them.

Where a note begins, is struck again or bowed anew, the spectrum widens for a moment: bins between the partials rise,
which were empty, even if no partial does. Bands of mel power hold partials and what lies between them, and hide it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called

#: Bins that are looked at, up to 5.5 kHz; those to either side of a bin from which its partial may have come.
RISE_BINS, RISE_NEIGHBOURS = 512, 2
#: What lies so many dB below the loudest bin of the two frames is nothing.
RISE_FLOOR_DB = 50.0
_FLOOR = 10 ** (-RISE_FLOOR_DB / 10)
#: Power below which a frame is silent.
_SILENCE = 1e-20
#: Logarithms a frame, each of a product: of 32 factors from 1 to 1e5, in range of double precision.
_PRODUCTS = 16


def bin_rise(power: Tensor, before: Tensor) -> Tensor:
    """Mean rise of the bins of each frame over the largest of five neighbours in the frame before.

    Parameters
    ----------
    power : Tensor
        (n_rows, n_frames, n_bins) float32, the bins of a frame neighbours in memory.
    before : Tensor
        (n_rows, n_bins) of the frame before the first; 0 at the beginning.

    Returns
    -------
    Tensor
        (n_rows, n_frames) mean over the bins up to 5.5 kHz of the common logarithm of what they rise by, 0 for those
        that do not; whatever lies 50 dB below the loudest bin of the two frames counts as equal. 0 to 5.

    Examples
    --------
    >>> quiet, loud = torch.full((1, 1, 512), 1e-9), torch.full((1, 1, 512), 1.0)
    >>> [round(float(bin_rise(now, then[:, 0])), 3) for now, then in ((loud, quiet), (quiet, loud), (loud, loud))]
    [5.0, 0.0, 0.0]
    """
    if power.device.type != "cpu":
        return _rise_by_torch(power[..., :RISE_BINS], before[..., :RISE_BINS])
    n_bins = min(RISE_BINS, power.shape[-1])
    return torch.from_numpy(_rise(power.contiguous().numpy(), before.contiguous().numpy(), n_bins))


def _rise_by_torch(power: Tensor, before: Tensor) -> Tensor:
    then = torch.cat([before[:, None], power[:, :-1]], dim=1)
    loudest = torch.maximum(power.amax(dim=-1), then.amax(dim=-1))
    floor = (_FLOOR * loudest).clamp_min(_SILENCE)[..., None]
    around = torch.nn.functional.max_pool1d(then, 2 * RISE_NEIGHBOURS + 1, 1, RISE_NEIGHBOURS)
    return torch.log10((power + floor) / (around + floor)).clamp_min(0).mean(dim=-1)


@compiled_when_called(fastmath=True, error_model="numpy")
def _rise(power: np.ndarray, before: np.ndarray, n_bins: int) -> np.ndarray:  # pragma: no cover - compiled
    """:func:`_rise_by_torch` of the lowest bins of (n_rows, n_frames, k) and (n_rows, k).

    Bins lie next to each other, and each loop does one thing, so that several are computed at a time.
    """
    n_rows, n_frames, _ = power.shape
    found = np.zeros((n_rows, n_frames), np.float32)
    padded = np.zeros(n_bins + 2 * RISE_NEIGHBOURS, np.float32)
    around, products = np.empty(n_bins, np.float32), np.empty(_PRODUCTS)
    least, one = np.float32(_SILENCE), np.float32(1.0)
    for row in range(n_rows):
        for t in range(n_frames):
            then, now = before[row] if t == 0 else power[row, t - 1], power[row, t]
            loudest = np.float32(0.0)
            for k in range(n_bins):
                padded[k + RISE_NEIGHBOURS] = then[k]
                loudest = max(loudest, max(then[k], now[k]))
            floor = max(np.float32(_FLOOR) * loudest, least)
            for k in range(n_bins):
                pair, other = max(padded[k], padded[k + 1]), max(padded[k + 3], padded[k + 4])
                around[k] = max(max(pair, other), padded[k + 2])
            for k in range(n_bins):
                around[k] = max((now[k] + floor) / (around[k] + floor), one)
            products[:] = 1.0
            for start in range(0, n_bins, _PRODUCTS):
                for i in range(min(_PRODUCTS, n_bins - start)):
                    products[i] *= around[start + i]
            total = 0.0
            for i in range(_PRODUCTS):
                total += math.log10(products[i])
            found[row, t] = total / n_bins
    return found
