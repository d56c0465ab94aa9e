"""The mask of one stem on the analysis grid, by a checkpoint that separates a target from its accompaniment.

A segment of the analysis signal is separated as any signal is; the mask is the target's share of the magnitudes of both
stems. Where the separator's band ends (just below 4,096 or 11,025 Hz), a frame takes its mean mask over the kilohertz
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

#: Up to where masks are read, as a share of the separator's band: above it the resampler's slope begins.
_BAND = 0.94
_BELOW_HZ = 1_000.0


class TargetMasks:
    """Masks of the segments of a track.

    Parameters
    ----------
    model : str or Path
        Name or path of a checkpoint that separates into two stems.
    device : str, optional
        Torch device.

    Attributes
    ----------
    target : str
        The stem whose mask is estimated.

    Raises
    ------
    ModelError
        The checkpoint cannot be used, or separates into more than two stems.
    """

    def __init__(self, model: str | Path, *, device: str = "cpu") -> None:
        self.separator = open_separator(model, device=device)
        if len(self.separator.stems) != 2:
            message = f"it separates {', '.join(self.separator.stems)}, not a target and its accompaniment"
            raise ModelError(message, source=str(model))
        self.target = self.separator.stems[0]
        bin_hz = ANALYSIS_SAMPLE_RATE / N_FFT
        top = min(_BAND * self.separator.band_hz, ANALYSIS_SAMPLE_RATE / 2)
        self._first, self._last = round((top - _BELOW_HZ) / bin_hz), round(top / bin_hz)

    def __call__(self, spectrum: Tensor) -> dict[str, Tensor]:
        """Separate a segment.

        Parameters
        ----------
        spectrum : Tensor
            ``(N_FFT // 2 + 1, k)`` complex, on the analysis grid.

        Returns
        -------
        dict of str to Tensor
            ``{target: mask (N_BINS, k)}``, 0..1.
        """
        frames = spectrum.shape[-1]
        n_samples = (frames - 1) * HOP_LENGTH + 1
        signal = istft(spectrum, n_samples).cpu().numpy()
        stems = self.separator.separate_array(signal, ANALYSIS_SAMPLE_RATE)
        target, rest = (stft(torch.from_numpy(stems[s]))[:N_BINS].abs() for s in self.separator.stems)
        total = target + rest
        # What neither stem has belongs to the accompaniment.
        mask = torch.where(total > 1e-7, target / total.clamp_min(1e-7), torch.zeros_like(total))
        mask[self._last :] = mask[self._first : self._last].mean(dim=0, keepdim=True)
        return {self.target: mask.to(spectrum.device)}
