"""Ask an index for what is not in it: a track that has just been analysed, or any vector."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..descriptors.types import TrackDescription
from ..errors import DatasetError
from ..tables.reader import Features
from ..vectors.columns import TRUST, encode_key, matrix_columns, split_column
from ..vectors.matrix import features_matrix
from ..vectors.transformer import FeatureTransformer
from .index import SimilarityIndex
from .neighbours import SimilarityError
from .store import Block, VectorStore

if TYPE_CHECKING:
    import pandas as pd


class _WithVisitor(VectorStore):
    """A store with one more row, in memory, behind its own."""

    def __init__(self, store: VectorStore, vector: np.ndarray) -> None:
        super().__init__(store.folder, store.n_rows + 1, store.blocks)
        self._store = store
        stops = np.cumsum([len(block.names) for block in store.blocks]).tolist()
        self._vectors = {block.file: vector[stop - len(block.names) : stop] for block, stop in zip(store.blocks, stops)}

    def read(self, start: int, stop: int, blocks: Sequence[Block]) -> np.ndarray:
        n = self._store.n_rows
        if stop <= n:
            return self._store.read(start, stop, blocks)
        known = self._store.read(start, n, blocks) if start < n else None
        own = self._visitor(blocks)
        return own if known is None else np.concatenate([known, own])

    def take(self, rows: np.ndarray, blocks: Sequence[Block]) -> np.ndarray:
        rows = np.asarray(rows)
        visiting = rows >= self._store.n_rows
        values = self._store.take(np.where(visiting, 0, rows), blocks)
        values[visiting] = self._visitor(blocks)
        return values

    def create(self, rows: Iterator[np.ndarray], slices: Sequence[slice]) -> None:
        raise TypeError("a store with a visitor is not written")

    def _visitor(self, blocks: Sequence[Block]) -> np.ndarray:
        return np.concatenate([self._vectors[block.file] for block in blocks])[None]


def with_vector(
    index: SimilarityIndex, name: str, vector: np.ndarray, *, audible: Mapping[str, bool] | None = None
) -> SimilarityIndex:
    """An index that can be asked for a vector as if it were a track.

    Parameters
    ----------
    index : SimilarityIndex
        It stays as it is.
    name : str
        What the vector is called in questions; no track may have this id.
    vector : (n_coordinates,) ndarray
        In the coordinates of the index, block by block: such as the mean of the vectors of some tracks.
    audible : mapping, optional
        Whether each stem sounds; all by default.

    Returns
    -------
    SimilarityIndex
        ``similar(name, ...)`` finds the tracks nearest to the vector.

    Raises
    ------
    SimilarityError
        It has another length or holds NaN, or a track has this id.
    """
    vector = np.asarray(vector, dtype=np.float32)
    width = sum(len(block.names) for block in index.store.blocks)
    if vector.shape != (width,) or not np.isfinite(vector).all():
        raise SimilarityError(
            f"expected {width} finite numbers, the coordinates of the index, not an array of shape {vector.shape}",
            source=str(index.path),
        )
    if name in set(index.track_ids):
        raise SimilarityError(f"there is a track called {name!r}", source=str(index.path))
    sounds = {s: np.append(v, True if audible is None else audible.get(s, False)) for s, v in index.audible.items()}
    return dataclasses.replace(
        index,
        track_ids=np.append(index.track_ids, name),
        audible=sounds,
        store=_WithVisitor(index.store, vector),
        ann=[],
        visitor=name,
    )


def with_track(index: SimilarityIndex, features: Features, name: str, description: TrackDescription) -> SimilarityIndex:
    """An index that can be asked for a track that is not in its tables.

    The transformer is fitted again to the tables: it takes about as long as building the index.

    Parameters
    ----------
    index : SimilarityIndex
        That of ``features`` as they are now.
    features : Features
        The directory.
    name : str
        What the track is called in questions.
    description : TrackDescription
        What :class:`stemfeatures.Analyser` says of it, with the checkpoint that made the tables.

    Returns
    -------
    SimilarityIndex
        ``similar(name, ...)`` finds the tracks nearest to it.

    Raises
    ------
    DatasetError
        The index does not fit the tables, or there is a track of this name.
    """
    import warnings

    options: dict[str, Any] = index.options
    chosen = {key: options.get(key) for key in ("stems", "families", "model_sha256", "config_hash")}
    matrix = features_matrix(features, weigh_by_separation=options.get("weigh_by_separation", False), **chosen)
    transformer = FeatureTransformer(weights=options["weights"], whiten=options["whiten"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of columns that are left out, as the index tells
        transformer.fit(matrix)
    if transformer.get_feature_names_out().tolist() != [n for block in index.store.blocks for n in block.names]:
        raise DatasetError("the index does not fit the tables; build it again", source=str(index.path))
    vector = transformer.transform(matrix_row(description, matrix.columns))[0]
    audible = {stem: values.get("activity_status") == "ok" for stem, values in description.stems.items()}
    return with_vector(index, name, vector, audible=audible)


def matrix_row(description: TrackDescription, columns: Sequence[str]) -> pd.DataFrame:
    """One track as a row of a feature matrix.

    Parameters
    ----------
    description : TrackDescription
        The track.
    columns : sequence of str
        Those of the matrix.

    Returns
    -------
    DataFrame
        (1, n_columns), float32, NaN where something cannot be measured.
    """
    import pandas as pd

    known = matrix_columns()
    values = []
    for column in columns:
        stem, name = split_column(column)
        if name == TRUST:
            value = description.stems.get(stem, {}).get(TRUST)
            values.append(np.nan if value is None else value)
            continue
        if name not in known:  # of an embedding, which knows its place by its number
            vector = description.embeddings.get(stem)
            values.append(np.nan if vector is None else vector[int(name.rpartition("_")[2])])
            continue
        value = description.stems.get(stem, {}).get(known[name].field.name)
        if name != known[name].field.name:
            value = encode_key(value)[name.endswith("_minor")]
        values.append(np.nan if value is None else value)
    return pd.DataFrame([values], columns=list(columns), dtype=np.float32)
