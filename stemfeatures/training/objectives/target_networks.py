"""The networks that learn to tell one part from the rest, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_BINS, N_FFT, STEMS
from ...errors import ModelError
from ...models import checkpoints, unet2018, unet2020
from ...models.joint import JointConfig, JointNet
from ...models.unet2018 import UNet2018, UNet2018Config
from ...models.unet2020 import UNet2020, UNet2020Config
from ...spectra.transform import hann
from ..config import TrainConfig
from .base import step_generator

Config = TypeVar("Config", UNet2018Config, UNet2020Config)
Net = TypeVar("Net", bound=nn.Module)


class TargetNetwork(ABC):
    """A network in training, and its front end.

    Attributes
    ----------
    net : what is trained and exported.
    sample_rate, n_fft, hop_length, n_bins : its grid. n_frames : frames that it gives. context : frames that it sees
        besides, on either side. n_samples : of an excerpt, all of whose frames are whole.
    """

    net: nn.Module
    sample_rate: int
    n_fft: int
    hop_length: int
    n_bins: int
    n_frames: int
    context: int = 0
    #: Scale of the magnitudes: all grids have that of a window of 512, since their logarithms are compared.
    scale: float = 1.0

    @abstractmethod
    def __init__(self, config: TrainConfig, device: str) -> None:
        """Before the first step; raises ModelError for settings or a checkpoint that cannot be used."""

    @property
    def n_samples(self) -> int:
        return (self.n_frames + 2 * self.context - 1) * self.hop_length + self.n_fft

    def spectra(self, y: Tensor) -> Tensor:
        """Magnitudes ``(..., n_bins, n_frames + 2 * context)`` of ``(..., n_samples)``."""
        frames = y.unfold(-1, self.n_fft, self.hop_length)
        spectrum = torch.fft.rfft(frames * hann(self.n_fft, frames))[..., : self.n_bins]
        return self.scale * spectrum.abs().transpose(-1, -2)

    def centre(self, x: Tensor) -> Tensor:
        """The frames that the network gives."""
        return x[..., self.context : self.context + self.n_frames]

    @abstractmethod
    def separate(self, magnitude: Tensor) -> Tensor:
        """Magnitudes of mixtures ``(batch, n_bins, n_frames + 2 * context)`` to log1p magnitudes of target and
        accompaniment ``(batch, 2, n_bins, n_frames)``."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Those that are trained."""
        return self.net.parameters()

    def train(self, step: int) -> None:
        """Before a step; its number is what is random in it drawn by."""
        self.net.train()

    @classmethod
    def frames(cls, config: TrainConfig) -> tuple[int, int]:
        """``(context, n_frames)`` of a recipe."""
        return 0, config.n_frames


class UNet2018Target(TargetNetwork):
    """The U-Net of 2018; from random weights or from a checkpoint of the same network."""

    sample_rate, n_fft, hop_length = unet2018.SAMPLE_RATE, unet2018.N_FFT, unet2018.HOP_LENGTH
    n_bins = unet2018.N_BINS

    def __init__(self, config: TrainConfig, device: str) -> None:
        wanted = _config_of(UNet2018Config, config)
        self.net: UNet2018 = placed(UNet2018(wanted), device)
        if config.initial:
            _begin_with(self.net, checkpoints.load_unet2018(config.initial, device=device), config.initial)
        self.context, self.n_frames = self.net.context, self.net.given(config.n_frames)

    def separate(self, magnitude: Tensor) -> Tensor:
        return self.net(torch.log1p(magnitude))

    @classmethod
    def frames(cls, config: TrainConfig) -> tuple[int, int]:
        net = UNet2018(_config_of(UNet2018Config, config))
        return net.context, net.given(config.n_frames)


