"""Networks for inference alone: the same function, cheaper.

Batch norms have fixed statistics then and go into the weights before them, activations work in place, and planes lie
with their channels last, where convolutions take about half of their time on a CPU and products of one dense layer for
all channels need no copy. Values differ from those of the network in rounding only. In a lower precision convolutions
and products take about half of that time again, where the processor has instructions for it.
"""

from __future__ import annotations

import copy
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .._util.numba_cache import compiled_when_called
from .winograd import WinogradConv

Net = TypeVar("Net", bound=nn.Module)


@runtime_checkable
class Fusible(Protocol):
    """A module that says itself what stands in its place in inference."""

    def fused(self) -> nn.Module:
        """The module for inference; it may be made of parts of this one."""


@runtime_checkable
class Reducible(Protocol):
    """A module that can compute in a lower precision what takes its time."""

    def reduce(self, dtype: torch.dtype) -> None:
        """Do so from now on; what it takes and gives stays in float32."""


def fused(net: Net, *, in_place: bool = False, dtype: torch.dtype = torch.float32) -> Net:
    """A network for inference alone: it can neither be trained nor saved.

    Parameters
    ----------
    net : nn.Module
        Is left as it is, unless ``in_place``.
    in_place : bool, default=False
        Make it of the network itself, which is cheaper.
    dtype : torch.dtype, default=torch.float32
        In which its :class:`Reducible` modules compute.

    Returns
    -------
    nn.Module
        Of the same class, in evaluation mode.
    """
    made = (net if in_place else copy.deepcopy(net)).eval().requires_grad_(False)
    _replace_children(made)
    if dtype != torch.float32:
        for module in list(made.modules()):
            if isinstance(module, Reducible):
                module.reduce(dtype)
    else:
        _save_products(made)
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _replace_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        _replace_children(child)
        if isinstance(child, Fusible):
            setattr(module, name, child.fused())
        elif isinstance(child, nn.Sequential):
            setattr(module, name, _sequence(list(child)))


