"""Masks weighed by how much of each band the stems take in the long run.

Masks are made frame by frame from a few seconds around them. A stem that is soft in a whole excerpt gets crumbs of the
louder ones there, which can be more than itself: what a kick 15 dB below the bass is given of it. With the share of
the energy that each stem has in a band, over the frames that are given, to the power of ``exponent`` as a prior the
masks become

    M'_s = M_s w_s / sum_r M_r w_r,    w_s = (E_s / sum_r E_r + FLOOR) ** exponent.

The Wiener filter has such powers for variances (exponent 1, of the frame itself); how far an average over frames is to
be believed is chosen with the sharpness of the masks, see :mod:`stemfeatures.training.calibration`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called
from ..constants import ANALYSIS_SAMPLE_RATE, N_BINS, N_FFT
from ..spectra.filters import is_compiled

#: Where bands end, in Hz: some half an octave each, none below 60 Hz, where few bins lie.
BAND_ENDS_HZ = (60, 100, 150, 220, 320, 450, 640, 900, 1280, 1800, 2560, 3600, 5100, 7200)
#: Least share of a band, so that what does not play at all keeps a place.
FLOOR = 1e-4


def weighed(masks: Tensor, magnitude: Tensor, exponent: float) -> Tensor:
    """Masks that lean towards the stems that take most of a band.

    Parameters
    ----------
    masks : Tensor
        ``(batch, n_stems, N_BINS, n_frames)``, sums of 1 over the stems. Without gradients they are changed in place.
    magnitude : Tensor
        ``(batch, N_BINS, n_frames)`` of the mixture, at any level; frames of zeros do not count.
    exponent : float
        From 0, which leaves masks as they are.

    Returns
    -------
    Tensor
        As ``masks``.

    Examples
    --------
    >>> masks = torch.tensor([0.9, 0.1])[None, :, None, None].expand(1, 2, N_BINS, 8)
    >>> leaning = weighed(masks.clone(), torch.ones(1, N_BINS, 8), 0.5)
    >>> [round(float(share), 3) for share in leaning[0, :, 0, 0]]
    [0.964, 0.036]
    """
    if exponent == 0:
        return masks
    compiled = is_compiled(masks, magnitude)
    energy = _energy(masks, magnitude) if compiled else _energy_by_torch(masks, magnitude)
    band = _bands().to(masks.device)
    by_band = energy.new_zeros(*energy.shape[:2], len(BAND_ENDS_HZ) + 1).index_add(2, band, energy)
    share = by_band / by_band.sum(dim=1, keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)
    weight = (share + FLOOR).pow(exponent)[:, :, band, None]
    if torch.is_grad_enabled():
        masks = masks * weight
        return masks / masks.sum(dim=1, keepdim=True)
    if compiled:
        for planes, factors in zip(masks.numpy(), weight[..., 0].numpy()):
            _weigh(planes, factors)
        return masks
    return masks.mul_(weight).div_(masks.sum(dim=1, keepdim=True))


def _energy_by_torch(masks: Tensor, magnitude: Tensor) -> Tensor:
    """``(batch, n_stems, N_BINS)`` of the masked magnitudes, over all frames."""
    power = magnitude.square()
    return torch.stack([(masks[:, stem] * power).sum(dim=-1) for stem in range(masks.shape[1])], dim=1)


def _energy(masks: Tensor, magnitude: Tensor) -> Tensor:
    found = masks.new_empty(masks.shape[:3])
    for planes, plane, sums in zip(masks.numpy(), magnitude.numpy(), found.numpy()):
        _sum_up(planes, plane, sums)
    return found


@compiled_when_called(fastmath=True)
def _sum_up(masks: np.ndarray, magnitude: np.ndarray, sums: np.ndarray) -> None:  # pragma: no cover - compiled
    """:func:`_energy_by_torch` of ``(n_stems, n_bins, n_frames)`` and ``(n_bins, n_frames)``."""
    for k in range(len(magnitude)):
        values = magnitude[k]
        for stem in range(len(masks)):
            shares, total = masks[stem, k], np.float32(0)
            for t in range(len(values)):
                total += shares[t] * (values[t] * values[t])
            sums[stem, k] = total


@compiled_when_called(fastmath=True, error_model="numpy")
def _weigh(masks: np.ndarray, weight: np.ndarray) -> None:  # pragma: no cover - compiled
    """Multiply ``(n_stems, n_bins, n_frames)`` by ``(n_stems, n_bins)``, and let them sum to one over the stems."""
    total = np.empty(masks.shape[2], np.float32)
    for k in range(masks.shape[1]):
        total[:] = 0
        for stem in range(len(masks)):
            shares, factor = masks[stem, k], weight[stem, k]
            for t in range(len(total)):
                total[t] += factor * shares[t]
        for t in range(len(total)):
            total[t] = np.float32(1) / total[t]
        for stem in range(len(masks)):
            shares, factor = masks[stem, k], weight[stem, k]
            for t in range(len(total)):
                shares[t] *= factor * total[t]


@cache
def _bands() -> Tensor:
    """(N_BINS,) the band of each bin."""
    with torch.inference_mode(False):  # it is kept, and gradients may be asked for later
        hertz = torch.arange(N_BINS) * (ANALYSIS_SAMPLE_RATE / N_FFT)
        return torch.bucketize(hertz, torch.tensor(BAND_ENDS_HZ, dtype=hertz.dtype), right=True)
