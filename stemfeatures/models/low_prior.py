"""Masks of *other* that lean towards it in the lows, of which the songs that a network learned from give it too little.

Masks are shares that were learned where chords lie high: below 220 Hz lie 0.07 of the energy of *other* in generated
songs (median of twelve), and 0.25 to 0.48 in recordings of bands (quartiles of four MedleyDB excerpts,
``benchmarks/low_end.py --below 220``): guitars have low strings and pianos left hands. What a classifier says where
classes are as frequent as in training is brought to other frequencies by the ratio of both (Saerens, Latinne and
Decaestecker, Neural Computation 14, 2002):

    M'_s = M_s w_s / sum_r M_r w_r,    w_other = exp(strength) below EDGE_HZ, w_s = 1 elsewhere.

That ratio differs from song to song; what is chosen is one number for all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..constants import ANALYSIS_SAMPLE_RATE, N_FFT

#: Where it ends: half of what is added is left there, on a slope of a filter of fourth order.
EDGE_HZ, ORDER = 220.0, 4
#: Lowest bins of the analysis grid that change (those up to 506 Hz).
N_LOW_BINS = 48


def leaning(strength: float) -> Tensor:
    """What the mask of *other* is to be multiplied by, before masks are made to sum to one again.

    Parameters
    ----------
    strength : float
        Logarithm of the factor at 0 Hz; at 0 everything is 1.

    Returns
    -------
    Tensor
        ``(N_LOW_BINS,)``, from ``exp(strength)`` to 1.

    Examples
    --------
    >>> [round(float(factor), 2) for factor in leaning(math.log(2))[[0, 10, 20, 30, 40]]]
    [2.0, 2.0, 1.54, 1.04, 1.0]
    """
    hertz = torch.arange(N_LOW_BINS) * (ANALYSIS_SAMPLE_RATE / N_FFT)
    return 1 + math.expm1(strength) / (1 + (hertz / EDGE_HZ) ** (2 * ORDER))
