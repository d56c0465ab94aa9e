"""Splits of interactions for evaluation.

Three questions are asked of one training: what will known users listen to next among known tracks (``warm``), what
among tracks that training has not seen (``cold_tracks``), and what will users listen to whom training has not seen, of
whom a history is known when they are served (``cold_users``)?
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ..errors import DatasetError
from .interactions import STAGE, Interactions
from .names import METHODS


@dataclass(frozen=True)
class TestSet:
    """One question and its answer.

    Attributes
    ----------
    name : str
        One of ``names.QUESTIONS``.
    users : ndarray
        Positions of the users that are asked about, each with at least one track in ``truth``.
    history : sp.csr_matrix
        (n_users, n_tracks) what is known of them.
    truth : sp.csr_matrix
        (n_users, n_tracks) what they listened to then, without what stands in ``history``.
    candidates : ndarray
        Positions of the tracks to choose from.
    """

    __test__ = False  # no test of pytest

    name: str
    users: np.ndarray
    history: sp.csr_matrix
    truth: sp.csr_matrix
    candidates: np.ndarray


@dataclass(frozen=True)
class Split:
    """Interactions, split.

    Attributes
    ----------
    train : sp.csr_matrix
        (n_users, n_tracks) weights to learn from; rows of cold users and columns of cold tracks are empty.
    tests : tuple of TestSet
        The questions that have at least one user.
    description : dict
        The settings, and what was counted on the way.
    """

    train: sp.csr_matrix
    tests: tuple[TestSet, ...]
    description: dict[str, object]


def split_interactions(
    interactions: Interactions,
    *,
    method: str = "leave-k-out",
    k: int = 5,
    test_fraction: float = 0.2,
    cold_tracks: float = 0.1,
    cold_users: float = 0.1,
    seed: int = 0,
) -> Split:
    """Split interactions into what is learned from and what is asked.

    Parameters
    ----------
    interactions : Interactions
        What to split.
    method : str
        ``leave-k-out``: each user's last ``k`` tracks, by the time they were first listened to (at random where times
        are unknown), are asked; users with no more than ``k`` tracks are only learned from. ``time``: what came after
        one point in time, the same for all, is asked: the last ``test_fraction`` of the interactions. It is the
        stricter one, as nothing is learned from the future.
    k : int
        Tracks asked of each user with ``leave-k-out``.
    test_fraction : float
        Share of the interactions asked with ``time``.
    cold_tracks, cold_users : float
        Shares of the tracks and users that are kept out of training altogether. With ``time``, tracks that are new
        after the point in time are cold as well.
    seed : int
        Of the choice of cold tracks and users, and of random ones.

    Returns
    -------
    Split
        What a user listened to again is not asked: recommending it is no art.

    Raises
    ------
    DatasetError
        There is no time to split by, or nothing is left to learn from or to ask.
    ValueError
        An unknown method, or a number out of range.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are: {', '.join(METHODS)}")
    if k < 1 or not 0 < test_fraction < 1 or not 0 <= cold_tracks < 1 or not 0 <= cold_users < 1:
        raise ValueError("k must be at least 1 and fractions lie between 0 and 1")
    n_users, n_tracks = interactions.shape
    rng = np.random.default_rng(seed)
    track_is_cold = _some(rng, np.unique(interactions.track), cold_tracks, n_tracks)
    user_is_cold = _some(rng, np.unique(interactions.user), cold_users, n_users)
    held = track_is_cold[interactions.track]
    if method == "time":
        later = _after(interactions, test_fraction)
    else:
        later = np.zeros(len(interactions), dtype=bool)
        open_rows = np.flatnonzero(~held)
        later[open_rows] = _last_k(interactions.select(open_rows), k, rng)
        later |= held  # all listening to held-out tracks is asked
    history = interactions.select(~later & ~held).matrix()
    asked = interactions.select(later).matrix()
    repeated = asked.multiply(history > 0)
    asked = (asked - repeated).tocsr()
    asked.eliminate_zeros()
    train = (sp.diags((~user_is_cold).astype(np.float32)) @ history).tocsr()
    train.eliminate_zeros()
    tests = _test_sets(train, history, asked, user_is_cold)
    if not train.nnz or not tests:
        what = "to learn from" if not train.nnz else "to ask"
        raise DatasetError(
            f"after the split ({method}) nothing is left {what}", source=interactions.reading.source, stage=STAGE
        )
    description: dict[str, object] = {
        "method": method,
        **({"k": k} if method == "leave-k-out" else {"test_fraction": test_fraction}),
        "cold_tracks": cold_tracks,
        "cold_users": cold_users,
        "seed": seed,
        "train_pairs": int(train.nnz),
        "train_users": int(np.sum(_filled(train))),
        "train_tracks": int(np.sum(_filled(train.tocsc()))),
        "repeats_not_asked": int(repeated.nnz),
        "users_without_history": int(np.sum(~_filled(history) & _filled(asked))),
        "tests": {
            t.name: {"users": len(t.users), "pairs": int(t.truth.nnz), "candidates": len(t.candidates)} for t in tests
        },
    }
    if method == "time" and interactions.time is not None:
        description["after"] = str(interactions.time[later].min())
    elif method == "leave-k-out":
        description["order"] = "random" if interactions.time is None else "time"
    return Split(train, tests, description)


