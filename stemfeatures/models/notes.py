"""A small network that says which notes sound and begin in a stem of several voices.

Its input is a spectrum of three bins a semitone (:mod:`stemfeatures.spectra.thirds`). As in the harmonic CQT (Bittner
et al., ISMIR 2017) each pitch sees the bins of its partials, and those of half its frequency, at one place; beside them
the rise of a spectrum of a short window. Convolutions over time and pitch follow, and one layer in which a pitch sees
what was found at the intervals that share its partials. Outputs are, as basic-pitch has them (Bittner et al., ICASSP
2022), where a note begins and where it sounds, and how far from the semitone.
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

from ..constants import FRAME_RATE, LOWEST_NOTE, N_NOTES
from ..spectra.thirds import BINS_PER_SEMITONE, LOWEST_SEMITONE, N_SEMITONES, N_THIRDS
from .small_weights import SmallNetwork

#: Partials of a pitch that it sees, as factors of its frequency.
PARTIALS = (0.5, 1, 2, 3, 4, 5, 6)
#: Bins around the middle of a semitone that are seen of each partial.
REACH = 2
#: Intervals in semitones whose partials coincide with those of a pitch.
RELATED = (-24, -19, -12, -7, 7, 12, 19, 24)
#: Outputs: a note begins, a note sounds, cents from the semitone (in units of 100).
ONSET, ACTIVE, DEVIATION = range(3)
#: The level to which a frame is compared is the mean over so many frames around it (4 s).
LEVEL_FRAMES = 2 * round(2 * FRAME_RATE) + 1
#: Magnitudes this far below that level count as none.
FLOOR = 0.003
#: What logarithms are divided by.
SPREAD = 2.0


@dataclass(frozen=True)
class NoteConfig:
    """Size of the network.

    Attributes
    ----------
    channels : int
        Of its hidden layers.
    context : int
        Channels that a pitch sees of each related one.
    dilations : tuple[int, ...]
        Frames between the taps in time of the convolutions before the last.
    """

    channels: int = 24
    context: int = 8
    dilations: tuple[int, ...] = (1, 2, 4)


def note_features(fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """What the network sees.

    Parameters
    ----------
    fine, coarse : np.ndarray
        (n_frames, N_THIRDS) and (n_frames, N_SEMITONES) magnitudes of :func:`stemfeatures.spectra.thirds.thirds`.

    Returns
    -------
    np.ndarray
        (n_frames, N_THIRDS + N_SEMITONES) float32 logarithms relative to the level of the four seconds around, so that
        neither gain nor a fade matters.
    """
    parts = []
    for magnitude in (fine, coarse):
        level = uniform_filter1d(magnitude.max(axis=1, initial=0.0).astype(np.float64), LEVEL_FRAMES, mode="nearest")
        relative = magnitude / np.maximum(level, 1e-9)[:, None].astype(np.float32)
        parts.append(np.log1p(relative / FLOOR) / SPREAD)
    return np.concatenate(parts, axis=1).astype(np.float32)


@lru_cache(maxsize=4)
def partial_bins(lowest: int, n_pitches: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins of the partials of some pitches.

    Parameters
    ----------
    lowest, n_pitches : int
        The first of them (MIDI), and how many semitones there are.

    Returns
    -------
    fine, coarse : np.ndarray
        (n_partials * 5, n_pitches) of the long window and (n_partials, n_pitches) of the short one. What lies beyond an
        axis reads the bin after its end, which is to be zero.
    """
    semitone = lowest - LOWEST_SEMITONE + np.arange(n_pitches)
    up = 12 * np.log2(np.array(PARTIALS))
    middle = np.rint(BINS_PER_SEMITONE * (semitone + up[:, None])).astype(int) + BINS_PER_SEMITONE // 2
    fine = (middle[:, None] + np.arange(-REACH, REACH + 1)[None, :, None]).reshape(-1, n_pitches)
    coarse = np.rint(semitone + up[:, None]).astype(int)
    outside = [(at < 0) | (at >= size) for at, size in ((fine, N_THIRDS), (coarse, N_SEMITONES))]
    return np.where(outside[0], N_THIRDS, fine), np.where(outside[1], N_SEMITONES, coarse)


