"""A partition of the variables of an example, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Variable:
    """One variable of an example.

    Attributes
    ----------
    name : str
        Key of its tensor in a :class:`Joint`.
    given : bool
        Whether it is an input of the generator, distributed in generated examples as in real ones: q(x_i) = p(x_i), so
        that its marginal ratio is one and drops out (the conditional case).
    """

    name: str
    given: bool = False

    @property
    def leaves(self) -> tuple[Variable, ...]:
        """Itself."""
        return (self,)

    def walk(self) -> Iterator[Variable | Group]:
        """Walk over this node.

        Yields
        ------
        Variable
            Itself.
        """
        yield self


@dataclass(frozen=True)
class Group:
    """Variables, or groups of them: a hierarchical partition.

    The factorisation holds at every level, the ratio of a group following from its members', so that
    D(group) = sum over its members of D(member) + d_P(group) - d_Q(group).

    Attributes
    ----------
    name : str
        Name of the group.
    members : tuple of Variable or Group
        Two or more.

    Raises
    ------
    ValueError
        Fewer than two members, or two nodes of one name.

    Examples
    --------
    >>> pair = Group("pair", (Variable("target"), Variable("accompaniment")))
    >>> [node.name for node in pair.walk()]
    ['pair', 'target', 'accompaniment']
    """

    name: str
    members: tuple[Variable | Group, ...]

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ValueError(f"group {self.name!r} needs at least two members")
        names = [node.name for node in self.walk()]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two variables or groups are called {', '.join(double)}")

    @property
    def given(self) -> bool:
        """Whether all of its members are."""
        return all(member.given for member in self.members)

    @property
    def leaves(self) -> tuple[Variable, ...]:
        """The variables below it, in order."""
        return tuple(leaf for member in self.members for leaf in member.leaves)

    def walk(self) -> Iterator[Variable | Group]:
        """Walk over this node and all below it.

        Yields
        ------
        Variable or Group
            In order, itself first.
        """
        yield self
        for member in self.members:
            yield from member.walk()


@dataclass(frozen=True)
class Joint:
    """A batch of variables: row ``i`` of every tensor belongs to example ``i``.

    Attributes
    ----------
    values : Mapping of str to Tensor
        ``(batch, ...)`` by name of the variable.
    labels : Tensor or None
        ``(batch,)`` integers. A shuffle never puts together variables of equal label; windows of one song, which belong
        together somewhat even when they were not cut at the same time, carry the number of the song.

    Raises
    ------
    ValueError
        The tensors differ in their number of examples.
    """

    values: Mapping[str, Tensor]
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        sizes = {name: len(value) for name, value in self.values.items()}
        if self.labels is not None:
            sizes["labels"] = len(self.labels)
        if len(set(sizes.values())) > 1:
            raise ValueError(f"variables of one batch differ in length: {sizes}")

    @property
    def n_labels(self) -> int:
        """How many examples, or labels where there are some, a shuffle can choose from."""
        if self.labels is not None:
            return len(torch.unique(self.labels))
        return min((len(value) for value in self.values.values()), default=0)

    def detach(self) -> Joint:
        """The same without its history.

        Returns
        -------
        Joint
            Shares its memory with this one.
        """
        return Joint({name: value.detach() for name, value in self.values.items()}, self.labels)

    def pick(self, leaves: tuple[Variable, ...]) -> list[Tensor]:
        """The tensors of some variables.

        Parameters
        ----------
        leaves : tuple of Variable
            Which.

        Returns
        -------
        list of Tensor
            In their order.

        Raises
        ------
        KeyError
            There is no such variable.
        """
        if missing := [leaf.name for leaf in leaves if leaf.name not in self.values]:
            raise KeyError(f"a batch of {', '.join(self.values) or 'nothing'} lacks {', '.join(missing)}")
        return [self.values[leaf.name] for leaf in leaves]


def concatenate(values: list[Tensor]) -> Tensor:
    """Put variables side by side in dimension 1 (channels of images, features of vectors).

    Parameters
    ----------
    values : list of Tensor
        ``(batch, n, ...)``, alike but for ``n``.

    Returns
    -------
    Tensor
        ``(batch, sum of n, ...)``.
    """
    return torch.cat(values, dim=1)
