"""A target and its accompaniment by the generator of FactorGAN, on its own grid, for signals of any length, rate and
channels.

Every channel is resampled to 22,050 Hz. Masks are estimated from the mean of the channels in patches of 128 frames, of
which 16 at either end are context (the paper's patches do not overlap), and applied to every channel with the mixture's
phase (the paper refines it by ten iterations of Griffin-Lim). The two parts sum to the mixture below 11,025 Hz; nothing
above is in either. The top bin, which the network does not see, has the mask of the one below.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import checkpoints
from ..models.unet2020 import HOP_LENGTH, N_BINS, N_FFT, SAMPLE_RATE, UNet2020
from .patches import LowRateSeparator, Patches


class Separator2020(LowRateSeparator):
    """Separates with a checkpoint of FactorGAN's generator, see the module's docstring; a
    :class:`~.patches.LowRateSeparator`."""

    load = staticmethod(checkpoints.load_unet2020)
    unet: UNet2020
    grid = (N_FFT, HOP_LENGTH)
    grid_rate = SAMPLE_RATE

    def patches(self) -> Patches:
        n_frames = self.unet.config.n_frames
        return Patches(self._masks, n_frames=n_frames, border=n_frames // 8)

    def _masks(self, magnitude: Tensor) -> Tensor:
        """(n_fft // 2 + 1, n_frames) to (2, n_fft // 2 + 1, n_frames)."""
        seen = magnitude[:N_BINS]
        target = torch.expm1(self.unet(torch.log1p(seen)[None])[0, 0]) / seen.clamp_min(1e-9)
        mask = F.pad(target.clamp(0, 1)[None], (0, 0, 0, 1), mode="replicate")[0]
        return torch.stack([mask, 1 - mask])
