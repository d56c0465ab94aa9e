"""FactorGAN and its GAN baseline as objectives of training: separation without a supervised loss.

Sources are (target, accompaniment). The generator is a mask on the mixture, so that its sources add up to it in
magnitude and the mixture says nothing that the sources do not: p(m, a, v) / q(m, a, v) = p(a, v) / q(a, v). The
marginal discriminators learn from solos and accompaniments, d_P from the few pairs, d_Q from what is made of mixtures,
of which nothing else is known. The baseline, ``gan``, has one discriminator of both sources and sees the pairs alone,
their mixtures included.

Real stems do not add up in magnitude, so no mask meets them exactly; the paper lives with it, and so does this.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...errors import ModelError
from ...factorgan.discriminators import FactorGAN, Source
from ...factorgan.normalisation import spectrally_normalised
from ...factorgan.partition import Group, Joint, Variable
from ...factorgan.trainer import GENERATOR_LOSSES, GanTrainer
from ...models.network import Network
from ..config import TrainConfig, read_settings
from ..data.draws import Draws
from ..data.excerpts import ExcerptSettings
from .base import OF_JOINT_ALONE, Batch, Objective, require_used, step_generator
from .joint import update_average
from .target_networks import build_network, find_front_end, placed

logger = logging.getLogger(__name__)

SOURCES = Group("sources", (Variable("target"), Variable("accompaniment")))
#: So many rounds in a row without two songs among the pairs end a run.
_PATIENCE = 50


@dataclass(frozen=True)
class GanSettings:
    """Settings of the objective ``gan``.

    Attributes
    ----------
    rounds : int, default=2
        Steps of the discriminators before each of the generator.
    loss : str, default='JSD'
        Of the generator, ``JSD`` or ``KL``.
    width : int, default=32
        Filters of a discriminator's first layer.
    levels : int, default=0
        Convolutions of a discriminator; 0: until a side is below 4. The paper's stop one earlier, at a side of 4: five
        at 256 bins by 128 frames.
    generator_rate : float, default=1.0
        Learning rate of the generator, over that of the discriminators; the paper's are equal.
    """

    rounds: int = 2
    loss: str = "JSD"
    width: int = 32
    levels: int = 0
    generator_rate: float = 1.0

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.width < 1:
            raise ValueError(f"rounds and width start at 1, not {min(self.rounds, self.width)}")
        if self.levels < 0:
            raise ValueError(f"levels start at 0, not {self.levels}")
        if self.loss not in GENERATOR_LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}; known: {', '.join(GENERATOR_LOSSES)}")
        if not self.generator_rate > 0:
            raise ValueError(f"generator_rate must be positive, not {self.generator_rate}")


@dataclass(frozen=True)
class FactorGANSettings(GanSettings):
    """Settings of the objective ``factorgan``.

    Attributes
    ----------
    paired_share : float, default=0.1
        Probability, 0..1, with which a mixture or a source of the marginals' is one of the pairs'; these are real as
        well (in the paper all songs feed the marginals, paired or not).
    dependency : bool, default=True
        With d_P; without it ("no-cp") sources count as independent.
    normalise_real : bool, default=True
        Spectral norm on d_P, which may learn few pairs by heart.
    """

    paired_share: float = 0.1
    dependency: bool = True
    normalise_real: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.paired_share <= 1:
            raise ValueError(f"paired_share is a share from 0 to 1, not {self.paired_share}")


class ConvDiscriminator(nn.Module):
    """``levels`` 4x4 convolutions of stride 2 that double their filters (0: until a side is below 4), LeakyReLU 0.01, a
    linear layer without bias.

    An odd top bin (of 2^k + 1) is dropped, as in the paper.

    Notes
    -----
    ``(batch, channels, n_bins, n_frames) -> (batch, 1)``.

    Raises
    ------
    ModelError
        Fewer than 4 bins or frames, or too few for the levels.
    """

    def __init__(self, channels: int, n_bins: int, n_frames: int, *, width: int = 32, levels: int = 0) -> None:
        super().__init__()
        rows, columns, outputs = n_bins - n_bins % 2, n_frames, width
        if min(rows, columns) < max(4, 2**levels):
            raise ModelError(f"{n_bins} bins by {n_frames} frames are too few for a discriminator", stage="train")
        self.n_bins = rows
        layers: list[nn.Module] = []
        for _ in range(levels or int(math.log2(min(rows, columns))) - 1):
            layers += [nn.Conv2d(channels, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.01)]
            rows, columns, channels, outputs = rows // 2, columns // 2, outputs, 2 * outputs
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * rows * columns, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x[:, :, : self.n_bins])


class _Adversarial(Objective):
    """What both have in common: a generator, discriminators, an average of the generator that is exported."""

    Settings: ClassVar[type[GanSettings]] = GanSettings
    unused = (*OF_JOINT_ALONE, "clip")

    def __init__(self, config: TrainConfig, device: str) -> None:
        self.config = config
        self.settings = read_settings(self.Settings, config.settings, recipe=config.name)
        torch.manual_seed(config.seed)
        self.network = build_network(config, device)
        self.average = copy.deepcopy(self.network.net).eval() if config.ema > 0 else None
        self.discriminator = placed(self._make_discriminator(), device)
        self.trainer = GanTrainer(
            self.discriminator, self.network.parameters(), learning_rate=config.learning_rate,
            rounds=self.settings.rounds, loss=self.settings.loss,
        )  # fmt: skip

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        require_used(config, cls.unused)
        read_settings(cls.Settings, config.settings, recipe=config.name)
        read_settings(ExcerptSettings, config.excerpts, recipe=config.name)
        if not config.target:
            message = f"the objective {config.objective!r} needs a target: vocals, drums, guitar ..."
            raise ModelError(message, source=config.name, stage="train")
        if not find_front_end(config).is_additive(config):
            message = f"the objective {config.objective!r} needs estimates that add up to the mixture"
            message += f'; network = "{config.network}" gives them with model.output = "mask"'
            raise ModelError(message, source=config.name, stage="train")
        if config.batch_size < 2:
            raise ModelError("sources of one example cannot be shuffled: batch_size must be at least 2",
                             source=config.name, stage="train")  # fmt: skip

    @property
    def exported(self) -> Network:
        return self.network.net if self.average is None else self.average

    def _make_discriminator(self) -> FactorGAN:
        raise NotImplementedError

    def _discriminator(self, node: Variable | Group) -> nn.Module:
        width, levels = self.settings.width, self.settings.levels
        return ConvDiscriminator(
            len(node.leaves), self.network.n_bins, self.network.n_frames, width=width, levels=levels
        )

    def _real(self, y: Tensor) -> Tensor:
        """(batch, n_samples) of a real source -> (batch, 1, n_bins, n_frames), what the network's outputs are like."""
        return torch.log1p(self.network.centre(self.network.spectra(y)))[:, None]

    def _generated(self, mixture: Tensor, *, labels: Tensor | None = None) -> Joint:
        """Sources of (batch, n_samples) mixtures."""
        target, accompaniment = self.network.separate(self.network.spectra(mixture)).unbind(1)
        return Joint({"target": target[:, None], "accompaniment": accompaniment[:, None]}, labels=labels)

    def _pairs(self, batch: Batch, k: int) -> Joint:
        """Real sources of draw ``k``, labelled by their song."""
        target, accompaniment = batch["pairs"][:, k].unbind(1)
        values = {"target": self._real(target), "accompaniment": self._real(accompaniment)}
        return Joint(values, labels=batch["pair_songs"][:, k])

    def _sources(self, batch: Batch) -> tuple[dict[str, Source], Source]:
        raise NotImplementedError

    def step(self, batch: Batch) -> dict[str, float]:
        """``rounds`` steps of the discriminators and one of the generator; returns losses and mean logits."""
        self.learning_rate = self.config.learning_rate_at(self.steps_done)
        for optimizer, share in (
            (self.trainer.optimizer, 1.0),
            (self.trainer.generator_optimizer, self.settings.generator_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = share * self.learning_rate
        self.network.train(self.steps_done)
        rng = step_generator(self.config.seed, self.steps_done, 1)
        terms = self.trainer.step(*self._sources(batch), rng=rng)
        self.steps_done += 1
        if self.average is not None:
            update_average(self.average, self.network.net, self.config.ema, self.steps_done)
        return {name: float(value) for name, value in terms.items()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "net": self.network.net.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "adversary": self.trainer.state_dict(),
            "step": self.steps_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.net.load_state_dict(state["net"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.trainer.load_state_dict(state["adversary"])
        self.steps_done = int(state["step"])


class GanObjective(_Adversarial):
    """One discriminator of both sources; pairs and their mixtures are all that is seen."""

    terms = ("generator", "loss d(sources)", "d(sources)")

    @classmethod
    def draws(cls, config: TrainConfig) -> Draws:
        settings = read_settings(cls.Settings, config.settings, recipe=config.name)
        return Draws(pairs=2 * settings.rounds + 1)

    def _make_discriminator(self) -> FactorGAN:
        return FactorGAN(SOURCES, marginals={"sources": spectrally_normalised(self._discriminator(SOURCES))})

    def _sources(self, batch: Batch) -> tuple[dict[str, Source], Source]:
        draws = iter(range(batch["pairs"].shape[1]))
        return (
            {"sources": lambda: self._pairs(batch, next(draws))},
            lambda: self._generated(batch["pairs"][:, next(draws)].sum(dim=1)),
        )


class FactorGANObjective(_Adversarial):
    """Marginals from solos and accompaniments, d_P from pairs, d_Q from mixtures; every discriminator has mixtures of
    its own in every round."""

    terms = (
        "generator", "loss d(target)", "loss d(accompaniment)", "loss d_P(sources)", "loss d_Q(sources)",
        "d(target)", "d(accompaniment)", "d_P(sources)", "-d_Q(sources)",
    )  # fmt: skip
    Settings = FactorGANSettings
    settings: FactorGANSettings

    def __init__(self, config: TrainConfig, device: str) -> None:
        super().__init__(config, device)
        self._alone = 0

    @classmethod
    def draws(cls, config: TrainConfig) -> Draws:
        settings = read_settings(FactorGANSettings, config.settings, recipe=config.name)
        n = settings.rounds
        pairs = n if settings.dependency or settings.paired_share else 0
        songs = 2 if settings.dependency else 1
        return Draws(pairs=pairs, mixtures=3 * n + 1, solos=n, accompaniments=n, pair_songs=songs)

    def _make_discriminator(self) -> FactorGAN:
        return FactorGAN.build(
            SOURCES, self._discriminator, self._discriminator, real_dependencies=self.settings.dependency,
            normalise_real=self.settings.normalise_real,
        )  # fmt: skip

    def _sources(self, batch: Batch) -> tuple[dict[str, Source], Source]:
        rng = step_generator(self.config.seed, self.steps_done, 2)
        # Unpaired excerpts have a random gain; pairs with the like keep d_P and what d_Q sees at the same levels.
        low, high = read_settings(ExcerptSettings, self.config.excerpts, recipe=self.config.name).gain
        if "pairs" in batch:
            gain = low + (high - low) * torch.rand(batch["pairs"].shape[:2], generator=rng)
            batch = batch | {"pairs": gain.to(batch["pairs"])[..., None, None] * batch["pairs"]}

        def mixed(kind: str, paired: Callable[[Tensor], Tensor]) -> Callable[[], tuple[int, Tensor, Tensor]]:
            """Draw after draw of a kind: its number, what it is, and which of it are a pair's instead, as ``paired``
            makes it."""
            draws = iter(range(batch[kind].shape[1]))

            def draw() -> tuple[int, Tensor, Tensor]:
                k = next(draws)
                y = batch[kind][:, k]
                chosen = torch.zeros(len(y), dtype=torch.bool, device=y.device)
                if not self.settings.paired_share:
                    return k, y, chosen
                chosen = torch.rand(len(y), generator=rng).to(y.device) < self.settings.paired_share
                pair = batch["pairs"][:, k % batch["pairs"].shape[1]]
                return k, torch.where(chosen[:, None], paired(pair), y), chosen

            return draw

        solos = mixed("solos", lambda pair: pair[:, 0])
        accompaniments = mixed("accompaniments", lambda pair: pair[:, 1])
        mixtures = mixed("mixtures", lambda pair: pair.sum(dim=1))
        pairs = iter(range(self.settings.rounds))

        def generated() -> Joint:
            k, mixture, chosen = mixtures()
            labels = batch["mixture_songs"][:, k]
            if self.settings.paired_share:  # songs of the pairs count downwards
                labels = torch.where(chosen, -1 - batch["pair_songs"][:, k % batch["pairs"].shape[1]], labels)
            return self._generated(mixture, labels=labels)

        real: dict[str, Source] = {
            "target": lambda: Joint({"target": self._real(solos()[1])}),
            "accompaniment": lambda: Joint({"accompaniment": self._real(accompaniments()[1])}),
            "sources": lambda: self._pairs(batch, next(pairs)),
        }
        return real, generated

    def step(self, batch: Batch) -> dict[str, float]:
        """As of the other objectives; a round whose pairs are all of one song teaches d_P nothing.

        Raises
        ------
        ModelError
            The pairs are all of one song, batch after batch.
        """
        terms = super().step(batch)
        if self.settings.dependency:
            self._alone = 0 if "loss d_P(sources)" in terms else self._alone + 1
            if self._alone == _PATIENCE:
                message = "all pairs are of one song: two are needed to tell what belongs together from what does not"
                raise ModelError(message, source=self.config.name, stage="train")
        return terms
