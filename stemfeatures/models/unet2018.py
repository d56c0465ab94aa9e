"""The networks of Stoller, Ewert and Dixon, ICASSP 2018: a U-Net of valid convolutions, and the critics.

Front end: mono 8,192 Hz, window 512, hop 256, ``log1p`` of the magnitude, all 257 bins. Four levels: 3x3 convolutions
without padding, max-pooling by 2, 16 to 256 filters; back by 2x2 transposed convolutions, each beside the cropped
output of the encoder, and a 3x3 convolution; the cropped input joins before the 1x1 output. What the convolutions eat
is real context along time and zeros along frequency. The paper's text was not at hand; layers and sizes are those of
the authors' code. Ours: weights of the output begin positive, since a plane whose ReLU is dead at the start stays so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architectures import register
from .network import Grid, TargetConfig, TargetNetwork

SAMPLE_RATE = 8_192
N_FFT = 512
HOP_LENGTH = 256
N_BINS = N_FFT // 2 + 1
OUTPUTS = ("direct", "mask")
#: Frames that a separator gives at a time, at least.
N_FRAMES = 128
#: The largest ratio of an estimate to its mixture: sources that cancel out may each be larger than their sum.
LARGEST_RATIO = 2.0


@dataclass(frozen=True)
class UNet2018Config(TargetConfig):
    """What the network is for and how large it is.

    Attributes
    ----------
    target : str
        The source that is separated from all others, the accompaniment.
    width : int
        Filters of the first level, doubled from level to level; the paper has 16.
    depth : int
        Levels; the paper has 4.
    output : str
        ``direct``, both log magnitudes (the paper), or ``mask``: a sigmoid mask ``w`` for the target, so that
        magnitudes ``w |m|`` and ``(1 - w) |m|`` sum to the mixture's (the generator of FactorGAN, ICLR 2020).
    batch_norm : bool
        After every convolution, as in the generator of FactorGAN; the network of 2018 has none.

    Raises
    ------
    ValueError
        A value is out of its range.
    """

    width: int = 16
    depth: int = 4
    output: str = "direct"
    batch_norm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output not in OUTPUTS:
            raise ValueError(f"unknown output {self.output!r}; known: {', '.join(OUTPUTS)}")
        if self.width < 1 or self.depth < 1:
            raise ValueError(f"width and depth must be at least 1, not {self.width} and {self.depth}")


@register
class UNet2018(TargetNetwork):
    """See the module's docstring.

    Notes
    -----
    log1p magnitudes ``(batch, N_BINS, n + 2 * context)`` -> ``(batch, 2, N_BINS, n)``, log1p magnitudes of target and
    accompaniment, at the paper's level (full scale 1.0, no scaling of the STFT); ``n`` as :meth:`given` says.

    Attributes
    ----------
    context : int
        Frames that are seen and not given, on either side.
    """

    architecture = "unet2018"
    Config = UNet2018Config
    grid = Grid(SAMPLE_RATE, N_FFT, HOP_LENGTH)
    n_bins = N_BINS
    config: UNet2018Config

    def __init__(self, config: UNet2018Config | None = None) -> None:
        super().__init__(config)
        depth = self.config.depth
        widths = [self.config.width * 2**i for i in range(depth + 1)]

        def layer(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
            return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)) if self.config.batch_norm else conv

        self.down = nn.ModuleList(layer(nn.Conv2d(a, b, 3)) for a, b in zip([1, *widths], widths))
        self.up = nn.ModuleList(layer(nn.ConvTranspose2d(b, a, 2, stride=2)) for a, b in zip(widths, widths[1:]))
        self.merge = nn.ModuleList(layer(nn.Conv2d(2 * a, a, 3)) for a in widths[:-1])
        self.out = nn.Conv2d(widths[0] + 1, 2 if self.config.output == "direct" else 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        if self.config.output == "direct":
            with torch.no_grad():
                self.out.weight.abs_()
        self.context, _ = self.extent(self.config, 1)
        self._rows_above = _sizes(N_BINS, depth)[0] - N_BINS - self.context

    @classmethod
    def extent(cls, config: UNet2018Config, n_frames: int) -> tuple[int, int]:
        """Frames that a network of a configuration sees and gives.

        Parameters
        ----------
        config : UNet2018Config
            Its depth decides.
        n_frames : int
            How many are wanted at least.

        Returns
        -------
        tuple of int
            ``(context, n_frames)``: frames that are seen besides on either side, and frames that are given.

        Examples
        --------
        >>> UNet2018.extent(UNet2018Config(), 64)
        (46, 66)
        """
        seen, given = _sizes(n_frames, config.depth)
        return (seen - given) // 2, given

    @classmethod
    def is_additive(cls, config: UNet2018Config) -> bool:
        """Whether the output is a mask.

        Parameters
        ----------
        config : UNet2018Config
            Its output decides.

        Returns
        -------
        bool
            False for direct magnitudes.
        """
        return config.output == "mask"

    @property
    def patch(self) -> tuple[int, int]:
        """Patches with real context on either side."""
        return self.given(N_FRAMES) + 2 * self.context, self.context

    def masks(self, magnitude: Tensor) -> Tensor:
        """Ratios of the estimates to the mixture, cut at ``LARGEST_RATIO``; they sum to one for the output ``mask``.

        Parameters
        ----------
        magnitude : Tensor
            ``(batch, N_BINS, n + 2 * context)``.

        Returns
        -------
        Tensor
            ``(batch, 2, N_BINS, n)``.
        """
        estimates = torch.expm1(self(torch.log1p(magnitude)))
        middle = magnitude[:, None, :, self.context : magnitude.shape[-1] - self.context]
        return (estimates / middle.clamp_min(1e-9)).clamp_max(LARGEST_RATIO)

    def given(self, n_frames: int) -> int:
        """The smallest number of frames that the network gives at once.

        Parameters
        ----------
        n_frames : int
            How many are wanted at least.

        Returns
        -------
        int
            ``n_frames`` or more.
        """
        return self.extent(self.config, n_frames)[1]

    def forward(self, mixture: Tensor) -> Tensor:
        if (n := mixture.shape[-1] - 2 * self.context) < 1 or self.given(n) != n:
            raise ValueError(f"{mixture.shape[-1]} frames do not fit the network; see UNet2018.given and context")
        # Rows below and above the spectrum are eaten along frequency; frame and bin k of the output are k of the input.
        x = seen = F.pad(mixture, (0, 0, self.context, self._rows_above))[:, None]
        levels = []
        for level, conv in enumerate(self.down):
            x = F.relu(conv(x if level == 0 else F.max_pool2d(x, 2)))
            levels.append(x)
        for level in reversed(range(len(self.up))):
            x = F.relu(self.up[level](x))
            x = F.relu(self.merge[level](torch.cat([_crop(levels[level], x), x], dim=1)))
        y = self.out(torch.cat([_crop(seen, x), x], dim=1))[:, :, :N_BINS]
        if self.config.output == "direct":
            return F.relu(y)
        magnitude = torch.expm1(mixture[..., self.context : self.context + n])[:, None]
        share = torch.sigmoid(y)
        return torch.log1p(magnitude * torch.cat([share, 1 - share], dim=1))


def _sizes(n: int, depth: int) -> tuple[int, int]:
    """What goes in and what comes out, along one axis, where at least ``n`` shall come out."""
    lowest = n
    for _ in range(depth):
        lowest = -(-(lowest + 2) // 2)
    seen = given = lowest
    for _ in range(depth):
        seen, given = 2 * (seen + 2), 2 * given - 2
    return seen + 2, given


def _crop(x: Tensor, like: Tensor) -> Tensor:
    """The middle of ``x``, as large as ``like``."""
    rows, columns = ((a - b) // 2 for a, b in zip(x.shape[2:], like.shape[2:]))
    return x[:, :, rows : rows + like.shape[2], columns : columns + like.shape[3]]


class Critic(nn.Module):
    """How real a patch of one source is, unbounded: the DCGAN-like critic of the 2018 paper.

    4x4 convolutions of stride 2, doubling their filters, until a side is 4 or less; then along frequency alone until
    that is 4 or less; 32 units; one number. LeakyReLU 0.2, no normalisation, no dropout.

    Notes
    -----
    log1p magnitudes ``(batch, n_bins, n_frames)`` -> ``(batch,)``. Of larger patches the middle is seen, of bins that
    cannot be halved one less at the bottom: of the 257 bins and 66 frames that the network of the paper gives, its
    critics see bins 1 to 256 of the 64 frames in the middle.

    Raises
    ------
    ValueError
        It is to see nothing, or a patch is smaller than what it sees.
    """

    def __init__(self, n_bins: int, n_frames: int, *, width: int = 32) -> None:
        super().__init__()
        if min(n_bins, n_frames, width) < 1:
            raise ValueError(f"bins, frames and width must be at least 1, not {n_bins}, {n_frames} and {width}")
        self.n_bins, self.n_frames = n_bins, n_frames
        rows, columns, inputs, outputs = n_bins, n_frames, 1, width
        layers: list[nn.Module] = []
        while not layers or (rows > 4 and columns > 4):
            # As large as TensorFlow's "same" padding makes it, which the authors used.
            layers += [nn.ZeroPad2d((1, 1 + columns % 2, 1, 1 + rows % 2)), nn.Conv2d(inputs, outputs, 4, stride=2)]
            layers.append(nn.LeakyReLU(0.2))
            rows, columns, inputs, outputs = -(-rows // 2), -(-columns // 2), outputs, 2 * outputs
        while rows > 4:
            layers += [nn.ZeroPad2d((0, 1, 1, 1 + rows % 2)), nn.Conv2d(inputs, inputs, (4, 2), stride=(2, 1))]
            layers.append(nn.LeakyReLU(0.2))
            rows = -(-rows // 2)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * rows * columns, 32), nn.LeakyReLU(0.2))
        self.out = nn.Linear(32, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, patch: Tensor) -> Tensor:
        if patch.shape[1] < self.n_bins or patch.shape[2] < self.n_frames:
            given = f"a patch of {patch.shape[1]} bins and {patch.shape[2]} frames"
            raise ValueError(f"{given} is smaller than what the critic sees: {self.n_bins} and {self.n_frames}")
        first = (patch.shape[1] - self.n_bins + 1) // 2, (patch.shape[2] - self.n_frames) // 2
        seen = patch[:, first[0] : first[0] + self.n_bins, first[1] : first[1] + self.n_frames]
        return self.out(self.layers(seen[:, None]))[:, 0]
