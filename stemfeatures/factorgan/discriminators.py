"""The discriminators of a partition, what each learns, and their sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .normalisation import spectrally_normalised
from .partition import Group, Joint, Part, concatenate
from .shuffling import shuffle_parts

#: Draws a batch.
Source = Callable[[], Joint]


class FactorGAN(nn.Module):
    """The factorised discriminator of a partition.

    The logit of a node is

    * 0, where all of it is given;
    * ``d(x)``, where it has a discriminator of its own in ``marginals`` (every part that is not given must have one;
      a group may, and is then not factorised: a plain GAN is a single node with such a discriminator);
    * the sum of its parts' logits ``+ d_P(x) - d_Q(x)`` for any other group.

    Parameters
    ----------
    marginals : ``{part or group: network}``, each from what ``combine`` makes of the node's leaves to logits.
    real_dependencies : ``{group: d_P}``. A group without one is taken to have independent parts in the data: no
        complete example is needed then, and no dependency learned ("FactorGAN-no-cp").
    generated_dependencies : ``{group: d_Q}``.
    combine : makes the input of a network of the tensors of several parts, in the order of the partition.

    Raises
    ------
    ValueError : a network is missing, or stands for nothing in the partition.
    """

    def __init__(
        self,
        partition: Part | Group,
        *,
        marginals: Mapping[str, nn.Module],
        real_dependencies: Mapping[str, nn.Module] | None = None,
        generated_dependencies: Mapping[str, nn.Module] | None = None,
        combine: Callable[[list[Tensor]], Tensor] = concatenate,
    ) -> None:
        super().__init__()
        self.partition, self.combine = partition, combine
        self.marginals = nn.ModuleDict(marginals)
        self.real_dependencies = nn.ModuleDict(real_dependencies or {})
        self.generated_dependencies = nn.ModuleDict(generated_dependencies or {})
        self._whole, self._factored = _split(partition, self.marginals)
        groups = {group.name for group in self._factored}
        if missing := sorted(groups - set(self.generated_dependencies)):
            raise ValueError(f"no discriminator of generated dependencies for {', '.join(missing)}")
        named = {*self.marginals} - {node.name for node in self._whole}
        named |= ({*self.real_dependencies} | {*self.generated_dependencies}) - groups
        if named:
            raise ValueError(f"networks for {', '.join(sorted(named))}, which the partition has no use for")

    @classmethod
    def build(
        cls,
        partition: Part | Group,
        marginal: Callable[[Part | Group], nn.Module],
        dependency: Callable[[Group], nn.Module],
        *,
        combine: Callable[[list[Tensor]], Tensor] = concatenate,
        real_dependencies: bool = True,
        normalise_real: bool = True,
    ) -> FactorGAN:
        """With networks that are made for each node, spectrally normalised as in the paper: d_i and d_Q always, d_P
        where ``normalise_real`` says so (few complete examples are easily learned by heart). Without
        ``real_dependencies`` there is no d_P."""
        whole, factored = _split(partition, None)
        real = {}
        if real_dependencies:
            real = {group.name: dependency(group) for group in factored}
        return cls(
            partition,
            marginals={node.name: spectrally_normalised(marginal(node)) for node in whole},
            real_dependencies={k: spectrally_normalised(net) if normalise_real else net for k, net in real.items()},
            generated_dependencies={group.name: spectrally_normalised(dependency(group)) for group in factored},
            combine=combine,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes of which real examples are needed: those with a marginal discriminator, and groups with a d_P."""
        return (*(node.name for node in self._whole), *self.real_dependencies)

    def terms(self, joint: Joint) -> dict[str, Tensor]:
        """The summands of the logit, with their sign: ``d(node)``, ``d_P(group)``, ``-d_Q(group)``."""
        found = {f"d({node.name})": self.marginals[node.name](self._input(joint, node)) for node in self._whole}
        for group in self._factored:
            if group.name in self.real_dependencies:
                found[f"d_P({group.name})"] = self.real_dependencies[group.name](self._input(joint, group))
            found[f"-d_Q({group.name})"] = -self.generated_dependencies[group.name](self._input(joint, group))
        return found

    def forward(self, joint: Joint) -> Tensor:
        """The summed logit, an estimate of log p(x)/q(x), in the shape that the networks give."""
        return torch.stack(list(self.terms(joint).values())).sum(dim=0)

    def losses(
        self, real: Mapping[str, Source], generated: Source, *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """What every discriminator learns from: cross-entropies of their logits, of networks that share no weights.

        Parameters
        ----------
        real : for each of :attr:`sources`, what draws real examples: of a part or group alone for its marginal, of
            complete groups for their dependency.
        generated : draws complete examples of the generator, a fresh batch for every discriminator that asks; they are
            made without gradients.
        rng : of the shuffles, on the CPU; None: torch's own.

        Returns
        -------
        ``{"d(node)" | "d_P(group)" | "d_Q(group)": mean over real + mean over false}``, 2 log 2 where nothing is known.
        A d_P or d_Q is left out where its batch has fewer labels than the group has parts, and nothing can be shuffled.
        """
        if missing := [name for name in self.sources if name not in real]:
            raise ValueError(f"no source of real examples of {', '.join(missing)}")
        losses = {}
        for node in self._whole:
            true, false = self._input(real[node.name](), node), self._input(_drawn(generated), node)
            losses[f"d({node.name})"] = _cross_entropy(self.marginals[node.name], true, false)
        for group in self._factored:
            if group.name in self.real_dependencies:
                net, joint = self.real_dependencies[group.name], real[group.name]()
                if joint.n_labels >= len(group.parts):
                    losses[f"d_P({group.name})"] = self._dependency_loss(net, group, joint, rng)
            net, joint = self.generated_dependencies[group.name], _drawn(generated)
            if joint.n_labels >= len(group.parts):
                losses[f"d_Q({group.name})"] = self._dependency_loss(net, group, joint, rng)
        return losses

    def _dependency_loss(self, net: nn.Module, group: Group, joint: Joint, rng: torch.Generator | None) -> Tensor:
        together, shuffled = shuffle_parts(joint, group, rng=rng)
        return _cross_entropy(net, self._input(together, group), self._input(shuffled, group))

    def _input(self, joint: Joint, node: Part | Group) -> Tensor:
        values = joint.pick(node.leaves)
        return values[0] if isinstance(node, Part) else self.combine(values)


def _split(partition: Part | Group, marginals: nn.ModuleDict | None) -> tuple[list[Part | Group], list[Group]]:
    """Nodes with a discriminator of their own (None: all parts, no group), and groups that are factorised."""
    whole: list[Part | Group] = []
    factored: list[Group] = []

    def visit(node: Part | Group) -> None:
        if node.given:
            return
        if isinstance(node, Part) if marginals is None else node.name in marginals:
            whole.append(node)
        elif isinstance(node, Group):
            factored.append(node)
            for part in node.parts:
                visit(part)
        else:
            raise ValueError(f"no discriminator for part {node.name!r}")

    visit(partition)
    if not whole:
        raise ValueError("all parts are given: there is nothing to generate")
    return whole, factored


def _drawn(generated: Source) -> Joint:
    with torch.no_grad():
        return generated().detach()


def _cross_entropy(net: nn.Module, true: Tensor, false: Tensor) -> Tensor:
    """-log sigmoid(d(true)) - log(1 - sigmoid(d(false))), each averaged for itself, so that batches may differ in size;
    its minimum is at d = log of the ratio of the densities."""
    logits = net(torch.cat([true, false]))
    return F.softplus(-logits[: len(true)]).mean() + F.softplus(logits[len(true) :]).mean()
