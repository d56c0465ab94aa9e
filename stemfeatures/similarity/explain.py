"""Why two tracks are near: which descriptors make them so.

A coordinate ``j`` contributes ``s_j = (q_j - x_j)^2`` to the squared distance of query ``q`` and track ``x``; to that
of ``q`` and a random track it contributes ``e_j = (q_j - mean_j)^2 + variance_j`` on average. The difference
``e_j - s_j`` is what the coordinate does to bring them together, and all of them add up to how much nearer ``x`` is
than a random track. So to share something unusual counts for much, to share what all tracks have counts for little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..tables.reader import Features
from ..vectors.columns import matrix_columns, scale_of, split_column
from .index import SimilarityIndex
from .neighbours import Neighbours
from .search import Space


@dataclass(frozen=True)
class Reason:
    """What one descriptor does to a distance.

    Attributes
    ----------
    stem, family, descriptor : str
        A field of table ``stems``, or the name of several (``chroma``, ``mfcc_mean``).
    unit : str
        Of the values.
    query, neighbour : object
        Its values in the two tracks; None where it cannot be measured, or stands for several numbers.
    gain : float
        How much it lowers the squared distance against that to a random track; negative if it raises it.
    single : bool
        Whether the descriptor is one number or word.
    """

    stem: str
    family: str
    descriptor: str
    unit: str
    query: Any
    neighbour: Any
    gain: float
    single: bool


@dataclass(frozen=True)
class Explanation:
    """The reasons for one neighbour, the strongest first.

    Attributes
    ----------
    near : list of Reason
        Descriptors that bring the two together.
    far : list of Reason
        Descriptors in which they are further apart than random tracks.
    unlike : list of Reason
        Descriptors that make them different where they shall be (with contrast only).
    """

    near: list[Reason]
    far: list[Reason]
    unlike: list[Reason]


def explain(
    index: SimilarityIndex,
    features: Features,
    found: Neighbours,
    *,
    n: int = 4,
    query: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Explanation]:
    """For each neighbour, up to ``n`` reasons of each kind. Values come from the tables as they are now; those of a
    query that is not in the tables from ``query``, by stem and field."""
    values = _values(features, [found.query, *found.track_ids], [found.near, *([found.unlike] if found.unlike else [])])
    values |= {(found.query, stem): dict(own) for stem, own in (query or {}).items()}
    row = np.array([index.row(found.query)])
    near = _reasons(index, features, row, found, found.near, values)
    unlike = _reasons(index, features, row, found, found.unlike, values) if found.unlike else [[]] * len(found.rows)
    explanations = []
    for reasons, others in zip(near, unlike):
        helpful = sorted((r for r in reasons if r.gain > 0), key=lambda r: -r.gain)
        harmful = sorted((r for r in reasons if r.gain < 0), key=lambda r: r.gain)
        different = sorted((r for r in others if r.gain < 0), key=lambda r: r.gain)
        explanations.append(Explanation(helpful[:n], harmful[:n], different[:n]))
    return explanations


def _reasons(
    index: SimilarityIndex,
    features: Features,
    query: np.ndarray,
    found: Neighbours,
    space: Space,
    values: dict[tuple[str, str], dict[str, Any]],
) -> list[list[Reason]]:
    units = {f.name: f.unit for f in features.fields("stems")}
    scale = space.scale
    q = index.store.take(query, space.blocks)[0] * scale
    tracks = index.store.take(found.rows, space.blocks) * scale
    mean = np.concatenate([b.mean for b in space.blocks]) * scale
    variance = np.concatenate([b.variance for b in space.blocks]) * scale**2
    gains = (q - mean) ** 2 + variance - (tracks - q) ** 2
    groups: dict[tuple[str, str, str], list[int]] = {}
    for j, (block, column) in enumerate((b, c) for b in space.blocks for c in b.columns):
        groups.setdefault((block.stem, block.family, _descriptor(column)), []).append(j)
    answers = []
    for track_id, gain in zip(found.track_ids, gains):
        reasons = []
        for (stem, family, name), members in groups.items():
            pair = [values.get((track, stem), {}).get(name) for track in (found.query, track_id)]
            total = float(gain[members].sum())
            reasons.append(Reason(stem, family, name, units.get(name, ""), pair[0], pair[1], total, name in units))
        answers.append(reasons)
    return answers


def _descriptor(column: str) -> str:
    """What a matrix column belongs to: a key's two columns are one descriptor, as are vectors and the coefficients of a
    series, which say more together than one by one."""
    name = split_column(column)[1]
    if vector := scale_of(name).vector:
        return vector
    known = matrix_columns().get(name)
    if known is None:
        return name
    field = known.field
    return f"{field.feature}_{field.statistic}" if field.number else field.name


def _values(
    features: Features, track_ids: Sequence[str], spaces: Sequence[Space]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of table ``stems`` by track and stem."""
    names = {_descriptor(c) for space in spaces for b in space.blocks for c in b.columns}
    columns = [f.name for f in features.fields("stems") if f.name in names]
    stems = sorted({b.stem for space in spaces for b in space.blocks})
    rows = pc.field("track_id").isin(pa.array(list(track_ids), pa.string())) & pc.field("stem").isin(stems)
    found = features.to_arrow("stems", columns=["track_id", "stem", *columns], filter=rows).to_pylist()
    return {(row["track_id"], row["stem"]): row for row in found}
