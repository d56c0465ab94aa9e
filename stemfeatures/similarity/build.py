"""Make the similarity index of a features directory."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .._util.files import write_replace
from ..constants import STEM_ROWS
from ..errors import DatasetError
from ..tables.reader import Features, open_features
from ..vectors.columns import family_of, split_column
from ..vectors.matrix import features_matrix, one_extraction, stem_rows
from .index import FORMAT, SimilarityIndex, commit_digest, index_folder, open_index
from .store import Block, VectorStore

if TYPE_CHECKING:
    import pandas as pd

    from ..vectors.transformer import FeatureTransformer

#: How often and how loud a stem sounds says less about what is played than the other families do.
WEIGHTS = {"activity": 0.5, "loudness": 0.5}
_ROWS = 65_536
#: Vectors without an index that have not changed for so long are those of a process that was killed.
_ABANDONED_S = 24 * 3600.0


def build_index(
    features: str | Path | Features,
    *,
    stems: Iterable[str] | None = None,
    families: Iterable[str] | None = None,
    weights: Mapping[str, float] | None = None,
    whiten: bool = False,
    weigh_by_separation: bool = False,
    model_sha256: str | None = None,
    config_hash: str | None = None,
    index_dir: str | Path | None = None,
    ann: bool = False,
) -> SimilarityIndex:
    """Make the similarity index of a features directory, in ``<features>/_index`` or ``index_dir``.

    Parameters
    ----------
    features : str or Path or Features
        See :func:`stemfeatures.features_matrix`.
    stems, families : iterable of str, optional
        See :func:`stemfeatures.features_matrix`.
    weights : mapping, optional
        Factors of distances by stem, family or block, instead of :data:`WEIGHTS`; they stay in the index.
    whiten : bool
        See :class:`stemfeatures.FeatureTransformer`.
    weigh_by_separation : bool
        Separated stems count by how far they can be trusted; see :func:`stemfeatures.features_matrix`.
    model_sha256, config_hash : str, optional
        See :func:`stemfeatures.features_matrix`.
    index_dir : str or Path, optional
        Where the index goes; by default ``<features>/_index``.
    ann : bool
        Also make a usearch index for each stem, for directories beyond a million tracks (extra ``ann``).

    Returns
    -------
    SimilarityIndex
        The index, open.

    Raises
    ------
    DatasetError
        What ``features_matrix`` raises; fewer than two tracks; no column varies; the folder holds something else.
    """
    from ..vectors.transformer import FeatureTransformer

    features = features if isinstance(features, Features) else open_features(features)
    folder = index_folder(features.path, index_dir)
    _require_ours(folder)
    if ann:
        from .ann import require_usearch

        require_usearch()
    commit = features.commit
    asked: dict[str, Any] = {
        "stems": None if stems is None else list(stems),
        "families": None if families is None else list(families),
        "weigh_by_separation": weigh_by_separation,
        "model_sha256": model_sha256,
        "config_hash": config_hash,
    }
    matrix = features_matrix(features, **asked)
    if weights is None:
        present = {family_of(split_column(column)[1]) for column in matrix.columns}
        weights = {family: weight for family, weight in WEIGHTS.items() if family in present}
    transformer = FeatureTransformer(weights=weights, whiten=whiten)
    try:
        transformer.fit(matrix)
    except ValueError as error:
        raise DatasetError(f"cannot make an index: {error}", source=str(features.path)) from error
    extraction = one_extraction(features, model_sha256=model_sha256, config_hash=config_hash)
    store = VectorStore(folder / uuid.uuid4().hex[:12], len(matrix), _blocks_of(transformer))
    store.folder.mkdir(parents=True)
    try:
        _write_vectors(store, matrix, transformer)
        _write_tracks(store, features, extraction, matrix.index.to_numpy(dtype=object))
        content = {
            "format": FORMAT,
            "folder": store.folder.name,
            "commit": commit,
            "commit_digest": commit_digest(features, commit),
            "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "n_tracks": len(matrix),
            "made_from": _made_from(features, extraction),
            "options": {"weights": dict(weights), "whiten": whiten, **asked},
            "unusable": transformer.unusable_,
            "ann": _shortlists(store) if ann else [],
            "blocks": [dataclasses.asdict(b) for b in store.blocks],
        }
        write_replace(folder / "index.json", json.dumps(content, indent=1, ensure_ascii=False).encode())
    except BaseException:
        shutil.rmtree(store.folder, ignore_errors=True)
        raise
    _remove_replaced(folder, keep=store.folder)
    return open_index(features, index_dir=folder)


def current_index(
    features: str | Path | Features,
    *,
    index_dir: str | Path | None = None,
    building: Callable[[str], None] | None = None,
) -> SimilarityIndex:
    """The index of a features directory as it is now: built where there is none, and again where it is out of date.

    Parameters
    ----------
    features : str or Path or Features
        The features directory.
    index_dir : str or Path, optional
        Where the index is; by default ``<features>/_index``.
    building : callable, optional
        Called with the reason before the index is built.

    Returns
    -------
    SimilarityIndex
        One that is out of date is built again with the options it was built with.

    Raises
    ------
    DatasetError
        What :func:`build_index` raises; the folder of the index cannot be written.

    Examples
    --------
    >>> len(current_index("features"))
    24
    """
    features = features if isinstance(features, Features) else open_features(features)
    folder = index_folder(features.path, index_dir)
    options: dict[str, Any] = {}
    why = "there is none yet"
    if (folder / "index.json").is_file():
        try:
            index = open_index(features, index_dir=folder)
        except DatasetError as error:  # a cache: of another release, or damaged
            why = error.message
        else:
            if not (why := index.staleness(features)):
                return index
            options = {**index.options, "ann": bool(index.ann)}
    if building is not None:
        building(why)
    try:
        return build_index(features, index_dir=folder, **options)
    except OSError as error:
        message = f"the index cannot be written ({error.strerror or error}); choose another folder for it"
        raise DatasetError(message, source=str(folder)) from error


def _blocks_of(transformer: FeatureTransformer) -> list[Block]:
    names = transformer.get_feature_names_out().tolist()
    return [
        Block(
            stem,
            family,
            names[s],
            transformer.columns_[s],
            transformer.mean_[s].tolist(),
            transformer.variance_[s].tolist(),
        )
        for (stem, family), s in transformer.blocks_.items()
    ]


def _write_vectors(store: VectorStore, matrix: pd.DataFrame, transformer: FeatureTransformer) -> None:
    slices = list(transformer.blocks_.values())
    store.create((transformer.transform(chunk) for chunk in _chunks(matrix)), slices)


def _write_tracks(store: VectorStore, features: Features, extraction: pc.Expression, ids: np.ndarray) -> None:
    """``tracks.parquet``: the ids, and which stems sound."""
    columns: dict[str, Any] = {"track_id": pa.array(ids, pa.string())}
    audible = features.read_again(lambda: _audible(features, extraction, ids, store.blocks))
    columns |= {stem: pa.array(sounds) for stem, sounds in audible.items()}
    pq.write_table(pa.table(columns), store.folder / "tracks.parquet")


def _made_from(features: Features, extraction: pc.Expression) -> dict[str, Any]:
    """Model, configuration and schema of the tracks, which have them in common."""
    columns = ["model_sha256", "config_hash", "schema_version"]

    def first() -> pa.Table:
        return features.dataset("tracks").head(1, columns=columns, filter=extraction)

    found: dict[str, Any] = features.read_again(first).to_pylist()[0]
    return found


def _shortlists(store: VectorStore) -> list[str]:
    from .ann import build_shortlists

    return build_shortlists(store)


def _remove_replaced(folder: Path, *, keep: Path) -> None:
    """Remove the vectors of earlier indices."""
    for other in filter(_is_vectors, folder.iterdir()):
        # Without tracks.parquet it is being built at this moment, or whoever built it was killed.
        done = (other / "tracks.parquet").exists() or time.time() - other.stat().st_mtime > _ABANDONED_S
        if other != keep and done:
            shutil.rmtree(other, ignore_errors=True)


def _require_ours(folder: Path) -> None:
    if folder.is_dir() and not (folder / "index.json").exists():
        other = [p.name for p in folder.iterdir() if not _is_vectors(p) and not p.name.startswith(".")]
        if other:
            raise DatasetError(f"the folder holds other things, and no index: {min(other)}", source=str(folder))


def _is_vectors(path: Path) -> bool:
    return path.is_dir() and re.fullmatch(r"[0-9a-f]{12}", path.name) is not None


def _chunks(matrix: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(matrix), _ROWS):
        yield matrix.iloc[start : start + _ROWS]


def _audible(features: Features, rows: pc.Expression, ids: np.ndarray, blocks: list[Block]) -> dict[str, np.ndarray]:
    """Whether each stem sounds in each track."""
    stems = tuple(s for s in STEM_ROWS if any(b.stem == s for b in blocks))
    audible = {stem: np.zeros(len(ids), bool) for stem in stems}
    for stem, batch, at in stem_rows(features, "stems", ["activity_status"], rows, stems, ids):
        audible[stem][at] = pc.equal(batch.column("activity_status").cast(pa.string()), "ok").to_numpy(False)
    return audible
