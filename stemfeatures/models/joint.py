"""The joint network: four stem masks, F0 of vocals and bass read from the separated magnitudes, and rhythm.

Layout (the one that won in Jansson, Bittner, Ewert and Weyde, EUSIPCO 2019: separation first, then F0): a U-Net on
the magnitude spectrogram ends in a softmax over the stems, so masks sum to one by construction. The masked vocals
and bass are mapped to log-frequency harmonic planes and go through a pitch network each (polyphonic salience and
voicing); the masked drums and the mixture go through a temporal network (onset, beat, downbeat). The paper does not
tell widths, grids or losses; those are ours.

Conventions: magnitudes are ``(batch, N_BINS, n_frames)`` on the analysis grid, at any level: the network divides each
example by its own mean, so masks do not change with gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_BINS, N_FFT, N_PITCH_BINS, PITCHED_STEMS, STEMS
from ..spectra.bands import mel_power
from ..spectra.filters import HarmonicMap, folded, mel_filters
from .architectures import register
from .fusion import DenseLast, PatchConv, UnpatchLast, added, affine_of, residual, upsampled
from .harmonic_prior import N_COMB_BINS
from .level_prior import weighed
from .mask_factors import harmonic_factors, multiplied, partials, refined, similar_factors, transient_factors
from .network import Grid, Network, NetworkConfig
from .presence import PresenceNet
from .refiner import N_REFINED_BINS, RefinerNet, seen

#: Subnetworks, which can be trained by themselves.
SUBNETWORKS = ("separator", "pitch", "rhythm", "presence", "refiner")
#: What of a configuration is chosen for the masks of a network after its training.
CALIBRATED = ("sharpness", "level_prior", "harmonic_priors", "transient_prior", "similarity_prior")


@dataclass(frozen=True)
class JointConfig(NetworkConfig):
    """Widths of the network.

    Attributes
    ----------
    channels : tuple[int, ...], default=(32, 64, 96, 128)
        Channels of the U-Net's levels; level ``i`` has ``N_BINS / 4 / 2**i`` bins and a frame per ``2**(i+1)``.
    dense : int, default=32
        Hidden units of the frequency-wise dense layers.
    recurrent : int, default=128
        Hidden units a direction of the bottleneck's GRU over time.
    harmonics : tuple[float, ...], default=(0.5, 1, 2, 3, 4, 5, 6, 8)
        Planes of the harmonic map.
    pitch_channels : tuple[int, ...], default=(16, 24, 40)
        Channels of the pitch networks' levels (each level halves the pitch axis).
    pitch_bins : tuple[tuple[int, int], ...], default=((48, 336), (0, 240))
        First bin of the pitch grid that each pitch network covers and the one behind the last, in the order of
        ``PITCHED_STEMS`` (vocals 56.9 to 1568 Hz, bass 32.7 to 517 Hz); multiples of 12.
    rhythm_channels : int, default=48
        Width of the dilated temporal convolutions of the rhythm.
    rhythm_layers : int, default=8
        How many of them there are.
    presence_channels : int, default=0
        Width of the temporal convolutions that say which stems play; 0: the network does not say it.
    presence_layers : int, default=6
        How many of them there are.
    refiner_width : int, default=0
        Channels of the network that refines the masks that are given out, see :mod:`.refiner`; 0: nothing does.
    refined_bins : int, default=256
        Lowest bins of the masks that it sees and refines, a multiple of 4.
    sharpness : float, default=1.0
        Factor on the stem logits of the masks that are given out; those from which pitch and rhythm are read always
        have 1. Below 1 masks are softer.
    level_prior : float, default=0.0
        How far the masks that are given out lean towards the stems that take most of a band in the whole excerpt, the
        exponent of :func:`~.level_prior.weighed`.
    harmonic_priors : tuple[float, float], default=(0.0, 0.0)
        How far those of the ``PITCHED_STEMS`` lean towards the partials of the pitch that is found in them, the
        strengths of :func:`.harmonic_prior.leaning`.
    transient_prior : float, default=0.0
        How far those of drums and bass lean by how a bin of the lows lasts, the strength of
        :func:`.transient_prior.leaning`.
    similarity_prior : float, default=0.0
        How far all of them, and those from which pitch is read, lean towards what the stem does where it sounds alike,
        the strength of :func:`.similarity_prior.leaning`.
    """

    channels: tuple[int, ...] = (32, 64, 96, 128)
    dense: int = 32
    recurrent: int = 128
    harmonics: tuple[float, ...] = (0.5, 1, 2, 3, 4, 5, 6, 8)
    pitch_channels: tuple[int, ...] = (16, 24, 40)
    pitch_bins: tuple[tuple[int, int], ...] = ((48, 336), (0, 240))
    rhythm_channels: int = 48
    rhythm_layers: int = 8
    presence_channels: int = 0
    presence_layers: int = 6
    refiner_width: int = 0
    refined_bins: int = N_REFINED_BINS
    sharpness: float = 1.0
    level_prior: float = 0.0
    harmonic_priors: tuple[float, float] = (0.0, 0.0)
    transient_prior: float = 0.0
    similarity_prior: float = 0.0

    def with_calibration_of(self, other: JointConfig) -> JointConfig:
        """The same with what was chosen for the masks of another network after its training."""
        return replace(self, **{name: getattr(other, name) for name in CALIBRATED})


@dataclass
class JointOutput:
    """What the network says; everything but masks and features as logits.

    Attributes
    ----------
    masks : Tensor
        (batch, 4, N_BINS, n_frames), in the order of ``STEMS``, sums to one over the stems.
    salience : Tensor
        (batch, 2, N_PITCH_BINS, n_frames), in the order of ``PITCHED_STEMS``.
    voicing : Tensor
        (batch, 2, n_frames).
    rhythm : Tensor
        (batch, 3, n_frames): onset, beat, downbeat.
    presence : Tensor | None
        (batch, 4, n_frames), in the order of ``STEMS``: the stem plays; None from a network without.
    features : Tensor
        (batch, channels, bins, frames) of the bottleneck, a frame per ``stride`` frames.
    """

    masks: Tensor
    salience: Tensor
    voicing: Tensor
    rhythm: Tensor
    presence: Tensor | None
    features: Tensor

    def float(self) -> JointOutput:
        """The same in single precision: losses are computed there, whatever the network ran in."""
        values: dict[str, Any] = {k: None if v is None else v.float() for k, v in vars(self).items()}
        return JointOutput(**values)


def _conv(inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int | tuple[int, int] = 1) -> nn.Module:
    k = (kernel, kernel) if isinstance(kernel, int) else kernel
    conv = nn.Conv2d(inputs, outputs, k, stride, padding=(k[0] // 2, k[1] // 2), bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


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
        self.conv = _conv(channels, channels)
        self.dense = FrequencyDense(channels, bins, dense)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(residual(self.conv, x))


class MaskNet(nn.Module):
    """The U-Net: compressed magnitudes to stem logits.

    The first level folds patches of 4 bins by 2 frames into channels and the last unfolds them again, so that the
    expensive full-resolution planes are touched only twice.
    """

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        widths = config.channels
        bins = [N_BINS // 4 // 2**i for i in range(len(widths))]
        self.stride = 2 ** len(widths)
        self.whiten = nn.BatchNorm1d(N_BINS)
        self.patchify = nn.Sequential(
            nn.Conv2d(1, widths[0], (8, 4), stride=(4, 2), padding=(2, 1), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.down = nn.ModuleList(_conv(a, b, 3, 2) for a, b in zip(widths, widths[1:]))
        self.encoder = nn.ModuleList(Block(w, b, config.dense) for w, b in zip(widths[1:], bins[1:]))
        self.squeeze = nn.Conv1d(widths[-1] * bins[-1], config.recurrent, 1)
        self.recurrent = nn.GRU(config.recurrent, config.recurrent, batch_first=True, bidirectional=True)
        self.expand = nn.Conv1d(2 * config.recurrent, widths[-1] * bins[-1], 1)
        self.decoder = nn.ModuleList(Block(w, b, config.dense) for w, b in zip(widths[1:], bins[1:]))
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
        net.register_module("recurrent", _WideLayer(net.recurrent))
        self.dtype = dtype

    def forward(self, compressed: Tensor) -> tuple[Tensor, Tensor]:
        white = torch.addcmul(self.summand, compressed, self.factor)[:, None]
        skip = self.enter(white)
        x, _, features = self.net.levels(skip if self.dtype is None else skip.to(self.dtype))
        return self.unpatchify((x.float(), skip), self.direct, white), features.float()


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
        self.enter = _conv(n_harmonics * self.fold, top)
        self.down = _conv(top, middle, 3, 2)
        self.deeper = _conv(middle, bottom, 3, (2, 1))
        self.temporal = nn.ModuleList(_conv(bottom, bottom) for _ in range(2))
        self.up = nn.ConvTranspose2d(bottom, middle, (2, 1), stride=(2, 1))
        self.smooth = _conv(middle, middle)
        self.top = nn.ConvTranspose2d(middle, top, 2, stride=2)
        self.finish = _conv(top, top)
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


class RhythmNet(nn.Module):
    """Mel spectrograms of the separated drums and of the mixture to onset, beat and downbeat logits."""

    filters: Tensor

    def __init__(self, config: JointConfig, n_mels: int = 48) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(n_mels=n_mels), persistent=False)
        width = config.rhythm_channels
        self.enter = nn.Sequential(_conv(4, 12, (3, 3)), _conv(12, 16, (4, 3), (4, 1)), _conv(16, 16, (3, 3)))
        self.project = nn.Sequential(nn.Conv1d(16 * self._bins(n_mels), width, 1), nn.BatchNorm1d(width), nn.ReLU())
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 5, padding=2 * 2**i, dilation=2**i, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
                nn.Conv1d(width, width, 1),
            )
            for i in range(config.rhythm_layers)
        )
        self.head = nn.Conv1d(width, 3, 1)

    @staticmethod
    def _bins(n_mels: int) -> int:
        return n_mels // 4 + 1

    def forward(self, drums: Tensor, mixture: Tensor) -> Tensor:
        """Magnitudes ``(batch, N_BINS, frames)`` to logits ``(batch, 3, frames)``."""
        return self.read(self.bands(drums), self.bands(mixture))

    def bands(self, magnitude: Tensor, shares: Tensor | None = None) -> Tensor:
        """``(batch, n_mels, frames)`` of magnitudes, or of the product of both."""
        return mel_power(self.filters, magnitude[:, None], shares)[:, 0]

    def read(self, drums: Tensor, mixture: Tensor) -> Tensor:
        """The same of :meth:`bands`."""
        both = torch.stack([drums, mixture], dim=1)
        level = torch.log1p(both * 1e2)
        rise = F.relu(F.pad(level[..., 1:] - level[..., :-1], (1, 0)))
        x = self.enter(torch.cat([level, rise], dim=1))
        x = self.project(x.flatten(1, 2))
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x)


@dataclass
class Separated:
    """What the separator says of magnitudes padded to a multiple of the stride.

    Attributes
    ----------
    magnitude : Tensor
        (batch, N_BINS, padded frames), divided by its mean.
    logits, masks : Tensor
        (batch, 4, N_BINS, padded frames), as they were learned: sharpness and priors are not in them (but, while pitch
        is read, that of what sounds alike is in the masks).
    features : Tensor
        As in :class:`JointOutput`.
    given : dict[str, Tensor]
        Masks of stems that were known from elsewhere.
    """

    magnitude: Tensor
    logits: Tensor
    masks: Tensor
    features: Tensor
    given: dict[str, Tensor]


def _shares(logits: Tensor, given: Mapping[str, Tensor]) -> Tensor:
    return _beside(torch.softmax(logits, dim=1) if len(given) < len(STEMS) else logits, given)


def _beside(masks: Tensor, given: Mapping[str, Tensor]) -> Tensor:
    return _with_masks(masks, {STEMS.index(stem): known for stem, known in given.items()}) if given else masks


def _crop(x: Tensor, frames: int) -> Tensor:
    # A slice of everything is not free: its gradient is a copy.
    return x if x.shape[-1] == frames else x[..., :frames]


def _with_masks(masks: Tensor, known: Mapping[int, Tensor]) -> Tensor:
    """``masks`` with some of them replaced and the others scaled so that they sum to one again."""
    if len(known) == masks.shape[1]:
        return torch.stack([known[i] for i in range(masks.shape[1])], dim=1)
    first, *further = known
    others, left = 1 - masks[:, first], 1 - known[first]
    for row in further:
        others, left = others - masks[:, row], left - known[row]
    # Where the network gives everything to these stems the others have no proportions: equal shares then.
    equal = torch.full_like(masks, 1 / (masks.shape[1] - len(known)))
    shares = torch.where(others[:, None] > 1e-6, masks / others[:, None].clamp_min(1e-6), equal)
    replaced = shares * left.clamp_min(0)[:, None]
    rows = [known[i] if i in known else replaced[:, i] for i in range(masks.shape[1])]
    return torch.stack(rows, dim=1)


@register
class JointNet(Network):
    """See the module's docstring.

    Notes
    -----
    magnitude ``(batch, N_BINS, n_frames)`` -> :class:`JointOutput`, any ``n_frames >= 1``. ``given``: masks of some
    stems that are known from elsewhere, ``{stem: (batch, N_BINS, n_frames)}`` within 0..1; the others share what is
    left in their own proportions, and pitch and rhythm are read from these masks.
    """

    architecture = "joint"
    Config = JointConfig
    grid = Grid(ANALYSIS_SAMPLE_RATE, N_FFT, HOP_LENGTH)
    tasks: ClassVar[frozenset[str]] = frozenset({"separation", "f0", "beats"})
    config: JointConfig

    def __init__(self, config: JointConfig | None = None) -> None:
        super().__init__(config)
        self.separator = MaskNet(self.config)
        self.harmonic_map = HarmonicMap(self.config.harmonics)
        self.pitch = nn.ModuleList(
            PitchNet(len(self.config.harmonics), self.config.pitch_channels, bins) for bins in self.config.pitch_bins
        )
        self.rhythm = RhythmNet(self.config)
        width, depth = self.config.presence_channels, self.config.presence_layers
        self.presence = PresenceNet(width, depth, self.feature_size, self.stride) if width else None
        width, n_bins = self.config.refiner_width, self.config.refined_bins
        self.refiner = RefinerNet(width, n_bins) if width else None

    @property
    def subnetworks(self) -> tuple[str, ...]:
        """Those of :data:`SUBNETWORKS` that this network has."""
        return tuple(name for name in SUBNETWORKS if getattr(self, name) is not None)

    @classmethod
    def stems_of(cls, config: JointConfig) -> tuple[str, ...]:
        """``STEMS``, whatever the configuration.

        Parameters
        ----------
        config : JointConfig
            Is not looked at.

        Returns
        -------
        tuple of str
            Four names.
        """
        return STEMS

    @property
    def stride(self) -> int:
        """Frames must be padded to a multiple of this; :meth:`forward` does."""
        return self.separator.stride

    @property
    def feature_size(self) -> int:
        return self.config.channels[-1]

    def forward(self, magnitude: Tensor, given: Mapping[str, Tensor] | None = None) -> JointOutput:
        frames = magnitude.shape[-1]
        separated = self.separate(magnitude, given)
        presence, rhythm = self.read_presence(separated), self.read_rhythm(separated)
        masks, salience, voicing, lines = self._with_pitch(separated, presence)
        if self.refiner is not None and masks is not separated.masks:
            masks = refined(masks, self.refiner(self._seen(separated, masks, lines)))
        if masks is not separated.masks:
            masks = _beside(masks, separated.given)
        return JointOutput(
            masks=_crop(masks, frames),
            salience=_crop(salience, frames),
            voicing=_crop(voicing, frames),
            rhythm=_crop(rhythm, frames),
            presence=None if presence is None else _crop(presence, frames),
            features=separated.features,
        )

    def _with_pitch(
        self, separated: Separated, presence: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """``(batch, 4, N_BINS, padded frames)``, masks with all that they lean towards, logits of the pitch, and its
        partials by stem.

        Masks are those of ``separated``, and there are no partials, where nothing is done to them.
        """
        calibrated = any(getattr(self.config, name) != getattr(JointConfig, name) for name in CALIBRATED)
        # If all masks are given none is the network's.
        change = len(separated.given) < len(STEMS) and (calibrated or self.refiner is not None)
        masks = self._before_pitch(separated) if change else separated.masks
        salience, voicing = self.read_pitch(separated)
        lines: dict[str, Tensor] = {}
        if change:
            # What masks lean towards is found by then, and no part of what is learned of them.
            known = None if presence is None else presence.detach()
            strengths = dict(zip(PITCHED_STEMS, self.config.harmonic_priors))
            refined_bins = 0 if self.refiner is None else self.refiner.n_bins
            n_bins = {s: max(N_COMB_BINS[s] if strength else 0, refined_bins) for s, strength in strengths.items()}
            lines = partials(salience.detach(), voicing.detach(), known, n_bins)
            masks = multiplied(masks, harmonic_factors(masks, lines, strengths))
        return masks, salience, voicing, lines

    def _seen(self, separated: Separated, masks: Tensor, lines: Mapping[str, Tensor]) -> Tensor:
        """What the refiner reads."""
        low = torch.stack([lines[stem][:, : self.config.refined_bins] for stem in PITCHED_STEMS], dim=1)
        return seen(separated.magnitude, masks, separated.masks, low)

    @torch.no_grad()
    def before_refining(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Masks that the refiner is to change, in all bins, and what it reads; of padded frames, without gradients."""
        separated = self.separate(magnitude)
        presence = self.read_presence(separated)
        masks, _, _, lines = self._with_pitch(separated, presence)
        return masks, self._seen(separated, masks, lines)

    def _before_pitch(self, separated: Separated) -> Tensor:
        """``(batch, 4, N_BINS, padded frames)``, masks with all but what pitch tells of them.

        The learned ones, which pitch is read from, lean towards what sounds alike from here on, too. Without gradients
        the logits are lost.
        """
        config, magnitude = self.config, separated.magnitude
        logits = separated.logits
        logits = config.sharpness * logits if torch.is_grad_enabled() else logits.mul_(config.sharpness)
        masks = weighed(torch.softmax(logits, dim=1), magnitude, config.level_prior)
        masks = multiplied(masks, transient_factors(magnitude, config.transient_prior))
        if alike := similar_factors(masks, magnitude, config.similarity_prior):
            masks = multiplied(masks, alike)
            separated.masks = _beside(multiplied(separated.masks, alike), separated.given)
        return masks

    def separate(self, magnitude: Tensor, given: Mapping[str, Tensor] | None = None) -> Separated:
        """The separator alone; what :meth:`read_pitch` and :meth:`read_rhythm` read from."""
        extra = -magnitude.shape[-1] % self.stride
        level = magnitude.mean(dim=(1, 2), keepdim=True).clamp_min(1e-7)
        padded = F.pad(magnitude / level, (0, extra))
        logits, features = self.separator(torch.log1p(20.0 * padded))
        known = {stem: F.pad(mask, (0, extra)) for stem, mask in (given or {}).items()}
        return Separated(padded, logits, _shares(logits, known), features, known)

    def read_pitch(self, separated: Separated) -> tuple[Tensor, Tensor]:
        """Logits of salience (batch, 2, N_PITCH_BINS, padded frames) and voicing (batch, 2, padded frames)."""
        found = []
        for net, stem in zip(self.pitch, PITCHED_STEMS):
            assert isinstance(net, PitchNet)
            spectrogram = self._compressed(separated, stem, net.bins)
            found.append(net.read(self.harmonic_map.folded(spectrogram, net.bins, net.fold)))
        salience, voicing = zip(*found)
        return torch.stack(salience, dim=1), torch.stack(voicing, dim=1)

    def _compressed(self, separated: Separated, stem: str, bins: tuple[int, int]) -> Tensor:
        """``(batch, k, padded frames)``, of the bins that are mapped to those of the pitch grid."""
        seen = slice(self.harmonic_map.reach(bins))
        return torch.log1p(5.0 * separated.magnitude[:, seen] * separated.masks[:, STEMS.index(stem), seen])

    def read_rhythm(self, separated: Separated) -> Tensor:
        """Logits of onset, beat and downbeat (batch, 3, padded frames)."""
        magnitude, bands = separated.magnitude, self.rhythm.bands
        return self.rhythm.read(bands(separated.masks[:, STEMS.index("drums")], magnitude), bands(magnitude))

    def read_presence(self, separated: Separated) -> Tensor | None:
        """Logits (batch, 4, padded frames) of the stems that play; None from a network without that subnetwork."""
        if self.presence is None:
            return None
        inputs = self.presence.inputs(separated.masks, separated.magnitude, separated.features, are_masks=True)
        return self.presence.read(*inputs)
