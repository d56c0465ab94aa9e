"""What of the joint network reads the pitch of a separated stem."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..constants import N_PITCH_BINS
from ..spectra.filters import folded
from .fusion import added, residual
from .layers import conv_norm_relu


class PitchNet(nn.Module):
    """Harmonic planes of one separated stem, of its ``bins`` of the pitch grid, to salience on the grid and voicing.

    Three 20-cent bins are folded into channels, so that the convolutions run on 60-cent steps; the deeper levels run
    at half the frame rate.
    """

    def __init__(self, n_harmonics: int, widths: tuple[int, ...], bins: tuple[int, int]) -> None:
        super().__init__()
        self.fold = 3
        self.bins = bins
        top, middle, bottom = widths
        self.enter = conv_norm_relu(n_harmonics * self.fold, top)
        self.down = conv_norm_relu(top, middle, 3, 2)
        self.deeper = conv_norm_relu(middle, bottom, 3, (2, 1))
        self.temporal = nn.ModuleList(conv_norm_relu(bottom, bottom) for _ in range(2))
        self.up = nn.ConvTranspose2d(bottom, middle, (2, 1), stride=(2, 1))
        self.smooth = conv_norm_relu(middle, middle)
        self.top = nn.ConvTranspose2d(middle, top, 2, stride=2)
        self.finish = conv_norm_relu(top, top)
        self.head = nn.Conv2d(top, self.fold, 1)
        self.dtype: torch.dtype | None = None
        self.voicing = nn.Sequential(
            nn.Conv1d(2 * bottom + 2, 64, 5, padding=2), nn.ReLU(), nn.Conv1d(64, 1, 5, padding=2)
        )

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, harmonics, bins, frames)``, an even number of frames, to logits of salience and voicing."""
        return self.read(folded(planes, self.fold))

    def read(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """The same of planes ``(batch, harmonics * fold, bins / fold, frames)`` that are folded already."""
        batch, _, steps, frames = planes.shape
        x, z = self._levels(planes)
        inside = self._read_head(x).reshape(batch, steps * self.fold, frames)
        salience = F.pad(inside, (0, 0, self.bins[0], N_PITCH_BINS - self.bins[1]), value=-12.0)
        along = z.permute(0, 2, 3, 1)  # as it lies in memory in inference
        deep = torch.cat([along.mean(dim=1), along.amax(dim=1)], dim=2).transpose(1, 2)
        deep = F.interpolate(deep, scale_factor=2, mode="nearest")
        summary = [deep, inside.amax(dim=1, keepdim=True), torch.logsumexp(inside, dim=1, keepdim=True)]
        return salience, self.voicing(torch.cat(summary, dim=1))[:, 0]

    def _read_head(self, x: Tensor) -> Tensor:
        """``(batch, steps, fold, frames)``."""
        head = self.head
        if torch.is_grad_enabled() or head.bias is None:
            return head(x).transpose(1, 2)
        # A product a step, of planes that lie channels last, takes half of the time of the convolution.
        return torch.matmul(head.weight.flatten(1), x.transpose(1, 2)).add_(head.bias[:, None])

    def _levels(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        x = self.enter(planes if self.dtype is None else planes.to(self.dtype))
        y = self.down(x)
        z = self.deeper(y)
        for conv in self.temporal:
            z = residual(conv, z)
        y = self.smooth(added(self.up(z), y))
        x = self.finish(added(self.top(y), x))
        return (x, z) if self.dtype is None else (x.float(), z.float())

    def reduce(self, dtype: torch.dtype) -> None:
        """Compute the levels in ``dtype``; salience and voicing are read from them in float32."""
        for part in (self.enter, self.down, self.deeper, self.temporal, self.up, self.smooth, self.top, self.finish):
            part.to(dtype)
        self.dtype = dtype
