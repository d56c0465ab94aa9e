"""Fits a recommender to interactions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from .factorization import Settings, factorize
from .models import ProgressCallback, Recommender, _error, _unit, _with_constant, confidence
from .names import KINDS, TUNABLE, USES_FEATURES


def fit_recommender(
    kind: str,
    matrix: sp.csr_matrix,
    track_ids: np.ndarray,
    *,
    features: np.ndarray | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    user_ids: np.ndarray | None = None,
    progress: ProgressCallback | None = None,
) -> Recommender:
    """Train a recommender. Equal seeds and data give equal recommenders.

    Parameters
    ----------
    kind : str
        One of ``names.KINDS``.
    matrix : sp.csr_matrix
        (n_users, n_tracks) sparse weights above 0 (``Interactions.matrix``). Rows and columns may be empty.
    track_ids : (n_tracks,) ndarray
        Ids of the columns.
    features : (n_tracks, n_features) ndarray, optional
        Scaled alike, no NaN; for content and hybrid.
    settings : Settings, optional
        By default, all of ``Settings``; a regularization of None is replaced by a tuned one.
    seed : int, default=0
        Of all that is random.
    user_ids : (n_users,) ndarray, optional
        Sorted; for implicit-bpr.
    progress : ProgressCallback, optional
        See :class:`ProgressCallback`.

    Returns
    -------
    Recommender
        It ranks the tracks of ``track_ids``.

    Raises
    ------
    ModelError
        An unknown kind, nothing to learn from, features that are missing or not finite, or ``implicit`` is not
        installed.
    """
    settings = settings or Settings()
    if kind not in KINDS:
        raise _error(f"unknown kind of recommender {kind!r}; there are: {', '.join(KINDS)}")
    if len(track_ids) != matrix.shape[1]:
        raise ValueError(f"{len(track_ids)} track_ids for {matrix.shape[1]} columns")
    if not matrix.nnz:
        raise _error("there are no interactions to learn from")
    if kind in USES_FEATURES:
        features = _checked(features, kind, len(track_ids))
    if settings.regularization is None and kind in TUNABLE:
        from .tuning import tune_regularization

        def fit(part: sp.csr_matrix, tried: Settings, told: ProgressCallback | None) -> Recommender:
            return fit_recommender(kind, part, track_ids, features=features, settings=tried, seed=seed, progress=told)

        settings = replace(
            settings, regularization=tune_regularization(fit, matrix, settings, seed=seed, progress=progress)
        )
    listeners = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float32)
    made = Recommender(
        kind, np.asarray(track_ids, dtype=str), np.zeros((len(track_ids), 0), np.float32), listeners, settings, seed
    )
    if kind in ("random", "popularity"):
        return made
    seen = np.flatnonzero(listeners)
    extra: dict[str, Any] = {}
    if kind == "content":
        assert features is not None
        vectors = _unit(features)
    else:
        users = np.flatnonzero(np.diff(matrix.indptr))
        known = confidence(matrix[users][:, seen].tocsr())
        vectors = np.zeros((len(track_ids), 0), np.float32)
        if kind == "implicit-bpr":
            found, user_vectors = _fit_bpr(known, settings, seed, progress)
            if user_ids is None:
                raise ValueError("implicit-bpr needs user_ids")
            extra = {"user_ids": np.asarray(user_ids, dtype=str)[users], "user_vectors": user_vectors}
        elif kind == "implicit-als":
            found = _fit_implicit_als(known, settings, seed, progress)
        else:
            given = features[seen] if kind == "hybrid" and features is not None else None
            told = None if progress is None else lambda done, total: progress("train", done, total)
            factors = factorize(known, settings, seed=seed, features=given, progress=told)
            found = factors.items
            if factors.coefficients is not None and features is not None:
                extra["coefficients"] = factors.coefficients
                vectors = _with_constant(features) @ factors.coefficients
        if not vectors.shape[1]:
            vectors = np.zeros((len(track_ids), found.shape[1]), dtype=np.float32)
        vectors[seen] = found
    gram = vectors[seen].T.astype(np.float64) @ vectors[seen]
    return Recommender(kind, made.track_ids, vectors, listeners, settings, seed, gram=gram, n_gram=len(seen), **extra)


def _checked(features: np.ndarray | None, kind: str, n_tracks: int) -> np.ndarray:
    if features is None:
        raise _error(f"a {kind} recommender needs features")
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or len(features) != n_tracks or not features.shape[1]:
        raise _error(f"features of shape {features.shape} for {n_tracks} tracks")
    if not np.isfinite(features).all():
        raise _error("the features hold NaN or infinity; impute and scale them first")
    return features


def _fit_implicit_als(
    matrix: sp.csr_matrix, settings: Settings, seed: int, progress: ProgressCallback | None
) -> np.ndarray:
    """The loss of ``factorize``, divided by the weight of the unobserved; ``implicit`` adds 1 to every confidence."""
    model = _implicit().als.AlternatingLeastSquares(
        factors=settings.factors,
        regularization=(settings.regularization or 0.0) * matrix.shape[0],
        alpha=1.0 / settings.unobserved,
        iterations=settings.iterations,
        random_state=seed,
        use_gpu=False,
    )
    model.fit(matrix, show_progress=False, callback=_callback(progress, settings.iterations))
    return np.asarray(model.item_factors, dtype=np.float32)


def _fit_bpr(
    matrix: sp.csr_matrix, settings: Settings, seed: int, progress: ProgressCallback | None
) -> tuple[np.ndarray, np.ndarray]:
    """Item and user vectors; several threads would race for them, and no two runs would agree."""
    iterations = 6 * settings.iterations  # its steps see a pair each, not a least-squares solution
    model = _implicit().bpr.BayesianPersonalizedRanking(
        factors=settings.factors, iterations=iterations, random_state=seed, num_threads=1, use_gpu=False
    )
    model.fit(matrix, show_progress=False, callback=_callback(progress, iterations))
    return np.asarray(model.item_factors, dtype=np.float32), np.asarray(model.user_factors, dtype=np.float32)


def _callback(progress: ProgressCallback | None, total: int) -> Any:
    return None if progress is None else lambda iteration, *rest: progress("train", iteration + 1, total)


def _implicit() -> Any:
    try:
        import implicit.als
        import implicit.bpr
    except ImportError as e:
        raise _error(
            "implicit-als and implicit-bpr need the package implicit: pip install 'stemfeatures[recommend]'"
        ) from e
    return implicit
