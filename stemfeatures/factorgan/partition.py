"""How variables are split into parts, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """One part of the variables.

    Attributes
    ----------
    name : key of its tensor in a :class:`Joint`.
    given : an input of the generator, distributed in generated examples as in real ones: q(x_i) = p(x_i), so that its
        marginal ratio is one and drops out (the conditional case).
    """

    name: str
    given: bool = False

    @property
    def leaves(self) -> tuple[Part, ...]:
        return (self,)

    def walk(self) -> Iterator[Part | Group]:
        """This node and all below it."""
        yield self


@dataclass(frozen=True)
class Group:
    """Parts, some of which may be groups themselves: a hierarchical partition.

    The factorisation holds at every level, the ratio of a group being what its own parts make of it, so that
    D(group) = sum over its parts of D(part) + d_P(group) - d_Q(group).

    Raises
    ------
    ValueError : fewer than two parts, or two nodes of one name.
    """

    name: str
    parts: tuple[Part | Group, ...]

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError(f"group {self.name!r} needs at least two parts")
        names = [node.name for node in self.walk()]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two parts or groups are called {', '.join(double)}")

    @property
    def given(self) -> bool:
        """Whether all of it is."""
        return all(part.given for part in self.parts)

    @property
    def leaves(self) -> tuple[Part, ...]:
        return tuple(leaf for part in self.parts for leaf in part.leaves)

    def walk(self) -> Iterator[Part | Group]:
        """This node and all below it, in order."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Joint:
    """A batch of parts: row ``i`` of every tensor belongs to example ``i``.

    Attributes
    ----------
    values : ``{name of a part: (batch, ...)}``.
    labels : (batch,) integers, or None. A shuffle never puts together parts of equal label; windows of one song, which
        belong together somewhat even when they were not cut at the same time, carry the number of the song.

    Raises
    ------
    ValueError : the tensors differ in their number of examples.
    """

    values: Mapping[str, Tensor]
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        sizes = {name: len(value) for name, value in self.values.items()}
        if self.labels is not None:
            sizes["labels"] = len(self.labels)
        if len(set(sizes.values())) > 1:
            raise ValueError(f"parts of one batch differ in length: {sizes}")

    @property
    def n_labels(self) -> int:
        """How many examples, or labels where there are some, a shuffle can choose from."""
        if self.labels is not None:
            return len(torch.unique(self.labels))
        return min((len(value) for value in self.values.values()), default=0)

    def detach(self) -> Joint:
        """The same without its history."""
        return Joint({name: value.detach() for name, value in self.values.items()}, self.labels)

    def pick(self, leaves: tuple[Part, ...]) -> list[Tensor]:
        """The tensors of some parts, in order.

        Raises
        ------
        KeyError : there is no such part.
        """
        if missing := [leaf.name for leaf in leaves if leaf.name not in self.values]:
            raise KeyError(f"a batch of {', '.join(self.values) or 'nothing'} lacks {', '.join(missing)}")
        return [self.values[leaf.name] for leaf in leaves]


def concatenate(values: list[Tensor]) -> Tensor:
    """Parts side by side in dimension 1 (channels of images, features of vectors)."""
    return torch.cat(values, dim=1)
