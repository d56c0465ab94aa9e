"""What of the joint network reads onsets, beats and downbeats."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..spectra.bands import mel_power
from ..spectra.filters import mel_filters
from .layers import conv_norm_relu


class RhythmNet(nn.Module):
    """Mel spectrograms of the separated drums and of the mixture to onset, beat and downbeat logits.

    Parameters
    ----------
    width : int
        Channels of the dilated temporal convolutions.
    layers : int
        How many of them there are.
    n_mels : int, default=48
        Bands of the mel spectrograms.
    """

    filters: Tensor

    def __init__(self, width: int, layers: int, n_mels: int = 48) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(n_mels=n_mels), persistent=False)
        self.enter = nn.Sequential(
            conv_norm_relu(4, 12, (3, 3)), conv_norm_relu(12, 16, (4, 3), (4, 1)), conv_norm_relu(16, 16, (3, 3))
        )
        self.project = nn.Sequential(nn.Conv1d(16 * self._bins(n_mels), width, 1), nn.BatchNorm1d(width), nn.ReLU())
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 5, padding=2 * 2**i, dilation=2**i, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
                nn.Conv1d(width, width, 1),
            )
            for i in range(layers)
        )
        self.head = nn.Conv1d(width, 3, 1)

    @staticmethod
    def _bins(n_mels: int) -> int:
        return n_mels // 4 + 1

    def forward(self, drums: Tensor, mixture: Tensor) -> Tensor:
        """Magnitudes ``(batch, N_BINS, frames)`` to logits ``(batch, 3, frames)``."""
        return self.read(self.bands(drums), self.bands(mixture))

    def bands(self, magnitude: Tensor, shares: Tensor | None = None) -> Tensor:
        """``(batch, n_mels, frames)`` of magnitudes, or of the product of both."""
        return mel_power(self.filters, magnitude[:, None], shares)[:, 0]

    def read(self, drums: Tensor, mixture: Tensor) -> Tensor:
        """The same of :meth:`bands`."""
        both = torch.stack([drums, mixture], dim=1)
        level = torch.log1p(both * 1e2)
        rise = F.relu(F.pad(level[..., 1:] - level[..., :-1], (1, 0)))
        x = self.enter(torch.cat([level, rise], dim=1))
        x = self.project(x.flatten(1, 2))
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x)
