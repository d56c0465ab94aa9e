"""One DataFrame for all tracks of a features directory, and the FMA-style view of it."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..constants import STEM_ROWS, STEMS
from ..errors import DatasetError
from ..tables.reader import Features, open_features
from .columns import (
    EMBEDDING,
    SEPARATOR,
    TRUST,
    all_families,
    embedding_column,
    encode_key,
    family_of,
    field_columns,
    fma_names,
    matrix_fields,
    scalar_families,
    split_column,
    trust_column,
)

if TYPE_CHECKING:
    import pandas as pd

_BATCH_ROWS = 32_768
_NAMED = 5


def features_matrix(
    features: str | Path | Features,
    *,
    stems: Iterable[str] | None = None,
    families: Iterable[str] | None = None,
    track_ids: Sequence[str] | None = None,
    weigh_by_separation: bool = False,
    model_sha256: str | None = None,
    config_hash: str | None = None,
) -> pd.DataFrame:
    """The descriptors of all tracks as numbers: what recommenders and similarity are made from.

    Values are as in the tables, in the units of the data dictionary, NaN where something cannot be measured (scale them
    with :class:`~.transformer.FeatureTransformer`). A key becomes two columns, ``key_fifths`` (0..11, its place on the
    circle of fifths, relative keys together) and ``key_minor`` (0 or 1). A field has a column only for the stems it is
    defined on. ``frame.to_numpy()`` is the dense matrix, without a copy, and ``frame.index`` its ids.

    Parameters
    ----------
    features : str or Path or Features
        A features directory, or one that is open.
    stems : iterable of str, optional
        Some of ``mixture, vocals, drums, bass, other``; all by default.
    families : iterable of str, optional
        Some of ``activity, f0, rhythm, timbre, loudness, harmony, structure, notes, embedding``; all but the last by
        default. ``embedding`` adds the network's vectors, ``embedding_000`` and so on.
    track_ids : sequence of str, optional
        Only these tracks, in this order; all by default, sorted.
    weigh_by_separation : bool, default=False
        Put ``<stem>__separation_sdr_db`` of each separated stem behind its columns, by which
        :class:`~.transformer.FeatureTransformer` weighs them.
    model_sha256, config_hash : str, optional
        Take only rows of this checkpoint and these settings (the first digits are enough), and leave out the tracks
        that have none. Rows of several cannot be compared.

    Returns
    -------
    DataFrame
        (n_tracks, n_columns), float32, indexed by ``track_id``, with columns ``<stem>__<field>`` in the order
        of ``stems`` and of the data dictionary. A track without rows (too short to analyse) is a row of NaN.

    Raises
    ------
    DatasetError
        No features directory, unknown stem, family or track, no tracks, or rows of several models or settings and none
        chosen.
    """

    features = features if isinstance(features, Features) else open_features(features)
    stems = _chosen("stem", stems, STEM_ROWS, STEM_ROWS, features)
    families = _chosen("family", families, all_families(), scalar_families(), features)
    wanted = (stems, families, track_ids, weigh_by_separation, model_sha256, config_hash)
    return features.read_again(lambda: _read(features, *wanted))


def _read(
    features: Features,
    stems: tuple[str, ...],
    families: tuple[str, ...],
    track_ids: Sequence[str] | None,
    weigh_by_separation: bool,
    model_sha256: str | None,
    config_hash: str | None,
) -> pd.DataFrame:
    import pandas as pd

    rows = one_extraction(features, model_sha256=model_sha256, config_hash=config_hash)
    if track_ids is None:
        ids = np.sort(np.asarray(features.to_arrow("tracks", columns=["track_id"], filter=rows)["track_id"]))
    else:
        ids = np.asarray(list(track_ids), dtype=object)
        require_tracks(features, ids)
        rows = rows & pc.field("track_id").isin(pa.array(ids, pa.string()))
    if not len(ids):
        raise DatasetError("there are no tracks", source=str(features.path))
    fields = matrix_fields(families)
    columns: dict[tuple[str, str], int] = {}  # (stem, field) -> first column
    names: list[str] = []
    vectors = _vectors(features, rows, stems) if EMBEDDING in families else {}
    for stem in stems:
        for f in fields:
            if f.holds_for(stem):
                columns[stem, f.name] = len(names)
                names += [f"{stem}{SEPARATOR}{column.name}" for column in field_columns(f)]
        if stem in vectors:
            columns[stem, EMBEDDING] = len(names)
            names += [f"{stem}{SEPARATOR}{embedding_column(k)}" for k in range(vectors[stem])]
        if weigh_by_separation and stem in STEMS:
            columns[stem, TRUST] = len(names)
            names.append(trust_column(stem))
    values = np.full((len(ids), len(names)), np.nan, np.float32)
    wanted = [f.name for f in fields if any((stem, f.name) in columns for stem in stems)]
    if any((stem, TRUST) in columns for stem in stems):
        wanted.append(TRUST)
    if wanted:
        for stem, batch, at in stem_rows(features, "stems", wanted, rows, stems, ids):
            for name in wanted:
                if (stem, name) in columns:
                    _fill(values, at, columns[stem, name], batch.column(name))
    if vectors:
        for stem, batch, at in stem_rows(features, EMBEDDING + "s", ["vector"], rows, stems, ids):
            start, flat = columns[stem, EMBEDDING], batch.column("vector").flatten().to_numpy()
            if len(flat) != len(at) * vectors[stem]:
                raise DatasetError(f"embeddings of {stem} differ in length", source=str(features.path))
            values[at, start : start + vectors[stem]] = flat.reshape(len(at), -1)
    return pd.DataFrame(values, index=pd.Index(ids, name="track_id"), columns=names, copy=False)


def stem_rows(
    features: Features,
    table: str,
    columns: Sequence[str],
    rows: pc.Expression,
    stems: tuple[str, ...],
    ids: Iterable[str],
) -> Iterator[tuple[str, pa.RecordBatch, np.ndarray]]:
    """The rows of ``table`` that ``rows`` selects, a bounded number at a time.

    Yields the stem, some of its rows, and the places of their tracks in ``ids``.
    """
    batches = features.dataset(table).to_batches(
        columns=["track_id", "stem", *columns],
        filter=rows & pc.field("stem").isin(list(stems)),
        batch_size=_BATCH_ROWS,
        batch_readahead=2,
        fragment_readahead=1,
    )
    place_of = {track_id: place for place, track_id in enumerate(ids)}
    for batch in batches:
        tracks = batch.column("track_id").to_pylist()
        places = np.fromiter((place_of.get(track, -1) for track in tracks), np.int64, len(tracks))
        of = batch.column("stem").cast(pa.string())
        for stem in stems:
            mine = pc.equal(of, stem).to_numpy(zero_copy_only=False) & (places >= 0)
            if mine.any():
                yield stem, batch.filter(pa.array(mine)), places[mine]


def _fill(values: np.ndarray, at: np.ndarray, column: int, cells: pa.Array) -> None:
    if pa.types.is_string(cells.type):
        cells = cells.dictionary_encode()
        codes = np.array([encode_key(key) for key in (*cells.dictionary.to_pylist(), None)], np.float32)
        values[at, column : column + 2] = codes[cells.indices.fill_null(-1).to_numpy()]
    else:
        values[at, column] = cells.to_numpy(zero_copy_only=False)


def _vectors(features: Features, rows: pc.Expression, stems: tuple[str, ...]) -> dict[str, int]:
    """Length of the embeddings of each stem that has any."""
    lengths = {}
    for stem in stems:
        first = features.dataset("embeddings").head(1, columns=["vector"], filter=rows & (pc.field("stem") == stem))
        if first.num_rows:
            lengths[stem] = len(first["vector"][0])
    return lengths


def one_extraction(
    features: Features, *, model_sha256: str | None = None, config_hash: str | None = None
) -> pc.Expression:
    """A filter for the rows of one checkpoint and one set of settings, which alone can be compared.

    Both may be given by their first digits. DatasetError when the dataset holds several and they do not choose one, or
    when they choose none.
    """
    made = features.to_arrow("tracks", columns=["model_sha256", "config_hash"])
    groups = made.group_by(["model_sha256", "config_hash"]).aggregate([([], "count_all")]).to_pylist()
    fits = [
        g
        for g in groups
        if g["model_sha256"].startswith(model_sha256 or "") and g["config_hash"].startswith(config_hash or "")
    ]
    several = "; ".join(
        f"{g['count_all']} tracks of model_sha256 {g['model_sha256'][:12]}, config_hash {g['config_hash'][:12]}"
        for g in sorted(groups, key=lambda g: -g["count_all"])
    )
    if groups and not fits:
        raise DatasetError(
            f"no tracks of model_sha256 {model_sha256}, config_hash {config_hash}; there are: {several}",
            source=str(features.path),
        )
    if len(fits) > 1:
        raise DatasetError(
            f"rows of several models or settings cannot be compared: {several}; choose one by model_sha256 or "
            "config_hash, or extract the others again",
            source=str(features.path),
        )
    chosen = fits[0] if fits else {"model_sha256": "", "config_hash": ""}
    return (pc.field("model_sha256") == chosen["model_sha256"]) & (pc.field("config_hash") == chosen["config_hash"])


def require_tracks(features: Features, track_ids: Iterable[str]) -> None:
    """DatasetError that names those of ``track_ids`` which ``tracks`` does not hold, with similar ids."""
    have = features.to_arrow("tracks", columns=["track_id"])["track_id"].to_pylist()
    unknown = sorted(set(track_ids) - set(have))
    if not unknown:
        return
    failed = features.to_arrow("errors", columns=["track_id", "message"], filter=pc.field("track_id") == unknown[0])
    names = ", ".join(map(repr, unknown[:_NAMED])) + (f" and {len(unknown) - _NAMED} more" if unknown[_NAMED:] else "")
    hint = f"; extracting it failed: {failed['message'][0]}" if failed.num_rows else id_hint(unknown[0], have)
    raise DatasetError(f"no such track: {names}{hint}", source=str(features.path))


def id_hint(track_id: str, ids: Sequence[str]) -> str:
    """What to say of a ``track_id`` that is not among ``ids``: those that look like it, or what they look like."""
    if near := close_ids(track_id, ids):
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; the ids here look like {' or '.join(map(repr, ids[:2]))}" if len(ids) else "; there are no tracks"


def close_ids(track_id: str, ids: Iterable[str], *, n: int = 3) -> list[str]:
    """Up to ``n`` of ``ids`` that look like ``track_id``: those it is a part of, then those with few differences."""
    ids, wanted = list(ids), _plain(track_id)
    found = [i for i in ids if wanted and wanted in _plain(i)]
    if len(found) < n:
        # Comparing letters is slow: among very many ids only those of about this length.
        about = [i for i in ids if abs(len(i) - len(track_id)) <= 2] if len(ids) > 100_000 else ids
        names = {name: i for i in reversed(about) for name in (_plain(PurePath(i).stem), _plain(i))}
        found += [names[name] for name in difflib.get_close_matches(wanted, names, n=n)]
    return list(dict.fromkeys(found))[:n]


def _plain(text: str) -> str:
    """Without case and accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))


