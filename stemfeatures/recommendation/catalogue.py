"""The tracks of a features directory as a recommender sees them, and whether a saved recommender fits them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.urls import Place
from ..errors import DatasetError, ModelError
from ..tables.reader import Features, open_features
from .models import Recommender
from .names import USES_FEATURES

if TYPE_CHECKING:
    import pandas as pd

    from ..vectors.transformer import FeatureTransformer
    from .store import SavedRecommender


@dataclass(frozen=True)
class Catalogue:
    """Tracks, and what is known of them.

    Attributes
    ----------
    track_ids : (n_tracks,) ndarray of str
        Sorted.
    matrix : DataFrame or None
        The frame of :func:`stemfeatures.features_matrix`; None when features were not asked for.
    origin : dict
        Where from: ``path, commit, schema_version, tracks`` and, with features, ``model_sha256, config_hash, stems,
        families, weigh_by_separation, columns``.
    """

    track_ids: np.ndarray
    matrix: pd.DataFrame | None
    origin: dict[str, Any]


def read_catalogue(
    features: str | Place | Features,
    *,
    with_features: bool = True,
    stems: Iterable[str] | None = None,
    families: Iterable[str] | None = None,
    weigh_by_separation: bool = False,
    model_sha256: str | None = None,
    config_hash: str | None = None,
) -> Catalogue:
    """The tracks of a features directory; ``stems`` to ``config_hash`` as for :func:`stemfeatures.features_matrix`.

    Without features, tracks of several checkpoints may stand side by side. Raises DatasetError.
    """
    features = features if isinstance(features, Features) else open_features(features)
    origin: dict[str, Any] = {
        "path": str(features.path),
        "commit": features.commit,
        "schema_version": features.layout.schema_version,
    }
    made = features.to_arrow("tracks", columns=["track_id", "model_sha256", "config_hash"])
    if not with_features:
        track_ids = np.asarray(made["track_id"].to_pylist(), dtype=str)
        if not len(track_ids):
            raise DatasetError("there are no tracks", source=str(features.path))
        return Catalogue(track_ids, None, {**origin, "tracks": len(track_ids)})
    from ..vectors.matrix import features_matrix

    stems = None if stems is None else tuple(stems)
    families = None if families is None else tuple(families)
    matrix = features_matrix(
        features,
        stems=stems,
        families=families,
        weigh_by_separation=weigh_by_separation,
        model_sha256=model_sha256,
        config_hash=config_hash,
    )
    at = made["track_id"].to_pylist().index(matrix.index[0])
    origin |= {
        "tracks": len(matrix),
        "model_sha256": made["model_sha256"][at].as_py(),
        "config_hash": made["config_hash"][at].as_py(),
        "stems": None if stems is None else list(stems),
        "families": None if families is None else list(families),
        "weigh_by_separation": weigh_by_separation,
        "columns": list(matrix.columns),
    }
    return Catalogue(np.asarray(matrix.index, dtype=str), matrix, origin)


def fit_transformer(matrix: pd.DataFrame, **options: Any) -> FeatureTransformer:
    """A :class:`stemfeatures.FeatureTransformer` fitted to ``matrix``; ModelError when no column of it varies.

    What it leaves out is in its ``unusable_``; no warning is issued.
    """
    from ..vectors.transformer import FeatureTransformer, UnusableFeatureWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusableFeatureWarning)
        try:
            return FeatureTransformer(**options).fit(matrix)
        except ValueError as e:
            raise ModelError(f"no features to learn from: {e}", stage="recommend") from e


def centred(transformer: FeatureTransformer, matrix: pd.DataFrame) -> np.ndarray:
    """Vectors (n_tracks, n_features) float32 with mean 0 over the tracks the transformer was fitted to."""
    vectors = np.asarray(transformer.transform(matrix), dtype=np.float32)
    vectors -= np.asarray(transformer.mean_, dtype=np.float32)
    return vectors


@dataclass(frozen=True)
class Fit:
    """A saved recommender on the tracks of a features directory.

    Attributes
    ----------
    model : Recommender
        Recommends the tracks of the directory.
    catalogue : Catalogue
        The directory.
    n_new : int
        Tracks that came after training; ranked by their features if the kind can do that.
    n_gone : int
        Tracks of the model that are not in the directory any more; never recommended.
    """

    model: Recommender
    catalogue: Catalogue
    n_new: int
    n_gone: int


def fit_to(saved: SavedRecommender, features: str | Place | Features) -> Fit:
    """Put a saved recommender to the tracks of a features directory, which may have grown since training.

    Raises ModelError when they do not fit: features of another checkpoint, other settings or another schema, columns
    that are missing, or not one track in common for a kind that knows tracks by their listeners only.
    """
    features = features if isinstance(features, Features) else open_features(features)
    trained, source = saved.card["features"], str(saved.path)
    where = str(features.path)
    if trained["schema_version"].split(".")[0] != features.layout.schema_version.split(".")[0]:
        raise _misfit(
            source,
            f"it was trained on tables of schema {trained['schema_version']}, {where} has schema "
            f"{features.layout.schema_version}",
        )
    kind = saved.model.kind
    if kind in USES_FEATURES:
        keys = {key: trained[key] for key in ("model_sha256", "config_hash")}
        made = features.to_arrow("tracks", columns=list(keys)).to_pylist()
        if keys not in made:
            ours, there = (
                " and ".join(f"{key} {value[:12]}" for key, value in row.items())
                for row in (keys, made[0] if made else {})
            )
            raise _misfit(
                source,
                f"it was trained on features of {ours}, "
                f"{where} holds {'those of ' + there if there else 'no tracks'}; values of different models or "
                "settings cannot be compared",
            )
        catalogue = read_catalogue(
            features,
            stems=trained["stems"],
            families=trained["families"],
            weigh_by_separation=trained.get("weigh_by_separation", False),
            **keys,
        )
        assert catalogue.matrix is not None
        have, want = list(catalogue.matrix.columns), trained["columns"]
        if missing := [c for c in want if c not in set(have)]:
            some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise _misfit(
                source, f"{len(missing)} of the {len(want)} columns it learned from are not in {where}: {some}"
            )
        vectors = None if saved.transformer is None else centred(saved.transformer, catalogue.matrix[want])
    else:
        catalogue, vectors = read_catalogue(features, with_features=False), None
    known = np.isin(catalogue.track_ids, saved.model.track_ids)
    if not known.any() and kind not in USES_FEATURES:
        raise _misfit(source, f"none of its {len(saved.model.track_ids):,} tracks is in {where}")
    return Fit(
        saved.model.on_tracks(catalogue.track_ids, vectors),
        catalogue,
        n_new=int(np.sum(~known)),
        n_gone=len(saved.model.track_ids) - int(known.sum()),
    )


def _misfit(source: str, why: str) -> ModelError:
    return ModelError(f"the recommender does not fit: {why}; train it again", source=source, stage="recommend")
