"""Spectra of the mixture and under each mask, with the bins of a frame as neighbours in memory.

All that follows runs along the bins. On a CPU one pass of compiled code makes what takes a dozen of torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called
from ..constants import N_BINS
from ..spectra.planes import turned


class MaskedSpectra(NamedTuple):
    """Spectra of rows: the mixture, then each stem.

    Attributes
    ----------
    spectrum : Tensor
        (n_rows, n_frames, n_fft // 2 + 1) complex.
    magnitude, power : Tensor
        (n_rows, n_frames, N_BINS).
    total : Tensor
        (n_rows, n_frames) sum of the power over the bins, with half of that of bin 0, which has no mirror image.
    shared : Tensor
        (n_rows, n_frames) the same of the magnitude times that of the mixture.
    shares : Tensor
        (n_stems, n_frames, N_BINS), the masks.
    """

    spectrum: Tensor
    magnitude: Tensor
    power: Tensor
    total: Tensor
    shared: Tensor
    shares: Tensor


def masked_spectra(spectrum: Tensor, masks: Tensor) -> MaskedSpectra:
    """Apply masks to a spectrum.

    Parameters
    ----------
    spectrum : Tensor
        (n_fft // 2 + 1, n_frames) complex, of the mixture.
    masks : Tensor
        (n_stems, N_BINS, n_frames); bins above share the last mask.

    Returns
    -------
    MaskedSpectra
        Of ``1 + n_stems`` rows.

    Examples
    --------
    >>> found = masked_spectra(torch.ones(1025, 3, dtype=torch.complex64), torch.full((4, 1024, 3), 0.5))
    >>> found.magnitude.shape, found.total[:, 0].tolist()
    (torch.Size([5, 3, 1024]), [1023.5, 255.875, 255.875, 255.875, 255.875])
    """
    whole, shares = spectrum.t().contiguous(), turned(masks)
    n_rows, n_frames = 1 + len(shares), len(whole)
    rows = whole.new_empty(n_rows, *whole.shape)
    magnitude = shares.new_empty(n_rows, n_frames, N_BINS)
    power, sums = torch.empty_like(magnitude), shares.new_empty(2, n_rows, n_frames)
    found = MaskedSpectra(rows, magnitude, power, sums[0], sums[1], shares)
    if whole.device.type == "cpu":
        parts = (torch.view_as_real(whole).flatten(1), shares, torch.view_as_real(rows).flatten(2), *found[1:5])
        _apply(*(part.numpy() for part in parts))
    else:
        _apply_by_torch(whole, shares, found)
    return found


def _apply_by_torch(whole: Tensor, shares: Tensor, found: MaskedSpectra) -> None:
    mixed = whole[:, :N_BINS].abs()
    found.magnitude[0] = mixed
    torch.mul(shares, mixed, out=found.magnitude[1:])
    torch.square(found.magnitude, out=found.power)
    found.spectrum[0] = whole
    torch.mul(whole[:, :N_BINS], shares.to(whole.dtype), out=found.spectrum[1:, :, :N_BINS])
    torch.mul(whole[:, N_BINS:], shares[..., -1:].to(whole.dtype), out=found.spectrum[1:, :, N_BINS:])
    shared = found.magnitude * mixed
    for sums, cells in ((found.total, found.power), (found.shared, shared)):
        sums.copy_(cells.sum(dim=-1) - 0.5 * cells[..., 0])


@compiled_when_called(fastmath=True)
def _apply(
    whole: np.ndarray, shares: np.ndarray, rows: np.ndarray, magnitude: np.ndarray, power: np.ndarray,
    total: np.ndarray, shared: np.ndarray,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """The same; real and imaginary parts alternate in ``whole`` and ``rows``."""
    n_bins = shares.shape[2]
    for frame in range(len(whole)):
        mixture, mixed = whole[frame], magnitude[0, frame]
        first = rows[0, frame]
        for i in range(len(mixture)):  # an assignment of arrays takes seconds to compile
            first[i] = mixture[i]
        energy, half = np.float32(0), np.float32(0.5)
        for k in range(n_bins):
            square = mixture[2 * k] * mixture[2 * k] + mixture[2 * k + 1] * mixture[2 * k + 1]
            mixed[k], power[0, frame, k] = np.sqrt(square), square
            energy += square
        total[0, frame] = shared[0, frame] = energy - half * power[0, frame, 0]
        for stem in range(len(shares)):
            share, row = shares[stem, frame], rows[1 + stem, frame]
            own, squares = magnitude[1 + stem, frame], power[1 + stem, frame]
            energy, both = np.float32(0), np.float32(0)
            for k in range(n_bins):
                row[2 * k], row[2 * k + 1] = share[k] * mixture[2 * k], share[k] * mixture[2 * k + 1]
                value = share[k] * mixed[k]
                own[k], squares[k] = value, value * value
                energy += value * value
                both += value * mixed[k]
            for i in range(2 * n_bins, len(row)):
                row[i] = share[n_bins - 1] * mixture[i]
            total[1 + stem, frame] = energy - half * squares[0]
            shared[1 + stem, frame] = both - half * own[0] * mixed[0]
