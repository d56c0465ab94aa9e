"""Layouts of joint vocal separation and vocal F0 estimation, small enough to be trained side by side.

What Jansson, Bittner, Ewert and Weyde (EUSIPCO 2019) compare is known from their abstract: several ways of joint
modelling, of which separation first and F0 from its result came out best. Names, grid, widths and losses are not, so
these are free choices, made so that only the layout differs:

* One axis for both tasks: 512 bins of 20 cents from 32.7 Hz, which reach the Nyquist frequency at 22,050 Hz. Its
  lowest 360 bins are the pitch grid; a mask on it is carried back to the linear bins. With 128 frames
  that is the 512x128 patch of the 2017 U-Net.
* One module for all: the U-Net of 2017 (:mod:`~stemfeatures.models.unet2017`), narrower and without dropout, on
  harmonic planes (the idea of the harmonic CQT, Bittner et al. 2017).
* About one number of parameters for every *layout*: one wide U-Net for a single task, narrower modules where there
  are two. See :func:`n_parameters`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, N_BINS, N_FFT, N_PITCH_BINS, PITCH_BINS_PER_OCTAVE, PITCH_FMIN
from stemfeatures.models.unet2017 import Decoder, Encoder

#: Bins of the axis that both tasks share, and frames that a patch is a multiple of.
N_LOG_BINS = 512

LAYOUTS = ("separation", "f0", "shared", "f0_to_separation", "separation_to_f0", "separation_to_f0_stopped")
#: Filters of the six levels: where a network has two U-Nets, an encoder with two decoders, or one U-Net.
_TWO = (8, 16, 32, 48, 64, 96)
_SHARED = (8, 16, 32, 56, 72, 112)
_ONE = (8, 24, 48, 72, 88, 132)
_WIDTHS = dict(zip(LAYOUTS, (_ONE, _ONE, _SHARED, _TWO, _TWO, _TWO)))


@dataclass(frozen=True)
class LayoutConfig:
    """A layout and its sizes.

    Attributes
    ----------
    layout : one of ``LAYOUTS``. widths : filters of the encoder's levels, None for those that make layouts comparable.
    harmonics : multiples of a bin's frequency that are seen beside each other.
    """

    layout: str
    widths: tuple[int, ...] | None = None
    harmonics: tuple[float, ...] = (0.5, 1, 2, 3, 4, 5)

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"unknown layout {self.layout!r}; known: {', '.join(LAYOUTS)}")

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass
class LayoutOutput:
    """``mask`` (batch, N_BINS, n_frames) of the vocals, ``salience`` (batch, N_PITCH_BINS, n_frames) of their F0 as
    logits; None where the layout does not have the task."""

    mask: Tensor | None
    salience: Tensor | None

    def float(self) -> LayoutOutput:
        """The same in single precision."""
        return LayoutOutput(*(None if x is None else x.float() for x in (self.mask, self.salience)))


class LogAxis(nn.Module):
    """Between the linear bins of the analysis grid and the logarithmic ones of the pitch grid.

    Magnitudes are gathered by triangles as wide as a step of the coarser of the two axes at that place, so that no
    partial falls between bins; a mask comes back through the same triangles, as a weighted mean.
    """

    gather: Tensor
    spread: Tensor

    def __init__(self, harmonics: tuple[float, ...]) -> None:
        super().__init__()
        bin_hz = ANALYSIS_SAMPLE_RATE / N_FFT
        centres = PITCH_FMIN * 2.0 ** (np.arange(N_LOG_BINS)[:, None] / PITCH_BINS_PER_OCTAVE)
        width = np.maximum(centres * np.log(2) / PITCH_BINS_PER_OCTAVE, bin_hz)
        hertz = np.arange(N_BINS) * bin_hz
        triangles = np.maximum(0.0, 1 - np.abs(hertz - centres) / width)
        triangles[0, triangles.sum(axis=0) == 0] = 1e-9  # what lies below the axis takes its lowest bin's mask
        gather = triangles / np.maximum(triangles.sum(axis=1, keepdims=True), 1.0)
        spread = (triangles / triangles.sum(axis=0)).T
        self.register_buffer("gather", torch.from_numpy(gather.astype(np.float32)), persistent=False)
        self.register_buffer("spread", torch.from_numpy(spread.astype(np.float32)), persistent=False)
        self.shifts = [round(PITCH_BINS_PER_OCTAVE * float(np.log2(h))) for h in harmonics]

    def planes(self, magnitude: Tensor) -> Tensor:
        """``(batch, N_BINS, frames)`` to ``(batch, harmonics, N_LOG_BINS, frames)``, compressed; 0 beyond the band."""
        level = torch.log1p(10.0 * torch.matmul(self.gather, magnitude))
        return torch.stack([shifted(level, shift) for shift in self.shifts], dim=1)

    def mask(self, mask: Tensor) -> Tensor:
        """``(batch, N_LOG_BINS, frames)`` to ``(batch, N_BINS, frames)``."""
        return torch.matmul(self.spread, mask)


def shifted(x: Tensor, bins: int) -> Tensor:
    """``x`` (batch, bins, frames) read ``bins`` higher (lower where negative); zeros from outside."""
    if bins >= 0:
        return F.pad(x[:, bins:], (0, 0, 0, bins))
    return F.pad(x[:, :bins], (0, 0, -bins, 0))


class LayoutNet(nn.Module):
    """One of the layouts.

    ``separation``, ``f0``: one U-Net for one task. ``shared``: an encoder with a decoder for each task.
    ``f0_to_separation``: the separating U-Net sees the salience of the other one beside the mixture.
    ``separation_to_f0``: the U-Net for F0 sees the masked magnitude instead of the mixture. Cascades are trained end
    to end: gradients of the second task run through the first, but for ``separation_to_f0_stopped``, where separation
    learns as if it were alone.

    Shape
    -----
    magnitude ``(batch, N_BINS, n_frames)`` on the analysis grid, ``n_frames`` a multiple of 64, at any level (each
    example is divided by its mean) -> :class:`LayoutOutput`.
    """

    def __init__(self, config: LayoutConfig) -> None:
        super().__init__()
        self.config = config
        self.axis = LogAxis(config.harmonics)
        planes, widths = len(config.harmonics), config.widths or _WIDTHS[config.layout]
        self.tasks = tuple(task for task in ("separation", "f0") if task in config.layout or config.layout == "shared")
        extra = {"separation": int(config.layout == "f0_to_separation"), "f0": 0}
        encoders = ("shared",) if config.layout == "shared" else self.tasks
        self.encoders = nn.ModuleDict({name: Encoder((planes + extra.get(name, 0), *widths)) for name in encoders})
        self.decoders = nn.ModuleDict({t: Decoder((planes, *widths), dropout_layers=0) for t in self.tasks})
        if "f0" in self.tasks:
            # Few bins hold an F0: beginning there saves the first steps.
            nn.init.constant_(self.decoders["f0"][-1][0].bias, -4.0)  # type: ignore[index]

    def forward(self, magnitude: Tensor) -> LayoutOutput:
        magnitude = magnitude / magnitude.mean(dim=(1, 2), keepdim=True).clamp_min(1e-7)
        planes = self.axis.planes(magnitude)
        if self.config.layout == "shared":
            levels = self.encoders["shared"](planes)
            mask, salience = (self.decoders[task](levels)[:, 0] for task in self.tasks)
            return LayoutOutput(self._to_mask(mask), salience[:, :N_PITCH_BINS])
        if self.config.layout == "f0_to_separation":
            salience = self._unet("f0", planes)
            inside = torch.sigmoid(salience[:, :N_PITCH_BINS])
            seen = F.pad(inside, (0, 0, 0, N_LOG_BINS - N_PITCH_BINS))[:, None]
            mask = self._unet("separation", torch.cat([planes, seen], dim=1))
            return LayoutOutput(self._to_mask(mask), salience[:, :N_PITCH_BINS])
        found = LayoutOutput(None, None)
        if "separation" in self.tasks:
            found.mask = self._to_mask(self._unet("separation", planes))
            mask = found.mask.detach() if self.config.layout == "separation_to_f0_stopped" else found.mask
            planes = self.axis.planes(mask * magnitude)
        if "f0" in self.tasks:
            found.salience = self._unet("f0", planes)[:, :N_PITCH_BINS]
        return found

    def _unet(self, task: str, planes: Tensor) -> Tensor:
        return self.decoders[task](self.encoders[task](planes))[:, 0]

    def _to_mask(self, logits: Tensor) -> Tensor:
        return self.axis.mask(torch.sigmoid(logits))


def n_parameters(net: nn.Module) -> int:
    """Trainable numbers of a network."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
