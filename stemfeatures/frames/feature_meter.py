"""The network's features under each row: pooled over the track and, on demand, cell by cell.

A cell is a stretch of ``stride`` frames. Its features count by the fourth root of the power that the row has in their
bins, so that a few loud cells do not decide alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..constants import N_BINS, STEMS
from ..inference.transfer import to_host

#: Names of what is told of each cell: first frame, weight, weighted sums of the features and of their squares.
CELL_VALUES = ("cell_first", "cell_weight", "cell_sums", "cell_squares")


class FeatureMeter:
    """Weighted moments of the network's features.

    Parameters
    ----------
    n_rows : int
        The mixture, the four stems and further ones, which are part of others.
    device : str
        Torch device.
    by_cell : bool, default=False
        Keep those of each cell, too.
    """

    def __init__(self, n_rows: int, device: str, *, by_cell: bool = False) -> None:
        self._n_rows, self._by_cell = n_rows, by_cell
        self._sums: Tensor | None = None
        self._squares: Tensor | None = None
        self._weight = torch.zeros(n_rows, dtype=torch.float64, device=device)
        self._cells: list[dict[str, Tensor]] = []

    def push(self, features: Tensor, power: Tensor, stride: int, first: int) -> None:
        """Take the features of further cells.

        Parameters
        ----------
        features : Tensor
            (channels, bins, cells).
        power : Tensor
            (n_rows - 1, bins, frames) sums over the bins of the spectrum under the masks of all rows but the mixture; 0
            in frames that are not used.
        stride : int
            Frames of a cell.
        first : int
            Number of the first frame in the track.
        """
        channels, bins, cells = features.shape
        sums = torch.nn.functional.pad(power, (0, cells * stride - power.shape[-1]))
        cell = sums.reshape(self._n_rows - 1, bins, cells, stride).sum(dim=3) / (N_BINS // bins * stride)
        cell = torch.cat([cell[: len(STEMS)].sum(dim=0, keepdim=True), cell])
        plane = cell.sqrt().sqrt()
        weight = plane.reshape(self._n_rows, -1).double()
        flat = features.reshape(channels, -1).double()
        if self._sums is None or self._squares is None:
            self._sums = torch.zeros(self._n_rows, channels, dtype=torch.float64, device=self._weight.device)
            self._squares = torch.zeros_like(self._sums)
        self._sums += weight @ flat.T
        self._squares += weight @ (flat**2).T
        self._weight += weight.sum(dim=1)
        if self._by_cell:
            used = plane[0].sum(dim=0) > 0
            values = features[..., used].permute(2, 1, 0).double()  # (cells, bins, channels)
            weights = plane[..., used].permute(2, 0, 1).double()  # (cells, rows, bins)
            frames = first + stride * torch.arange(cells, device=used.device)[used]
            found = frames, weights.sum(dim=2).T, weights @ values, weights @ values**2
            moved = (found[0], found[1], found[2].permute(1, 2, 0), found[3].permute(1, 2, 0))
            self._cells.append(dict(zip(CELL_VALUES, moved)))

    def take_cells(self) -> list[dict[str, np.ndarray]]:
        """Values of the cells that were not taken before, by the names of :data:`CELL_VALUES`, cells on the last axis:
        (n,), (n_rows, n) and twice (n_rows, n_channels, n)."""
        taken, self._cells = self._cells, []
        return [to_host({name: values.float() for name, values in cells.items()}) for cells in taken]

    def embedding(self, row: int) -> np.ndarray | None:
        """(2 * n_channels,) float32 means and deviations of a row over the track; None where it has no power."""
        weight = float(self._weight[row])
        if self._sums is None or self._squares is None or weight <= 0:
            return None
        mean = self._sums[row] / weight
        deviation = (self._squares[row] / weight - mean**2).clamp_min(0).sqrt()
        return torch.cat([mean, deviation]).float().cpu().numpy()
