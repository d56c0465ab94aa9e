"""Masks looked at once more in the low bins, one by one, with the pitch that was found in them.

The separator sees four bins of two frames as one, and the priors that masks lean towards know one thing each. This is
a small network behind both: it sees the mixture at half the resolution of the grid, the masks before and after the
priors, and the partials of the pitches of vocals and bass, and says what is to be added to the logits of the masks. A
second network that reads the estimates of a first is common in separation; this one is not that of a paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..constants import N_BINS, PITCHED_STEMS, STEMS
from .fusion import added, residual

#: Lowest bins of the analysis grid that are refined unless a configuration tells another number (2.75 kHz).
N_REFINED_BINS = 256
#: Bins and frames that are seen as one, and multiple of frames that the network takes.
PATCH, STRIDE = 2, 4
#: Masks below this are seen as if they were this.
LEAST_MASK = 1e-3
#: Planes that are seen: the mixture, two masks a stem, and the partials of vocals and bass.
N_PLANES = 1 + 2 * len(STEMS) + len(PITCHED_STEMS)


class RefinerNet(nn.Module):
    """What is to be added to the logits of masks.

    A U-Net of two levels with residual convolutions, which begins as no change.

    Parameters
    ----------
    width : int
        Channels of patches of 2 bins and 2 frames; twice as many of 4 and 4.
    n_bins : int, optional
        Lowest bins that are seen and refined, a multiple of :data:`STRIDE`.

    Raises
    ------
    ValueError
        Another number of bins.

    Notes
    -----
    :func:`seen` ``(batch, N_PLANES, n_bins, n_frames)``, a multiple of :data:`STRIDE` frames -> ``(batch, 4, n_bins,
    n_frames)``.

    Examples
    --------
    >>> RefinerNet(8)(torch.zeros(1, N_PLANES, N_REFINED_BINS, 8)).abs().max().item()
    0.0
    """

    def __init__(self, width: int, n_bins: int = N_REFINED_BINS) -> None:
        super().__init__()
        require_bins(n_bins)
        self.n_bins = n_bins
        self.enter = nn.Sequential(nn.Conv2d(N_PLANES, width, PATCH, PATCH), nn.ReLU())
        self.place = nn.Parameter(torch.zeros(width, n_bins // PATCH, 1))
        self.first = _conv(width, width)
        self.down = _conv(width, 2 * width, stride=2)
        self.deep = nn.ModuleList(_conv(2 * width, 2 * width) for _ in range(3))
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.last = _conv(width, width)
        self.leave = nn.Conv2d(width, len(STEMS) * PATCH**2, 1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)
        self.dtype: torch.dtype | None = None

    def reduce(self, dtype: torch.dtype) -> None:
        """Compute all but the first and the last convolution in ``dtype``."""
        for part in (self.first, self.down, self.deep, self.up, self.last):
            part.to(dtype)
        self.dtype = dtype

    def of_lowest(self, n_bins: int) -> RefinerNet:
        """The same for fewer bins, without what it learned of those above.

        Parameters
        ----------
        n_bins : int
            How many.

        Returns
        -------
        RefinerNet
            A network of its own.

        Raises
        ------
        ValueError
            Not a number of bins that a refiner takes, or more than this one does.
        """
        if n_bins > self.n_bins:
            raise ValueError(f"a refiner of {self.n_bins} bins has none of {n_bins}")
        net, state = RefinerNet(len(self.place), n_bins).to(self.place.device), self.state_dict()
        net.load_state_dict(state | {"place": state["place"][:, : n_bins // PATCH]})
        return net.train(self.training)

    def forward(self, planes: Tensor) -> Tensor:
        x = added(self.enter(planes), self.place)
        x = x if self.dtype is None else x.to(self.dtype)
        x = residual(self.first, x)
        z = self.down(x)
        for conv in self.deep:
            z = residual(conv, z)
        x = residual(self.last, added(F.relu(self.up(z)), x))
        return F.pixel_shuffle(self.leave(x if self.dtype is None else x.float()), PATCH)


def require_bins(n_bins: int) -> None:
    """Raise ValueError unless a :class:`RefinerNet` can have so many bins."""
    if not STRIDE <= n_bins <= N_BINS or n_bins % STRIDE:
        raise ValueError(f"a refiner takes a multiple of {STRIDE} bins up to {N_BINS}, not {n_bins}")


def seen(magnitude: Tensor, masks: Tensor, read: Tensor, partials: Tensor) -> Tensor:
    """What the network reads.

    Parameters
    ----------
    magnitude : Tensor
        ``(batch, N_BINS, n_frames)`` of the mixture, divided by its mean.
    masks : Tensor
        ``(batch, 4, N_BINS, n_frames)``, 0..1, that are to be refined.
    read : Tensor
        The same that pitch was read from.
    partials : Tensor
        ``(batch, 2, n_bins, n_frames)`` of vocals and bass, -1..1: the lowest bins, which are seen.

    Returns
    -------
    Tensor
        ``(batch, N_PLANES, n_bins, n_frames)``.
    """
    low = slice(partials.shape[2])
    level = torch.log1p(20.0 * magnitude[:, None, low]) / 3 - 1
    planes = torch.cat([level, masks[:, :, low], read[:, :, low], partials], dim=1)
    planes[:, 1 : 1 + 2 * len(STEMS)].clamp_min_(LEAST_MASK).log_().div_(3).add_(0.8)
    return planes


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ReLU())
