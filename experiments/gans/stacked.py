"""Small dense networks side by side: what would be many runs of tiny matrices becomes one of larger ones.

``stack`` networks of one shape share nothing but their number; inputs are ``(batch, stack, features)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StackedMlp(nn.Module):
    """Dense layers with LeakyReLU 0.2 between them.

    Parameters
    ----------
    widths : features of input, hidden layers and output. normalised : with spectral norm, each network for itself.

    Shape
    -----
    ``(batch, stack, widths[0]) -> (batch, stack, widths[-1])``.
    """

    def __init__(self, stack: int, widths: Sequence[int], *, normalised: bool = False) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in zip(widths, widths[1:]):
            bound = inputs**-0.5  # as torch begins its dense layers
            self.weights.append(nn.Parameter(torch.empty(stack, inputs, outputs).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(stack, 1, outputs).uniform_(-bound, bound)))
        self.norms = nn.ModuleList(StackedSpectralNorm(weight) for weight in self.weights) if normalised else None

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            if self.norms is not None:
                weight = self.norms[i](weight)
            x = torch.baddbmm(bias, F.leaky_relu(x, 0.2) if i else x, weight)
        return x.transpose(0, 1)


class StackedSpectralNorm(nn.Module):
    """Divides each of ``(stack, inputs, outputs)`` matrices by its largest singular value, found by one step of power
    iteration a call in training mode."""

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("u", F.normalize(torch.randn(len(weight), weight.shape[2], 1), dim=1))
        for _ in range(15):
            self._iterate(weight.detach())

    def forward(self, weight: Tensor) -> Tensor:
        v = self._iterate(weight.detach()) if self.training else F.normalize(weight.detach() @ self.u, dim=1)
        return weight / (v.transpose(1, 2) @ weight @ self.u.clone())

    @torch.no_grad()
    def _iterate(self, weight: Tensor) -> Tensor:
        v = F.normalize(weight @ self.u, dim=1)
        self.u.copy_(F.normalize(weight.transpose(1, 2) @ v, dim=1))
        return v
