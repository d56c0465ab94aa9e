"""Spectral norm for whole networks (Miyato et al., ICLR 2018)."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrizations, parametrize

Net = TypeVar("Net", bound=nn.Module)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def spectrally_normalised(net: Net, *, n_power_iterations: int = 1) -> Net:
    """Divide the weights of every linear and convolutional layer by their largest singular value, in place.

    A linear layer then stretches no distance; of a convolution it is the matrix (outputs, inputs * kernel) whose norm
    is one, as in the paper. The singular value follows the weights by ``n_power_iterations`` steps of power iteration a
    forward pass in training mode.

    Parameters
    ----------
    net : torch.nn.Module
        The network; it is changed in place.
    n_power_iterations : int, optional
        Steps a forward pass.

    Returns
    -------
    torch.nn.Module
        The same network.
    """
    for layer in net.modules():
        if isinstance(layer, _LAYERS) and not parametrize.is_parametrized(layer, "weight"):
            parametrizations.spectral_norm(layer, n_power_iterations=n_power_iterations)
    return net
