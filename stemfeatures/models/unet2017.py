"""The singing-voice U-Net of Jansson et al., ISMIR 2017, exact to the paper.

Front end (for use outside this module): mono 8,192 Hz, window 1024, hop 768, patches of 128 frames by 512 bins,
magnitudes scaled to 0..1. The author-side replication drops the Nyquist bin and gives it mask 0.5; so do we.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SAMPLE_RATE = 8_192
N_FFT = 1024
HOP_LENGTH = 768
N_BINS = 512
N_FRAMES = 128
#: Mask of the Nyquist bin, which the network never sees.
NYQUIST_MASK = 0.5


class UNet2017(nn.Module):
    """Soft mask for one source; the paper trains two independent networks (vocals, instrumental).

    Six 5x5 convolutions of stride 2 (16 to 512 filters, batch norm, LeakyReLU 0.2), six 5x5 transposed convolutions
    of stride 2 (batch norm, ReLU, dropout 0.5 on the first three) with concatenated skips, sigmoid.
    9,818,800 convolution weights.

    Shape
    -----
    ``(batch, 1, 512, 128 * k) -> (batch, 1, 512, 128 * k)`` mask in 0..1, for magnitudes in 0..1. Frequency and
    time must be multiples of 64.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 16, 32, 64, 128, 256, 512)
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 5, stride=2, padding=2), nn.BatchNorm2d(b), nn.LeakyReLU(0.2))
            for a, b in zip(widths, widths[1:])
        )
        decoder = []
        for level in range(6):
            inputs = widths[6 - level] * (1 if level == 0 else 2)
            outputs = widths[5 - level] if level < 5 else 1
            layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1)]
            if level < 5:
                layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
            if level < 3:
                layers.append(nn.Dropout(0.5))
            decoder.append(nn.Sequential(*layers))
        self.decoder = nn.ModuleList(decoder)

    def forward(self, magnitude: Tensor) -> Tensor:
        skips = [magnitude]
        for layer in self.encoder:
            skips.append(layer(skips[-1]))
        x = skips[-1]
        for level, layer in enumerate(self.decoder):
            x = layer(x if level == 0 else torch.cat([x, skips[6 - level]], dim=1))
        return torch.sigmoid(x)

    def n_conv_weights(self) -> int:
        """Weights of the (transposed) convolutions, without biases and batch norm."""
        return sum(m.weight.numel() for m in self.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
