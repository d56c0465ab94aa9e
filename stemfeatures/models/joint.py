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

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_FFT, PITCHED_STEMS, STEMS
from ..spectra.filters import HarmonicMap
from .architectures import register
from .harmonic_prior import N_COMB_BINS
from .level_prior import weighed
from .mask_factors import (
    harmonic_factors,
    low_factors,
    multiplied,
    partials,
    refined,
    similar_factors,
    transient_factors,
)
from .network import Grid, Network, NetworkConfig
from .pitch import PitchNet
from .presence import PresenceNet
from .refiner import N_REFINED_BINS, RefinerNet, require_bins, seen
from .rhythm import RhythmNet
from .separator import MaskNet

#: Subnetworks, which can be trained by themselves.
SUBNETWORKS = ("separator", "pitch", "rhythm", "presence", "refiner")
#: What of a configuration is chosen for the masks of a network after its training.
CALIBRATED = ("sharpness", "level_prior", "harmonic_priors", "transient_prior", "similarity_prior", "low_prior")


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
    low_prior : float, default=0.0
        How far those that are given out lean towards *other* in the lows, refined ones, too, the strength of
        :func:`.low_prior.leaning`.

    Raises
    ------
    ValueError
        No refiner can have so many bins.
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
    low_prior: float = 0.0

    def __post_init__(self) -> None:
        require_bins(self.refined_bins)

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
        self.separator = MaskNet(self.config.channels, self.config.dense, self.config.recurrent)
        self.harmonic_map = HarmonicMap(self.config.harmonics)
        self.pitch = nn.ModuleList(
            PitchNet(len(self.config.harmonics), self.config.pitch_channels, bins) for bins in self.config.pitch_bins
        )
        self.rhythm = RhythmNet(self.config.rhythm_channels, self.config.rhythm_layers)
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
            masks = multiplied(masks, low_factors(masks, self.config.low_prior))
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
        masks = torch.softmax(logits, dim=1)
        if not torch.is_grad_enabled():
            separated.logits = logits = logits.new_empty(0)  # no place for them any more
        masks = weighed(masks, magnitude, config.level_prior)
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
