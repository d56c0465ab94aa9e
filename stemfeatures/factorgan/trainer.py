"""One generator against a :class:`~.discriminators.FactorGAN`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .discriminators import FactorGAN, Source

OBJECTIVES = ("JSD", "KL")


def generator_loss(logit: Tensor, objective: str = "JSD") -> Tensor:
    """What the generator makes smaller, of the summed logit of its examples.

    ``JSD``: -log sigmoid(D(x)), the non-saturating loss of Goodfellow et al. (2014). ``KL``: -D(x), whose mean over the
    generator's examples is KL(q || p) where D = log p/q.

    Raises
    ------
    ValueError : another objective.
    """
    if objective == "JSD":
        return F.softplus(-logit).mean()
    if objective == "KL":
        return -logit.mean()
    raise ValueError(f"unknown objective {objective!r}; known: {', '.join(OBJECTIVES)}")


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Gradients run through these networks and none arrives at their weights."""
    weights = [p for module in modules for p in module.parameters() if p.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


class Adversary:
    """Steps of adversarial training; the defaults are the paper's.

    Parameters
    ----------
    game : the discriminators. generator_weights : what the generator's steps change.
    rounds : steps of all discriminators before each of the generator.
    objective : ``JSD`` or ``KL``, see :func:`generator_loss`.
    """

    def __init__(
        self,
        game: FactorGAN,
        generator_weights: Iterable[nn.Parameter],
        *,
        learning_rate: float = 1e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        rounds: int = 2,
        objective: str = "JSD",
    ) -> None:
        if objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {objective!r}; known: {', '.join(OBJECTIVES)}")
        self.game, self.rounds, self.objective = game, rounds, objective
        self.generator_optimizer = torch.optim.Adam(generator_weights, lr=learning_rate, betas=betas)
        # One optimiser for all discriminators is as good as one for each: Adam looks at every weight alone.
        self.optimizer = torch.optim.Adam(game.parameters(), lr=learning_rate, betas=betas)

    def step(
        self, real: Mapping[str, Source], generated: Source, *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """``rounds`` steps of the discriminators, one of the generator; returns the last losses and logits, detached.

        Parameters
        ----------
        real, generated, rng : as for :meth:`FactorGAN.losses`; for the generator's own step ``generated`` is called
            with gradients.
        """
        terms: dict[str, Tensor] = {}
        for _ in range(self.rounds):
            terms = self.discriminate(real, generated, rng=rng)
        return {**terms, **self.generate(generated)}

    def discriminate(
        self, real: Mapping[str, Source], generated: Source, *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """One step of every discriminator; the generator stays as it is."""
        losses = self.game.losses(real, generated, rng=rng)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        return {f"loss {name}": loss.detach() for name, loss in losses.items()}

    def generate(self, generated: Source) -> dict[str, Tensor]:
        """One step of the generator; the discriminators stay as they are."""
        with frozen(self.game):
            terms = self.game.terms(generated())
            logit = torch.stack(list(terms.values())).sum(dim=0)
            loss = generator_loss(logit, self.objective)
            self.generator_optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self.generator_optimizer.step()
        return {"generator": loss.detach(), **{name: term.detach().mean() for name, term in terms.items()}}

    def state_dict(self) -> dict[str, Any]:
        """What training needs to go on, besides the generator's weights."""
        return {
            "game": self.game.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.game.load_state_dict(state["game"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
