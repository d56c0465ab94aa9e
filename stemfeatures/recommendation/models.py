"""Recommenders. All score a track for a user by the product of two vectors; they differ in where these come from.

==============  ===============================================  =====================================================
kind            vector of a track                                ranks tracks nobody has listened to
==============  ===============================================  =====================================================
random          none: a baseline                                 yes
popularity      none: the number of its listeners                no
content         its features                                     yes
als             factors of who listened to it                    no
hybrid          as als, with its features as prior               yes: as its features predict
implicit-als    as als, by the package ``implicit``              no
implicit-bpr    Bayesian personalised ranking, by ``implicit``   no
==============  ===============================================  =====================================================

But for implicit-bpr, a user's vector is solved from the user's history when it is needed, so that users who came after
training are served like all others. A user without any history gets the popular tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from ..errors import ModelError
from .factorization import Settings, solve_factors
from .names import RANKS_UNSEEN, USES_FEATURES


class ProgressCallback(Protocol):
    """Is told what is being done, how many steps of it are done, and of how many."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Recommender:
    """A trained recommender.

    Attributes
    ----------
    kind : str
        One of ``names.KINDS``.
    track_ids : (n_tracks,) ndarray of str
        What it can recommend.
    vectors : (n_tracks, n_factors) ndarray of float32
        No factors for baselines.
    listeners : (n_tracks,) ndarray of float32
        Distinct users that listened to each track in training.
    settings : Settings
        As it was trained.
    seed : int
        As it was trained.
    gram : (n_factors, n_factors) ndarray or None
        ``V.T @ V`` of the tracks that training knew; see ``solve_factors``.
    n_gram : int
        Number of those tracks.
    coefficients : (n_features + 1, n_factors) ndarray or None
        From features and a constant 1 to vectors (hybrid).
    user_ids : (n_users,) ndarray or None
        The users of training (implicit-bpr).
    user_vectors : (n_users, n_factors) ndarray or None
        Their factors.
    """

    kind: str
    track_ids: np.ndarray
    vectors: np.ndarray
    listeners: np.ndarray
    settings: Settings = field(default_factory=Settings)
    seed: int = 0
    gram: np.ndarray | None = None
    n_gram: int = 0
    coefficients: np.ndarray | None = None
    user_ids: np.ndarray | None = None
    user_vectors: np.ndarray | None = None

    @property
    def ranks_unseen(self) -> bool:
        """Whether it can rank tracks that had no listener in training."""
        return self.kind in RANKS_UNSEEN

    def vectors_of(self, histories: sp.csr_matrix, user_ids: np.ndarray | None = None) -> np.ndarray:
        """Vectors (n_users, n_factors) of users; 0 where nothing is known of a user.

        Parameters
        ----------
        histories : sp.csr_matrix
            (n_users, n_tracks) weights.
        user_ids : (n_users,) ndarray, optional
            Which implicit-bpr looks up.

        Returns
        -------
        np.ndarray
            (n_users, n_factors).
        """
        if self.user_vectors is not None and self.user_ids is not None:
            found = np.zeros((histories.shape[0], self.vectors.shape[1]), dtype=np.float32)
            if user_ids is not None:
                at = np.searchsorted(self.user_ids, user_ids).clip(max=len(self.user_ids) - 1)
                known = self.user_ids[at] == user_ids
                found[known] = self.user_vectors[at[known]]
            return found
        if not self.vectors.shape[1]:
            return np.zeros((histories.shape[0], 0), dtype=np.float32)
        return solve_factors(self.vectors, confidence(histories), self.settings, gram=self.gram, n_fixed=self.n_gram)

    def on_tracks(self, track_ids: np.ndarray, features: np.ndarray | None = None) -> Recommender:
        """The same recommender for the tracks ``track_ids``.

        Tracks it does not know get the vector that their ``features`` (n_tracks, n_features) predict, where the kind
        can do that, and else one of zeros: it is then never worth recommending.

        Parameters
        ----------
        track_ids : np.ndarray
            (n_tracks,) ids.
        features : np.ndarray, optional
            (n_tracks, n_features), scaled as those that were learned from.

        Returns
        -------
        Recommender
            It ranks these tracks.
        """
        import pandas as pd

        at = pd.Index(self.track_ids).get_indexer(pd.Index(track_ids))
        known = at >= 0
        vectors = np.zeros((len(track_ids), self.vectors.shape[1]), dtype=np.float32)
        vectors[known] = self.vectors[at[known]]
        listeners = np.zeros(len(track_ids), dtype=np.float32)
        listeners[known] = self.listeners[at[known]]
        if self.kind in USES_FEATURES and not known.all():
            if features is None:
                raise ValueError(f"a {self.kind} recommender needs the features of tracks it does not know")
            new = np.asarray(features, dtype=np.float32)[~known]
            vectors[~known] = _unit(new) if self.coefficients is None else _with_constant(new) @ self.coefficients
        return replace(self, track_ids=np.asarray(track_ids, dtype=str), vectors=vectors, listeners=listeners)


def confidence(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """``log2(1 + weight)``: 1 for one play, 2 for three, so that one evening of repeats does not outweigh a library."""
    result = matrix.astype(np.float32)
    result.data = np.log2(1.0 + result.data)
    return result


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows of length 1, so that products are cosines and outliers do not win every comparison."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _with_constant(features: np.ndarray) -> np.ndarray:
    return np.column_stack([features, np.ones(len(features), dtype=np.float32)])


def _error(message: str) -> ModelError:
    return ModelError(message, stage="recommend")
