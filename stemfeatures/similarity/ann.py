"""Approximate search with usearch (extra ``ann``), for directories beyond a million tracks.

One HNSW graph a stem and one over all stems are kept beside the vectors. They only propose candidates: distances are
always measured on the vectors themselves. A question is put to a graph when it asks for exactly what the graph was made
of, one stem or all of them, in all families and without weights; all other questions are answered by exact search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DatasetError
from .search import Space
from .store import Block, VectorStore

#: Candidates for k neighbours: what filters and the rounding of float16 take away.
_MORE = 4
_AT_LEAST = 64
_ALL = "all"


def require_usearch() -> Any:
    """The module ``usearch.index``; DatasetError when it is not installed."""
    try:
        import usearch.index
    except ImportError as error:
        raise DatasetError(
            f"approximate search needs usearch ({error}): pip install 'stemfeatures[ann]'", stage="similar"
        ) from error
    return usearch.index


@dataclass(frozen=True)
class Shortlists:
    """Candidates for one space."""

    graph: Any

    def candidates(self, vectors: np.ndarray, k: int) -> Iterator[np.ndarray]:
        """For each of ``vectors`` (n, width), rows that are near to it."""
        for vector in vectors:
            count = min(max(_MORE * k, _AT_LEAST), len(self.graph))
            yield np.asarray(self.graph.search(vector, count).keys, np.int64)


def build_shortlists(store: VectorStore) -> list[str]:
    """Write the graphs beside the vectors; returns their names."""
    usearch = require_usearch()
    graphs = _graphs(store)
    for name, blocks in graphs.items():
        graph = usearch.Index(ndim=sum(len(b.names) for b in blocks), metric="l2sq", dtype="f16")
        for start, stop in store.chunks(blocks, values=2**22):
            graph.add(np.arange(start, stop, dtype=np.uint64), store.read(start, stop, blocks))
        graph.save(str(store.folder / f"{name}.usearch"))
    return list(graphs)


def open_shortlists(store: VectorStore, names: list[str], space: Space) -> Shortlists | None:
    """The graph that was made of exactly this space, or None."""
    if len(set(space.weights)) > 1:
        return None
    for name, blocks in _graphs(store).items():
        if name in names and blocks == list(space.blocks):
            usearch = require_usearch()
            file = store.folder / f"{name}.usearch"
            try:
                graph = usearch.Index.restore(str(file), view=True)
            except (OSError, RuntimeError, ValueError) as error:
                raise DatasetError(f"cannot read the graph: {error}; build it again", source=str(file)) from error
            if graph is None or len(graph) != store.n_rows:
                raise DatasetError("the graph is damaged; build it again", source=str(file))
            return Shortlists(graph)
    return None


def _graphs(store: VectorStore) -> dict[str, list[Block]]:
    by_stem: dict[str, list[Block]] = {}
    for block in store.blocks:
        by_stem.setdefault(block.stem, []).append(block)
    return by_stem if len(by_stem) == 1 else {**by_stem, _ALL: store.blocks}