def _chosen(
    what: str, names: Iterable[str] | None, known: tuple[str, ...], default: tuple[str, ...], features: Features
) -> tuple[str, ...]:
    chosen = default if names is None else tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    if unknown := [name for name in chosen if name not in known]:
        raise DatasetError(f"unknown {what} {unknown[0]!r}; there are: {', '.join(known)}", source=str(features.path))
    if not chosen:
        raise DatasetError(f"no {what} chosen; there are: {', '.join(known)}", source=str(features.path))
    return chosen


def as_multiindex(frame: pd.DataFrame) -> pd.DataFrame:
    """The same matrix under columns ``(stem, family, feature, statistics, number)``, in the manner of FMA, sorted.

    ``vocals__mfcc_01_mean`` becomes ``("vocals", "timbre", "mfcc", "mean", "01")``. So ``frame["vocals", "timbre"]`` is
    a block, ``frame.xs("mfcc", axis=1, level="feature")`` a descriptor of all stems. Works for any frame of
    :func:`features_matrix`; columns of your own go under family ``custom``.

    Parameters
    ----------
    frame : pd.DataFrame
        A matrix of :func:`features_matrix`, a row a track.

    Returns
    -------
    pd.DataFrame
        The same values and index under columns of five levels.
    """
    import pandas as pd

    names = [(stem, family_of(field), *fma_names(field)) for stem, field in map(split_column, frame.columns)]
    columns = pd.MultiIndex.from_tuples(names, names=["stem", "family", "feature", "statistics", "number"])
    return frame.set_axis(columns, axis=1).sort_index(axis=1)
