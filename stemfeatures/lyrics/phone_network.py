"""A network that says which phone is sung, learned from generated singing as a separator leaves it.

It is told what the Gaussians of all phones say of a frame and of those around it, cepstra, and the mel bands of the
vocals and of the mixture: where both differ the separator has taken much away, and what is left can be trusted less.
Convolutions over half a second give the logarithm of the probability of each phone every 20 ms.
:mod:`stemfeatures.training.phones` trains it; the shipped one has a card beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from ..models.small_weights import SmallNetwork
from .acoustic_model import FILLERS, SILENCE, AcousticModel
from .cepstra import N_BANDS, N_CEPSTRA

SHIPPED = Path(__file__).parent / "phones.safetensors"
#: Audible frames of 10 ms an output frame stands for.
STRIDE = 2
#: Least nats of a phone of the Gaussians below the likeliest one, and what they, cepstra and logarithms of power are
#: divided by, about their spread.
LEAST_NATS, NATS, CEPSTRA, POWER = -30.0, 10.0, 20.0, 2.5
_KERNEL = 5
_DILATIONS = (1, 2, 3)
#: Output frames before and after one that it depends on.
REACH = (_KERNEL // 2) * (1 + sum(_DILATIONS))
#: Power relative to that of the whole song below which all is the same.
_FLOOR = 1e-5
#: Output frames that are computed at a time.
_CHUNK = 3_000
#: Shares of stretches whose Gaussians, and whose cepstra or bands, are left out in training; noise, and dropout.
_NO_GAUSSIANS, _NO_OTHERS, _NOISE, _DROPOUT = 0.1, 0.2, 0.2, 0.15
#: Phones that the generated singing lacks, by those whose mixture they are: the likelier of two counts.
LIKE = {"CH": ("T", "SH"), "JH": ("D", "SH"), "ZH": ("Z", "SH"), "OY": ("AO", "IY")}


class PhoneFeatures:
    """Features of the network, computed as they are asked for: those of an hour take 85 MB.

    Parameters
    ----------
    model : AcousticModel
        Whose phones are scored.
    streams : np.ndarray
        (3, n, 13) of :func:`.cepstra.streams`, in the frames that are asked for.
    powers : Sequence[np.ndarray]
        (n_frames, 25) of :func:`.cepstra.mel_power` of the vocals, and of what they were separated from.
    frames : np.ndarray
        (n,) indices of the frames that are asked for.
    sure : np.ndarray
        Indices of the frames of vocals whose power all is normalised by, such as those in which somebody surely sings.
    """

    def __init__(
        self,
        model: AcousticModel,
        streams: np.ndarray,
        powers: Sequence[np.ndarray],
        frames: np.ndarray,
        sure: np.ndarray,
    ) -> None:
        self._streams, self._powers, self._frames = streams, powers, frames
        self._sung = np.array([name not in FILLERS for name in model.phones])
        self._plain = model.plain_senones
        self._score = model.scorer(self._plain.ravel())
        self._scale, self._mean = _level(powers[0], sure)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, part: slice) -> np.ndarray:
        """(n, n_phones + 76) float32 of some frames in a row. Neither gain nor equaliser matters."""
        near, frames = np.ascontiguousarray(self._streams[:, part]), self._frames[part]
        nats = self._score(near).reshape(-1, *self._plain.shape).max(axis=2)
        nats -= nats[:, self._sung].max(axis=1, keepdims=True)
        levels = [np.log(power[frames].astype(float) / self._scale + _FLOOR) for power in self._powers]
        bands = [(level - self._mean) / POWER for level in levels]
        gaussians = np.maximum(nats, LEAST_NATS) / NATS
        found = np.concatenate([gaussians, near[0] / CEPSTRA, near[1] / CEPSTRA, *bands], axis=1)
        return found.astype(np.float32)


def _level(power: np.ndarray, frames: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean power of some frames, and (25,) mean logarithm of what is relative to that."""
    chunks = [frames[first : first + _CHUNK] for first in range(0, len(frames), _CHUNK)]
    total = sum(float(power[chunk].sum(dtype=float)) for chunk in chunks)
    scale = max(total / max(len(frames) * power.shape[1], 1), 1e-12)
    levels = np.zeros(power.shape[1])
    for chunk in chunks:
        levels += np.log(power[chunk].astype(float) / scale + _FLOOR).sum(axis=0)
    return scale, levels / max(len(frames), 1)


