"""The separator of the joint network: a U-Net from compressed magnitudes to logits of the stems."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..constants import N_BINS, STEMS
from .fusion import DenseLast, PatchConv, UnpatchLast, added, affine_of, residual, upsampled
from .layers import conv_norm_relu


def _patch_conv(x: Tensor, conv: nn.Module) -> Tensor:
    """``conv(x)`` for kernels of two strides and half a stride of padding: patches as channels, then 2 x 2."""
    assert isinstance(conv, nn.Conv2d)
    (p, q), (rows, columns), (outputs, inputs) = conv.stride, x.shape[2:], conv.weight.shape[:2]
    x = F.pad(x, (q // 2, q // 2, p // 2, p // 2)).reshape(len(x), inputs, rows // p + 1, p, columns // q + 1, q)
    x = x.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
    weight = conv.weight.reshape(outputs, inputs, 2, p, 2, q).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
    return F.conv2d(x, weight)


def _unpatch(parts: list[Tensor], conv: nn.ConvTranspose2d) -> Tensor:
    """``conv(torch.cat(parts, dim=1))`` for kernels as large as the stride: a product, then channels as patches."""
    (p, q), outputs = conv.stride, conv.weight.shape[1]
    batch, _, rows, columns = parts[0].shape
    weights = conv.weight.flatten(1).split([part.shape[1] for part in parts])
    assert conv.bias is not None
    y = conv.bias.repeat_interleave(p * q)[None, :, None]
    for part, weight in zip(parts, weights):
        y = torch.baddbmm(y, weight.t().expand(batch, -1, -1), part.flatten(2))
    y = y.reshape(batch, outputs, p, q, rows, columns).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(batch, outputs, p * rows, q * columns)


class FrequencyDense(nn.Module):
    """Residual dense layers along frequency, shared by channels and frames: every bin sees the whole spectrum."""

    def __init__(self, channels: int, bins: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Linear(bins, hidden)
        self.up = nn.Linear(hidden, bins)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(torch.einsum("bcft,hf->bcht", x, self.down.weight) + self.down.bias[:, None])
        out = torch.einsum("bcht,fh->bcft", hidden, self.up.weight) + self.up.bias[:, None]
        return x + F.relu(self.norm(out))

    def fused(self) -> DenseLast:
        """For inference: on planes that lie channels last."""
        return DenseLast(self.down, self.up, self.norm)


class Block(nn.Module):
    """A residual 3x3 convolution and frequency-wise dense layers."""

    def __init__(self, channels: int, bins: int, dense: int) -> None:
        super().__init__()
        self.conv = conv_norm_relu(channels, channels)
        self.dense = FrequencyDense(channels, bins, dense)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(residual(self.conv, x))


class MaskNet(nn.Module):
    """The U-Net: compressed magnitudes to stem logits.

    The first level folds patches of 4 bins by 2 frames into channels and the last unfolds them again, so that the
    expensive full-resolution planes are touched only twice.

    Parameters
    ----------
    widths : tuple of int
        Channels of the levels; level ``i`` has ``N_BINS / 4 / 2**i`` bins and a frame per ``2**(i+1)``.
    dense : int
        Hidden units of the frequency-wise dense layers.
    recurrent : int
        Hidden units a direction of the bottleneck's GRU over time.
    """

    def __init__(self, widths: tuple[int, ...], dense: int, recurrent: int) -> None:
        super().__init__()
        bins = [N_BINS // 4 // 2**i for i in range(len(widths))]
        self.stride = 2 ** len(widths)
        self.whiten = nn.BatchNorm1d(N_BINS)
        self.patchify = nn.Sequential(
            nn.Conv2d(1, widths[0], (8, 4), stride=(4, 2), padding=(2, 1), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.down = nn.ModuleList(conv_norm_relu(a, b, 3, 2) for a, b in zip(widths, widths[1:]))
        self.encoder = nn.ModuleList(Block(w, b, dense) for w, b in zip(widths[1:], bins[1:]))
        self.squeeze = nn.Conv1d(widths[-1] * bins[-1], recurrent, 1)
        self.recurrent = nn.GRU(recurrent, recurrent, batch_first=True, bidirectional=True)
        self.expand = nn.Conv1d(2 * recurrent, widths[-1] * bins[-1], 1)
        self.decoder = nn.ModuleList(Block(w, b, dense) for w, b in zip(widths[1:], bins[1:]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2, bias=False) for a, b in zip(widths, widths[1:]))
        self.merge = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(w), nn.ReLU()) for w in widths[:-1])
        self.unpatchify = nn.ConvTranspose2d(2 * widths[0], len(STEMS), (4, 2), stride=(4, 2))
        self.direct = nn.Conv2d(1, len(STEMS), 1, bias=False)

    def forward(self, compressed: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, N_BINS, frames) -> stem logits (batch, 4, N_BINS, frames), bottleneck features."""
        white = self.whiten(compressed)[:, None]
        x, skips, features = self.levels(self.patchify[2](self.patchify[1](_patch_conv(white, self.patchify[0]))))
        logits = _unpatch([x, skips], self.unpatchify)
        direct = self.direct.weight.flatten(1).expand(len(x), -1, -1)
        return torch.baddbmm(logits.flatten(2), direct, white.flatten(2)).reshape(logits.shape), features

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Planes of patches down to the bottleneck and up again; ``x`` beside them, and the bottleneck's features."""
        skips = []
        for down, block in zip(self.down, self.encoder):
            skips.append(x)
            x = block(down(x))
        batch, channels, bins, frames = x.shape
        sequence = self.squeeze(x.reshape(batch, channels * bins, frames)).transpose(1, 2)
        sequence = self.recurrent(sequence)[0].transpose(1, 2)
        x = added(self.expand(sequence).reshape(x.shape), x)
        features = x
        for level in reversed(range(len(self.up))):
            x = self.decoder[level](x)
            x = self.merge[level](self.up[level](x))
            if level:
                x = added(x, skips[level])
        return x, skips[0], features

    def fused(self) -> nn.Module:
        """For inference."""
        return _FusedMaskNet(self)


