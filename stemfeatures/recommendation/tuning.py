"""The strength of the regularization, chosen on the training data: it matters more than anything else, and no one value
suits a thousand listeners as well as a million."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from .factorization import Settings
from .models import ProgressCallback, Recommender
from .ranking import recommend

#: Strengths to choose from, a factor of about 3 apart.
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_FIRST = 3
_MAX_USERS = 5_000
_HELD_OUT = 0.2
_K = 50


def tune_regularization(
    fit: Callable[[sp.csr_matrix, Settings, ProgressCallback | None], Recommender],
    matrix: sp.csr_matrix,
    settings: Settings,
    *,
    seed: int,
    progress: ProgressCallback | None = None,
) -> float:
    """The strength of STRENGTHS that ranks held-out tracks best.

    Of up to 5,000 users with two tracks or more, a fifth of the tracks (at least one) is held out; what is scored is
    the discounted gain of these tracks among the first 50. The search climbs from 0.03 and stops at the first strength
    that is worse than its neighbour.
    """
    train, users, truth = hold_out(matrix, np.random.default_rng(seed))
    if not len(users):
        return STRENGTHS[_FIRST]
    gains: dict[int, float] = {}

    def gain(i: int) -> float:
        if i not in gains:
            tried = replace(settings, regularization=STRENGTHS[i])
            told: ProgressCallback | None = None
            if progress is not None:
                told = lambda what, done, total: progress(f"try regularization {STRENGTHS[i]:g}", done, total)  # noqa: E731
            gains[i] = _gain(fit(train, tried, told), train[users], truth)
        return gains[i]

    at = _FIRST
    for step in (1, -1):
        while 0 <= at + step < len(STRENGTHS) and gain(at + step) > gain(at):
            at += step
        if at != _FIRST:
            break
    return STRENGTHS[at]


def hold_out(matrix: sp.csr_matrix, rng: np.random.Generator) -> tuple[sp.csr_matrix, np.ndarray, sp.csr_matrix]:
    """``matrix`` without some of the weights of some users, these users, and what was taken from them."""
    counts = np.diff(matrix.indptr)
    able = np.flatnonzero(counts > 1)
    users = np.sort(rng.permutation(able)[:_MAX_USERS])
    taken = np.zeros(matrix.nnz, dtype=bool)
    for user in users:
        start, n = matrix.indptr[user], counts[user]
        taken[start + rng.permutation(n)[: max(1, round(_HELD_OUT * n))]] = True
    rest, out = matrix.copy(), matrix.copy()
    rest.data = np.where(taken, 0, matrix.data)
    out.data = np.where(taken, matrix.data, 0)
    rest.eliminate_zeros()
    out.eliminate_zeros()
    return rest, users, out[users]


def _gain(model: Recommender, histories: sp.csr_matrix, truth: sp.csr_matrix) -> float:
    """Mean over users of the mean over held-out tracks of 1 / log2(1 + rank)."""
    gains = np.zeros(truth.shape[0])
    discount = 1.0 / np.log2(2.0 + np.arange(_K))
    for ranking in recommend(model, histories, k=_K):
        for row, tracks in enumerate(ranking.tracks, ranking.start):
            wanted = truth.indices[truth.indptr[row] : truth.indptr[row + 1]]
            gains[row] = discount[: len(tracks)][np.isin(tracks, wanted)].sum() / len(wanted)
    return float(gains.mean())
