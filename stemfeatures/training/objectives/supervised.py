"""Separation of one target by the error of its estimates, from multitracks alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ModelError
from ...models.network import Network
from ..config import TrainConfig, read_settings
from ..data.draws import Draws
from ..data.excerpts import ExcerptSettings
from .base import OF_JOINT_ALONE, Batch, Objective, require_used
from .joint import update_average
from .target_networks import build_network, find_front_end

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NoSettings:
    """An objective without settings."""


class SupervisedObjective(Objective):
    """Mean square error of both sources in ``log1p`` magnitude, by Adam.

    Attributes
    ----------
    network : TargetFrontEnd
        What is trained, see :mod:`.target_networks`.
    average : Network, optional
        Of its weights since step ``averaged_since``, where the recipe asks for one (``ema``).

    Raises
    ------
    ModelError
        The recipe does not fit the network, or its initial checkpoint cannot be used.
    """

    Settings: ClassVar[type] = NoSettings
    terms: ClassVar[tuple[str, ...]] = ("loss", "supervised")
    unused = OF_JOINT_ALONE
    averaged_since: int = 0

    def __init__(self, config: TrainConfig, device: str) -> None:
        self.config, self.device = config, device
        self._begin()

    def _begin(self) -> None:
        """The network before its first step."""
        torch.manual_seed(self.config.seed)
        self.averaged_since = self.steps_done
        self.network = build_network(self.config, self.device)
        self.average: Network | None = None
        if self.config.ema > 0:
            self.average = build_network(self.config, self.device).net
            self.average.load_state_dict(self.network.net.state_dict())
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)

    @classmethod
    def draws(cls, config: TrainConfig) -> Draws:
        return Draws(pairs=1)

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        require_used(config, cls.unused)
        if not config.target:
            message = f"the objective {config.objective!r} needs a target: vocals, drums, guitar ..."
            raise ModelError(message, source=config.name, stage="train")
        find_front_end(config)
        cls.read_settings(config)
        read_settings(ExcerptSettings, config.excerpts, recipe=config.name)

    @classmethod
    def read_settings(cls, config: TrainConfig) -> Any:
        return read_settings(cls.Settings, config.settings, recipe=config.name)

    @property
    def exported(self) -> Network:
        return self.network.net if self.average is None else self.average

    def step(self, batch: Batch) -> dict[str, float]:
        self.learning_rate = self.config.learning_rate_at(self.steps_done)
        loss, terms = self.losses(batch)
        self._descend(loss)
        return {name: float(value.detach()) for name, value in {"loss": loss, **terms}.items()}

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What is made smaller, and its terms."""
        supervised = self.supervised(batch["pairs"][:, 0])
        return supervised, {"supervised": supervised}

    def supervised(self, pairs: Tensor) -> Tensor:
        """MSE of both sources, summed, of ``(batch, 2, n_samples)``."""
        self.network.train(self.steps_done)
        estimates = self.network.separate(self.network.spectra(pairs.sum(dim=1)))
        truth = torch.log1p(self.network.centre(self.network.spectra(pairs)))
        return F.mse_loss(estimates[:, 0], truth[:, 0]) + F.mse_loss(estimates[:, 1], truth[:, 1])

    def _descend(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(self.network.parameters()), self.config.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
        else:
            logger.warning("step %d: gradient is not finite, step skipped", self.steps_done)
        self.steps_done += 1
        if self.average is not None:
            update_average(self.average, self.network.net, self.config.ema, self.steps_done - self.averaged_since)

    def state_dict(self) -> dict[str, Any]:
        return {
            "net": self.network.net.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.steps_done,
            "phase_began": self.phase_began,
            "averaged_since": self.averaged_since,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.net.load_state_dict(state["net"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done, self.phase_began = int(state["step"]), int(state["phase_began"])
        self.averaged_since = int(state.get("averaged_since", self.phase_began))  # runs begun before had none
