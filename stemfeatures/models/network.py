"""What every network says of itself, so that checkpoints, separators and training need to know nothing else of it.

A subclass of :class:`TargetNetwork` is saved, loaded, opened as a separator and trained without a further line
anywhere; one of :class:`PatchNetwork` all but trained by a recipe. Other kinds of network bring a separator of their
own (:func:`stemfeatures.separation.open.register_separator`) and a training front end
(:func:`stemfeatures.training.objectives.target_networks.register_front_end`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

ACCOMPANIMENT = "accompaniment"


@dataclass(frozen=True)
class Grid:
    """Where a network reads spectra.

    Attributes
    ----------
    sample_rate : int
        Hz.
    n_fft : int
        Length of the periodic Hann window in samples.
    hop_length : int
        Samples from frame to frame.
    """

    sample_rate: int
    n_fft: int
    hop_length: int


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is built from; subclasses are frozen dataclasses of numbers, strings and tuples of them."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as they are kept in a checkpoint.

        Returns
        -------
        dict
            Field by name.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`, also after a round trip through JSON.

        Parameters
        ----------
        values : Mapping
            Field by name; lists become tuples, fields that are missing have their defaults.

        Returns
        -------
        NetworkConfig
            A configuration of this class.

        Raises
        ------
        TypeError
            There is no such field.
        ValueError
            A value is out of its range.
        """
        return cls(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class TargetConfig(NetworkConfig):
    """Configuration of a network that separates one target.

    Attributes
    ----------
    target : str
        The source that is separated from all others, the accompaniment.

    Raises
    ------
    ValueError
        The target is empty, ``"accompaniment"`` or ``"mixture"``.
    """

    target: str = "vocals"

    def __post_init__(self) -> None:
        if not self.target or self.target in (ACCOMPANIMENT, "mixture"):
            raise ValueError(f"the target must be a part of the mixture, not {self.target!r}")


class Network(nn.Module, ABC):
    """A network that checkpoints can hold.

    Parameters
    ----------
    config : NetworkConfig, optional
        Of the class :attr:`Config`; None: its defaults.

    Attributes
    ----------
    architecture : str
        Name by which checkpoints and recipes call the class.
    Config : type
        Class of the configuration.
    grid : Grid
        Where the network reads spectra.
    tasks : frozenset of str
        What it estimates: ``separation``, ``f0``, ``beats``.
    config : NetworkConfig
        What this network was built from.
    """

    architecture: ClassVar[str]
    Config: ClassVar[type[NetworkConfig]]
    grid: ClassVar[Grid]
    tasks: ClassVar[frozenset[str]] = frozenset({"separation"})
    config: Any

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = self.Config() if config is None else config

    @classmethod
    @abstractmethod
    def stems_of(cls, config: Any) -> tuple[str, ...]:
        """Names of what a network of a configuration separates into.

        Parameters
        ----------
        config : NetworkConfig
            Of the class :attr:`Config`.

        Returns
        -------
        tuple of str
            Names in the order of the network's output.
        """

    @property
    def stems(self) -> tuple[str, ...]:
        """What this network separates into."""
        return self.stems_of(self.config)


class PatchNetwork(Network):
    """A network that masks the magnitudes of patches: a fixed number of frames at a time."""

    @property
    @abstractmethod
    def patch(self) -> tuple[int, int]:
        """``(n_frames, border)``: frames that are given at a time, and how many of them at either end are context."""

    @abstractmethod
    def masks(self, magnitude: Tensor) -> Tensor:
        """Masks of the stems.

        Parameters
        ----------
        magnitude : Tensor
            ``(batch, n_fft // 2 + 1, n_frames)`` of :attr:`patch`, linear, of signals of full scale 1.0.

        Returns
        -------
        Tensor
            ``(batch, stems, n_fft // 2 + 1, k)`` factors on the mixture's spectrum: of all frames, or of those inside
            the border.
        """


class TargetNetwork(PatchNetwork):
    """A patch network that separates a target from its accompaniment and can be trained to do so for any target.

    ``forward`` takes ``log1p`` magnitudes of mixtures ``(batch, n_bins, n_frames + 2 * context)`` to those of target
    and accompaniment ``(batch, 2, n_bins, n_frames)``.

    Attributes
    ----------
    n_bins : int
        Lowest bins of the grid, which are all that the network sees.
    """

    n_bins: ClassVar[int]
    Config: ClassVar[type[TargetConfig]]

    @classmethod
    def stems_of(cls, config: TargetConfig) -> tuple[str, ...]:
        """The target of a configuration, and ``"accompaniment"``.

        Parameters
        ----------
        config : TargetConfig
            Of the class :attr:`Config`.

        Returns
        -------
        tuple of str
            Two names.
        """
        return (config.target, ACCOMPANIMENT)

    @classmethod
    def extent(cls, config: Any, n_frames: int) -> tuple[int, int]:
        """Frames that a network of a configuration sees and gives.

        Parameters
        ----------
        config : TargetConfig
            Of the class :attr:`Config`.
        n_frames : int
            How many are wanted at least.

        Returns
        -------
        tuple of int
            ``(context, n_frames)``: frames that are seen besides on either side, and frames that are given.
        """
        return 0, n_frames

    @classmethod
    def is_additive(cls, config: Any) -> bool:
        """Whether the estimated magnitudes add up to the mixture's.

        Parameters
        ----------
        config : TargetConfig
            Of the class :attr:`Config`.

        Returns
        -------
        bool
            True for masks that sum to one.
        """
        return True

    def estimate(self, mixture: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """``forward``, with what is random in the network drawn from a generator.

        Parameters
        ----------
        mixture : Tensor
            ``(batch, n_bins, n_frames + 2 * context)``, ``log1p`` magnitudes.
        generator : torch.Generator, optional
            On the CPU; None: nothing is random.

        Returns
        -------
        Tensor
            ``(batch, 2, n_bins, n_frames)``, ``log1p`` magnitudes of target and accompaniment.
        """
        return self(mixture)
