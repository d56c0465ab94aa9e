"""Logistic models of a share of 0..1, fitted with a penalty on the weights of scaled features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from ..descriptors.fitted import logistic


def fit_logistic(
    features: np.ndarray,
    share: np.ndarray,
    *,
    penalty: float,
    weight: np.ndarray | None = None,
    signs: Sequence[int] | None = None,
) -> tuple[np.ndarray, float]:
    """The model under which the shares are likeliest.

    Parameters
    ----------
    features : (n, n_features) ndarray
        Of each example, at any scale.
    share : (n,) ndarray
        What the model is to say, 0..1.
    penalty : float
        Half of it is put on squared weights of features of unit spread; the bias has none.
    weight : (n,) ndarray, optional
        What each example counts; one if not given.
    signs : (n_features,) sequence of int, optional
        1 where a weight is not to be negative, -1 where it is not to be positive, 0 where it may be either.

    Returns
    -------
    weights : (n_features,) ndarray
        For features as they are given.
    bias : float
        Of the score.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = np.c_[(features - mean) / spread, np.ones(len(features))]
    penalties = np.r_[np.full(features.shape[1], penalty), 0.0]
    counts = np.ones(len(features)) if weight is None else weight

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score = scaled @ weights
        value = counts @ (np.logaddexp(0, score) - share * score) + penalties @ np.square(weights) / 2
        return float(value), (counts * (logistic(score) - share)) @ scaled + penalties * weights

    bounds = None
    if signs is not None:
        bounds = [(0 if sign > 0 else None, 0 if sign < 0 else None) for sign in (*signs, 0)]
    found = minimize(loss, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = found[:-1] / spread
    return weights, float(found[-1] - weights @ mean)