def _sequence(parts: list[nn.Module]) -> nn.Sequential:
    """A sequence without the batch norms that follow convolutions, and with activations in place behind these."""
    found: list[nn.Module] = []
    for part in parts:
        before = found[-1] if found else None
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and isinstance(before, nn.Conv1d | nn.Conv2d):
            found[-1] = fuse_conv_bn_eval(before, part)
        elif isinstance(part, nn.ReLU) and isinstance(before, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
            found.append(nn.ReLU(inplace=True))
        else:
            found.append(part)
    return nn.Sequential(*(TemporalProduct(part) if isinstance(part, nn.Conv1d) else part for part in found))


def _save_products(module: nn.Module) -> None:
    """Compute convolutions that an activation follows with fewer products, where that takes less time."""
    for name, child in module.named_children():
        _save_products(child)
        if isinstance(child, nn.Sequential):
            parts: list[nn.Module] = []
            for part in child:
                before = parts[-1] if parts else part
                if isinstance(part, nn.ReLU) and WinogradConv.fits(before):
                    parts[-1] = WinogradConv(before)
                else:
                    parts.append(part)
            setattr(module, name, nn.Sequential(*parts))


def affine_of(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and summand ``(channels,)`` that a batch norm is in evaluation."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


class TemporalProduct(nn.Module):
    """A convolution over time as one product: with few channels it takes a fraction of the time of a convolution.

    Parameters
    ----------
    conv : nn.Conv1d
        Of any dilation, with zeros around and steps of one frame.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        assert conv.stride == (1,)
        assert conv.groups == 1
        assert conv.padding_mode == "zeros"
        assert isinstance(conv.padding, tuple)
        (self.taps,), (self.dilation,), (self.padding,) = conv.kernel_size, conv.dilation, conv.padding
        self.register_buffer("weight", conv.weight.transpose(1, 2).flatten(1).contiguous())
        self.register_buffer("bias", conv.weight.new_zeros(len(conv.weight)) if conv.bias is None else conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (self.padding, self.padding)) if self.padding else x
        frames = x.shape[-1] - (self.taps - 1) * self.dilation
        taps = [x[..., i * self.dilation : i * self.dilation + frames] for i in range(self.taps)]
        return torch.matmul(self.weight, torch.cat(taps, dim=1) if self.taps > 1 else x).add_(self.bias[:, None])


class PatchConv(nn.Module):
    """A convolution whose kernel is two strides long, padded by half a stride, of planes ``(batch, 1, rows, columns)``.

    Patches become channels, and the kernel has two by two of them.

    Parameters
    ----------
    weight : Tensor
        ``(outputs, 1, 2 p, 2 q)``, for strides ``(p, q)``.
    bias : Tensor
        ``(outputs,)``.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        outputs, _, p, q = weight.shape
        self.stride = (p // 2, q // 2)
        patches = weight.reshape(outputs, 2, p // 2, 2, q // 2).permute(0, 2, 4, 1, 3).flatten(1, 2)
        self.register_buffer("weight", patches.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        (p, q), rows, columns = self.stride, *x.shape[2:]
        x = F.pad(x, (q // 2, q // 2, p // 2, p // 2)).reshape(len(x), rows // p + 1, p, columns // q + 1, q)
        x = x.permute(0, 1, 3, 2, 4).flatten(3).permute(0, 3, 1, 2)
        return F.conv2d(x, self.weight, self.bias)


class UnpatchLast(nn.Module):
    """A transposed convolution as large as its stride, of parts that lie channels last, to planes that do not.

    Parameters
    ----------
    conv : nn.ConvTranspose2d
        Of the parts as they were concatenated.
    """

    #: Values at a time, which stay in the cache of a processor.
    TOGETHER = 1 << 17

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.stride, self.outputs = (int(conv.stride[0]), int(conv.stride[1])), conv.weight.shape[1]
        assert conv.bias is not None
        assert self.stride[1] == 2
        self.register_buffer("weight", conv.weight.flatten(1).t().contiguous())
        self.register_buffer("bias", conv.bias)

    def forward(self, parts: tuple[Tensor, ...], direct: Tensor, plane: Tensor) -> Tensor:
        """The planes, and ``direct * plane`` in addition; ``direct`` has a factor an output."""
        (p, q), (batch, _, rows, columns) = self.stride, parts[0].shape
        weights = self.weight.split([part.shape[1] for part in parts], dim=1)
        bias = self.bias.repeat_interleave(p * q)[:, None]
        y = plane.new_empty(batch, self.outputs, rows * p, columns * q)
        step = max(1, self.TOGETHER // (columns * len(bias)))
        for i in range(batch):
            pixels = [part[i].permute(1, 2, 0) for part in parts]
            for row in range(0, rows, step):
                some = [part[row : row + step].flatten(0, 1).t() for part in pixels]
                found = torch.addmm(bias, weights[0], some[0])
                for weight, more in zip(weights[1:], some[1:]):
                    found.addmm_(weight, more)
                into, light = (x[..., row * p : (row + step) * p, :] for x in (y[i], plane[i, 0]))
                _spread(found.unflatten(1, (-1, columns)).numpy(), direct.numpy(), light.numpy(), into.numpy())
        return y


@compiled_when_called(fastmath=True)
def _spread(
    values: np.ndarray, direct: np.ndarray, plane: np.ndarray, into: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Patches of p by 2, ``(outputs * p * 2, rows, columns)``, to their places in ``(outputs, rows * p, columns * 2)``,
    with a multiple of ``plane`` in addition."""
    outputs, rows = len(into), values.shape[1]
    p = into.shape[1] // rows
    for row in range(rows):
        for output in range(outputs):
            for i in range(p):
                even, odd = values[2 * (output * p + i), row], values[2 * (output * p + i) + 1, row]
                light, to, factor = plane[row * p + i], into[output, row * p + i], direct[output]
                for k in range(len(even)):
                    to[2 * k] = even[k] + factor * light[2 * k]
                    to[2 * k + 1] = odd[k] + factor * light[2 * k + 1]


class DenseLast(nn.Module):
    """``x + relu(norm(up(relu(down(x)))))``, dense along the rows of planes that lie channels last.

    Both products run over all columns and channels at once. The norm's factor of a channel goes to the hidden units.
    Its summand and the bias of ``up`` do not depend on ``x`` and are a product of two factors each, one of the row and
    one of the channel: two more hidden units that are always 1 add them. The result takes the place of ``x``, a few
    columns at a time, which stay in the cache of the processor meanwhile.

    Parameters
    ----------
    down, up : nn.Linear
        The layers.
    norm : nn.BatchNorm2d
        Of the channels.
    """

    #: Values of a plane at a time.
    TOGETHER = 1 << 17

    down: Tensor
    down_bias: Tensor
    scale: Tensor
    up: Tensor

    def __init__(self, down: nn.Linear, up: nn.Linear, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        factor, summand = affine_of(norm)
        hidden, bins = down.weight.shape
        ones = torch.ones(2, device=factor.device)
        self.register_buffer("down", torch.cat([down.weight, down.weight.new_zeros(2, bins)]))
        self.register_buffer("down_bias", torch.cat([down.bias, ones])[:, None])
        self.register_buffer("scale", torch.stack([*[factor] * (hidden + 1), summand])[:, None])
        self.register_buffer("up", torch.cat([up.weight, up.bias[:, None], torch.ones_like(up.bias)[:, None]], dim=1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, bins, columns = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(batch, bins, columns * channels)
        step = max(1, self.TOGETHER // (bins * channels)) * channels
        for row in rows:
            for part in row.split(step, dim=1):
                hidden = torch.addmm(self.down_bias, self.down, part).relu_()
                hidden.view(len(hidden), -1, channels).mul_(self.scale)
                part.add_(torch.mm(self.up, hidden).relu_())
        return rows.reshape(batch, bins, columns, channels).permute(0, 3, 1, 2)


def upsampled(conv: nn.ConvTranspose2d, norm: nn.Module) -> nn.ConvTranspose2d:
    """A transposed convolution that holds the batch norm behind it."""
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, norm, transpose=True)


def added(own: Tensor, other: Tensor) -> Tensor:
    """The sum, in the place of ``own``, which nobody else has, unless a gradient needs it."""
    return own + other if torch.is_grad_enabled() or own.dtype != other.dtype else own.add_(other)


def residual(conv: nn.Module, x: Tensor) -> Tensor:
    """``conv(x) + x``, of convolutions and activations in a sequence."""
    if isinstance(conv, nn.Sequential) and len(conv) == 1 and isinstance(conv[0], WinogradConv):
        return conv[0](x, residual=True)
    return added(conv(x), x)
