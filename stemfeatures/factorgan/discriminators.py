"""The discriminators of a partition, what each learns, and their sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .normalisation import spectrally_normalised
from .partition import Group, Joint, Variable, concatenate
from .shuffling import shuffle_members

#: Draws a batch.
Source = Callable[[], Joint]


class FactorGAN(nn.Module):
    """The factorised discriminator of a partition.

    The logit of a node is

    * 0, where all of it is given;
    * ``d(x)``, where it has a discriminator of its own in ``marginals`` (every variable that is not given must have
      one; a group may, and is then not factorised: a plain GAN is a single node with such a discriminator);
    * the sum of its members' logits ``+ d_P(x) - d_Q(x)`` for any other group.

    Parameters
    ----------
    partition : Variable or Group
        What an example is made of.
    marginals : Mapping of str to torch.nn.Module
        Discriminators by name of a variable or group, each from what ``combine`` makes of the node's leaves to logits.
    real_dependencies : Mapping of str to torch.nn.Module, optional
        d_P by name of a group. A group without one is taken to have independent members in the data: no complete
        example is needed then, and no dependency learned ("FactorGAN-no-cp").
    generated_dependencies : Mapping of str to torch.nn.Module, optional
        d_Q by name of a group.
    combine : callable, optional
        Makes the input of a network of the tensors of several variables, in the order of the partition.

    Raises
    ------
    ValueError
        A network is missing, or stands for nothing in the partition.
    """

    def __init__(
        self,
        partition: Variable | Group,
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
        partition: Variable | Group,
        marginal: Callable[[Variable | Group], nn.Module],
        dependency: Callable[[Group], nn.Module],
        *,
        combine: Callable[[list[Tensor]], Tensor] = concatenate,
        real_dependencies: bool = True,
        normalise_real: bool = True,
    ) -> FactorGAN:
        """Make networks for each node, spectrally normalised as in the paper.

        Parameters
        ----------
        partition : Variable or Group
            What an example is made of.
        marginal : callable
            Makes the discriminator of a variable.
        dependency : callable
            Makes d_P or d_Q of a group.
        combine : callable, optional
            Makes the input of a network of the tensors of several variables.
        real_dependencies : bool, optional
            Whether there is a d_P.
        normalise_real : bool, optional
            Whether d_P is normalised as d_i and d_Q are; it easily learns few complete examples by heart.

        Returns
        -------
        FactorGAN
            With a discriminator for every variable that is not given.

        Raises
        ------
        ValueError
            All variables are given.
        """
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
        """The summands of the logit.

        Parameters
        ----------
        joint : Joint
            Complete examples.

        Returns
        -------
        dict of str to Tensor
            With their sign: ``d(node)``, ``d_P(group)``, ``-d_Q(group)``, in the shape that the networks give.
        """
        found = {f"d({node.name})": self.marginals[node.name](self._input(joint, node)) for node in self._whole}
        for group in self._factored:
            if group.name in self.real_dependencies:
                found[f"d_P({group.name})"] = self.real_dependencies[group.name](self._input(joint, group))
            found[f"-d_Q({group.name})"] = -self.generated_dependencies[group.name](self._input(joint, group))
        return found

    def forward(self, joint: Joint) -> Tensor:
        """The summed logit.

        Parameters
        ----------
        joint : Joint
            Complete examples.

        Returns
        -------
        Tensor
            An estimate of log p(x)/q(x), in the shape that the networks give.
        """
        return torch.stack(list(self.terms(joint).values())).sum(dim=0)

    def losses(
        self, real: Mapping[str, Source], generated: Source, *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The losses of the discriminators: cross-entropies of their logits, of networks that share no weights.

        Parameters
        ----------
        real : Mapping of str to callable
            For each of :attr:`sources`, what draws real examples: of a variable or group alone for its marginal, of
            complete groups for their dependency.
        generated : callable
            Draws complete examples of the generator, a fresh batch for every discriminator; they are made without
            gradients.
        rng : torch.Generator, optional
            Of the shuffles, on the CPU; None: torch's own.

        Returns
        -------
        dict of str to Tensor
            ``d(node)``, ``d_P(group)``, ``d_Q(group)``: mean over real plus mean over false examples, 2 log 2 where
            nothing is known. A d_P or d_Q is left out where its batch has fewer labels than the group has members, and
            nothing can be shuffled.

        Raises
        ------
        ValueError
            ``real`` lacks one of the sources.
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
                if joint.n_labels >= len(group.members):
                    losses[f"d_P({group.name})"] = self._dependency_loss(net, group, joint, rng)
            net, joint = self.generated_dependencies[group.name], _drawn(generated)
            if joint.n_labels >= len(group.members):
                losses[f"d_Q({group.name})"] = self._dependency_loss(net, group, joint, rng)
        return losses

    def _dependency_loss(self, net: nn.Module, group: Group, joint: Joint, rng: torch.Generator | None) -> Tensor:
        together, shuffled = shuffle_members(joint, group, rng=rng)
        return _cross_entropy(net, self._input(together, group), self._input(shuffled, group))

    def _input(self, joint: Joint, node: Variable | Group) -> Tensor:
        values = joint.pick(node.leaves)
        return values[0] if isinstance(node, Variable) else self.combine(values)


def _split(partition: Variable | Group, marginals: nn.ModuleDict | None) -> tuple[list[Variable | Group], list[Group]]:
    """Nodes with a discriminator of their own (None: all variables, no group), and groups that are factorised."""
    whole: list[Variable | Group] = []
    factored: list[Group] = []

    def visit(node: Variable | Group) -> None:
        if node.given:
            return
        if isinstance(node, Variable) if marginals is None else node.name in marginals:
            whole.append(node)
        elif isinstance(node, Group):
            factored.append(node)
            for member in node.members:
                visit(member)
        else:
            raise ValueError(f"no discriminator for variable {node.name!r}")

    visit(partition)
    if not whole:
        raise ValueError("all variables are given: there is nothing to generate")
    return whole, factored


def _drawn(generated: Source) -> Joint:
    with torch.no_grad():
        return generated().detach()


def _cross_entropy(net: nn.Module, true: Tensor, false: Tensor) -> Tensor:
    """-log sigmoid(d(true)) - log(1 - sigmoid(d(false))), each averaged for itself, so that batches may differ in size;
    its minimum is at d = log of the ratio of the densities."""
    logits = net(torch.cat([true, false]))
    return F.softplus(-logits[: len(true)]).mean() + F.softplus(logits[len(true) :]).mean()
