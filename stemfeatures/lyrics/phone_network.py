"""A small network that says which phone is sung, learned from generated singing.

Convolutions over the mel bands of :mod:`.cepstra` at 10 ms, with little context (:data:`CONTEXT_S` on either side),
give the logarithm of the probability of each phone every 20 ms. :mod:`stemfeatures.training.phones` trains it. None is
shipped: it helps with generated singing and costs with recordings, docs/singalong.md has the figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import nn

from ..models.small_weights import SmallNetwork
from .acoustic_model import SILENCE
from .cepstra import HOP_LENGTH, N_BANDS, SAMPLE_RATE

#: Frames of 10 ms an output frame stands for.
STRIDE = 2
_KERNEL = 5
_DILATIONS = (1, 1, 2, 2)
#: Seconds before and after an output frame that it depends on.
CONTEXT_S = (_KERNEL // 2) * (2 + STRIDE * sum(_DILATIONS)) * HOP_LENGTH / SAMPLE_RATE
#: Power relative to that of the whole song below which all is the same.
_FLOOR = 1e-5
#: Features are divided by about their spread.
_SPREAD = 2.5
#: Output frames that are computed at a time.
_CHUNK = 3_000
#: Phones that the generated singing lacks, by those whose mixture they are: the likelier of two counts.
LIKE = {"CH": ("T", "SH"), "JH": ("D", "SH"), "ZH": ("Z", "SH"), "OY": ("AO", "IY")}


def phone_features(mel: np.ndarray, audible: np.ndarray) -> np.ndarray:
    """Features of the network from the power in mel bands.

    Parameters
    ----------
    mel : np.ndarray
        (n_frames, 25) of :func:`.cepstra.mel_power`.
    audible : np.ndarray
        (n_frames,) bool, frames that are normalised by: those near voiced ones.

    Returns
    -------
    np.ndarray
        (n_frames, 25) float32, logarithms less their mean over the audible frames: neither gain nor equaliser matters.
    """
    if not audible.any():
        return np.zeros(mel.shape, np.float32)
    level = np.log(mel / max(float(mel[audible].mean()), 1e-12) + _FLOOR)
    return ((level - level[audible].mean(axis=0)) / _SPREAD).astype(np.float32)


class PhoneNetwork(SmallNetwork):
    """Log probabilities of phones.

    Parameters
    ----------
    phones : Sequence[str]
        Names of the classes, :data:`.acoustic_model.SILENCE` among them.
    channels : int
        Of all hidden layers.
    """

    kind = "phone network"
    log_prior: torch.Tensor

    def __init__(self, phones: Sequence[str], channels: int = 96) -> None:
        super().__init__()
        self.phones, self.channels = tuple(phones), channels
        self.first = _layer(N_BANDS, channels, 1)
        self.down = _layer(channels, channels, 1, stride=STRIDE)
        self.blocks = nn.ModuleList(_layer(channels, channels, dilation) for dilation in _DILATIONS)
        self.last = nn.Conv1d(channels, len(self.phones), 1)
        #: Logarithm of how often each class is in the training data; 0 for those that are too rare to be known.
        self.register_buffer("log_prior", torch.zeros(len(self.phones)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, 25, n_frames) features to (batch, n_phones, ceil(n_frames / 2)) log probabilities."""
        x = self.down(self.first(features))
        for block in self.blocks:
            x = x + block(x)
        return torch.log_softmax(self.last(x), dim=1)

    @torch.inference_mode()
    def log_ratios(self, features: np.ndarray) -> np.ndarray:
        """How much likelier each phone is in a frame than in general.

        Parameters
        ----------
        features : np.ndarray
            (n_frames, 25) of :func:`phone_features`.

        Returns
        -------
        np.ndarray
            (ceil(n_frames / 2), n_phones) float32, nats.
        """
        n_out = -(-len(features) // STRIDE)
        out = np.empty((n_out, len(self.phones)), np.float32)
        reach = STRIDE * int(CONTEXT_S * SAMPLE_RATE / HOP_LENGTH / STRIDE + 1)
        for first in range(0, n_out, _CHUNK):
            stop = min(first + _CHUNK, n_out)
            begin = max(STRIDE * first - reach, 0)
            part = torch.from_numpy(features[begin : STRIDE * stop + reach].T[None].copy())
            found = self(part)[0] - self.log_prior[:, None]
            skipped = first - begin // STRIDE
            out[first:stop] = found[:, skipped : skipped + stop - first].T.numpy()
        return out

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


def _layer(n_in: int, n_out: int, dilation: int, *, stride: int = 1) -> nn.Sequential:
    padding = dilation * (_KERNEL // 2)
    conv = nn.Conv1d(n_in, n_out, _KERNEL, stride=stride, dilation=dilation, padding=padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(n_out), nn.ReLU())
