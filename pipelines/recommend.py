"""From a features directory and a table of interactions to a recommender, its scores and its recommendations.

>>> trained = train_recommender("features", "listening.parquet", "model")
>>> found = predict_recommendations("model", "features", "listening.parquet", "recommendations.parquet", k=5)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

from stemfeatures._util.files import replacing
from stemfeatures._util.urls import Place, place_of
from stemfeatures.errors import DatasetError
from stemfeatures.recommendation.catalogue import centred, fit_to, fit_transformer, read_catalogue
from stemfeatures.recommendation.evaluation import Evaluation, evaluate_models
from stemfeatures.recommendation.factorization import Settings
from stemfeatures.recommendation.fit import fit_recommender
from stemfeatures.recommendation.interactions import Reading, read_interactions
from stemfeatures.recommendation.names import CORE_KINDS, USES_FEATURES
from stemfeatures.recommendation.ranking import recommend
from stemfeatures.recommendation.splits import split_interactions
from stemfeatures.recommendation.store import load_recommender, require_free, save_recommender

if TYPE_CHECKING:
    import pandas as pd

    from stemfeatures.recommendation.catalogue import Catalogue
    from stemfeatures.recommendation.models import ProgressCallback
    from stemfeatures.vectors.transformer import FeatureTransformer

RECOMMENDATIONS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("track_id", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Training:
    """What :func:`train_recommender` did.

    Attributes
    ----------
    card : dict
        The model's ``recommender.json``.
    reading : Reading
        How many rows of the interactions were read and left out.
    users, tracks, pairs : int
        That it learned from.
    catalogue : int
        Tracks it can recommend.
    unusable : tuple of str
        Feature columns that were null or constant in all tracks.
    """

    card: dict[str, Any]
    reading: Reading
    users: int
    tracks: int
    pairs: int
    catalogue: int
    unusable: tuple[str, ...] = ()


def train_recommender(
    features: str | Place,
    interactions: str | os.PathLike[str] | pd.DataFrame,
    out: str | os.PathLike[str],
    *,
    kind: str = "hybrid",
    stems: Iterable[str] | None = None,
    families: Iterable[str] | None = None,
    weigh_by_separation: bool = False,
    settings: Settings | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Training:
    """Train a recommender and write it to the folder ``out``.

    Parameters
    ----------
    features : str or Path or Url
        A features directory, also in a store; its tracks can be recommended.
    interactions : str, path or DataFrame
        See :func:`~stemfeatures.recommendation.interactions.read_interactions`.
    kind : str, optional
        See :mod:`stemfeatures.recommendation.models`.
    stems, families : iterable of str, optional
        Of the features, for content and hybrid; see ``stemfeatures.features_matrix``.
    weigh_by_separation : bool, optional
        Separated stems count by how far they can be trusted; see ``stemfeatures.features_matrix``.
    settings : Settings, optional
        See :func:`~stemfeatures.recommendation.fit.fit_recommender`.
    seed : int, optional
        Of the training.
    progress : callable, optional
        See :func:`~stemfeatures.recommendation.fit.fit_recommender`.

    Returns
    -------
    Training
        The card of the model, and how the interactions were read.

    Raises
    ------
    DatasetError
        Of the features or the interactions.
    ModelError
        Nothing to learn from, or a package is missing.
    FileExistsError
        ``out`` is there and is no recommender.
    """
    require_free(out)  # rather than after hours of training
    catalogue = read_catalogue(
        place_of(features),
        with_features=kind in USES_FEATURES,
        stems=stems,
        families=families,
        weigh_by_separation=weigh_by_separation,
    )
    listening = read_interactions(interactions).for_tracks(catalogue.track_ids)
    transformer, vectors = _vectors(catalogue)
    matrix = listening.matrix()
    model = fit_recommender(
        kind,
        matrix,
        catalogue.track_ids,
        features=vectors,
        settings=settings,
        seed=seed,
        user_ids=listening.user_ids,
        progress=progress,
    )
    users, tracks = int(np.sum(np.diff(matrix.indptr) > 0)), int(np.sum(model.listeners > 0))
    facts = {**listening.reading.to_dict(), "users": users, "tracks": tracks, "pairs": int(matrix.nnz)}
    card = save_recommender(out, model, features=catalogue.origin, interactions=facts, transformer=transformer)
    unusable = () if transformer is None else tuple(transformer.unusable_)
    return Training(card, listening.reading, users, tracks, int(matrix.nnz), len(catalogue.track_ids), unusable)


def _vectors(
    catalogue: Catalogue, rows: np.ndarray | None = None
) -> tuple[FeatureTransformer | None, np.ndarray | None]:
    """A transformer fitted to some tracks, all by default, and the vectors of all."""
    if catalogue.matrix is None:
        return None, None
    transformer = fit_transformer(catalogue.matrix if rows is None else catalogue.matrix.iloc[rows])
    return transformer, centred(transformer, catalogue.matrix)


@dataclass(frozen=True)
class Comparison:
    """What :func:`evaluate_recommenders` found: the evaluation, and how the interactions were read."""

    evaluation: Evaluation
    reading: Reading

    def to_dict(self) -> dict[str, Any]:
        return {**self.evaluation.to_dict(), "interactions": self.reading.to_dict()}


def evaluate_recommenders(
    features: str | Place,
    interactions: str | os.PathLike[str] | pd.DataFrame,
    *,
    kinds: Iterable[str] = CORE_KINDS,
    stems: Iterable[str] | None = None,
    families: Iterable[str] | None = None,
    weigh_by_separation: bool = False,
    settings: Settings | None = None,
    seed: int = 0,
    k: Sequence[int] = (10, 50),
    split: dict[str, Any] | None = None,
    resamples: int = 1000,
    progress: ProgressCallback | None = None,
) -> Comparison:
    """Split the interactions, train recommenders on one side and score them on the other.

    Parameters
    ----------
    features : str or Path or Url
        As for :func:`train_recommender`; scaled by the tracks of the training side.
    interactions : str, path or DataFrame
        As for :func:`train_recommender`.
    kinds : iterable of str, optional
        What to compare.
    stems, families : iterable of str, optional
        As for :func:`train_recommender`.
    weigh_by_separation : bool, optional
        As for :func:`train_recommender`.
    settings : Settings, optional
        As for :func:`train_recommender`.
    seed : int, optional
        Of split, training and bootstrap.
    k : sequence of int, optional
        See :func:`~stemfeatures.recommendation.evaluation.evaluate_models`.
    split : dict, optional
        Options of :func:`~stemfeatures.recommendation.splits.split_interactions`.
    resamples : int, optional
        See :func:`~stemfeatures.recommendation.evaluation.evaluate_models`.
    progress : callable, optional
        See :func:`~stemfeatures.recommendation.evaluation.evaluate_models`.

    Returns
    -------
    Comparison
        The scores, and how the interactions were read.
    """
    kinds = tuple(kinds)
    catalogue = read_catalogue(
        place_of(features),
        with_features=bool(set(kinds) & set(USES_FEATURES)),
        stems=stems,
        families=families,
        weigh_by_separation=weigh_by_separation,
    )
    listening = read_interactions(interactions).for_tracks(catalogue.track_ids)
    sides = split_interactions(listening, **{"seed": seed, **(split or {})})
    _, vectors = _vectors(catalogue, np.unique(sides.train.indices))
    evaluation = evaluate_models(
        sides,
        catalogue.track_ids,
        kinds,
        features=vectors,
        k=k,
        settings=settings,
        seed=seed,
        resamples=resamples,
        user_ids=listening.user_ids,
        progress=progress,
    )
    evaluation.settings["features_directory"] = {
        key: value for key, value in catalogue.origin.items() if key != "columns"
    }
    return Comparison(evaluation, listening.reading)


@dataclass(frozen=True)
class Prediction:
    """What :func:`predict_recommendations` did.

    Attributes
    ----------
    rows, users : int
        Of the table.
    by_popularity : int
        Users of whom the recommender knows nothing: they got popular tracks.
    n_new, n_gone : int
        Tracks of the directory that came after training, and the other way round.
    new_ranked : bool
        Whether the new ones could be recommended.
    reading : Reading
        How many rows of the interactions were read and left out.
    """

    rows: int
    users: int
    by_popularity: int
    n_new: int
    n_gone: int
    new_ranked: bool
    reading: Reading


def predict_recommendations(
    model: str | os.PathLike[str],
    features: str | Place,
    interactions: str | os.PathLike[str] | pd.DataFrame,
    out: str | os.PathLike[str],
    *,
    k: int = 10,
    users: Sequence[str] | None = None,
    include_heard: bool = False,
    new_only: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Write the best tracks of each user to a Parquet file ``user_id, track_id, score, rank``, by user and rank.

    Parameters
    ----------
    model : str or path
        Folder of a recommender.
    features : str or Path or Url
        A features directory that fits it; it may hold tracks that came after training.
    interactions : str, path or DataFrame
        The histories of the users as they are now; users who came after training are served like all others.
    out : str or path
        The Parquet file.
    k : int, optional
        Tracks a user; users who have heard nearly everything get fewer.
    users : sequence of str, optional
        Only these, in this order; all of the interactions by default. Who is not in them gets popular tracks.
    include_heard : bool, optional
        Also recommend what the user has listened to.
    new_only : bool, optional
        Recommend only tracks without listeners in training, by their features (content, hybrid).
    progress : callable, optional
        Called with the users that are done, and how many there are.

    Returns
    -------
    Prediction
        Counts, and how the interactions were read.

    Raises
    ------
    ModelError
        No recommender, or it does not fit the features directory.
    DatasetError
        Of the tables.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    saved = load_recommender(model)
    fit = fit_to(saved, place_of(features))
    listening = read_interactions(interactions).for_tracks(fit.catalogue.track_ids)
    histories = listening.matrix()
    user_ids = listening.user_ids
    if users is not None:
        histories, user_ids = _rows_of(histories, user_ids, users)
    candidates = None
    if new_only:
        if not fit.model.ranks_unseen:
            raise DatasetError(
                f"the {saved.model.kind} recommender cannot rank tracks without listeners; content and hybrid can",
                source=str(model),
                stage="recommend",
            )
        candidates = np.flatnonzero(fit.model.listeners == 0)
        if not len(candidates):
            raise DatasetError(
                "every track had listeners in training: none is new", source=str(features), stage="recommend"
            )
    rankings = recommend(
        fit.model,
        histories,
        k=k,
        user_ids=user_ids,
        candidates=candidates,
        exclude=sp.csr_matrix(histories.shape, dtype=np.float32) if include_heard else None,
        progress=progress,
    )
    by_popularity = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal by_popularity
        for ranking in rankings:
            by_popularity += int(ranking.by_popularity.sum())
            frame = ranking.to_pandas(fit.catalogue.track_ids, user_ids)
            yield pa.Table.from_pandas(frame, RECOMMENDATIONS, preserve_index=False)

    made = {"model": saved.card["kind"], "seed": saved.card["seed"], "trained_at": saved.card["created_at"]}
    made |= {"features_commit": fit.catalogue.origin["commit"], "k": k}
    rows = _write(Path(out), tables(), {"stemfeatures.recommend": json.dumps(made)})
    return Prediction(
        rows, len(user_ids), by_popularity, fit.n_new, fit.n_gone, fit.model.ranks_unseen, listening.reading
    )


def _rows_of(histories: sp.csr_matrix, user_ids: np.ndarray, users: Sequence[str]) -> tuple[sp.csr_matrix, np.ndarray]:
    """The rows of ``users``, each once, empty for those who are not in ``user_ids`` (sorted)."""
    wanted = np.asarray(list(dict.fromkeys(users)), dtype=str)
    at = np.searchsorted(user_ids, wanted).clip(max=len(user_ids) - 1)
    known = user_ids[at] == wanted
    choose = sp.csr_matrix(
        (np.ones(known.sum(), np.float32), (np.flatnonzero(known), at[known])), shape=(len(wanted), len(user_ids))
    )
    return (choose @ histories).tocsr(), wanted


def _write(path: Path, tables: Iterable[pa.Table], metadata: dict[str, str]) -> int:
    """Write tables to one Parquet file, which appears whole or not at all; the number of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with replacing(path) as partial, pq.ParquetWriter(partial, RECOMMENDATIONS.with_metadata(metadata)) as writer:
        for table in tables:
            writer.write_table(table.cast(RECOMMENDATIONS.with_metadata(metadata)))
            rows += len(table)
    return rows
