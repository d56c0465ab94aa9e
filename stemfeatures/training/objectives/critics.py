"""Separation of one target with critics, which learn from what is not paired.

After Stoller, Ewert and Dixon, ICASSP 2018. With estimates v, a of target and accompaniment in ``log1p`` magnitude, the
separator makes ::

    L = [MSE(v, true v) + MSE(a, true a)]_pairs + alpha [-D_v(v) - D_a(a)]_mixtures + beta [(m - a - v)^2]_mixtures

small (the last term in linear magnitude). Each critic D is a Wasserstein one: it makes ``D(estimate) - D(real)`` plus
a one-sided gradient penalty, ``10 mean(max(||grad D|| - 1, 0)^2)`` on random interpolations of the two, small. Real
sources, mixtures and pairs are drawn independently.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import ModelError
from ...models.network import Network
from ...models.unet2018 import Critic
from ..config import TrainConfig
from ..data.draws import Draws
from .base import Batch, step_generator
from .supervised import SupervisedObjective
from .target_networks import placed

logger = logging.getLogger(__name__)

STARTS = ("continue", "afresh")


@dataclass(frozen=True)
class AdversarialSettings:
    """The table ``settings`` of a recipe; the defaults are the paper's.

    Attributes
    ----------
    alpha, beta : float, default=0.001
        Weights of the critics' word and of additivity.
    penalty : float, default=10.0
        Weight of the gradient penalty.
    critic_updates : int, default=5
        Of the critics, each with fresh data, a step.
    critic_width : int, default=32
        Filters of their first layer.
    critic_patch : tuple[int, ...], default=()
        Bins and frames that they see, of those that the network gives; empty: all. In the paper ``(256, 64)`` of 257 by
        66, which is one convolution less.
    critic_rate : float, default=0.0
        Their learning rate; 0 = the separator's, with its warming up and falling.
    pretrain : int, default=0
        Steps at most of supervised learning before; it ends earlier where development songs get no better
        (``patience``).
    start : str, default='continue'
        From where the combined objective goes on: ``continue`` (the best network so far, with a new optimiser; without
        development songs the last, as if nothing had changed), or ``afresh``.
    """

    alpha: float = 0.001
    beta: float = 0.001
    penalty: float = 10.0
    critic_updates: int = 5
    critic_width: int = 32
    critic_patch: tuple[int, ...] = ()
    critic_rate: float = 0.0
    pretrain: int = 0
    start: str = "continue"

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise ValueError(f"unknown start {self.start!r}; known: {', '.join(STARTS)}")
        if min(self.alpha, self.beta, self.penalty, self.pretrain, self.critic_rate) < 0:
            raise ValueError("alpha, beta, penalty, pretrain and critic_rate cannot be negative")
        if min(self.critic_updates, self.critic_width) < 1:
            raise ValueError("critic_updates and critic_width must be at least 1")
        patch = self.critic_patch
        is_pair = isinstance(patch, (list, tuple)) and len(patch) in (0, 2)  # recipes have lists
        if not is_pair or any(type(side) is not int or side < 1 for side in patch):
            raise ValueError(f"critic_patch must be a number of bins and one of frames, not {patch!r}")


class AdversarialObjective(SupervisedObjective):
    """See the module's docstring.

    Attributes
    ----------
    critics : ModuleList
        Of target and accompaniment.
    combined : bool
        Whether supervised learning before is over.
    """

    Settings = AdversarialSettings
    terms = ("loss", "supervised", "adversarial", "additivity", "distance_target", "distance_rest", "penalty")

    def __init__(self, config: TrainConfig, device: str) -> None:
        self.settings = self.read_settings(config)
        super().__init__(config, device)
        self.combined = self.settings.pretrain == 0
        network, width = self.network, self.settings.critic_width
        given = network.n_bins, network.n_frames
        n_bins, n_frames = self.settings.critic_patch or given
        if n_bins > given[0] or n_frames > given[1]:
            message = f"the network gives {given[0]} bins by {given[1]} frames, fewer than critic_patch: "
            raise ModelError(f"{message}{n_bins} by {n_frames}", source=config.name, stage="train")
        self.critics = nn.ModuleList(Critic(n_bins, n_frames, width=width) for _ in range(2))
        placed(self.critics, device)
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), lr=config.learning_rate)

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        super().check(config)
        pretrain = cls.read_settings(config).pretrain
        if pretrain >= config.steps:
            message = f"the critics would never begin: supervised learning before (pretrain) has {pretrain:,} of "
            message += f"{config.steps:,} steps"
            raise ModelError(message, source=config.name, stage="train")

    def phase_of(self, step: int) -> str:
        return "adversarial" if self.combined and step > self.phase_began else "supervised"

    @classmethod
    def draws(cls, config: TrainConfig) -> Draws:
        updates = cls.read_settings(config).critic_updates
        return Draws(pairs=1, mixtures=updates + 1, solos=updates, accompaniments=updates)

    def step(self, batch: Batch) -> dict[str, float]:
        critics: dict[str, float] = {}
        if self.combined:
            self.learning_rate = self.config.learning_rate_at(self.steps_done)
            for update in range(self.settings.critic_updates):
                sources = torch.stack([batch["solos"][:, update], batch["accompaniments"][:, update]], dim=1)
                for name, value in self._update_critics(batch["mixtures"][:, update], sources, update).items():
                    critics[name] = critics.get(name, 0.0) + value / self.settings.critic_updates
        return super().step(batch) | critics

    @property
    def phase_is_over(self) -> bool:
        return not self.combined and self.steps_done >= self.settings.pretrain

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        supervised = self.supervised(batch["pairs"][:, 0])
        if not self.combined:
            return supervised, {"supervised": supervised}
        magnitude = self.network.spectra(batch["mixtures"][:, -1])
        estimates = self.network.separate(magnitude)
        adversarial = adversarial_loss(self.critics, estimates)
        additivity = additivity_loss(self.network.centre(magnitude), estimates)
        # A weight of zero takes the term out, so that nothing of it, not even a NaN, reaches the separator.
        loss = supervised
        if self.settings.alpha:
            loss = loss + self.settings.alpha * adversarial
        if self.settings.beta:
            loss = loss + self.settings.beta * additivity
        return loss, {"supervised": supervised, "adversarial": adversarial, "additivity": additivity}

    def _update_critics(self, mixtures: Tensor, sources: Tensor, update: int) -> dict[str, float]:
        """One step of both critics; returns how far apart they hold real sources and estimates, and the penalty."""
        network, settings = self.network, self.settings
        with torch.no_grad():
            network.train(self.steps_done)
            fake = network.separate(network.spectra(mixtures))
            real = torch.log1p(network.centre(network.spectra(sources)))
        random = step_generator(self.config.seed, self.steps_done, update)
        total, terms = torch.zeros((), device=fake.device), {"penalty": 0.0}
        for row, name in enumerate(("distance_target", "distance_rest")):
            share = torch.rand(len(fake), 1, 1, generator=random).to(fake.device)
            distance = wasserstein(self.critics[row], real[:, row], fake[:, row])
            penalty = gradient_penalty(self.critics[row], real[:, row], fake[:, row], share)
            total = total - distance + settings.penalty * penalty
            terms[name] = float(distance.detach())
            terms["penalty"] += float(penalty.detach())
        for group in self.critic_optimizer.param_groups:
            group["lr"] = settings.critic_rate or self.learning_rate
        self.critic_optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.critic_optimizer.step()
        return terms

    def advance(self, best: Network | None) -> bool:
        if self.combined:
            return False
        if self.settings.start == "afresh":
            self._begin()
        elif best is not None:
            self.network.net.load_state_dict(best.state_dict())
            if self.average is not None:
                self.average.load_state_dict(best.state_dict())
            self.averaged_since = self.steps_done
            self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)
        self.combined, self.phase_began = True, self.steps_done
        return True

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "combined": self.combined,
            "critics": self.critics.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.combined = bool(state["combined"])
        self.critics.load_state_dict(state["critics"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])


def wasserstein(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """``mean D(real) - mean D(fake)``; a critic makes it large."""
    return critic(real).mean() - critic(fake).mean()


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """``mean(max(||grad D(x)|| - 1, 0)^2)`` at ``x = share * real + (1 - share) * fake``: no penalty below norm 1.

    Parameters
    ----------
    critic : torch.nn.Module
        From ``(batch, n_bins, n_frames)`` to ``(batch,)``.
    real : Tensor
        ``(batch, n_bins, n_frames)``.
    fake : Tensor
        ``(batch, n_bins, n_frames)``.
    share : Tensor
        ``(batch, 1, 1)``, 0..1.

    Returns
    -------
    Tensor
        A number.
    """
    between = (share * real + (1 - share) * fake).requires_grad_()
    slope = torch.autograd.grad(critic(between).sum(), between, create_graph=True)[0]
    # The square root has no slope at zero; 1e-12 is far below the norm where the penalty begins.
    norm = (slope.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
    return (norm - 1).clamp_min(0).square().mean()


def adversarial_loss(critics: nn.ModuleList, estimates: Tensor) -> Tensor:
    """``-mean D_v(v) - mean D_a(a)`` of estimates ``(batch, 2, n_bins, n_frames)``."""
    return -critics[0](estimates[:, 0]).mean() - critics[1](estimates[:, 1]).mean()


def additivity_loss(magnitude: Tensor, estimates: Tensor) -> Tensor:
    """``mean (m - a - v)^2`` in linear magnitude; mixtures ``(batch, n_bins, n_frames)``, estimates in log1p."""
    return F.mse_loss(torch.expm1(estimates).sum(dim=1), magnitude)