class NoteNet(SmallNetwork):
    """Onsets, activity and deviation of each pitch.

    Parameters
    ----------
    config : NoteConfig
        Its size.
    """

    kind = "network of notes"
    fine: Tensor
    coarse: Tensor

    def __init__(self, config: NoteConfig | None = None) -> None:
        super().__init__()
        self.config = config or NoteConfig()
        width, context = self.config.channels, self.config.context
        fine, coarse = partial_bins(LOWEST_NOTE, N_NOTES)
        self.register_buffer("fine", torch.from_numpy(fine.ravel()), persistent=False)
        self.register_buffer("coarse", torch.from_numpy(coarse.ravel()), persistent=False)
        first, *others = self.config.dilations
        self.read = block(len(fine) + 2 * len(coarse), width, (first, 0), (3, 1))
        self.join = block(width, width, (1, 1), (3, 3))
        self.tell = nn.Conv2d(width, context, 1)
        self.compare = block(width + context * len(RELATED), width, (0, 0), (1, 1))
        self.blocks = nn.ModuleList(block(width, width, (d, 1), (3, 3)) for d in others)
        self.last = nn.Conv2d(width, 3, (3, 1), padding=(1, 0))

    @property
    def reach(self) -> int:
        """Frames before and after a frame on which its outputs depend."""
        return sum(self.config.dilations) + 3

    def planes(self, features: Tensor) -> Tensor:
        """(batch, n_frames, N_THIRDS + N_SEMITONES) features to the planes of partials (batch, n, n_frames, 64)."""
        fine, coarse = features[..., :N_THIRDS], features[..., N_THIRDS:]
        rise = torch.relu(coarse[:, 1:] - coarse[:, :-1])
        rise = nn.functional.pad(rise, (0, 0, 1, 0))
        parts = []
        for x, places in ((fine, self.fine), (coarse, self.coarse), (rise, self.coarse)):
            stacked = nn.functional.pad(x, (0, 1))[..., places]
            parts.append(stacked.unflatten(-1, (-1, N_NOTES)).transpose(1, 2))
        return torch.cat(parts, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, n_frames, N_THIRDS + N_SEMITONES) features to (batch, 3, n_frames, N_NOTES).

        Logits of :data:`ONSET` and :data:`ACTIVE`, and :data:`DEVIATION` in semitones.
        """
        x = self.read(self.planes(features))
        x = x + self.join(x)
        told = self.tell(x)
        related = [moved(told, interval) for interval in RELATED]
        x = x + self.compare(torch.cat([x, *related], dim=1))
        for layer in self.blocks:
            x = x + layer(x)
        found: Tensor = self.last(x)
        return found

    def about(self) -> dict[str, str]:
        """Its configuration."""
        return {"architecture": "notes", "config": json.dumps(asdict(self.config))}

    @classmethod
    def build(cls, about: Mapping[str, str]) -> Self:
        """A network of this configuration."""
        config = json.loads(about["config"])
        return cls(NoteConfig(**config | {"dilations": tuple(config["dilations"])}))


def moved(x: Tensor, interval: int) -> Tensor:
    """What lies an interval above each pitch, zero beyond the last one."""
    if interval > 0:
        return nn.functional.pad(x[..., interval:], (0, interval))
    return nn.functional.pad(x[..., :interval], (-interval, 0))


def block(n_in: int, n_out: int, reach: tuple[int, int], kernel: tuple[int, int]) -> nn.Sequential:
    """A convolution over time and pitch, taps so many frames and pitches apart, that is normalised and rectified."""
    dilation = (max(reach[0], 1), max(reach[1], 1))
    conv = nn.Conv2d(n_in, n_out, kernel, dilation=dilation, padding=reach, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU())
