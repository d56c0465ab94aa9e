"""Alternating least squares for implicit feedback, with an optional prior from item features.

The loss is that of Hu, Koren and Volinsky (ICDM 2008) as written, and regularised by frequency, by Rendle et al.
("Revisiting the performance of iALS on item recommendation benchmarks", RecSys 2022, equations 2 to 5): every observed
pair shall score 1 with its weight, every pair at all shall score 0 with a small one. The prior, which shrinks an item's
factors towards a linear function of its features instead of towards 0, is that of regression-based latent factor models
(Agarwal and Chen, KDD 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.sparse as sp
from threadpoolctl import ThreadpoolController

#: Numbers (float32) of gathered factors held at once: 64 MB.
BLOCK = 2**24
#: Blocks worked on at once, if BLAS may use as many threads.
MAX_THREADS = 8


@dataclass(frozen=True)
class Settings:
    """Settings of the factorization.

    Attributes
    ----------
    factors : int
        Length of the vectors.
    iterations : int
        Sweeps over users and items.
    unobserved : float
        Weight of a pair without interaction, relative to an interaction of weight 1.
    regularization : float or None
        Of a vector, times ``n_observed + unobserved * n``, as its share of the loss grows. None: what ranks held-out
        tracks best (see :mod:`.tuning`).
    """

    factors: int = 64
    iterations: int = 16
    unobserved: float = 0.1
    regularization: float | None = None

    def __post_init__(self) -> None:
        for name in ("factors", "iterations", "unobserved", "regularization"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")


def solve_factors(
    fixed: np.ndarray,
    rows: sp.csr_matrix,
    settings: Settings,
    *,
    gram: np.ndarray | None = None,
    n_fixed: int | None = None,
    prior: np.ndarray | None = None,
) -> np.ndarray:
    """The exact least-squares vectors of many rows, given the vectors of the columns.

    Row ``u`` with weights ``w`` on the columns ``C`` minimises ``sum_C w (x v - 1)^2 + unobserved * x G x +
    l |x - prior_u|^2`` with ``l = regularization * (|C| + unobserved * n_fixed)``.

    Parameters
    ----------
    fixed : (n_columns, n_factors) ndarray of float32
        Factors of the columns.
    rows : sp.csr_matrix
        (n_rows, n_columns), weights above 0.
    gram : (n_factors, n_factors) ndarray, optional
        ``G = V.T @ V`` of the columns ``V`` that count as unobserved; of ``fixed`` by default.
    n_fixed : int, optional
        Number of those columns; of ``fixed`` by default.
    prior : (n_rows, n_factors) ndarray, optional
        0 by default.

    Returns
    -------
    (n_rows, n_factors) ndarray of float32
        A row without weights gets its prior, shrunk by the unobserved part of the loss.
    """
    if settings.regularization is None:
        raise ValueError("a regularization is needed here; None is for fit_recommender")
    n_fixed = len(fixed) if n_fixed is None else n_fixed
    counts = np.diff(rows.indptr)
    ridge = settings.regularization * (counts + settings.unobserved * n_fixed)
    solution = np.zeros((rows.shape[0], fixed.shape[1]), dtype=np.float32)
    with _single_threaded_blas() as threads, ThreadPoolExecutor(min(threads, MAX_THREADS)) as pool:
        # In the eigenbasis of G everything but the observed part is diagonal. With fewer observations than factors the
        # system can then be solved in the space of the observations, which is much smaller.
        gram = fixed.T.astype(np.float64) @ fixed if gram is None else gram
        eigenvalues, basis = np.linalg.eigh(np.asarray(gram, dtype=np.float64))
        basis32 = basis.astype(np.float32)
        columns = fixed @ basis32
        diagonal = settings.unobserved * np.maximum(eigenvalues, 0.0)
        if prior is not None:
            np.matmul(prior, basis32, out=solution)
            solution *= ridge[:, None] / (diagonal + ridge[:, None])

        def solve(block: np.ndarray) -> None:
            index, weight = _padded(rows, block, int(counts[block].max()))
            keep = (diagonal + ridge[block, None]).astype(np.float32)
            solution[block] += _correction(columns, index, weight, keep, solution[block])

        for _ in pool.map(solve, _blocks(counts, fixed.shape[1])):
            pass
        return solution @ basis32.T


@contextmanager
def _single_threaded_blas() -> Iterator[int]:
    """Gives the threads BLAS had: on thousands of small matrices they only wait for one another."""
    blas = _blas()
    threads = max((one["num_threads"] for one in blas.info()), default=1)
    with blas.limit(limits=1):
        yield threads


@cache
def _blas() -> ThreadpoolController:
    """Looking for the libraries takes longer than many a block."""
    return ThreadpoolController().select(user_api="blas")


def _correction(
    columns: np.ndarray, index: np.ndarray, weight: np.ndarray, keep: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """What the observations add to ``start``, the solution without them.

    ``index``, ``weight`` (n, length), padded with weight 0; ``keep`` (n, n_factors): the diagonal of the rest.
    """
    n, length = index.shape
    n_factors = columns.shape[1]
    if length <= n_factors:
        seen = columns[index]
        root = np.sqrt(weight)
        missing = root * (1.0 - np.einsum("nlf,nf->nl", seen, start))
        seen *= root[:, :, None]
        system = (seen / keep[:, None, :]) @ seen.transpose(0, 2, 1)
        system[:, np.arange(length), np.arange(length)] += 1.0
        dual = np.linalg.solve(system, missing[:, :, None])
        return (seen.transpose(0, 2, 1) @ dual)[:, :, 0] / keep
    system = np.zeros((n, n_factors, n_factors), dtype=np.float32)
    right = np.zeros((n, n_factors), dtype=np.float32)
    step = max(1, BLOCK // (n * n_factors))
    for at in range(0, length, step):
        seen, some = columns[index[:, at : at + step]], weight[:, at : at + step]
        missing = some * (1.0 - np.einsum("nlf,nf->nl", seen, start))
        right += np.einsum("nlf,nl->nf", seen, missing)
        system += (seen * some[:, :, None]).transpose(0, 2, 1) @ seen
    system[:, np.arange(n_factors), np.arange(n_factors)] += keep
    return np.linalg.solve(system, right[:, :, None])[:, :, 0]


def _blocks(counts: np.ndarray, n_factors: int) -> Iterator[np.ndarray]:
    """Rows with about equally many weights, as many as fit into memory; rows without any are left out."""
    order = np.argsort(counts, kind="stable")
    at = int(np.searchsorted(counts[order], 1))
    while at < len(order):
        # Blocks double at most in length, so that little is padded.
        shortest = counts[order[at]]
        end = int(np.searchsorted(counts[order], 2 * shortest, side="right"))
        longest = counts[order[end - 1]]
        room = max(1, BLOCK // (n_factors * max(min(longest, n_factors), n_factors if longest > n_factors else 1)))
        end = min(end, at + room)
        yield order[at:end]
        at = end


def _padded(rows: sp.csr_matrix, block: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and weights of some rows as (n, length) arrays; missing ones have column 0 and weight 0."""
    part = rows[block]
    index = np.zeros((len(block), length), dtype=np.int64)
    weight = np.zeros((len(block), length), dtype=np.float32)
    filled = np.arange(length) < np.diff(part.indptr)[:, None]
    index[filled], weight[filled] = part.indices, part.data
    return index, weight


