"""The mask of one stem on the analysis grid, by a checkpoint that tells this stem from the rest.

A segment of the analysis signal is separated as any signal is; the mask is the target's share of the magnitudes of both
parts. Where the separator's band ends (just below 4,096 or 11,025 Hz), a frame takes its mean mask over the kilohertz
below.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_BINS, N_FFT
from ..errors import ModelError
from ..spectra.transform import istft, stft
from .open import open_separator
from .patches import LowRateSeparator

#: Up to where masks are read, as a share of the separator's band: above it the resampler's slope begins.
_BAND = 0.94
_BELOW_HZ = 1_000.0


class TargetMasks:
    """Called with the spectrum of a segment ``(N_FFT // 2 + 1, k)`` on the analysis grid; gives
    ``{target: mask (N_BINS, k)}``, 0..1.

    Parameters
    ----------
    model : path of a checkpoint of two parts. device : torch device.

    Raises
    ------
    ModelError : the checkpoint cannot be used, or separates into more than two.
    """

    def __init__(self, model: str | Path, *, device: str = "cpu") -> None:
        separator = open_separator(model, device=device)
        if not isinstance(separator, LowRateSeparator):
            raise ModelError("it does not tell one part from the rest", source=str(separator.checkpoint.path))
        self.separator = separator
        self.target = self.separator.stems[0]
        bin_hz = ANALYSIS_SAMPLE_RATE / N_FFT
        top = _BAND * self.separator.grid_rate / 2
        self._first, self._last = round((top - _BELOW_HZ) / bin_hz), round(top / bin_hz)

    def __call__(self, spectrum: Tensor) -> dict[str, Tensor]:
        frames = spectrum.shape[-1]
        n_samples = (frames - 1) * HOP_LENGTH + 1
        signal = istft(spectrum, n_samples).cpu().numpy()
        parts = self.separator.separate_array(signal, ANALYSIS_SAMPLE_RATE)
        target, rest = (stft(torch.from_numpy(parts[s]))[:N_BINS].abs() for s in self.separator.stems)
        total = target + rest
        # What neither part has belongs to the rest.
        mask = torch.where(total > 1e-7, target / total.clamp_min(1e-7), torch.zeros_like(total))
        mask[self._last :] = mask[self._first : self._last].mean(dim=0, keepdim=True)
        return {self.target: mask.to(spectrum.device)}
