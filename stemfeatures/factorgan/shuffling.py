"""Variables put together at random, and never two that belong together.

A random permutation leaves one pair of a batch intact on average, which is label noise for the discriminators of
dependency. Here no two members of a shuffled example come from the same row (nor, with labels, from rows of one label),
so that for independent rows the shuffled examples follow exactly the product of the members' marginals.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .partition import Group, Joint


def partners(
    n_rows: int, n_members: int, *, labels: Tensor | None = None, rng: torch.Generator | None = None
) -> Tensor:
    """Rows of which shuffled examples are made.

    The rows are put in a random order, those of one label beside each other, and member k is shifted by an offset of
    its own, drawn at random; with at most m rows a label, offsets of two members lie at least m apart on the circle.

    Parameters
    ----------
    n_rows : int
        Examples of the batch.
    n_members : int
        Members of the group.
    labels : Tensor, optional
        ``(n_rows,)`` integers; None: every row is of its own label.
    rng : torch.Generator, optional
        On the CPU; None: torch's own.

    Returns
    -------
    Tensor
        ``(n_members, n)``: member ``k`` of example ``i`` is that of row ``[k, i]``. Row 0 is ascending: the first
        member stays. ``n`` is ``n_rows`` unless one label is so frequent that there are not enough others to go with
        it; some of its rows, chosen at random, are left out then. Every member uses the same rows, each once.

    Raises
    ------
    ValueError
        Fewer labels (or rows) than members.
    """
    label = torch.arange(n_rows) if labels is None else torch.unique(labels.cpu(), return_inverse=True)[1]
    counts = torch.bincount(label, minlength=1)
    if len(counts) < n_members:
        kind = "rows" if labels is None else "labels"
        raise ValueError(f"{n_members} members cannot be shuffled among {len(counts)} {kind}")
    most = int(counts.max())
    while int(counts.clamp(max=most).sum()) < n_members * most:
        most -= 1
    order = torch.randperm(n_rows, generator=rng)
    rank = torch.randperm(len(counts), generator=rng)[label[order]]
    rank, places = torch.sort(rank, stable=True)
    order = order[places]
    first = torch.searchsorted(rank, rank)  # where the label's rows begin
    order = order[torch.arange(n_rows) - first < most]
    n = len(order)
    slack = torch.randint(n - n_members * most + 1, (n_members - 1,), generator=rng).sort().values
    offsets = slack + most * torch.arange(1, n_members)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), offsets[torch.randperm(n_members - 1, generator=rng)]])
    rows = order[(torch.arange(n) + offsets[:, None]) % n]
    return rows[:, torch.argsort(rows[0])]


def shuffle_members(joint: Joint, group: Group, *, rng: torch.Generator | None = None) -> tuple[Joint, Joint]:
    """A batch of a group as it is, and with its members put together anew; see :func:`partners`.

    A member that is a group itself moves as a whole. Both batches are made of the same rows, so that they differ in
    nothing but in what belongs together.

    Parameters
    ----------
    joint : Joint
        The batch.
    group : Group
        Whose members are shuffled.
    rng : torch.Generator, optional
        On the CPU; None: torch's own.

    Returns
    -------
    together : Joint
        Rows of the batch.
    shuffled : Joint
        The same rows, members of different ones together.

    Raises
    ------
    ValueError
        Fewer labels (or rows) than members.
    """
    leaves = group.leaves
    values = joint.pick(leaves)
    rows = partners(len(values[0]), len(group.members), labels=joint.labels, rng=rng).to(values[0].device)
    moved = {leaf.name: rows[k] for k, member in enumerate(group.members) for leaf in member.leaves}
    together = {leaf.name: value[rows[0]] for leaf, value in zip(leaves, values)}
    return Joint(together), Joint({leaf.name: value[moved[leaf.name]] for leaf, value in zip(leaves, values)})