class UNet2020Target(TargetNetwork):
    """The generator of FactorGAN, noise drawn anew for every batch; from random weights or a checkpoint."""

    sample_rate, n_fft, hop_length = unet2020.SAMPLE_RATE, unet2020.N_FFT, unet2020.HOP_LENGTH
    n_bins = unet2020.N_BINS

    def __init__(self, config: TrainConfig, device: str) -> None:
        wanted = _config_of(UNet2020Config, config, n_frames=config.n_frames)
        self.net: UNet2020 = placed(UNet2020(wanted), device)
        if config.initial:
            _begin_with(self.net, checkpoints.load_unet2020(config.initial, device=device), config.initial)
        self.n_frames = config.n_frames
        self._seed, self._step = config.seed, -1
        self._random = step_generator(self._seed, self._step)

    def train(self, step: int) -> None:
        super().train(step)
        if step != self._step:
            self._step, self._random = step, step_generator(self._seed, step, 3)

    def separate(self, magnitude: Tensor) -> Tensor:
        noise = 2 * torch.rand(len(magnitude), self.net.config.noise, generator=self._random) - 1
        return self.net(torch.log1p(magnitude), noise.to(magnitude.device))

    @classmethod
    def frames(cls, config: TrainConfig) -> tuple[int, int]:
        return 0, _config_of(UNet2020Config, config, n_frames=config.n_frames).n_frames


class JointTarget(TargetNetwork):
    """The separator of the joint network, from a joint checkpoint; the rest of it stays, and so do the statistics of
    its normalisation. Its mask of the target is one part, those of all others together are the other."""

    sample_rate, n_fft, hop_length, n_bins = ANALYSIS_SAMPLE_RATE, N_FFT, HOP_LENGTH, N_BINS
    scale = unet2018.N_FFT / N_FFT

    def __init__(self, config: TrainConfig, device: str) -> None:
        if config.target not in STEMS:
            raise ModelError(
                f"the joint network separates {', '.join(STEMS)}, not {config.target!r}; network = \"unet2018\" "
                "learns any target",
                source=config.name, stage="train",
            )  # fmt: skip
        if not config.initial:
            message = 'network = "joint" goes on from a joint checkpoint: the recipe\'s `initial` must name one'
            raise ModelError(message, source=config.name, stage="train")
        self.net: JointNet = checkpoints.load(config.initial, device=device)
        if config.model and JointConfig.from_dict(config.model) != self.net.config:
            raise ModelError("its network is not the recipe's", source=config.initial, stage="train")
        self.row = STEMS.index(config.target)
        self.n_frames = config.n_frames

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.net.separator.parameters()

    def train(self, step: int) -> None:
        self.net.eval()

    def separate(self, magnitude: Tensor) -> Tensor:
        level = magnitude.mean(dim=(1, 2), keepdim=True).clamp_min(1e-7)
        padded = F.pad(magnitude / level, (0, -magnitude.shape[-1] % self.net.stride))
        logits, _ = self.net.separator(torch.log1p(20.0 * padded))
        share = torch.softmax(self.net.config.sharpness * logits, dim=1)[:, self.row, :, : magnitude.shape[-1]]
        return torch.log1p(torch.stack([share * magnitude, (1 - share) * magnitude], dim=1))


def _begin_with(net: Net, first: Net, source: str) -> None:
    """Take over the weights of a checkpoint of the same network."""
    if first.config != net.config:
        raise ModelError("its network is not the recipe's", source=source, stage="train")
    net.load_state_dict(first.state_dict())


def placed(net: Net, device: str) -> Net:
    """A convolutional network on a device; channels last: see ``benchmarks/target_training.py``."""
    return net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


_NETWORKS: dict[str, type[TargetNetwork]] = {
    "joint": JointTarget, "unet2018": UNet2018Target, "unet2020": UNet2020Target
}  # fmt: skip


def build_network(config: TrainConfig, device: str) -> TargetNetwork:
    """The network of a recipe.

    Raises
    ------
    ModelError : settings that make no sense, or an initial checkpoint that cannot be used.
    """
    return _NETWORKS[config.network](config, device)


def grid_of(config: TrainConfig) -> tuple[int, int]:
    """``(sample_rate, n_samples)`` of the excerpts that a recipe's network is trained on."""
    kind = _NETWORKS[config.network]
    context, n_frames = kind.frames(config)
    return kind.sample_rate, (n_frames + 2 * context - 1) * kind.hop_length + kind.n_fft


def _config_of(kind: type[Config], config: TrainConfig, **fixed: Any) -> Config:
    """The network's configuration; ``target`` and what is ``fixed`` are said elsewhere in the recipe."""
    known = {f.name for f in fields(kind)} - {"target", *fixed}
    if unknown := sorted(config.model.keys() - known):
        message = f"unknown keys of the model: {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        raise ModelError(message, source=config.name, stage="train")
    try:
        return kind(target=config.target, **fixed, **config.model)
    except (TypeError, ValueError) as error:
        raise ModelError(f"recipe: {error}", source=config.name, stage="train") from error
