"""The singing-voice U-Net of Jansson et al., ISMIR 2017, exact to the paper.

Front end: mono 8,192 Hz, window 1024, hop 768, patches of 128 frames by 512 bins, magnitudes scaled to 0..1. The
author-side replication drops the Nyquist bin and gives it mask 0.5; so do we. The paper's text was not at hand: the
scope of the scaling (here each patch by its own maximum) is our reading, the rest agrees between the replications.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architectures import register
from .network import ACCOMPANIMENT, Grid, NetworkConfig, PatchNetwork

SAMPLE_RATE = 8_192
N_FFT = 1024
HOP_LENGTH = 768
N_BINS = 512
N_FRAMES = 128
#: Mask of the Nyquist bin, which the network never sees.
NYQUIST_MASK = 0.5
#: Filters of the paper, from the input plane down.
WIDTHS = (1, 16, 32, 64, 128, 256, 512)
DROPOUT_LAYERS = 3


class Encoder(nn.ModuleList):
    """5x5 convolutions of stride 2 with batch norm and LeakyReLU 0.2; ``widths``: planes of the input, then filters.

    Notes
    -----
    ``(batch, widths[0], bins, frames)`` to the list of the input and every level's output.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(
            nn.Sequential(nn.Conv2d(a, b, 5, stride=2, padding=2), nn.BatchNorm2d(b), nn.LeakyReLU(0.2))
            for a, b in zip(widths, widths[1:])
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = [x]
        for layer in self:
            levels.append(layer(levels[-1]))
        return levels


class Decoder(nn.ModuleList):
    """5x5 transposed convolutions of stride 2 (batch norm, ReLU, dropout 0.5 on the first ``dropout_layers``), each
    but the first on the output before it beside the encoder's of equal size. ``widths`` are those of the encoder.

    Notes
    -----
    What :class:`Encoder` gives to logits ``(batch, outputs, bins, frames)``.
    """

    def __init__(self, widths: Sequence[int], *, outputs: int = 1, dropout_layers: int = DROPOUT_LAYERS) -> None:
        depth = len(widths) - 1
        layers = []
        for level in range(depth):
            inputs = widths[depth - level] * (1 if level == 0 else 2)
            last = level == depth - 1
            width = outputs if last else widths[depth - 1 - level]
            layer: list[nn.Module] = [nn.ConvTranspose2d(inputs, width, 5, stride=2, padding=2, output_padding=1)]
            if not last:
                layer += [nn.BatchNorm2d(width), nn.ReLU()]
            if level < dropout_layers:
                layer.append(nn.Dropout(0.5))
            layers.append(nn.Sequential(*layer))
        super().__init__(layers)

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = levels[-1]
        for level, layer in enumerate(self):
            x = layer(x if level == 0 else torch.cat([x, levels[-1 - level]], dim=1))
        return x


class UNet2017(nn.Module):
    """Soft mask for one source; the paper trains two independent networks (vocals, instrumental).

    Six convolutions (16 to 512 filters) and six transposed ones with concatenated skips, sigmoid. 9,818,800
    convolution weights.

    Notes
    -----
    ``(batch, 1, 512, 128 * k) -> (batch, 1, 512, 128 * k)`` mask in 0..1, for magnitudes in 0..1. Frequency and
    time must be multiples of 64.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(WIDTHS)
        self.decoder = Decoder(WIDTHS)

    def forward(self, magnitude: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(self.encoder(magnitude)))

    def n_conv_weights(self) -> int:
        """Weights of the (transposed) convolutions, without biases and batch norm."""
        return sum(m.weight.numel() for m in self.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))


@dataclass(frozen=True)
class UNet2017Config(NetworkConfig):
    """The paper leaves nothing to choose."""


@register
class UNet2017Pair(PatchNetwork):
    """The paper's system: a network for the vocals and one for the accompaniment that share nothing.

    Notes
    -----
    magnitudes ``(batch, 513, 128 * k)`` at any level -> masks ``(batch, 2, 513, 128 * k)`` of vocals and
    accompaniment, each in 0..1; they need not sum to one.
    """

    architecture = "unet2017"
    Config = UNet2017Config
    grid = Grid(SAMPLE_RATE, N_FFT, HOP_LENGTH)

    def __init__(self, config: UNet2017Config | None = None) -> None:
        super().__init__(config)
        self.nets = nn.ModuleDict({stem: UNet2017() for stem in self.stems})

    @classmethod
    def stems_of(cls, config: UNet2017Config) -> tuple[str, ...]:
        """Vocals and accompaniment.

        Parameters
        ----------
        config : UNet2017Config
            Is not looked at.

        Returns
        -------
        tuple of str
            Two names.
        """
        return ("vocals", ACCOMPANIMENT)

    @property
    def patch(self) -> tuple[int, int]:
        """Patches of the paper's size that overlap by half, of which the middle is used (the paper does not say how its
        patches meet)."""
        return N_FRAMES, N_FRAMES // 4

    def masks(self, magnitude: Tensor) -> Tensor:
        """``forward``; each patch is scaled by its own maximum.

        Parameters
        ----------
        magnitude : Tensor
            ``(batch, 513, 128)``.

        Returns
        -------
        Tensor
            ``(batch, 2, 513, 128)``, 0..1.
        """
        return self(magnitude)

    def forward(self, magnitude: Tensor) -> Tensor:
        seen = magnitude[:, None, :N_BINS]
        scaled = seen / seen.amax(dim=(2, 3), keepdim=True).clamp_min(1e-7)
        masks = torch.cat([net(scaled) for net in self.nets.values()], dim=1)
        return F.pad(masks, (0, 0, 0, 1), value=NYQUIST_MASK)
