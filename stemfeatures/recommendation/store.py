"""A trained recommender as a folder.

::

    model/
      recommender.json       kind, settings, seed, what it was trained on, versions
      vectors.safetensors    the arrays
      tracks.parquet         track_id, listeners
      users.parquet          user_id, of kinds that keep users
      transformer.pickle     how features become vectors; only our own classes and arrays are ever loaded from it
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import pickle
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .. import __version__
from .._util.files import temporary_name
from ..errors import ModelError
from .factorization import Settings
from .models import Recommender

if TYPE_CHECKING:
    from ..vectors.transformer import FeatureTransformer

FORMAT = 2
CARD = "recommender.json"
_VECTORS, _TRACKS, _USERS, _TRANSFORMER = "vectors.safetensors", "tracks.parquet", "users.parquet", "transformer.pickle"
_ARRAYS = ("vectors", "gram", "coefficients", "user_vectors")


@dataclass(frozen=True)
class SavedRecommender:
    """A recommender as it was read from its folder.

    Attributes
    ----------
    model : Recommender
        The recommender.
    transformer : FeatureTransformer or None
        From the columns ``card["features"]["columns"]`` to its features; None for kinds without.
    card : dict
        ``recommender.json``.
    path : Path
        The folder.
    """

    model: Recommender
    transformer: FeatureTransformer | None
    card: dict[str, Any]
    path: Path


def require_free(path: str | os.PathLike[str]) -> None:
    """FileExistsError unless ``path`` is a recommender, which may be replaced, or nothing at all."""
    if Path(path).exists() and not (Path(path) / CARD).is_file():
        raise FileExistsError(errno.EEXIST, "exists and is no recommender", str(path))


def save_recommender(
    path: str | os.PathLike[str],
    model: Recommender,
    *,
    features: dict[str, Any],
    interactions: dict[str, Any],
    transformer: FeatureTransformer | None = None,
) -> dict[str, Any]:
    """Write a recommender to a folder, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        The folder.
    model : Recommender
        What is kept.
    features : dict
        ``Catalogue.origin`` of what it was trained on.
    interactions : dict
        What is to be remembered of them, such as ``Reading.to_dict()``.
    transformer : FeatureTransformer, optional
        That of the features the recommender was trained on.

    Returns
    -------
    dict
        The card of the recommender, as it is written.

    Raises
    ------
    FileExistsError
        ``path`` is there and is no recommender. (A recommender is replaced.)
    """
    from safetensors.numpy import save_file

    path = Path(path)
    require_free(path)
    card = {
        "format": FORMAT,
        "kind": model.kind,
        "settings": dataclasses.asdict(model.settings),
        "seed": model.seed,
        "n_gram": model.n_gram,
        "tracks": len(model.track_ids),
        "features": features,
        "interactions": interactions,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"stemfeatures": __version__, "numpy": np.__version__},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = temporary_name(path)
    folder.mkdir()
    try:
        arrays = {name: getattr(model, name) for name in _ARRAYS}
        save_file(
            {name: np.ascontiguousarray(a) for name, a in arrays.items() if a is not None}, str(folder / _VECTORS)
        )
        listeners = pa.array(model.listeners.astype(np.int64))
        tracks = pa.table({"track_id": pa.array(model.track_ids.tolist(), pa.string()), "listeners": listeners})
        pq.write_table(tracks, folder / _TRACKS)
        if model.user_ids is not None:
            pq.write_table(pa.table({"user_id": pa.array(model.user_ids.tolist(), pa.string())}), folder / _USERS)
        if transformer is not None:
            (folder / _TRANSFORMER).write_bytes(pickle.dumps(transformer, protocol=5))
        (folder / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if path.exists():
            old = temporary_name(path)
            os.replace(path, old)
            os.replace(folder, path)
            shutil.rmtree(old)
        else:
            os.replace(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return card


def load_recommender(path: str | os.PathLike[str]) -> SavedRecommender:
    """Read a recommender from its folder.

    Parameters
    ----------
    path : str or path-like
        The folder.

    Returns
    -------
    SavedRecommender
        The recommender with its card and transformer.

    Raises
    ------
    ModelError
        There is none, it is damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    if not (path / CARD).is_file():
        raise _error(path, f"not a recommender (it has no {CARD})" if path.exists() else "there is no such folder")
    try:
        card = json.loads((path / CARD).read_text("utf-8"))
        if card["format"] != FORMAT:
            raise _error(path, f"format {card['format']}, this library reads {FORMAT}; train it again")
        arrays = load_file(str(path / _VECTORS))
        tracks = pq.read_table(path / _TRACKS)
        users = path / _USERS
        model = Recommender(
            kind=card["kind"],
            track_ids=np.asarray(tracks["track_id"].to_pylist(), dtype=str),
            vectors=arrays["vectors"],
            listeners=tracks["listeners"].to_numpy().astype(np.float32),
            settings=Settings(**card["settings"]),
            seed=card["seed"],
            gram=arrays.get("gram"),
            n_gram=card["n_gram"],
            coefficients=arrays.get("coefficients"),
            user_ids=np.asarray(pq.read_table(users)["user_id"].to_pylist(), dtype=str) if users.is_file() else None,
            user_vectors=arrays.get("user_vectors"),
        )
        transformer = None
        if (path / _TRANSFORMER).is_file():
            transformer = _Unpickler(io.BytesIO((path / _TRANSFORMER).read_bytes())).load()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as e:
        raise _error(path, f"damaged: {type(e).__name__}: {e}") from e
    except (SafetensorError, pa.ArrowException, pickle.UnpicklingError) as e:
        raise _error(path, f"damaged: {e}") from e
    if len(model.track_ids) != len(model.vectors):
        raise _error(path, f"damaged: {len(model.vectors)} vectors for {len(model.track_ids)} tracks")
    return SavedRecommender(model, transformer, card, path)


class _Unpickler(pickle.Unpickler):
    """Loads a fitted transformer and nothing else: a pickle can name any function, this one admits few."""

    _ALLOWED = frozenset(
        {
            ("builtins", "slice"),
            ("stemfeatures.fields", "Scale"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            *(
                (f"numpy.{core}.{module}", name)
                for core in ("core", "_core")
                for module, name in (
                    ("multiarray", "_reconstruct"),
                    ("multiarray", "scalar"),
                    ("numeric", "_frombuffer"),
                )
            ),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        ours = module.startswith("stemfeatures.vectors.")
        if ours or (module, name) in self._ALLOWED:
            found = super().find_class(module, name)
            if not ours or (isinstance(found, type) and found.__module__.startswith("stemfeatures.vectors.")):
                return found
        raise pickle.UnpicklingError(f"{_TRANSFORMER} names {module}.{name}, which no transformer needs")


def _error(path: Path, message: str) -> ModelError:
    return ModelError(message, source=str(path), stage="recommend")
