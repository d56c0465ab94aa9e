"""Read the committed tables of a features directory, also while a run is writing to it.

>>> features = open_features("features")
>>> drums = features.to_pandas("stems", columns=["track_id", "stem", "tempo_bpm"], filter=[("stem", "==", "drums")])
>>> len(drums), list(drums.columns)
(24, ['track_id', 'stem', 'tempo_bpm'])
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from .._util.urls import Place
from .._util.words import size, there_are
from ..constants import STEM_ROWS
from ..descriptors.event_tables import event_tables
from ..errors import DatasetError, LostPartError
from ..fields import Field
from .away import away_error, is_away
from .commits import Snapshot, read_snapshot
from .key_index import INDEX
from .layout import DatasetLayout
from .parts import PartFile, is_staged, part_files, parts_holding, repair_hint
from .rows import bytes_to_voicing, cents_to_f0
from .storage import arrow_source

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..descriptors.types import F0Contour, TrackDescription


T = TypeVar("T")

#: So often in a row writers may delete what is being read.
_MOST_TRIES = 20
#: How Arrow says that a table lacks a column of a filter; all columns that it has follow.
_NO_COLUMN = re.compile(r"No match for FieldRef\.Name\((.+?)\) in ")


def live_rows(
    layout: DatasetLayout, snapshot: Snapshot, table: str, *, keys: Iterable[str] | None = None
) -> ds.Dataset:
    """The rows of ``table`` that count, as a dataset; empty when there are none.

    With ``keys`` those of these tracks are among them, and as few others as the commits allow to tell without opening
    a file. Raises LostPartError when a part is not there as it was written.
    """
    parts = snapshot.of(table)
    if keys is not None:
        keys = list(keys)
        parts = parts_holding(parts, keys)
        parts = INDEX.holding(str(layout.path), parts, keys, partial(_tracks_of, layout))
    return rows_of(layout, parts, table, dead=snapshot.dead(table))


def rows_of(layout: DatasetLayout, parts: Iterable[PartFile], table: str, *, dead: pc.Expression | None) -> ds.Dataset:
    """The rows of some parts of ``table`` without those that no longer count, see :meth:`Snapshot.dead`.

    Raises LostPartError when a part is not there as it was written.
    """
    sources = [arrow_source(place) for place in part_files(layout, parts)]
    filesystem: Any = sources[0][1] if sources else None
    files = [path for path, _ in sources]
    if any(map(is_staged, files)):
        from .two_names import either_name

        filesystem = either_name(filesystem)
    dataset = ds.dataset(files, schema=layout.schema(table), format="parquet", filesystem=filesystem)
    return dataset if dead is None else dataset.filter(~dead)


def _tracks_of(layout: DatasetLayout, part: PartFile) -> Iterator[str]:
    """The track of each row of a part."""
    for batch in rows_of(layout, [part], part.table, dead=None).to_batches(columns=["track_id"]):
        yield from batch["track_id"].to_pylist()


class TrackKey(NamedTuple):
    """What makes an extraction of a track the same work."""

    track_id: str
    config_hash: str
    model_sha256: str
    schema_version: str


class AudioIdentity(NamedTuple):
    """What is known of the audio a row was made from; compare it to tell whether the file has changed."""

    source_uri: str
    audio_sha256: str | None
    source_size_bytes: int | None
    source_modified_at: datetime | None


def completed_keys(
    dataset: DatasetLayout | str | Place, *, table: str = "tracks", snapshot: Snapshot | None = None
) -> dict[TrackKey, AudioIdentity]:
    """What need not be done again: every live row of ``tracks`` (or, on demand, of ``errors``) by its resume key.

    A catalogue row is done if its key is in here and its audio is still the same.
    """
    layout = DatasetLayout.open(dataset)
    rows = live_rows(layout, snapshot or read_snapshot(layout), table)
    columns = rows.to_table(columns=[*TrackKey._fields, *AudioIdentity._fields]).to_pydict()
    keys = map(TrackKey, *(columns[name] for name in TrackKey._fields))
    return dict(zip(keys, map(AudioIdentity, *(columns[name] for name in AudioIdentity._fields))))


def open_features(path: str | Place) -> Features:
    """Open a features directory for reading.

    Parameters
    ----------
    path : str or Path or Url
        The features directory, also in a store (``"s3://bucket/features"``).

    Returns
    -------
    Features
        What is committed, as of now.

    Raises
    ------
    DatasetError
        There is none, its commit log is damaged, or another major schema version wrote it.

    Examples
    --------
    >>> sorted(open_features("features").to_pandas("tracks")["status"].unique())
    ['ok']
    """
    return Features(DatasetLayout.open(path))


class Features:
    """The committed tables of a features directory, as they were when it was opened (:meth:`refresh` looks again).

    Rows of unfinished shards, of dead attempts and rows that a later run replaced are not in it.
    """

    def __init__(self, layout: DatasetLayout) -> None:
        self.layout = layout
        self.snapshot = read_snapshot(layout)

    @property
    def path(self) -> Place:
        return self.layout.path

    @property
    def commit(self) -> int:
        """Number of the last commit that is seen."""
        return self.snapshot.commit

    def refresh(self) -> Features:
        """Look at the directory again; returns itself."""
        self.layout = DatasetLayout.open(self.layout.path)
        self.snapshot = read_snapshot(self.layout)
        return self

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that have been written to."""
        have = {part.table for part in self.snapshot.parts.values()}
        have |= {"errors"} & self.snapshot.replaced.keys()  # all that failed is done by now
        return tuple(name for name in self.layout.tables if name in have)

    def fields(self, table: str) -> tuple[Field, ...]:
        """The columns of ``table`` in this dataset, with unit, description and range."""
        return self.layout.fields(table)

    def schema(self, table: str) -> pa.Schema:
        """Arrow schema of ``table``; each field's metadata hold unit, description, range, since and family."""
        return self.layout.schema(table)

    def files(self, table: str) -> list[str]:
        """Paths of the committed part files. Until ``compact``, rows that a later run replaced may be in them."""
        self.schema(table)
        return [str(place) for place in part_files(self.layout, self.snapshot.of(table))]

    def dataset(self, table: str) -> ds.Dataset:
        """The live rows of ``table`` as a ``pyarrow.dataset.Dataset`` (DuckDB, Polars and pandas read it lazily)."""
        return live_rows(self.layout, self.snapshot, table)

    def counts(self) -> dict[str, int]:
        """Live rows by table."""
        return self.read_again(self._counts)

    def _counts(self) -> dict[str, int]:
        rows = {}
        for table in self.tables:
            if table in self.snapshot.replaced:
                rows[table] = self.dataset(table).count_rows()
            else:
                rows[table] = sum(part.rows for part in self.snapshot.of(table))
        return rows

    def to_arrow(
        self, table: str, *, columns: Sequence[str] | None = None, filter: pc.Expression | list[Any] | None = None
    ) -> pa.Table:
        """Rows as an Arrow table sorted by track; see :meth:`to_pandas`."""
        schema = self.schema(table)
        keys = _keys_of(filter, schema.names[0])
        columns = [columns] if isinstance(columns, str) else columns
        if columns is not None and (unknown := [c for c in columns if c not in schema.names]):
            what = f"table {table} has no column {', '.join(map(repr, unknown))}"
            raise DatasetError(what + there_are(unknown[0], schema.names), source=str(self.path))
        filter = self._condition(table, filter)
        read = None if columns is None else list(dict.fromkeys([*columns, schema.names[0]]))
        data = self.read_again(lambda: self._read(table, read, filter, keys))
        data = data.take(pc.sort_indices(data, [(schema.names[0], "ascending")]))
        return data if columns is None else data.select(list(columns))

    def read_again(self, read: Callable[[], T]) -> T:
        """What a function reads of the tables, beside writers: once more where they have replaced what it reads.

        Parameters
        ----------
        read : callable
            Reads from this object.

        Returns
        -------
        object
            What it returned at last, of the directory as it is then.

        Raises
        ------
        LostPartError
            A part is lost.
        UnreachableError
            A disk or a store does not let us read; a store has been asked again by then, see :mod:`.._util.patient`.
        """
        for left in reversed(range(_MOST_TRIES)):
            try:
                return read()
            except (FileNotFoundError, LostPartError) as e:
                before = self.commit
                # A part may have been given its name just now, which is no commit.
                if not left or (self.refresh().commit == before and isinstance(e, LostPartError)):
                    raise
            except OSError as e:
                if not is_away(e):
                    raise LostPartError(
                        f"cannot be read: {e}; {repair_hint(self.layout)}", source=str(self.path)
                    ) from e
                raise away_error(self.path, "a table", e) from e
        raise AssertionError("the last try returns or raises")

    def _condition(self, table: str, filter: pc.Expression | list[Any] | None) -> pc.Expression | None:
        """``filter`` as an expression; DatasetError where it does not fit the columns of the table."""
        if filter is None:
            return None
        try:
            condition = filter if isinstance(filter, pc.Expression) else pq.filters_to_expression(filter)
            ds.dataset(self.schema(table).empty_table()).to_table(filter=condition)
        except (pa.ArrowException, TypeError, ValueError) as e:
            said = str(e).partition("\n")[0]
            if unknown := _NO_COLUMN.match(said):
                what = f"has no column {unknown[1]!r}"
            elif isinstance(e, pa.ArrowException):
                what = f"cannot be filtered by {filter}: {said}"
            else:
                what = (
                    f"cannot be filtered by {filter!r}: neither an expression nor a list of (column, operator, value)"
                )
            raise DatasetError(f"table {table} {what}", source=str(self.path)) from e
        return condition

    def _has(self, track_id: str) -> bool:
        """Whether there is such a track."""
        chosen = pc.field("track_id") == track_id
        return bool(self.read_again(lambda: self.dataset("tracks").count_rows(filter=chosen)))

    def _require_stem(self, stem: str) -> None:
        """DatasetError where neither the four stems nor those of a separator are called so."""
        if stem in STEM_ROWS or "stems" not in self.tables:
            return
        found = self.to_arrow("stems", columns=["stem"])["stem"].unique().to_pylist()
        if stem not in found:
            known = ", ".join(dict.fromkeys((*STEM_ROWS, *sorted(found))))
            raise DatasetError(f"unknown stem {stem!r}; there are: {known}", source=str(self.path))

    def _read(
        self, table: str, columns: list[str] | None, filter: pc.Expression | None, keys: tuple[str, ...] | None
    ) -> pa.Table:
        rows = live_rows(self.layout, self.snapshot, table, keys=keys)
        try:
            return rows.to_table(columns=columns, filter=filter)
        except (OSError, pa.ArrowInvalid) as e:
            if isinstance(e, FileNotFoundError) or is_away(e):
                raise
            what = f"table {table} cannot be read: {e}; {repair_hint(self.layout)}"
            raise LostPartError(what, source=str(self.path)) from e

    def to_pandas(
        self, table: str, columns: Sequence[str] | None = None, filter: pc.Expression | list[Any] | None = None
    ) -> pd.DataFrame:
        """Rows as a DataFrame, sorted by track.

        Parameters
        ----------
        table : str
            Name of a table.
        columns : sequence of str, optional
            Columns to read, all by default.
        filter : pyarrow.compute.Expression or list, optional
            An expression, or ``[(column, op, value), ...]`` as in ``pandas.read_parquet``. A list that names tracks
            (``("track_id", "==", "one")``, ``("track_id", "in", [...])``) opens only the files that can hold them.

        Returns
        -------
        DataFrame
            Columns of type ``category`` are ``Categorical``, of the values that occur. Whole numbers with nulls are
            float64, with NaN, and truth values with nulls objects, as pandas reads them;
            ``to_arrow(table).to_pandas(types_mapper=pandas.ArrowDtype)`` keeps the types of the schema.

        Raises
        ------
        DatasetError
            Unknown table or column, or a filter that does not fit the columns.
        """
        import pandas as pd

        frame = self.to_arrow(table, columns=columns, filter=filter).to_pandas()
        for f in self.fields(table):
            if f.type == "category" and f.name in frame:
                found = set(frame[f.name].dropna())
                known = [value for value in f.values if value in found]
                frame[f.name] = pd.Categorical(frame[f.name], [*known, *sorted(found.difference(known))])
        return frame

    def pivot_stems(
        self, columns: str | Sequence[str] | None = None, *, stems: str | Iterable[str] | None = None
    ) -> pd.DataFrame:
        """One row per track, indexed by ``track_id``, with columns ``<stem>__<field>``.

        Parameters
        ----------
        columns : str or sequence of str, optional
            Columns of table ``stems``; all descriptors (no keys, no provenance) by default.
        stems : str or iterable of str, optional
            Which stems, in which order; all of ``constants.STEM_ROWS`` by default.
        """
        import pandas as pd

        if columns is None:
            columns = [f.name for f in self.fields("stems") if f.family not in ("key", "provenance")]
        columns = [columns] if isinstance(columns, str) else columns
        stems = STEM_ROWS if stems is None else (stems,) if isinstance(stems, str) else tuple(stems)
        rows = self.to_pandas("stems", ["track_id", "stem", *columns])
        known = tuple(dict.fromkeys((*STEM_ROWS, *rows["stem"].cat.categories)))
        if unknown := [stem for stem in stems if stem not in known]:
            raise DatasetError(f"unknown stem {unknown[0]!r}; there are: {', '.join(known)}", source=str(self.path))
        index = pd.Index(rows["track_id"].unique(), name="track_id")
        blocks = [
            rows[rows["stem"] == stem].set_index("track_id")[list(columns)].reindex(index).add_prefix(f"{stem}__")
            for stem in stems
        ]
        return pd.concat(blocks, axis=1)

    def contour(self, track_id: str, stem: str) -> F0Contour:
        """The F0 contour of one stem: times in s, F0 in Hz with NaN where unvoiced, voicing in 0..1.

        Raises DatasetError when there is none for this track and stem, or no such stem.
        """
        from ..descriptors.types import F0Contour

        self._require_stem(stem)
        rows = self.to_arrow("contours", filter=[("track_id", "==", track_id), ("stem", "==", stem)])
        if not rows.num_rows:
            if not self._has(track_id):
                raise DatasetError(f"there is no track {track_id!r}", source=str(self.path))
            found = self.to_arrow("contours", columns=["stem"], filter=[("track_id", "==", track_id)])
            there = there_are(stem, found["stem"].to_pylist())
            raise DatasetError(f"no contour of stem {stem!r} for track {track_id!r}{there}", source=str(self.path))
        row = rows.slice(0, 1).to_pylist()[0]
        times = row["t0_s"] + row["hop_s"] * np.arange(len(row["voicing"]))
        return F0Contour(times, cents_to_f0(row["f0_cents"]), bytes_to_voicing(row["voicing"]))

    def events(self, table: str, track_id: str, stem: str | None = None) -> pd.DataFrame:
        """The events of one track, in the order of time.

        Parameters
        ----------
        table : str
            A table of events, such as ``active_segments``.
        track_id : str
            Identity of the track.
        stem : str, optional
            Only those of this stem, in tables whose rows are of stems.

        Returns
        -------
        DataFrame
            A row an event, none where nothing was found; its columns are those of the table without ``track_id`` and
            ``run_id``.

        Raises
        ------
        DatasetError
            There is no such table, track or stem, no run has written the table, or its rows are not of stems.
        """
        if table not in event_tables():
            known = ", ".join(event_tables())
            raise DatasetError(f"{table!r} is no table of events; there are: {known}", source=str(self.path))
        fields = event_tables()[table].fields
        chosen = pc.field("track_id") == track_id
        if not self._has(track_id):
            raise DatasetError(f"there is no track {track_id!r}", source=str(self.path))
        if table not in self.tables:
            raise DatasetError(f"table {table} is not there: no run has written it", source=str(self.path))
        if stem is not None:
            if "stem" not in {f.name for f in fields}:
                raise DatasetError(f"table {table} is not of stems", source=str(self.path))
            self._require_stem(stem)
            chosen &= pc.field("stem") == stem
        frame = self.to_pandas(table, [f.name for f in self.fields(table)], chosen)
        frame = frame.drop(columns=["track_id", "run_id"])
        times = [f.name for f in fields if f.name.endswith("_s") and f.is_number]
        return frame.sort_values(times[0], kind="stable", ignore_index=True) if times else frame

    def chords(self, track_id: str) -> pd.DataFrame:
        """The chords of one track: ``start_s``, ``end_s``, ``label`` in Harte's syntax and what else table chords has.

        Parameters
        ----------
        track_id : str
            Identity of the track.

        Returns
        -------
        DataFrame
            As of :meth:`events`.

        Raises
        ------
        DatasetError
            As of :meth:`events`.
        """
        return self.events("chords", track_id)

    def notes(self, track_id: str, stem: str | None = None) -> pd.DataFrame:
        """The notes of one track: ``stem``, ``onset_s``, ``offset_s``, ``pitch`` and what else table notes has.

        Parameters
        ----------
        track_id : str
            Identity of the track.
        stem : str, optional
            Only those of this stem.

        Returns
        -------
        DataFrame
            As of :meth:`events`.

        Raises
        ------
        DatasetError
            As of :meth:`events`.
        """
        return self.events("notes", track_id, stem)

    def sections(self, track_id: str) -> pd.DataFrame:
        """The sections of one track: ``start_s``, ``end_s``, ``label`` and what else table sections has.

        Parameters
        ----------
        track_id : str
            Identity of the track.

        Returns
        -------
        DataFrame
            As of :meth:`events`.

        Raises
        ------
        DatasetError
            As of :meth:`events`.
        """
        return self.events("sections", track_id)

    def beats(self, track_id: str) -> pd.DataFrame:
        """The beats of one track.

        Parameters
        ----------
        track_id : str
            Identity of the track.

        Returns
        -------
        DataFrame
            ``time_s``, increasing; ``position`` in the bar from 1, the downbeat, 0 where it is not known; ``bar``, the
            downbeats up to here (0 before the first). No row where no beats were found.

        Raises
        ------
        DatasetError
            There is no such track, or its beats were not written.
        """
        import pandas as pd

        chosen = (pc.field("track_id") == track_id) & (pc.field("kind") == "beat")
        rows = self.to_arrow("events", columns=["times_s", "positions"], filter=chosen).to_pylist()
        if not rows:
            raise DatasetError(f"no beats of track {track_id!r}", source=str(self.path))
        beats = pd.DataFrame({"time_s": rows[0]["times_s"], "position": rows[0]["positions"]})
        beats = beats.astype({"time_s": "float64", "position": "int8"})
        return beats.assign(bar=(beats["position"] == 1).cumsum())

    def embeddings(self, stem: str, *, model_sha256: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of one stem: ``track_ids`` (n_tracks,) and ``vectors`` (n_tracks, n_dims) float32.

        Tracks on which the stem is silent are absent. Raises DatasetError when there is no such stem, or when the
        dataset holds vectors of several models and ``model_sha256`` does not choose one: they cannot be compared.
        """
        self._require_stem(stem)
        rows = self.to_arrow(
            "embeddings", columns=["track_id", "model", "model_sha256", "vector"], filter=pc.field("stem") == stem
        )
        if model_sha256 is not None:
            rows = rows.filter(pc.field("model_sha256") == model_sha256)
        models = {(r["model"], r["model_sha256"]) for r in rows.select(["model", "model_sha256"]).to_pylist()}
        if len(models) > 1:
            several = ", ".join(f"{name} ({sha})" for name, sha in sorted(models))
            raise DatasetError(f"embeddings of several models: {several}; choose model_sha256", source=str(self.path))
        values = rows["vector"].combine_chunks().flatten().to_numpy()
        return np.array(rows["track_id"].to_pylist(), dtype=str), values.reshape(
            rows.num_rows, -1 if len(values) else 0
        )

    def describe(self, track_id: str) -> TrackDescription:
        """All that the tables hold of one track, in the form in which the analysis gave it.

        Parameters
        ----------
        track_id : str
            Identity of the track.

        Returns
        -------
        TrackDescription
            Without what was not written.

        Raises
        ------
        DatasetError
            There is no such track.
        """
        from .description import describe_track

        return describe_track(self, track_id)

    def plot(self, track_id: str, *, start_s: float = 0.0, end_s: float | None = None) -> Figure:
        """Draw F0, beats, onsets and other events of one track; there are no spectra in the tables.

        Parameters
        ----------
        track_id : str
            Identity of the track.
        start_s, end_s : float, optional
            The part that is drawn, in seconds; the whole track by default.

        Returns
        -------
        matplotlib.figure.Figure
            ``figure.savefig("track.png")`` writes it. Needs the extra ``report``.

        Raises
        ------
        DatasetError
            There is no such track.
        """
        from ..plots.track import plot_track

        return plot_track(self.describe(track_id), title=track_id, start_s=start_s, end_s=end_s)

    def __repr__(self) -> str:
        counts = self.counts()
        rows = [
            (table, f"{counts[table]:,} rows", f"{len(self.fields(table))} columns", size(self._bytes(table)))
            for table in self.tables
        ]
        head = f"Features({str(self.path)!r}): schema {self.layout.schema_version}, commit {self.commit}"
        widths = [max(map(len, column)) for column in zip(*rows)]
        name = widths[0] if rows else 0
        lines = (
            f"  {table:<{name}}" + "".join(f"  {cell:>{w}}" for cell, w in zip(cells, widths[1:]))
            for table, *cells in rows
        )
        return "\n".join([head, *lines])

    def _bytes(self, table: str) -> int:
        return sum(part.size for part in self.snapshot.of(table))


def _keys_of(filter: pc.Expression | list[Any] | None, key: str) -> tuple[str, ...] | None:
    """The keys that a list of conditions, all of which must hold, allows; None for any."""
    if not isinstance(filter, list) or not all(isinstance(c, tuple) and len(c) == 3 for c in filter):
        return None
    for column, operator, value in filter:
        if column == key and operator in ("=", "=="):
            return (value,)
        if column == key and operator == "in":
            return tuple(value)
    return None