class _WideLayer(nn.Module):
    """A recurrent layer in float32, between planes of another precision."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, sequence: Tensor) -> tuple[Tensor]:
        return (self.layer(sequence.float())[0].to(sequence.dtype),)


class _PaddedDown(nn.Module):
    """A level down (kernel 3, stride 2, in a sequence) that makes a single column of planes with zeros behind them.

    For one column oneDNN's convolution for AMX multiplies memory beside the planes by zero, which is not zero where a
    NaN lies there.
    """

    def __init__(self, down: nn.Module) -> None:
        super().__init__()
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] > 2:
            return self.down(x)
        wide = F.pad(x, (0, 2)).contiguous(memory_format=torch.channels_last)
        return self.down(wide)[..., :1].contiguous(memory_format=torch.channels_last)


class _FusedMaskNet(nn.Module):
    """A :class:`MaskNet` whose parts are fused already: planes lie channels last between input and logits."""

    def __init__(self, net: MaskNet) -> None:
        super().__init__()
        (patchify, activation), self.stride, self.net = net.patchify, net.stride, net
        self.dtype: torch.dtype | None = None
        assert isinstance(patchify, nn.Conv2d)
        assert patchify.bias is not None
        self.enter = nn.Sequential(PatchConv(patchify.weight, patchify.bias), activation)
        for level, (up, merge) in enumerate(zip(net.up, net.merge)):
            assert isinstance(up, nn.ConvTranspose2d)
            assert isinstance(merge, nn.Sequential)
            net.up[level], net.merge[level] = upsampled(up, merge[0]), nn.ReLU(inplace=True)
        self.unpatchify = UnpatchLast(net.unpatchify)
        factor, summand = affine_of(net.whiten)
        self.register_buffer("factor", factor[:, None])
        self.register_buffer("summand", summand[:, None])
        self.register_buffer("direct", net.direct.weight.flatten())

    factor: Tensor
    summand: Tensor
    direct: Tensor

    def reduce(self, dtype: torch.dtype) -> None:
        """Compute the levels in ``dtype``.

        Not so what comes before and after them, where rounding costs the masks most, and the recurrent layer, whose
        steps are too small to gain by it.
        """
        net = self.net
        for part in (net.down, net.encoder, net.squeeze, net.expand, net.decoder, net.up):
            part.to(dtype)
        net.down[-1] = _PaddedDown(net.down[-1])
        net.register_module("recurrent", _WideLayer(net.recurrent))
        self.dtype = dtype

    def forward(self, compressed: Tensor) -> tuple[Tensor, Tensor]:
        white = torch.addcmul(self.summand, compressed, self.factor)[:, None]
        skip = self.enter(white)
        x, _, features = self.net.levels(skip if self.dtype is None else skip.to(self.dtype))
        return self.unpatchify((x.float(), skip), self.direct, white), features.float()
