"""One generator against a :class:`~.discriminators.FactorGAN`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .discriminators import FactorGAN, Source

GENERATOR_LOSSES = ("JSD", "KL")


def generator_loss(logit: Tensor, loss: str = "JSD") -> Tensor:
    """The loss of the generator, of the summed logit of its examples.

    Parameters
    ----------
    logit : Tensor
        D(x) of generated examples, any shape.
    loss : str, optional
        ``JSD``: -log sigmoid(D(x)), the non-saturating loss of Goodfellow et al. (2014). ``KL``: -D(x), whose mean over
        the generator's examples is KL(q || p) where D = log p/q.

    Returns
    -------
    Tensor
        The mean over all elements.

    Raises
    ------
    ValueError
        Another loss.

    Examples
    --------
    >>> float(generator_loss(torch.tensor([1.0, 3.0]), "KL"))
    -2.0
    """
    if loss == "JSD":
        return F.softplus(-logit).mean()
    if loss == "KL":
        return -logit.mean()
    raise ValueError(f"unknown loss {loss!r}; known: {', '.join(GENERATOR_LOSSES)}")


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """A context in which gradients run through networks and none arrives at their weights.

    Parameters
    ----------
    *modules : torch.nn.Module
        The networks.
    """
    weights = [p for module in modules for p in module.parameters() if p.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


class GanTrainer:
    """Steps of adversarial training; the defaults are the paper's.

    Parameters
    ----------
    discriminator : FactorGAN
        The discriminators.
    generator_weights : iterable of torch.nn.Parameter
        What the generator's steps change.
    learning_rate : float, optional
        Of all optimisers.
    betas : tuple of float, optional
        Of Adam.
    rounds : int, optional
        Steps of all discriminators before each of the generator.
    loss : str, optional
        Of the generator, ``JSD`` or ``KL``, see :func:`generator_loss`.

    Raises
    ------
    ValueError
        Another loss.
    """

    def __init__(
        self,
        discriminator: FactorGAN,
        generator_weights: Iterable[nn.Parameter],
        *,
        learning_rate: float = 1e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        rounds: int = 2,
        loss: str = "JSD",
    ) -> None:
        if loss not in GENERATOR_LOSSES:
            raise ValueError(f"unknown loss {loss!r}; known: {', '.join(GENERATOR_LOSSES)}")
        self.discriminator, self.rounds, self.loss = discriminator, rounds, loss
        self.generator_optimizer = torch.optim.Adam(generator_weights, lr=learning_rate, betas=betas)
        # One optimiser for all discriminators is as good as one for each: Adam looks at every weight alone.
        self.optimizer = torch.optim.Adam(discriminator.parameters(), lr=learning_rate, betas=betas)

    def step(
        self, real: Mapping[str, Source], generated: Source, *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """``rounds`` steps of the discriminators and one of the generator.

        Parameters
        ----------
        real : Mapping of str to callable
            As for :meth:`FactorGAN.losses`.
        generated : callable
            The same; for the generator's own step it is called with gradients.
        rng : torch.Generator, optional
            Of the shuffles.

        Returns
        -------
        dict of str to Tensor
            The last losses and mean logits, detached.
        """
        terms: dict[str, Tensor] = {}
        for _ in range(self.rounds):
            terms = self.discriminate(real, generated, rng=rng)
        return {**terms, **self.generate(generated)}

    def discriminate(
        self, real: Mapping[str, Source], generated: Source, *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """One step of every discriminator; the generator stays as it is.

        Parameters
        ----------
        real : Mapping of str to callable
            As for :meth:`FactorGAN.losses`.
        generated : callable
            The same.
        rng : torch.Generator, optional
            Of the shuffles.

        Returns
        -------
        dict of str to Tensor
            ``loss NAME`` of every discriminator, detached.
        """
        losses = self.discriminator.losses(real, generated, rng=rng)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        return {f"loss {name}": loss.detach() for name, loss in losses.items()}

    def generate(self, generated: Source) -> dict[str, Tensor]:
        """One step of the generator; the discriminators stay as they are.

        Parameters
        ----------
        generated : callable
            Draws complete examples of the generator, with gradients.

        Returns
        -------
        dict of str to Tensor
            ``generator``, its loss, and the mean of every term of the logit, detached.
        """
        with frozen(self.discriminator):
            terms = self.discriminator.terms(generated())
            logit = torch.stack(list(terms.values())).sum(dim=0)
            loss = generator_loss(logit, self.loss)
            self.generator_optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self.generator_optimizer.step()
        return {"generator": loss.detach(), **{name: term.detach().mean() for name, term in terms.items()}}

    def state_dict(self) -> dict[str, Any]:
        """What training needs to go on, besides the generator's weights.

        Returns
        -------
        dict
            For :meth:`load_state_dict`.
        """
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Parameters
        ----------
        state : Mapping
            Of :meth:`state_dict`.
        """
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