class PhoneNetwork(SmallNetwork):
    """Log probabilities of phones.

    Parameters
    ----------
    phones : Sequence[str]
        Names of the classes, those of the acoustic model that it is told of.
    channels : int
        Of all hidden layers.
    """

    kind = "phone network"
    log_prior: torch.Tensor

    def __init__(self, phones: Sequence[str], channels: int = 128) -> None:
        super().__init__()
        self.phones, self.channels = tuple(phones), channels
        n_phones = len(self.phones)
        self.widths = (n_phones, 2 * N_CEPSTRA, N_BANDS, N_BANDS)
        self.normal = nn.BatchNorm1d(sum(self.widths), affine=False)
        self.first = nn.Sequential(
            nn.Conv1d(sum(self.widths), channels, _KERNEL, padding=_KERNEL // 2), nn.BatchNorm1d(channels), nn.ReLU()
        )
        self.blocks = nn.ModuleList(_layer(channels, dilation) for dilation in _DILATIONS)
        self.last = nn.Conv1d(channels, n_phones, 1)
        #: Logarithm of how often each class is in the training data; 0 for those that are too rare to be known.
        self.register_buffer("log_prior", torch.zeros(n_phones))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, n_features, n_frames) features to (batch, n_phones, n_frames) log probabilities."""
        x = self.normal(features)
        if self.training:
            x = self._spoilt(x)
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return torch.log_softmax(self.last(x), dim=1)

    def _spoilt(self, x: torch.Tensor) -> torch.Tensor:
        """Features with noise, and without some of the groups that they come in, so that none is relied on alone."""
        parts = list(torch.split(x, list(self.widths), dim=1))
        for k, part in enumerate(parts):
            kept = torch.rand(len(x), 1, 1) > (_NO_OTHERS if k else _NO_GAUSSIANS)
            parts[k] = part * kept
        found = torch.cat(parts, dim=1)
        return found + _NOISE * torch.randn_like(found)

    def log_ratios(self, features: np.ndarray | PhoneFeatures) -> np.ndarray:
        """How much likelier each phone is in a frame than in general.

        Parameters
        ----------
        features : np.ndarray | PhoneFeatures
            (n_frames, n_features), every :data:`STRIDE` audible frames.

        Returns
        -------
        np.ndarray
            (n_frames, n_phones) float32, nats.
        """
        parts = list(self.log_ratios_in_parts(features))
        return np.concatenate(parts) if parts else np.zeros((0, len(self.phones)), np.float32)

    def log_ratios_in_parts(self, features: np.ndarray | PhoneFeatures) -> Iterator[np.ndarray]:
        """The same, some frames after the others."""
        for first in range(0, len(features), _CHUNK):
            begin = max(first - REACH, 0)
            part = torch.from_numpy(features[begin : first + _CHUNK + REACH].T[None].copy())
            with torch.inference_mode():
                found = (self(part)[0] - self.log_prior[:, None]).T.numpy()
            yield found[first - begin : min(first + _CHUNK, len(features)) - begin]

    def columns(self, phones: Sequence[str]) -> list[list[int]]:
        """Classes that stand for each of some phones of the pronouncing dictionary; see :data:`LIKE`."""
        place = {name: k for k, name in enumerate(self.phones) if self.log_prior[k] < 0}
        found = []
        for name in phones:
            known = [name] if name in place else [like for like in LIKE.get(name, (SILENCE,)) if like in place]
            found.append([place[like] for like in known or [SILENCE]])
        return found

    def about(self) -> dict[str, str]:
        """Its phones, and its width."""
        return {"architecture": "phones", "phones": json.dumps(self.phones), "channels": str(self.channels)}

    @classmethod
    def build(cls, about: Mapping[str, str]) -> Self:
        """A network of these phones and this width."""
        return cls(json.loads(about["phones"]), int(about["channels"]))


def _layer(channels: int, dilation: int) -> nn.Sequential:
    padding = dilation * (_KERNEL // 2)
    conv = nn.Conv1d(channels, channels, _KERNEL, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(channels), nn.ReLU(), nn.Dropout(_DROPOUT))
