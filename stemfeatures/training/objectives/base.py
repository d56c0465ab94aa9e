"""What a run learns: the objective, which the loop drives without knowing it.

An objective owns its networks, optimisers and averages. The loop makes batches, calls :meth:`Objective.step`, and does
the rest alike for all: log, state, resumption, development songs, the end.

Notes
-----
The joint objective learns from :class:`~stemfeatures.training.data.example.Example`; the others, which separate one
*target*, from excerpts of recordings, all as long as the network wants them (``RecordingExcerpts``
of :mod:`stemfeatures.training.data.excerpts`):

=================== ============================== ================================================================
key                 shape                          what
=================== ============================== ================================================================
``pairs``           (batch, draws, 2, n_samples)   target and accompaniment of one song at one time; their sum is
                                                   the mixture, exactly
``pair_songs``      (batch, draws) int64           which song of the pairs it is, from 0
``mixtures``        (batch, draws, n_samples)      songs, of which nothing else is known
``mixture_songs``   (batch, draws) int64           which of the mixtures it is, from 0
``solos``           (batch, draws, n_samples)      the target alone
``accompaniments``  (batch, draws, n_samples)      songs without the target
=================== ============================== ================================================================

``draws`` of each is what :meth:`Objective.draws` asks for; what is not asked for is not in the batch. Every draw has a
random stream of its own (seed, kind, number), so that more draws of one kind change nothing in the others.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ...errors import ModelError
from ..data.draws import Draws

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.network import Network
    from ..config import TrainConfig

Batch = dict[str, "Tensor"]
#: Keys of recipes that the joint objective alone knows.
OF_JOINT_ALONE = (
    "songs", "band_limited", "coded", "quiet", "low_end", "inverted", "offset", "duets", "mixing", "precision",
    "learns", "norm", "keeps", "teacher", "weight_decay", "loss",
)  # fmt: skip


class Objective(ABC):
    """What a run learns.

    Attributes
    ----------
    terms : tuple[str, ...], default=('loss',)
        Names of what :meth:`step` returns, in the order of ``log.csv``; a term may be missing from a step.
    unused : tuple[str, ...], default=()
        Keys of recipes that the objective has no use for: a recipe that sets one is an error.
    steps_done : int, default=0
        Steps so far; :meth:`step` counts it up.
    phase_began : int, default=0
        Step at which the present phase began, where there are several.
    phase_is_over : bool
        Whether it has had all its steps, so that the loop calls :meth:`advance`.
    learning_rate : float, default=0.0
        Rate of the last step.
    """

    terms: ClassVar[tuple[str, ...]] = ("loss",)
    unused: ClassVar[tuple[str, ...]] = ()
    steps_done: int = 0
    phase_began: int = 0
    learning_rate: float = 0.0

    @property
    def phase_is_over(self) -> bool:
        return False

    def phase_of(self, step: int) -> str | None:
        """Name of the phase that made the network of ``step``; None where there is but one."""
        return None

    @abstractmethod
    def __init__(self, config: TrainConfig, device: str) -> None:
        """The objective before the first step; raises ModelError for settings or checkpoints that cannot be used."""

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, float]:
        """One step with a batch on the device; returns terms."""

    @property
    @abstractmethod
    def exported(self) -> Network:
        """The network that development songs are scored with and the checkpoint is made of."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on exactly: networks, optimisers, averages, steps. Tensors, numbers, strings."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""

    def advance(self, best: Network | None) -> bool:
        """Called when a phase has had its steps, or development songs have not got better for ``patience`` looks;
        ``best`` is the best network so far, None without a look. True if there is a further phase and it begins now;
        False ends the run."""
        return False

    @classmethod
    def draws(cls, config: TrainConfig) -> Draws | None:
        """What a batch holds (see the module's docstring); None for examples of the joint kind."""
        return None

    @classmethod  # noqa: B027 (most have nothing to check)
    def check(cls, config: TrainConfig) -> None:
        """Raise ModelError for a recipe that cannot work; called before anything is decoded."""


def require_used(config: TrainConfig, unused: tuple[str, ...]) -> None:
    """Raise ModelError for a recipe that sets what its objective has no use for."""
    default = type(config)()
    if idle := [name for name in unused if getattr(config, name) != getattr(default, name)]:
        message = f"the objective {config.objective!r} has no use for {', '.join(idle)}"
        raise ModelError(message, source=config.name, stage="train")


def step_generator(*numbers: int) -> torch.Generator:
    """A random stream (on the CPU) of these numbers alone, such as seed, step and a number of what it is for: a run
    that goes on draws what it would have drawn."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