def _test_sets(
    train: sp.csr_matrix, history: sp.csr_matrix, asked: sp.csr_matrix, user_is_cold: np.ndarray
) -> tuple[TestSet, ...]:
    """Those of the sets ``warm``, ``cold_tracks`` and ``cold_users`` that have users."""
    track_is_known = _filled(train.tocsc())
    known, new = np.flatnonzero(track_is_known), np.flatnonzero(~track_is_known & _filled(asked.tocsc()))
    has_history = _filled(history)
    tests = []
    for name, users, columns in (
        ("warm", has_history & ~user_is_cold, known),
        ("cold_tracks", has_history & ~user_is_cold, new),
        ("cold_users", has_history & user_is_cold, known),
    ):
        truth = _columns_only(asked, columns)
        those = np.flatnonzero(users & _filled(truth))
        if len(those):
            tests.append(TestSet(name, those, history[those], truth[those], columns))
    return tuple(tests)


def _filled(matrix: sp.csr_matrix | sp.csc_matrix) -> np.ndarray:
    """Which rows (of CSR) or columns (of CSC) have entries."""
    return np.diff(matrix.indptr) > 0


def _some(rng: np.random.Generator, positions: np.ndarray, fraction: float, n: int) -> np.ndarray:
    """A mask (n,) of a random ``fraction`` of ``positions``."""
    mask = np.zeros(n, dtype=bool)
    mask[rng.permutation(positions)[: round(fraction * len(positions))]] = True
    return mask


def _after(interactions: Interactions, fraction: float) -> np.ndarray:
    """The rows of the last ``fraction`` of the interactions; rows of one time stay together."""
    if interactions.time is None:
        raise DatasetError("a split by time needs a column time", source=interactions.reading.source, stage=STAGE)
    times = np.sort(interactions.time)
    cut = times[min(len(times) - 1, round((1 - fraction) * len(times)))]
    return interactions.time >= cut


def _last_k(interactions: Interactions, k: int, rng: np.random.Generator) -> np.ndarray:
    """The rows of each user's last ``k`` tracks by first listening; none of users with no more than ``k`` tracks."""
    pair = interactions.user.astype(np.int64) * interactions.shape[1] + interactions.track
    pairs, inverse = np.unique(pair, return_inverse=True)
    user = pairs // interactions.shape[1]
    if interactions.time is None:
        key = rng.random(len(pairs))
    else:
        key = np.full(len(pairs), np.iinfo(np.int64).max)
        np.minimum.at(key, inverse, interactions.time.astype(np.int64))
    # Equal times (albums, imports by day) are in random order, not in that of the ids.
    order = np.lexsort((rng.random(len(pairs)), key, user))
    counts = np.bincount(user, minlength=interactions.shape[0])
    ends = np.cumsum(counts)
    from_end = np.empty(len(pairs), dtype=np.int64)
    from_end[order] = ends[user[order]] - 1 - np.arange(len(pairs))
    return ((from_end < k) & (counts[user] > k))[inverse]


def _columns_only(matrix: sp.csr_matrix, columns: np.ndarray) -> sp.csr_matrix:
    keep = np.zeros(matrix.shape[1], dtype=np.float32)
    keep[columns] = 1.0
    kept = (matrix @ sp.diags(keep)).tocsr()
    kept.eliminate_zeros()
    return kept
