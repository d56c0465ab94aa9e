"""Convolutions of 3 x 3 with a quarter of the multiplications, for inference on one thread of a CPU.

A tile of 4 x 4 outputs is a transform of 36 products of channels, not of 144: the algorithm F(4 x 4, 3 x 3) of Lavin
and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), section 4. Sums are in another order and of
larger terms, so that values differ from exact ones by some 1e-5 of the largest, where those of a plain convolution in
single precision differ by 1e-6.
"""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._util.numba_cache import compiled_when_called

#: Outputs of a tile along an axis, and its inputs.
TILE, REACH = 4, 6
#: Tiles at a time: their transforms stay in the cache of a processor.
TOGETHER = 70
#: Of fewer channels transforms take more time than products are saved.
LEAST_CHANNELS = 32
#: The transform of a kernel along an axis, G of the paper.
_OF_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24


class WinogradConv(nn.Module):
    """``relu(conv(x))`` of planes that lie channels last, or with ``x`` in addition.

    Parameters
    ----------
    conv : nn.Conv2d
        For which :meth:`fits`. Where several threads compute, it does so itself.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        kernel = conv.weight.detach().double()
        of_kernel = torch.from_numpy(_OF_KERNEL)
        weight = torch.einsum("ia,kcab,jb->ijck", of_kernel, kernel, of_kernel).flatten(0, 1)
        self.register_buffer("weight", weight.to(conv.weight.dtype).contiguous())
        self.register_buffer("bias", conv.weight.new_zeros(len(kernel)) if conv.bias is None else conv.bias.detach())

    @staticmethod
    def fits(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
        """Whether a module is a convolution that can be computed so, and gains by it."""
        if not isinstance(conv, nn.Conv2d) or conv.weight.dtype != torch.float32:
            return False
        shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
        return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") and min(conv.weight.shape[:2]) >= LEAST_CHANNELS

    def forward(self, x: Tensor, residual: bool = False) -> Tensor:
        """``relu(conv(x))``; if ``residual``, with ``x`` in addition."""
        if torch.get_num_threads() > 1 or x.device.type != "cpu":  # the transforms run on one
            found = F.relu_(self.conv(x))
            return found.add_(x) if residual else found
        batch, channels, rows, columns = x.shape
        n_across, n_down = -(-columns // TILE), -(-rows // TILE)
        lines = min(n_down, max(1, round(TOGETHER / n_across)))
        found = x.new_empty(batch, rows, columns, self.weight.shape[2])
        down = x.new_zeros(REACH, (TILE * n_across + REACH - TILE) * channels).numpy()
        zeros, bias = np.zeros(columns * channels, np.float32), self.bias.numpy()
        tiles = x.new_empty(len(self.weight), lines * n_across, channels)
        products = x.new_empty(len(self.weight), lines * n_across, len(bias))
        for plane, into in zip(x.permute(0, 2, 3, 1).reshape(batch, rows, -1).numpy(), found.numpy()):
            beside = plane.reshape(rows, columns, channels) if residual else into[:0]
            for line in range(0, n_down, lines):
                # The last ones again, if need be: values are the same.
                line = min(line, n_down - lines)
                _transform(plane, line, zeros, down, tiles.numpy())
                torch.bmm(tiles, self.weight, out=products)
                _untransform(products.numpy(), line, bias, beside, into)
        return found.permute(0, 3, 1, 2)


@compiled_when_called(fastmath=True)
def _transform(
    plane: np.ndarray, line: int, zeros: np.ndarray, down: np.ndarray, tiles: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Tiles ``(36, n, channels)`` of a plane ``(rows, columns * channels)`` from a line of tiles on; ``zeros`` is a row
    of them, and ``down`` room for a line, whose first and last column are zero. Loops write to two arrays at a time:
    of more it is not known that they do not overlap."""
    rows, width = plane.shape
    channels = tiles.shape[2]
    n_across = (down.shape[1] // channels - 2) // 4
    two, four, five = np.float32(2), np.float32(4), np.float32(5)
    for n in range(tiles.shape[1] // n_across):
        first = 4 * (line + n) - 1
        a = plane[first] if first >= 0 else zeros
        b = plane[first + 1]
        c = plane[first + 2] if first + 2 < rows else zeros
        d = plane[first + 3] if first + 3 < rows else zeros
        e = plane[first + 4] if first + 4 < rows else zeros
        f = plane[first + 5] if first + 5 < rows else zeros
        inside = slice(channels, channels + width)
        t0, t1, t2 = down[0, inside], down[1, inside], down[2, inside]
        t3, t4, t5 = down[3, inside], down[4, inside], down[5, inside]
        for begin in range(0, width, 4096):
            end = min(width, begin + 4096)
            for i in range(begin, end):
                t0[i] = four * a[i] - five * c[i] + e[i]
                t5[i] = four * b[i] - five * d[i] + f[i]
            for i in range(begin, end):
                even, odd = e[i] - four * c[i], d[i] - four * b[i]
                t1[i] = even + odd
                t2[i] = even - odd
            for i in range(begin, end):
                even, odd = e[i] - c[i], two * (d[i] - b[i])
                t3[i] = even + odd
                t4[i] = even - odd
        for across in range(n_across):
            tile = n * n_across + across
            for k in range(6):
                y = down[k, 4 * across * channels : (4 * across + 6) * channels]
                v0, v1, v2 = tiles[6 * k, tile], tiles[6 * k + 1, tile], tiles[6 * k + 2, tile]
                v3, v4, v5 = tiles[6 * k + 3, tile], tiles[6 * k + 4, tile], tiles[6 * k + 5, tile]
                for i in range(channels):
                    v0[i] = four * y[i] - five * y[2 * channels + i] + y[4 * channels + i]
                    v5[i] = four * y[channels + i] - five * y[3 * channels + i] + y[5 * channels + i]
                for i in range(channels):
                    even = y[4 * channels + i] - four * y[2 * channels + i]
                    odd = y[3 * channels + i] - four * y[channels + i]
                    v1[i] = even + odd
                    v2[i] = even - odd
                for i in range(channels):
                    even = y[4 * channels + i] - y[2 * channels + i]
                    odd = two * (y[3 * channels + i] - y[channels + i])
                    v3[i] = even + odd
                    v4[i] = even - odd


@compiled_when_called(fastmath=True)
def _untransform(
    products: np.ndarray, line: int, bias: np.ndarray, beside: np.ndarray, into: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Products ``(36, n, channels)`` of tiles from a line of them on to ``(rows, columns, channels)``, not below 0, and
    what is ``beside`` in addition, if it has rows."""
    rows, columns, channels = into.shape
    n_across = (columns + 3) // 4
    half = np.empty((24, channels), np.float32)
    zero, two, four, eight = np.float32(0), np.float32(2), np.float32(4), np.float32(8)
    for tile in range(products.shape[1]):
        top, left = 4 * (line + tile // n_across), 4 * (tile % n_across)
        for k in range(6):
            a, b, c = products[k, tile], products[6 + k, tile], products[12 + k, tile]
            d, e, f = products[18 + k, tile], products[24 + k, tile], products[30 + k, tile]
            t0, t1, t2, t3 = half[k], half[6 + k], half[12 + k], half[18 + k]
            for i in range(channels):
                near, slope, far, bend = b[i] + c[i], b[i] - c[i], d[i] + e[i], d[i] - e[i]
                t0[i] = a[i] + near + far
                t1[i] = slope + two * bend
                t2[i] = near + four * far
                t3[i] = slope + eight * bend + f[i]
        for row in range(min(4, rows - top)):
            a, b, c = half[6 * row], half[6 * row + 1], half[6 * row + 2]
            d, e, f = half[6 * row + 3], half[6 * row + 4], half[6 * row + 5]
            to = into[top + row]
            last = columns - 1
            # What is beyond the edge is written to its last column first, and then what belongs there.
            y3, y2 = to[min(left + 3, last)], to[min(left + 2, last)]
            y1, y0 = to[min(left + 1, last)], to[left]
            for i in range(channels):
                y3[i] = max(b[i] - c[i] + eight * (d[i] - e[i]) + f[i] + bias[i], zero)
            for i in range(channels):
                y2[i] = max(b[i] + c[i] + four * (d[i] + e[i]) + bias[i], zero)
            for i in range(channels):
                y1[i] = max(b[i] - c[i] + two * (d[i] - e[i]) + bias[i], zero)
            for i in range(channels):
                y0[i] = max(a[i] + b[i] + c[i] + d[i] + e[i] + bias[i], zero)
            if len(beside):
                for k in range(left, min(left + 4, columns)):
                    y, x = to[k], beside[top + row, k]
                    for i in range(channels):
                        y[i] += x[i]
