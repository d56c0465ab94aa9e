"""The best tracks of many users, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from .models import Recommender

if TYPE_CHECKING:
    import pandas as pd

#: Scores held at once (float32, and positions of twice the size): 200 MB.
BLOCK_SCORES = 2**24


@dataclass(frozen=True)
class Ranking:
    """The best tracks of some users. Users for whom there are fewer than were asked for have shorter lists.

    Attributes
    ----------
    start : int
        Position of the first of these users.
    tracks : list of ndarray of int32
        For each user the positions in ``track_ids``, best first.
    scores : list of ndarray of float32
        Their scores.
    by_popularity : (n,) ndarray
        Whether nothing was known of the user, who gets what is popular (random: whatever).
    """

    start: int
    tracks: list[np.ndarray]
    scores: list[np.ndarray]
    by_popularity: np.ndarray

    def to_pandas(self, track_ids: np.ndarray, user_ids: np.ndarray) -> pd.DataFrame:
        """The lists with ids, one below the other.

        Parameters
        ----------
        track_ids : (n_tracks,) array-like of str
            Ids of the tracks, in the order of the recommender.
        user_ids : (n_users,) array-like of str
            Ids of all users that were ranked for, in the order of their histories.

        Returns
        -------
        DataFrame
            Columns ``user_id, track_id, score, rank`` (from 1), a row for each recommended track.
        """
        import pandas as pd

        lengths = [len(some) for some in self.tracks]
        users = np.asarray(user_ids)[self.start : self.start + len(lengths)]
        none = np.zeros(0, np.int32)
        return pd.DataFrame(
            {
                "user_id": np.repeat(users, lengths),
                "track_id": np.asarray(track_ids)[np.concatenate([none, *self.tracks])],
                "score": np.concatenate([none.astype(np.float32), *self.scores]),
                "rank": np.concatenate([none, *(np.arange(1, n + 1, dtype=np.int32) for n in lengths)]),
            }
        )


def recommend(
    model: Recommender,
    histories: sp.csr_matrix,
    *,
    k: int,
    user_ids: np.ndarray | None = None,
    candidates: np.ndarray | None = None,
    exclude: sp.csr_matrix | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Ranking]:
    """Rank tracks for users, a block of users at a time.

    ``pd.concat(r.to_pandas(model.track_ids, user_ids) for r in recommend(...))`` is a table of all.

    Parameters
    ----------
    model : Recommender
        What ranks.
    histories : sp.csr_matrix
        (n_users, n_tracks) weights: what each user has listened to.
    k : int
        Length of the lists.
    user_ids : (n_users,) ndarray, optional
        Ids of the users, which implicit-bpr needs.
    candidates : ndarray, optional
        Positions of the tracks that may be recommended; all by default. Tracks that the model cannot rank (see
        ``Recommender.ranks_unseen``) never are.
    exclude : sp.csr_matrix, optional
        (n_users, n_tracks) what not to recommend; by default, ``histories``.
    progress : callable, optional
        Called with the users done and their number.

    Yields
    ------
    Ranking
        Of some of the users; equal scores are ordered by position.

    Raises
    ------
    ValueError
        When histories and model have different numbers of tracks, or ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    n_users, n_tracks = histories.shape
    if n_tracks != len(model.track_ids):
        raise ValueError(f"histories of {n_tracks} tracks for a model of {len(model.track_ids)}")
    rankable: np.ndarray = np.ones(n_tracks, dtype=bool) if model.ranks_unseen else model.listeners > 0
    if candidates is not None:
        chosen = np.zeros(n_tracks, dtype=bool)
        chosen[candidates] = True
        rankable &= chosen
    at = np.flatnonzero(rankable)
    exclude = (histories if exclude is None else exclude)[:, at].tocsr()
    vectors, popularity = model.vectors[at], model.listeners[at]
    step = max(1, BLOCK_SCORES // max(len(at), 1))
    for start in range(0, n_users, step):
        rows = slice(start, min(start + step, n_users))
        ids = None if user_ids is None else user_ids[rows]
        users = model.vectors_of(histories[rows], ids)
        by_popularity = np.asarray(~users.any(axis=1)) if users.shape[1] else np.diff(histories[rows].indptr) == 0
        if model.kind == "random":
            scores = np.random.default_rng([model.seed, start]).random((len(users), len(at)), dtype=np.float32)
        else:
            scores = users @ vectors.T
            scores[by_popularity | (model.kind == "popularity")] = popularity
        heard = exclude[rows]
        scores[np.repeat(np.arange(len(users)), np.diff(heard.indptr)), heard.indices] = -np.inf
        best, best_scores = top_k(scores, k)
        there = best >= 0
        tracks = [at[line[some]].astype(np.int32) for line, some in zip(best, there)]
        yield Ranking(start, tracks, [line[some] for line, some in zip(best_scores, there)], by_popularity)
        if progress is not None:
            progress(rows.stop, n_users)


def top_k(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and values (n, k) of the highest scores of each row, best first; -1 and -inf where there are no more.

    Equal scores are ordered by position, also at the end of the list.
    """
    n, width = scores.shape
    take = min(k, width)
    best = np.full((n, k), -1, dtype=np.int64)
    values = np.full((n, k), -np.inf, dtype=np.float32)
    if take:
        at = width - take
        least = np.partition(scores, at, axis=1)[:, at] if at else np.full(n, -np.inf)
        for row, (line, limit) in enumerate(zip(scores, least)):
            above = np.flatnonzero(line > limit)
            ties = np.flatnonzero(line == limit)[: take - len(above)] if limit > -np.inf else above[:0]
            chosen = np.concatenate([above, ties])
            chosen = chosen[np.lexsort((chosen, -line[chosen]))][:take]
            best[row, : len(chosen)], values[row, : len(chosen)] = chosen, line[chosen]
    return best, values
