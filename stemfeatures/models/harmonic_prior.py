"""Masks that lean towards the partials of the pitch that was found.

The network reads pitch from the masks it makes, and knows then what it did not know when it made them: where the
partials of the voice and of the bass lie. In a frame with a pitch, each mask of such a stem is multiplied by
``exp(strength * certainty * sqrt(1 - mask) * comb)``. The comb is high on multiples of the pitch and low between them,
and zero in the mean over the bins, so that it moves energy and adds none; where a mask is sure of itself already, the
root of what it leaves to others lets it be. Harmonic masks by F0 help networks that learn behind them, too (Nakano et
al., WASPAA 2019); here nothing is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..constants import ANALYSIS_SAMPLE_RATE, N_FFT, PITCH_BINS_PER_OCTAVE, PITCH_FMIN

#: Hz between bins of the analysis grid.
_BIN_HZ = ANALYSIS_SAMPLE_RATE / N_FFT
#: Where combs end, in Hz: above, partials of a voice are no lines any more, and those of a bass are few.
TOP_HZ = {"vocals": 4000.0, "bass": 1000.0}
#: Bins of the analysis grid below that.
N_COMB_BINS = {stem: int(top / _BIN_HZ) + 1 for stem, top in TOP_HZ.items()}
#: Deviation of a partial's line in bins, of the window's main lobe, and as a share of the partial's frequency, of a
#: pitch that moves or is not quite right.
LINE_BINS, LINE_SHARE = 1.2, 0.006
#: Area of a line in deviations (the root of two pi), of which the spacing tells the mean of the comb.
_AREA = 2.5
#: Partials closer than so many deviations are no lines.
_APART = 3.0
#: Bins of the pitch grid either side of the strongest one that its frequency is read from.
_AROUND = 2


def strongest_hz(salience: Tensor) -> Tensor:
    """Frequency at which salience is largest.

    Parameters
    ----------
    salience : Tensor
        ``(batch, N_PITCH_BINS, n_frames)``, logits.

    Returns
    -------
    Tensor
        ``(batch, n_frames)`` Hz, the mean of the bins around the largest, weighted by their probability.
    """
    best = salience.argmax(dim=1, keepdim=True)
    offsets = torch.arange(-_AROUND, _AROUND + 1, device=salience.device)[:, None]
    around = (best + offsets).clamp(0, salience.shape[1] - 1)
    weight = torch.sigmoid(salience.gather(1, around))
    place = (weight * around).sum(dim=1) / weight.sum(dim=1).clamp_min(torch.finfo(weight.dtype).tiny)
    return PITCH_FMIN * torch.exp2(place / PITCH_BINS_PER_OCTAVE)


def comb(hz: Tensor, n_bins: int) -> Tensor:
    """High on the multiples of a frequency, low between them, zero in the mean.

    Parameters
    ----------
    hz : Tensor
        ``(batch, n_frames)``, positive.
    n_bins : int
        Lowest bins of the analysis grid that are looked at.

    Returns
    -------
    Tensor
        ``(batch, n_bins, n_frames)`` from -1 to 1; zero where multiples are too close to be told apart.

    Examples
    --------
    >>> lines = comb(torch.full((1, 1), 20 * ANALYSIS_SAMPLE_RATE / N_FFT), 100)[0, :, 0]  # every twentieth bin
    >>> [round(float(lines[place]), 2) for place in (20, 30, 40)]
    [0.85, -0.15, 0.85]
    """
    spacing = hz[:, None] / _BIN_HZ
    bins = torch.arange(n_bins, device=hz.device, dtype=hz.dtype)[:, None]
    partial = (bins / spacing).round_().clamp_(min=1.0).mul_(spacing)
    deviation = (partial * LINE_SHARE).square_().add_(LINE_BINS**2).sqrt_()
    lines = partial.sub_(bins).div_(deviation).square_().mul_(-0.5).exp_()
    lines -= (deviation * (_AREA / spacing)).clamp_(max=1.0)
    return lines.mul_(deviation < spacing / _APART)


def leaning(mask: Tensor, lines: Tensor, strength: float) -> Tensor:
    """What a mask is to be multiplied by, before masks are made to sum to one again.

    Parameters
    ----------
    mask : Tensor
        ``(batch, n_bins, n_frames)`` of the stem, 0..1, in its lowest bins.
    lines : Tensor
        As ``mask``, the :func:`comb` of its pitch times the certainty, 0..1, that it has this pitch.
    strength : float
        From 0, at which everything is 1.

    Returns
    -------
    Tensor
        As ``mask``, positive.
    """
    return (strength * lines * (1 - mask).clamp_min(0).sqrt()).exp()
