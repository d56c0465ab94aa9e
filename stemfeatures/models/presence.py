"""Presence: which stems play at all, frame by frame, read from their separated magnitudes.

Separation never leaves an absent stem at zero, and what of it is heard in an estimate may be another stem: the level of
an estimate alone does not tell. The network sees the levels of all separated stems and of the mixture in mel bands, and
the separator's bottleneck, which knows what kinds of sound there are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..constants import STEMS
from ..spectra.bands import mel_power
from ..spectra.filters import mel_filters


class PresenceNet(nn.Module):
    """Logits of "this stem plays".

    Parameters
    ----------
    width : int
        Channels of the dilated temporal convolutions.
    layers : int
        How many there are; the last one reaches ``2 ** layers`` frames to both sides.
    features : int
        Channels of the separator's bottleneck.
    stride : int
        Frames that each of its frames stands for.
    n_mels : int, optional
        Bands of the levels.

    Notes
    -----
    separated magnitudes ``(batch, 4, N_BINS, n_frames)``, that of the mixture ``(batch, N_BINS, n_frames)`` and the
    bottleneck ``(batch, features, bins, n_frames / stride)`` -> ``(batch, 4, n_frames)``.
    """

    filters: Tensor

    def __init__(self, width: int, layers: int, features: int, stride: int, n_mels: int = 24) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(n_mels=n_mels), persistent=False)
        self.stride = stride
        self.levels = nn.Conv1d((len(STEMS) + 1) * n_mels, width, 1, bias=False)
        self.context = nn.Conv1d(2 * features, width, 1, bias=False)
        self.enter = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU())
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 3, padding=2**i, dilation=2**i, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
                nn.Conv1d(width, width, 1),
            )
            for i in range(layers)
        )
        self.head = nn.Conv1d(width, len(STEMS), 1)

    def forward(self, stems: Tensor, mixture: Tensor, features: Tensor) -> Tensor:
        return self.read(*self.inputs(stems, mixture, features))

    def inputs(
        self, stems: Tensor, mixture: Tensor, features: Tensor, *, are_masks: bool = False
    ) -> tuple[Tensor, Tensor]:
        """What is looked at, from which all parameters follow: the separator has its say before them.

        Parameters
        ----------
        stems, mixture, features : Tensor
            As for the network.
        are_masks : bool, default=False
            ``stems`` are masks of the mixture.

        Returns
        -------
        levels : Tensor
            ``(batch, 5 * n_mels, n_frames)``, log10 of powers: four stems and the mixture in mel bands.
        summary : Tensor
            ``(batch, 2 * features, n_frames / stride)``, mean and maximum of the bottleneck over its bins.
        """
        own = mel_power(self.filters, stems, mixture if are_masks else None)
        bands = [own, mel_power(self.filters, mixture[:, None])]
        # 60 dB below the mixture's mean is where levels stop to matter.
        levels = torch.log10(torch.cat(bands, dim=1) + 1e-6).flatten(1, 2)
        return levels, torch.cat([features.mean(dim=2), features.amax(dim=2)], dim=1)

    def read(self, levels: Tensor, summary: Tensor) -> Tensor:
        """Logits ``(batch, 4, n_frames)`` from :meth:`inputs`."""
        context = F.interpolate(self.context(summary), scale_factor=self.stride, mode="nearest")
        x = self.enter(self.levels(levels) + context)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x)