@dataclass(frozen=True)
class Factors:
    """A factorization.

    Attributes
    ----------
    users : (n_users, n_factors) ndarray of float32
        Factors of the users.
    items : (n_items, n_factors) ndarray of float32
        Factors of the items.
    coefficients : (n_features + 1, n_factors) ndarray or None
        From an item's features and a constant 1 to the vector that they predict; None without.
    """

    users: np.ndarray
    items: np.ndarray
    coefficients: np.ndarray | None = None


def factorize(
    matrix: sp.csr_matrix,
    settings: Settings,
    *,
    seed: int,
    features: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Factors:
    """Factorize a sparse matrix of weights (n_users, n_items), every row and column of which should have weights.

    Parameters
    ----------
    features : (n_items, n_features) ndarray, optional
        Of the items; with them, items are shrunk towards what in their features sets them apart from the mean item.
    progress : callable, optional
        Called with the sweeps done and their number.

    Notes
    -----
    The regression sees the items as the users alone make them, without the prior. Of items that were drawn to its own
    predictions it would find these again, also in items it was not fitted to, and trust features that say nothing.
    """
    rng = np.random.default_rng(seed)
    scale = 0.1 / np.sqrt(settings.factors)
    items = (scale * rng.standard_normal((matrix.shape[1], settings.factors))).astype(np.float32)
    transposed = matrix.T.tocsr()
    if features is not None:
        centre = features.mean(axis=0, dtype=np.float64)
        features = features - centre.astype(np.float32)
    with _single_threaded_blas():
        regression = None if features is None else FeatureRegression(features, seed=seed)
    coefficients = None
    for sweep in range(settings.iterations):
        users = solve_factors(items, matrix, settings)
        items = solve_factors(users, transposed, settings)
        if features is not None and regression is not None:
            mean = items.mean(axis=0, dtype=np.float64)
            # The strength changes little from sweep to sweep, and choosing it costs more than all the rest.
            choose = sweep & (sweep + 1) == 0 or sweep + 1 == settings.iterations
            with _single_threaded_blas():
                slopes = regression.fit(items - mean, choose=choose)
            items = solve_factors(users, transposed, settings, prior=features @ slopes)
            coefficients = np.vstack([slopes, mean - centre @ slopes]).astype(np.float32)
        if progress is not None:
            progress(sweep + 1, settings.iterations)
    return Factors(users, items, coefficients)


class FeatureRegression:
    """Ridge regression from features to vectors, its strength chosen by cross-validation over items.

    Holding out items is what a cold start is. Everything is computed from Gram matrices, so that memory and, but for
    those, time do not grow with the items.

    Parameters
    ----------
    features : (n_items, n_features) ndarray of float32
        Scaled alike.
    folds : int
        Of the cross-validation.
    strengths : ndarray, optional
        Regularizations to choose from, relative to the number of items.
    """

    def __init__(self, features: np.ndarray, *, seed: int, folds: int = 5, strengths: np.ndarray | None = None) -> None:
        self.features = features
        self.strengths = np.logspace(-4, 1, 11) if strengths is None else strengths
        n_folds = min(folds, len(features))
        fold = np.random.default_rng(seed).permutation(len(features)) % max(n_folds, 1)
        self._folds = [np.flatnonzero(fold == k) for k in range(n_folds)]
        grams = [_moment(features, features, rows) for rows in self._folds]
        total = sum(grams, np.zeros((features.shape[1],) * 2))
        self._all = np.linalg.eigh(total)
        self._without = []  # of each fold: the eigenbasis of the others, and the fold's own Gram matrix in it
        for gram in grams if n_folds > 1 else []:
            values, basis = np.linalg.eigh(total - gram)
            self._without.append((values, basis, basis.T @ gram @ basis))
        #: The strength that was chosen last.
        self.strength = float(self.strengths[-1])

    def fit(self, vectors: np.ndarray, *, choose: bool = True) -> np.ndarray:
        """Coefficients (n_features, n_factors) float32 for vectors (n_items, n_factors).

        Without ``choose``, with the strength that was chosen last.
        """
        moments = [_moment(self.features, vectors, rows) for rows in self._folds]
        total = sum(moments, np.zeros((self.features.shape[1], vectors.shape[1])))
        if choose and self._without:
            errors = np.zeros(len(self.strengths))  # but for the sum of squares of the vectors, which all share
            for rows, moment, (values, basis, gram) in zip(self._folds, moments, self._without):
                own, others = basis.T @ moment, basis.T @ (total - moment)
                for i, strength in enumerate(self.strengths * (len(self.features) - len(rows))):
                    weights = others / (np.maximum(values, 0.0) + strength)[:, None]
                    errors[i] += np.sum(weights * (gram @ weights - 2 * own))
            self.strength = float(self.strengths[np.argmin(errors)])
        values, basis = self._all
        shrunk = (basis.T @ total) / (np.maximum(values, 0.0) + self.strength * len(self.features))[:, None]
        return (basis @ shrunk).astype(np.float32)


def _moment(left: np.ndarray, right: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``left[rows].T @ right[rows]`` in float64, a block at a time."""
    total = np.zeros((left.shape[1], right.shape[1]))
    step = max(1, BLOCK // max(left.shape[1], right.shape[1], 1))
    for at in range(0, len(rows), step):
        some = rows[at : at + step]
        total += left[some].astype(np.float64).T @ right[some].astype(np.float64)
    return total
