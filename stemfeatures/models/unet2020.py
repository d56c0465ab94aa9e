"""The generator of FactorGAN's separation (Stoller, Ewert and Dixon, ICLR 2020): a U-Net that masks, with noise.

Front end: mono 22,050 Hz, window 512, hop 256, ``log1p`` of the magnitude, without the top bin: patches of 256 bins and
128 frames. Levels of two 3x3 convolutions with batch norm and ReLU, 32, 64, 128, 256 and again 256 filters, max-pooling
between; back by bilinear upsampling, beside the encoder's output; a 1x1 convolution and a sigmoid. Noise, uniform in
-1..1, joins at the bottom as two planes that a linear layer makes of it. The paper's text was not at hand; layers and
sizes are those of the authors' code. Ours: the mask is the target's, not the accompaniment's, which is the same thing;
the top bin has the mask of the one below, where theirs is silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architectures import register
from .network import Grid, TargetConfig, TargetNetwork

SAMPLE_RATE = 22_050
N_FFT = 512
HOP_LENGTH = 256
N_BINS = N_FFT // 2
NOISE_PLANES = 2


@dataclass(frozen=True)
class UNet2020Config(TargetConfig):
    """What the network is for and how large it is; the defaults are the paper's.

    Attributes
    ----------
    target : str
        The source that is separated from all others, the accompaniment.
    width : int
        Filters of the first level, doubled from level to level but the last.
    depth : int
        Times that a level is halved.
    noise : int
        Numbers of noise; 0: none.
    n_frames : int
        Length of a patch, a multiple of ``2 ** depth``.
    align_corners : bool
        Whether upsampling keeps the first and the last of both axes in place, as in the authors' code.

    Raises
    ------
    ValueError
        A value is out of its range.
    """

    width: int = 32
    depth: int = 4
    noise: int = 50
    n_frames: int = 128
    align_corners: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.depth) < 1 or self.noise < 0:
            raise ValueError(
                f"width and depth must be at least 1 and noise 0, not {self.width}, {self.depth} and {self.noise}"
            )
        if self.n_frames < 1 or self.n_frames % 2**self.depth or N_BINS % 2**self.depth:
            raise ValueError(f"{self.n_frames} frames by {N_BINS} bins cannot be halved {self.depth} times")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """See :meth:`NetworkConfig.from_dict`; checkpoints that do not tell of ``align_corners`` are without.

        Parameters
        ----------
        values : Mapping
            Field by name.

        Returns
        -------
        UNet2020Config
            A configuration of this class.
        """
        return super().from_dict({"align_corners": False} | dict(values))


@register
class UNet2020(TargetNetwork):
    """See the module's docstring.

    Notes
    -----
    log1p magnitudes ``(batch, N_BINS, n_frames)`` and noise ``(batch, noise)`` -> ``(batch, 2, N_BINS, n_frames)``,
    log1p magnitudes of target and accompaniment, which add up to the mixture's magnitude. Without noise, one fixed
    draw of it serves all, so that equal mixtures are separated equally.
    """

    architecture = "unet2020"
    Config = UNet2020Config
    grid = Grid(SAMPLE_RATE, N_FFT, HOP_LENGTH)
    n_bins = N_BINS
    config: UNet2020Config
    fixed: Tensor

    def __init__(self, config: UNet2020Config | None = None) -> None:
        super().__init__(config)
        depth, noise = self.config.depth, self.config.noise
        widths = [self.config.width * 2 ** min(level, depth - 1) for level in range(depth + 1)]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([1, *widths], widths))
        below = widths[-1] + (NOISE_PLANES if noise else 0)
        self.up = nn.ModuleList()
        for level in reversed(range(depth)):
            outputs = widths[max(level - 1, 0)]
            self.up.append(_double(below + widths[level], outputs))
            below = outputs
        self.out = nn.Conv2d(below, 1, 1)
        self._bottom = (N_BINS >> depth, self.config.n_frames >> depth)
        if noise:
            self.planes = nn.Linear(noise, NOISE_PLANES * self._bottom[0] * self._bottom[1])
            fixed = 2 * torch.rand(1, noise, generator=torch.Generator().manual_seed(0)) - 1
            self.register_buffer("fixed", fixed, persistent=False)

    @property
    def patch(self) -> tuple[int, int]:
        """Patches of which an eighth at either end is context (the paper's patches do not overlap)."""
        return self.config.n_frames, self.config.n_frames // 8

    def masks(self, magnitude: Tensor) -> Tensor:
        """Masks that sum to one; the top bin, which the network does not see, has that of the bin below.

        Parameters
        ----------
        magnitude : Tensor
            ``(batch, N_BINS + 1, n_frames)``.

        Returns
        -------
        Tensor
            ``(batch, 2, N_BINS + 1, n_frames)``, 0..1.
        """
        seen = magnitude[:, :N_BINS]
        target = torch.expm1(self(torch.log1p(seen))[:, 0]) / seen.clamp_min(1e-9)
        mask = F.pad(target.clamp(0, 1), (0, 0, 0, 1), mode="replicate")
        return torch.stack([mask, 1 - mask], dim=1)

    def estimate(self, mixture: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """``forward`` with noise of a generator.

        Parameters
        ----------
        mixture : Tensor
            ``(batch, N_BINS, n_frames)``, ``log1p`` magnitudes.
        generator : torch.Generator, optional
            On the CPU; None: the one fixed draw.

        Returns
        -------
        Tensor
            ``(batch, 2, N_BINS, n_frames)``, ``log1p`` magnitudes of target and accompaniment.
        """
        if generator is None:
            return self(mixture)
        noise = 2 * torch.rand(len(mixture), self.config.noise, generator=generator) - 1
        return self(mixture, noise.to(mixture.device))

    def forward(self, mixture: Tensor, noise: Tensor | None = None) -> Tensor:
        if mixture.shape[-2:] != (N_BINS, self.config.n_frames):
            given, wanted = tuple(mixture.shape[-2:]), (N_BINS, self.config.n_frames)
            raise ValueError(f"the network takes patches of {wanted} bins and frames, not {given}")
        x = mixture[:, None]
        levels = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(x if level == 0 else F.max_pool2d(x, 2))
            levels.append(x)
        levels.pop()
        if self.config.noise:
            noise = self.fixed.expand(len(x), -1) if noise is None else noise
            x = torch.cat([x, self.planes(noise).view(len(x), NOISE_PLANES, *self._bottom)], dim=1)
        for convolutions in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.config.align_corners)
            x = convolutions(torch.cat([levels.pop(), x], dim=1))
        share = torch.sigmoid(self.out(x))
        return torch.log1p(torch.expm1(mixture)[:, None] * torch.cat([share, 1 - share], dim=1))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions that keep the size; their bias would be undone by the normalisation."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
