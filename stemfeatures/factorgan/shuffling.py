"""Parts put together at random, and never two that belong together.

A random permutation leaves one pair of a batch intact on average, which is label noise for the discriminators of
dependency. Here no two parts of a shuffled example come from the same row (nor, with labels, from rows of one label),
so that for independent rows the shuffled examples follow exactly the product of the parts' marginals.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .partition import Group, Joint


def partners(n_rows: int, n_parts: int, *, labels: Tensor | None = None, rng: torch.Generator | None = None) -> Tensor:
    """Rows of which shuffled examples are made.

    The rows are put in a random order, those of one label beside each other, and part k is shifted by an offset of its
    own, drawn at random; with at most m rows a label, offsets of two parts lie at least m apart on the circle.

    Parameters
    ----------
    labels : (n_rows,) integers; None: every row is of its own label.
    rng : on the CPU; None: torch's own.

    Returns
    -------
    (n_parts, n): part ``k`` of example ``i`` is that of row ``[k, i]``. Row 0 is ascending: the first part stays.
    ``n`` is ``n_rows`` unless one label is so frequent that there are not enough others to go with it; some of its
    rows, chosen at random, are left out then. Every part uses the same rows, each once.

    Raises
    ------
    ValueError : fewer labels (or rows) than parts.
    """
    label = torch.arange(n_rows) if labels is None else torch.unique(labels.cpu(), return_inverse=True)[1]
    counts = torch.bincount(label, minlength=1)
    if len(counts) < n_parts:
        kind = "rows" if labels is None else "labels"
        raise ValueError(f"{n_parts} parts cannot be shuffled among {len(counts)} {kind}")
    most = int(counts.max())
    while int(counts.clamp(max=most).sum()) < n_parts * most:
        most -= 1
    order = torch.randperm(n_rows, generator=rng)
    rank = torch.randperm(len(counts), generator=rng)[label[order]]
    rank, places = torch.sort(rank, stable=True)
    order = order[places]
    first = torch.searchsorted(rank, rank)  # where the label's rows begin
    order = order[torch.arange(n_rows) - first < most]
    n = len(order)
    slack = torch.randint(n - n_parts * most + 1, (n_parts - 1,), generator=rng).sort().values
    offsets = slack + most * torch.arange(1, n_parts)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), offsets[torch.randperm(n_parts - 1, generator=rng)]])
    rows = order[(torch.arange(n) + offsets[:, None]) % n]
    return rows[:, torch.argsort(rows[0])]


def shuffle_parts(joint: Joint, group: Group, *, rng: torch.Generator | None = None) -> tuple[Joint, Joint]:
    """``(together, shuffled)``: a batch of a group, and its parts put together anew; see :func:`partners`.

    A part that is a group itself moves as a whole. Both batches are made of the same rows, so that they differ in
    nothing but in what belongs together.
    """
    leaves = group.leaves
    values = joint.pick(leaves)
    rows = partners(len(values[0]), len(group.parts), labels=joint.labels, rng=rng).to(values[0].device)
    moved = {leaf.name: rows[k] for k, part in enumerate(group.parts) for leaf in part.leaves}
    together = {leaf.name: value[rows[0]] for leaf, value in zip(leaves, values)}
    return Joint(together), Joint({leaf.name: value[moved[leaf.name]] for leaf, value in zip(leaves, values)})
