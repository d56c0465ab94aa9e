"""A small network that says which pitches are sung in separated vocals, and whether several voices sing.

It reads what the network of notes reads (:mod:`.notes`), of the separated vocals: each pitch sees the bins of its
partials, in a long window and in a short one. Beside them it sees the partials in the mixture, as what bleeds into the
vocals is louder there, and the candidates that the pitch network has of the vocals. Outputs are, for each pitch,
whether a voice sings it and how far from the semitone, and for each frame whether two voices and more sing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d
from torch import Tensor, nn

from ..spectra.thirds import N_SEMITONES, N_THIRDS
from .notes import FLOOR, LEVEL_FRAMES, PARTIALS, RELATED, SPREAD, block, moved, partial_bins
from .small_weights import SmallNetwork

#: Pitches: MIDI of the lowest, and how many semitones (D2 to C#6).
LOWEST_SUNG, N_SUNG = 38, 48
#: Bins of a frame: of the vocals in both windows, and of the mixture in the long one.
N_FEATURES = 2 * N_THIRDS + N_SEMITONES
#: Planes of candidates: the first one by the probability of a pitch, all by their salience.
N_PLANES = 2
#: Least salience of a candidate that is seen.
_LEAST_SALIENCE = 0.01


@dataclass(frozen=True)
class VoiceConfig:
    """Size of the network.

    Attributes
    ----------
    channels : int
        Of its hidden layers.
    context : int
        Channels that a pitch sees of each related one.
    dilations : tuple[int, ...]
        Frames between the taps in time of the convolutions before the last.
    counting : int
        Channels of the layers that tell whether several voices sing.
    """

    channels: int = 20
    context: int = 8
    dilations: tuple[int, ...] = (1, 2, 4)
    counting: int = 16


def voice_features(fine: np.ndarray, coarse: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """What the network sees of spectra.

    Parameters
    ----------
    fine, coarse : np.ndarray
        (n_frames, N_THIRDS) and (n_frames, N_SEMITONES) magnitudes of the vocals, see
        :func:`stemfeatures.spectra.thirds.thirds`.
    mixture : np.ndarray
        (n_frames, N_THIRDS) magnitudes of the mixture.

    Returns
    -------
    np.ndarray
        (n_frames, N_FEATURES) float32 logarithms relative to the level of the vocals in the four seconds around.
    """
    levels = [
        uniform_filter1d(x.max(axis=1, initial=0.0).astype(np.float64), LEVEL_FRAMES, mode="nearest")
        for x in (fine, coarse)
    ]
    parts = [
        np.log1p(x / np.maximum(level, 1e-9)[:, None].astype(np.float32) / FLOOR) / SPREAD
        for x, level in ((fine, levels[0]), (coarse, levels[1]), (mixture, levels[0]))
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def candidate_planes(midi: np.ndarray, salience: np.ndarray, voicing: np.ndarray) -> np.ndarray:
    """What the network sees of the candidates of the pitch network.

    Parameters
    ----------
    midi, salience : np.ndarray
        (n_frames, n_candidates) pitches (MIDI, NaN pads), the most salient first, and how salient they are, 0..1.
    voicing : np.ndarray
        (n_frames,) probability of a pitch, 0..1.

    Returns
    -------
    np.ndarray
        (N_PLANES, n_frames, N_SUNG) float32.
    """
    planes = np.zeros((N_PLANES, len(midi), N_SUNG), np.float32)
    first = np.nan_to_num(midi[:, :1], nan=-1e3)
    planes[0] = np.maximum(1 - np.abs(LOWEST_SUNG + np.arange(N_SUNG) - first), 0) * voicing[:, None]
    place = np.rint(np.nan_to_num(midi, nan=-1e3)).astype(int) - LOWEST_SUNG
    row, k = np.nonzero((salience > _LEAST_SALIENCE) & (place >= 0) & (place < N_SUNG))
    np.maximum.at(planes[1], (row, place[row, k]), np.sqrt(salience[row, k]).astype(np.float32))
    return planes


@lru_cache(maxsize=1)
def _places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bins of the partials of each pitch in both windows of the vocals, and in the mixture, each (n, N_SUNG)."""
    fine, coarse = partial_bins(LOWEST_SUNG, N_SUNG)
    middle = fine.reshape(len(PARTIALS), -1, N_SUNG)
    return fine, coarse, middle[:, middle.shape[1] // 2]


class VoiceNet(SmallNetwork):
    """Pitches that are sung, and whether several are.

    Parameters
    ----------
    config : VoiceConfig, optional
        Its size.
    """

    kind = "network of voices"
    fine: Tensor
    coarse: Tensor
    mixture: Tensor

    def __init__(self, config: VoiceConfig | None = None) -> None:
        super().__init__()
        self.config = config or VoiceConfig()
        width, context, counting = self.config.channels, self.config.context, self.config.counting
        n_planes = N_PLANES
        for name, places in zip(("fine", "coarse", "mixture"), _places()):
            self.register_buffer(name, torch.from_numpy(places.ravel()), persistent=False)
            n_planes += len(places)
        first, *others = self.config.dilations
        self.read = block(n_planes, width, (first, 0), (3, 1))
        self.join = block(width, width, (1, 1), (3, 3))
        self.tell = nn.Conv2d(width, context, 1)
        self.compare = block(width + context * len(RELATED), width, (0, 0), (1, 1))
        self.blocks = nn.ModuleList(block(width, width, (d, 1), (3, 3)) for d in others)
        self.last = nn.Conv2d(width, 2, (3, 1), padding=(1, 0))
        self.count = nn.Sequential(
            nn.Conv1d(2 * width, counting, 5, padding=4, dilation=2), nn.BatchNorm1d(counting), nn.ReLU(),
            nn.Conv1d(counting, counting, 5, padding=8, dilation=4), nn.BatchNorm1d(counting), nn.ReLU(),
            nn.Conv1d(counting, 1, 1),
        )  # fmt: skip

    @property
    def reach(self) -> int:
        """Frames before and after a frame on which its outputs depend."""
        return sum(self.config.dilations) + 1 + max(1, 4 + 8)

    def forward(self, features: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs for (batch, n_frames, N_FEATURES) features and (batch, N_PLANES, n_frames, N_SUNG) planes.

        (batch, 2, n_frames, N_SUNG) logits that a pitch is sung, and semitones that it lies above the nearest one;
        (batch, n_frames) logits that several voices sing.
        """
        spectra = torch.split(features, [N_THIRDS, N_SEMITONES, N_THIRDS], dim=-1)
        parts = [planes]
        for x, places in zip(spectra, (self.fine, self.coarse, self.mixture)):
            stacked = nn.functional.pad(x, (0, 1))[..., places]
            parts.append(stacked.unflatten(-1, (-1, N_SUNG)).transpose(1, 2))
        x = self.read(torch.cat(parts, dim=1))
        x = x + self.join(x)
        told = self.tell(x)
        x = x + self.compare(torch.cat([x, *(moved(told, interval) for interval in RELATED)], dim=1))
        for layer in self.blocks:
            x = x + layer(x)
        several: Tensor = self.count(torch.cat([x.amax(dim=3), x.mean(dim=3)], dim=1))
        return self.last(x), several[:, 0]

    def about(self) -> dict[str, str]:
        """Its configuration."""
        return {"architecture": "voices", "config": json.dumps(asdict(self.config))}

    @classmethod
    def build(cls, about: Mapping[str, str]) -> Self:
        """A network of this configuration."""
        config = json.loads(about["config"])
        return cls(VoiceConfig(**config | {"dilations": tuple(config["dilations"])}))
