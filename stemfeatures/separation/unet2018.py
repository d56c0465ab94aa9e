"""A target and its accompaniment by the U-Net of 2018, on its own grid, for signals of any length, rate and channels.

Every channel is resampled to 8,192 Hz. Magnitudes are estimated from the mean of the channels, patch by patch with real
context on either side, and take the mixture's phase: as their ratio to the mixture's magnitude, which every channel is
multiplied with. A ratio above ``LARGEST`` is cut: where the mixture is all but silent, so are its parts. The two need
not sum to the mixture unless the network gives masks, and nothing of it above 4,096 Hz is in either.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..models import checkpoints
from ..models.unet2018 import HOP_LENGTH, N_FFT, SAMPLE_RATE, UNet2018
from .patches import LowRateSeparator, Patches

#: Frames given at a time, at least.
N_FRAMES = 128
#: The largest ratio of an estimate to its mixture: parts that cancel out may each be larger than their sum.
LARGEST = 2.0


class Separator2018(LowRateSeparator):
    """Separates with a checkpoint of the 2018 U-Net, see the module's docstring; a
    :class:`~.patches.LowRateSeparator`."""

    load = staticmethod(checkpoints.load_unet2018)
    unet: UNet2018
    grid = (N_FFT, HOP_LENGTH)
    grid_rate = SAMPLE_RATE

    def patches(self) -> Patches:
        context = self.unet.context
        return Patches(self._ratios, n_frames=self.unet.given(N_FRAMES) + 2 * context, border=context)

    def _ratios(self, magnitude: Tensor) -> Tensor:
        """(n_bins, k + 2 * context) to (2, n_bins, k)."""
        context = self.unet.context
        estimates = torch.expm1(self.unet(torch.log1p(magnitude)[None])[0])
        middle = magnitude[:, context : magnitude.shape[-1] - context]
        return (estimates / middle.clamp_min(1e-9)).clamp_max(LARGEST)
