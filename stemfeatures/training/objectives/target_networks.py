"""Networks in training for a target: the front end that an objective drives, whatever the architecture.

The front end belongs to the class of the network (:func:`register_front_end`); every
:class:`~stemfeatures.models.network.TargetNetwork` has one already.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ...constants import N_BINS, N_FFT, STEMS
from ...errors import ModelError
from ...models import architectures, checkpoints
from ...models.joint import JointConfig, JointNet
from ...models.network import Grid, Network, TargetConfig, TargetNetwork
from ...spectra.transform import hann
from ..config import TrainConfig
from .base import step_generator

Net = TypeVar("Net", bound=nn.Module)
#: Window on which the scale of the magnitudes is defined: all grids have that of this one, since their logarithms are
#: compared.
SCALE_N_FFT = 512


class TargetFrontEnd(ABC):
    """A network in training, and what leads from signals to it.

    Parameters
    ----------
    config : TrainConfig
        The recipe.
    device : str
        Torch device.

    Attributes
    ----------
    net : Network
        What is trained and exported.
    grid : Grid
        Where the network reads spectra.
    n_bins : int
        Lowest bins of the grid, which are all that the network sees.
    n_frames : int
        Frames that the network gives.
    context : int
        Frames that it sees besides, on either side.

    Raises
    ------
    ModelError
        The recipe does not fit the network, or its initial checkpoint cannot be used.
    """

    net: Network
    grid: Grid
    n_bins: int
    n_frames: int
    context: int = 0
    scale: ClassVar[float] = 1.0

    @abstractmethod
    def __init__(self, config: TrainConfig, device: str) -> None: ...

    @property
    def n_samples(self) -> int:
        """Length of an excerpt, all of whose frames are whole."""
        return _n_samples(self.grid, self.context, self.n_frames)

    def spectra(self, y: Tensor) -> Tensor:
        """Magnitudes of excerpts.

        Parameters
        ----------
        y : Tensor
            ``(..., n_samples)``.

        Returns
        -------
        Tensor
            ``(..., n_bins, n_frames + 2 * context)``.
        """
        n_fft = self.grid.n_fft
        frames = y.unfold(-1, n_fft, self.grid.hop_length)
        spectrum = torch.fft.rfft(frames * hann(n_fft, frames))[..., : self.n_bins]
        return self.scale * spectrum.abs().transpose(-1, -2)

    def centre(self, x: Tensor) -> Tensor:
        """The frames that the network gives.

        Parameters
        ----------
        x : Tensor
            ``(..., n_frames + 2 * context)``.

        Returns
        -------
        Tensor
            ``(..., n_frames)``.
        """
        return x[..., self.context : self.context + self.n_frames]

    @abstractmethod
    def separate(self, magnitude: Tensor) -> Tensor:
        """Estimates of the network.

        Parameters
        ----------
        magnitude : Tensor
            ``(batch, n_bins, n_frames + 2 * context)``, of mixtures.

        Returns
        -------
        Tensor
            ``(batch, 2, n_bins, n_frames)``, ``log1p`` magnitudes of target and accompaniment.
        """

    def parameters(self) -> Iterable[nn.Parameter]:
        """The parameters that are trained.

        Returns
        -------
        iterable of torch.nn.Parameter
            All of the network's, unless a subclass says otherwise.
        """
        return self.net.parameters()

    def train(self, step: int) -> None:
        """Make ready for a step.

        Parameters
        ----------
        step : int
            Its number, which seeds what is random in the network.
        """
        self.net.train()

    @classmethod
    @abstractmethod
    def shape(cls, config: TrainConfig) -> tuple[Grid, int, int]:
        """What a recipe's excerpts are cut for.

        Parameters
        ----------
        config : TrainConfig
            The recipe.

        Returns
        -------
        tuple
            ``(grid, context, n_frames)``.
        """

    @classmethod
    def is_additive(cls, config: TrainConfig) -> bool:
        """Whether the estimated magnitudes of a recipe's network add up to the mixture's.

        Parameters
        ----------
        config : TrainConfig
            The recipe.

        Returns
        -------
        bool
            True for masks that sum to one.
        """
        return True


_FrontEnd = TypeVar("_FrontEnd", bound=type[TargetFrontEnd])
_FRONT_ENDS: dict[type[Network], type[TargetFrontEnd]] = {}


def register_front_end(network: type[Network]) -> Callable[[_FrontEnd], _FrontEnd]:
    """A class decorator: the training front end of a network.

    Parameters
    ----------
    network : type
        Class of the network; the front end serves its subclasses too.

    Returns
    -------
    callable
        The decorator.
    """

    def register(front_end: _FrontEnd) -> _FrontEnd:
        _FRONT_ENDS[network] = front_end
        return front_end

    return register


@register_front_end(TargetNetwork)  # type: ignore[type-abstract]
class NetworkFrontEnd(TargetFrontEnd):
    """A :class:`~stemfeatures.models.network.TargetNetwork`, from random weights or from a checkpoint of the same
    network; what is random in it is drawn anew for every batch.

    Parameters
    ----------
    config : TrainConfig
        The recipe.
    device : str
        Torch device.

    Raises
    ------
    ModelError
        The recipe does not fit the network, or its initial checkpoint cannot be used.
    """

    net: TargetNetwork

    def __init__(self, config: TrainConfig, device: str) -> None:
        kind = _target_network(config)
        wanted = _network_config(kind, config)
        self.net = placed(kind(wanted), device)
        if config.initial:
            first = checkpoints.load_network(config.initial, kind, device=device)
            if first.config != wanted:
                raise ModelError("its network is not the recipe's", source=config.initial, stage="train")
            self.net.load_state_dict(first.state_dict())
        self.grid, self.n_bins = kind.grid, kind.n_bins
        self.context, self.n_frames = kind.extent(wanted, config.n_frames)
        self._seed, self._step = config.seed, -1
        self._generator = step_generator(self._seed, self._step)

    def train(self, step: int) -> None:
        super().train(step)
        if step != self._step:
            self._step, self._generator = step, step_generator(self._seed, step, 3)

    def separate(self, magnitude: Tensor) -> Tensor:
        return self.net.estimate(torch.log1p(magnitude), generator=self._generator)

    @classmethod
    def shape(cls, config: TrainConfig) -> tuple[Grid, int, int]:
        kind = _target_network(config)
        return kind.grid, *kind.extent(_network_config(kind, config), config.n_frames)

    @classmethod
    def is_additive(cls, config: TrainConfig) -> bool:
        kind = _target_network(config)
        return kind.is_additive(_network_config(kind, config))


@register_front_end(JointNet)
class JointFrontEnd(TargetFrontEnd):
    """The separator of the joint network, from a joint checkpoint.

    The rest of the network stays as it is, and so do the statistics of its normalisation. Its mask of the target is the
    first estimate, those of all other stems together are the second.

    Parameters
    ----------
    config : TrainConfig
        The recipe.
    device : str
        Torch device.

    Raises
    ------
    ModelError
        The target is none of ``STEMS``, the recipe names no initial checkpoint, or it is of another network.
    """

    net: JointNet
    scale = SCALE_N_FFT / N_FFT

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
        self.net = checkpoints.load(config.initial, device=device)
        if config.model and JointConfig.from_dict(config.model) != self.net.config:
            raise ModelError("its network is not the recipe's", source=config.initial, stage="train")
        self.row = STEMS.index(config.target)
        self.grid, self.n_bins, self.n_frames = JointNet.grid, N_BINS, config.n_frames

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.net.separator.parameters()

    def train(self, step: int) -> None:  # nothing is random, and statistics stay as they are
        self.net.eval()

    def separate(self, magnitude: Tensor) -> Tensor:
        share = self.net(magnitude).masks[:, self.row]
        return torch.log1p(torch.stack([share * magnitude, (1 - share) * magnitude], dim=1))

    @classmethod
    def shape(cls, config: TrainConfig) -> tuple[Grid, int, int]:
        return JointNet.grid, 0, config.n_frames


def placed(net: Net, device: str) -> Net:
    """Move a convolutional network to a device, channels last: see ``benchmarks/target_training.py``.

    Parameters
    ----------
    net : torch.nn.Module
        The network; it is changed in place.
    device : str
        Torch device.

    Returns
    -------
    torch.nn.Module
        The same network.
    """
    return net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def find_front_end(config: TrainConfig) -> type[TargetFrontEnd]:
    """The training front end of a recipe's network.

    Parameters
    ----------
    config : TrainConfig
        The recipe.

    Returns
    -------
    type
        Subclass of :class:`TargetFrontEnd`.

    Raises
    ------
    ModelError
        There is no such network, or none that can be trained for a target.
    """

    def of(name: str) -> type[TargetFrontEnd] | None:
        return next((_FRONT_ENDS[base] for base in architectures.find(name).__mro__ if base in _FRONT_ENDS), None)

    known = architectures.names()
    found = of(config.network) if config.network in known else None
    if found is None:
        trained = []
        for name in known:
            with suppress(ModelError):  # a package that is broken hides none of the others
                trained += [name] if of(name) is not None else []
        message = f"unknown network {config.network!r}; known: {', '.join(trained)}"
        raise ModelError(message, source=config.name, stage="train")
    return found


def build_network(config: TrainConfig, device: str) -> TargetFrontEnd:
    """The network of a recipe before its first step.

    Parameters
    ----------
    config : TrainConfig
        The recipe.
    device : str
        Torch device.

    Returns
    -------
    TargetFrontEnd
        The network and its front end.

    Raises
    ------
    ModelError
        Settings that make no sense, or an initial checkpoint that cannot be used.
    """
    return find_front_end(config)(config, device)


def grid_of(config: TrainConfig) -> tuple[int, int]:
    """Rate and length of the excerpts that a recipe's network is trained on.

    Parameters
    ----------
    config : TrainConfig
        The recipe.

    Returns
    -------
    tuple of int
        ``(sample_rate, n_samples)``.

    Raises
    ------
    ModelError
        Settings that make no sense.
    """
    grid, context, n_frames = find_front_end(config).shape(config)
    return grid.sample_rate, _n_samples(grid, context, n_frames)


def _n_samples(grid: Grid, context: int, n_frames: int) -> int:
    return (n_frames + 2 * context - 1) * grid.hop_length + grid.n_fft


def _target_network(config: TrainConfig) -> type[TargetNetwork]:
    network = architectures.find(config.network)
    assert issubclass(network, TargetNetwork)
    return network


def _network_config(kind: type[TargetNetwork], config: TrainConfig) -> TargetConfig:
    """The network's configuration; target and length of a patch are said elsewhere in the recipe."""
    names = {f.name for f in fields(kind.Config)}
    given: dict[str, Any] = {"target": config.target} | ({"n_frames": config.n_frames} if "n_frames" in names else {})
    known = names - given.keys()
    if unknown := sorted(config.model.keys() - known):
        message = f"unknown keys of the model: {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        raise ModelError(message, source=config.name, stage="train")
    try:
        return kind.Config(**given, **config.model)
    except (TypeError, ValueError) as error:
        raise ModelError(f"recipe: {error}", source=config.name, stage="train") from error
