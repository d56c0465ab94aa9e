"""Sensory dissonance of spectra: how rough pairs of partials make them.

Two partials are roughest about a quarter of a critical band apart (Plomp and Levelt, "Tonal consonance and critical
bandwidth", JASA 38, 1965). The curve is the parametrisation of Sethares, "Local consonance and the relationship between
timbre and scale" (JASA 94, 1993, eq. 3), scaled to a maximum of 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..constants import ANALYSIS_SAMPLE_RATE, N_FFT

#: Partials of a frame: its highest peaks, so far below the highest at most.
N_PEAKS, RANGE_DB = 32, 50.0
#: Sethares' constants: decays, distance of the maximum (in units of the critical band), and how the band grows with Hz.
DECAYS, ROUGHEST, GROWTH = (3.51, 5.75), 0.24, (0.0207, 18.96)
#: Maximum of the difference of the two exponentials.
_HIGHEST = 0.179756
_BIN_HZ = ANALYSIS_SAMPLE_RATE / N_FFT


def spectral_peaks(magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """Highest peaks of magnitude spectra.

    Parameters
    ----------
    magnitude : Tensor
        (..., n_bins, n_frames), of a Hann window.

    Returns
    -------
    hz, height : Tensor
        (..., n_frames, N_PEAKS), highest first; a height of 0 pads. Places and heights are those of a parabola through
        the logarithms of three bins.
    """
    spectra = magnitude.transpose(-1, -2)
    left, centre, right = spectra[..., :-2], spectra[..., 1:-1], spectra[..., 2:]
    is_peak = (centre > left) & (centre >= right)
    height, at = torch.where(is_peak, centre, torch.zeros_like(centre)).topk(N_PEAKS, dim=-1)
    told = height > height[..., :1] * 10 ** (-RANGE_DB / 20)
    left, centre, right = (part.gather(-1, at).clamp_min(1e-20).log() for part in (left, centre, right))
    offset = ((left - right) / 2 / (left - 2 * centre + right).clamp_max(-1e-9)).clamp(-0.5, 0.5)
    height = (centre - (left - right) * offset / 4).exp()
    return (at + 1 + offset) * _BIN_HZ, torch.where(told, height, torch.zeros_like(height))


def roughness(hz: Tensor, height: Tensor) -> Tensor:
    """Dissonance of sets of partials.

    Parameters
    ----------
    hz, height : Tensor
        (..., n_partials) frequencies and amplitudes; those of amplitude 0 are none.

    Returns
    -------
    Tensor
        (...,) sum over pairs of the product of their amplitudes and of the curve, over the sum of squared amplitudes: 0
        for one partial, 0.5 for two equal ones at their roughest.
    """
    one, other = torch.triu_indices(hz.shape[-1], hz.shape[-1], 1, device=hz.device)
    first, second = hz[..., one], hz[..., other]
    apart = (first - second).abs_().mul_(ROUGHEST / (GROWTH[0] * torch.minimum(first, second) + GROWTH[1]))
    curve = torch.exp(-DECAYS[0] * apart).sub_(torch.exp(-DECAYS[1] * apart)).div_(_HIGHEST)
    both = curve.mul_(height[..., one]).mul_(height[..., other]).sum(dim=-1)
    return both / height.square().sum(dim=-1).clamp_min(1e-20)
