"""Sensory dissonance of spectra: how rough pairs of partials make them.

Two partials are roughest about a quarter of a critical band apart (Plomp and Levelt, "Tonal consonance and critical
bandwidth", JASA 38, 1965). The curve is the parametrisation of Sethares, "Local consonance and the relationship between
timbre and scale" (JASA 94, 1993, eq. 3), scaled to a maximum of 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called
from ..constants import ANALYSIS_SAMPLE_RATE, N_FFT

#: Partials of a frame: its highest peaks, so far below the highest at most.
N_PEAKS, RANGE_DB = 32, 50.0
#: Sethares' constants: decays, distance of the maximum (in units of the critical band), and how the band grows with Hz.
DECAYS, ROUGHEST, GROWTH = (3.51, 5.75), 0.24, (0.0207, 18.96)
#: Maximum of the difference of the two exponentials.
_HIGHEST = 0.179756
_BIN_HZ = ANALYSIS_SAMPLE_RATE / N_FFT


def dissonance(magnitude: Tensor) -> Tensor:
    """Roughness of the highest peaks of magnitude spectra.

    Parameters
    ----------
    magnitude : Tensor
        (..., n_bins, n_frames), of a Hann window.

    Returns
    -------
    Tensor
        (..., n_frames) :func:`roughness` of :func:`spectral_peaks`; on a CPU, in compiled code, without pairs that
        are too far apart to count in single precision.
    """
    if magnitude.device.type != "cpu":
        return roughness(*spectral_peaks(magnitude))
    spectra = magnitude.transpose(-1, -2)
    flat = np.ascontiguousarray(spectra.reshape(-1, spectra.shape[-1]).numpy())
    return torch.from_numpy(_dissonance(flat)).view(spectra.shape[:-1])


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


@compiled_when_called()
def _dissonance(spectra: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """(n,) :func:`dissonance` of (n, n_bins) spectra; peaks are taken in the order of their frequencies."""
    found = np.zeros(len(spectra), np.float32)
    peaks, heights = np.empty(spectra.shape[1], np.int64), np.empty(spectra.shape[1], np.float32)
    hz, amplitude, leading = np.empty(N_PEAKS), np.empty(N_PEAKS), np.empty(N_PEAKS + 1, np.float32)
    for row in range(len(spectra)):
        x, count, highest = spectra[row], 0, np.float32(0)
        for k in range(1, len(x) - 1):
            if x[k] > x[k - 1] and x[k] >= x[k + 1]:
                peaks[count], heights[count] = k, x[k]
                count += 1
                highest = max(highest, x[k])
        if count == 0:
            continue
        least = highest * 10 ** (-RANGE_DB / 20)
        if count > N_PEAKS:
            leading[:] = 0  # the highest ones in order; a partition takes seconds to compile
            for i in range(count):
                place = N_PEAKS
                if heights[i] > leading[place]:
                    while place > 0 and heights[i] > leading[place - 1]:
                        leading[place] = leading[place - 1]
                        place -= 1
                    leading[place] = heights[i]
            least = max(least, leading[N_PEAKS])
        n, squares = 0, 0.0
        for i in range(count):
            if heights[i] > least:
                k = peaks[i]
                left, centre = np.log(max(float(x[k - 1]), 1e-20)), np.log(max(float(x[k]), 1e-20))
                right = np.log(max(float(x[k + 1]), 1e-20))
                offset = min(max((left - right) / 2 / min(left - 2 * centre + right, -1e-9), -0.5), 0.5)
                hz[n], amplitude[n] = (k + offset) * _BIN_HZ, np.exp(centre - (left - right) * offset / 4)
                squares += amplitude[n] ** 2
                n += 1
        both = 0.0
        for i in range(n):
            for j in range(i + 1, n):
                apart = (hz[j] - hz[i]) * ROUGHEST / (GROWTH[0] * hz[i] + GROWTH[1])
                if DECAYS[0] * apart > 25:  # exp(-25) is 1e-11, and those beyond are further apart
                    break
                curve = np.exp(-DECAYS[0] * apart) - np.exp(-DECAYS[1] * apart)
                both += curve / _HIGHEST * amplitude[i] * amplitude[j]
        found[row] = both / max(squares, 1e-20)
    return found
