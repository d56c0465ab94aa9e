"""Exact nearest neighbours in bounded memory, with weights, exclusions and contrast.

Notes
-----
**Distances**

``d^2 = sum_b w_b^2 |q_b - x_b|^2 / sum_b w_b^2 E_b`` over the chosen blocks ``b``, with ``E_b`` the mean squared
distance of two random tracks in the block. So 0 is equal, and two random tracks are 1 apart (root mean square),
whatever is chosen.

**Contrast**

"Same groove, other voice": a track may be ranked by its distance ``d`` in some blocks and its unlikeness ``u`` in
others: by ``score^2 = d^2 + max(0, 1 - (u / m)^2)``, where ``m`` is the median of ``u`` over the tracks. The same voice
costs as much as a random groove; a voice further away than that of half of the tracks costs nothing, and going
further is no gain, so that outliers do not win.

Ranking happens in float32 through ``|q|^2 + |x|^2 - 2 q x``; the best are then measured again, coordinate by
coordinate in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .store import Block, VectorStore

#: Values of a chunk of vectors, and of the distances to it: bounds the memory of a search (about 0.3 GB).
_CHUNK_VALUES = 2**24
_QUERIES = 256
#: Ranks that float32 may mix up at the end of the list.
_SPARE = 16
#: Tracks from which the median unlikeness is estimated.
_SAMPLE = 4096


@dataclass(frozen=True)
class Space:
    """Blocks and their weights: a distance."""

    blocks: tuple[Block, ...]
    weights: tuple[float, ...]

    @property
    def power(self) -> float:
        """Mean squared distance of two random tracks, before normalisation."""
        return sum(w * w * b.power for b, w in zip(self.blocks, self.weights))

    @property
    def scale(self) -> np.ndarray:
        """(width,) factor of each coordinate, after which squared differences add up to ``d^2``."""
        factors = np.repeat(self.weights, [len(b.names) for b in self.blocks])
        return factors / np.sqrt(self.power)


@dataclass(frozen=True)
class Hits:
    """The best rows for each query, best first.

    Attributes
    ----------
    rows : (n_queries, k) ndarray of int64
        -1 where there are fewer.
    scores : (n_queries, k) ndarray of float64
        What they are ranked by; infinite where there are fewer.
    distances : (n_queries, k) ndarray of float64
        In ``near``; equal to the scores without contrast.
    unlikeness : (n_queries, k) ndarray of float64
        In ``unlike``; NaN without contrast.
    """

    rows: np.ndarray
    scores: np.ndarray
    distances: np.ndarray
    unlikeness: np.ndarray


def require_k(k: int) -> None:
    """ValueError where ``k`` is no number of neighbours."""
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def nearest(
    store: VectorStore,
    queries: np.ndarray,
    near: Space,
    k: int,
    *,
    unlike: Space | None = None,
    eligible: np.ndarray | None = None,
    candidates: np.ndarray | None = None,
) -> Hits:
    """The ``k`` nearest rows of each of the rows ``queries`` (n_queries,), never the query itself.

    Parameters
    ----------
    store : VectorStore
        The vectors.
    queries : ndarray
        Rows to ask for.
    near : Space
        Where to be near.
    unlike : Space, optional
        Where to differ.
    eligible : (n_rows,) ndarray of bool, optional
        Rows that may be found; all by default.
    candidates : ndarray, optional
        Rows to look at; all by default. For a shortlist from an approximate index.
    """
    parts = [
        _batch(store, queries[i : i + _QUERIES], near, k, unlike, eligible, candidates)
        for i in range(0, len(queries), _QUERIES)
    ]
    return Hits(*(np.concatenate([getattr(p, name) for p in parts]) for name in Hits.__dataclass_fields__))


def _batch(
    store: VectorStore,
    queries: np.ndarray,
    near: Space,
    k: int,
    unlike: Space | None,
    eligible: np.ndarray | None,
    candidates: np.ndarray | None,
) -> Hits:
    wanted = min(k + _SPARE, store.n_rows)
    targets = [(space, store.take(queries, space.blocks) * space.scale) for space in (near, unlike) if space]
    medians = None if unlike is None else _typical(store, unlike, targets[1][1])
    best = _Best(len(queries), wanted)
    for rows, vectors in _chunks(store, [space for space, _ in targets], eligible, candidates):
        scores = _squared(targets[0][1], vectors[0], near.scale)
        if medians is not None and unlike is not None:
            scores += np.maximum(0, 1 - _squared(targets[1][1], vectors[1], unlike.scale) / medians[:, None])
        scores[queries[:, None] == rows[None, :]] = np.inf
        best.add(rows, scores)
    return _measured(store, queries, near, unlike, medians, best.rows, k)


def _chunks(
    store: VectorStore, spaces: Sequence[Space], eligible: np.ndarray | None, candidates: np.ndarray | None
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Rows, and their vectors in each space."""
    blocks = [block for space in spaces for block in space.blocks]
    if candidates is not None:
        rows = np.unique(candidates) if eligible is None else np.unique(candidates[eligible[candidates]])
        for start in range(0, len(rows), _QUERIES * 64):
            some = rows[start : start + _QUERIES * 64]
            yield some, [store.take(some, space.blocks) for space in spaces]
        return
    # The distances to a chunk shall not take more than the chunk.
    values = min(_CHUNK_VALUES, _CHUNK_VALUES // _QUERIES * sum(len(b.names) for b in blocks))
    for start, stop in store.chunks(blocks, values=values):
        rows = np.arange(start, stop)
        chosen = None if eligible is None else eligible[start:stop]
        if chosen is not None and not chosen.any():
            continue
        vectors = [store.read(start, stop, space.blocks) for space in spaces]
        if chosen is not None and not chosen.all():
            rows, vectors = rows[chosen], [v[chosen] for v in vectors]
        yield rows, vectors


def _squared(targets: np.ndarray, vectors: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(n_queries, n_rows) squared distances, float32, of scaled queries to vectors, which are scaled in place."""
    vectors *= scale.astype(np.float32)
    queries = targets.astype(np.float32)
    squares = queries @ vectors.T
    squares *= -2
    squares += np.einsum("ij,ij->i", queries, queries)[:, None]
    squares += np.einsum("ij,ij->i", vectors, vectors)[None, :]
    return squares


def _typical(store: VectorStore, unlike: Space, targets: np.ndarray) -> np.ndarray:
    """(n_queries,) median squared distance of each query to the tracks, from a regular sample of them."""
    sample = np.unique(np.linspace(0, store.n_rows - 1, min(_SAMPLE, store.n_rows)).astype(np.int64))
    squares = _squared(targets, store.take(sample, unlike.blocks), unlike.scale)
    return np.maximum(np.median(squares, axis=1), 1e-12)


class _Best:
    """The best rows so far of each query."""

    def __init__(self, n_queries: int, k: int) -> None:
        self.rows = np.full((n_queries, k), -1, np.int64)
        self.scores = np.full((n_queries, k), np.inf, np.float32)

    def add(self, rows: np.ndarray, scores: np.ndarray) -> None:
        better = scores < self.scores[:, -1:]
        for q in np.flatnonzero(better.any(axis=1)):
            at = np.flatnonzero(better[q])
            k = self.rows.shape[1]
            if len(at) > k:
                at = at[np.argpartition(scores[q, at], k - 1)[:k]]
            both = np.concatenate([self.scores[q], scores[q, at]])
            order = np.argsort(both, kind="stable")[:k]
            self.rows[q] = np.concatenate([self.rows[q], rows[at]])[order]
            self.scores[q] = both[order]


def _measured(
    store: VectorStore,
    queries: np.ndarray,
    near: Space,
    unlike: Space | None,
    medians: np.ndarray | None,
    rows: np.ndarray,
    k: int,
) -> Hits:
    """The final order, from exact distances."""
    distances = pair_distances(store, queries, rows, near)
    scores, unlikeness = distances, np.full_like(distances, np.nan)
    if unlike is not None and medians is not None:
        unlikeness = pair_distances(store, queries, rows, unlike)
        scores = np.sqrt(distances**2 + np.maximum(0, 1 - unlikeness**2 / medians[:, None]))
        scores[rows < 0] = np.inf
    # Equal scores are ordered by row, so that the answer does not depend on the chunks.
    order = np.lexsort((rows, scores), axis=1)[:, :k]
    return Hits(*(np.take_along_axis(a, order, axis=1) for a in (rows, scores, distances, unlikeness)))


def pair_distances(store: VectorStore, queries: np.ndarray, rows: np.ndarray, space: Space) -> np.ndarray:
    """(n_queries, k) distances of each query to its ``rows`` (n_queries, k), float64; infinite where a row is -1."""
    used, places = np.unique(np.concatenate([queries, rows.ravel()]), return_inverse=True)
    values = store.take(np.maximum(used, 0), space.blocks)
    first, others = places[: len(queries)], places[len(queries) :].reshape(rows.shape)
    distances = np.full(rows.shape, np.inf)
    for q, found in enumerate(rows >= 0):
        difference = values[others[q, found]].astype(np.float64) - values[first[q]]
        distances[q, found] = np.sqrt(np.sum(np.square(difference * space.scale), axis=1))
    return distances
