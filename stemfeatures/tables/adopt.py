"""Rows of other features directories, taken into one.

So a catalogue may be extracted in parts by drivers that know nothing of one another, each into a directory of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from .._util.urls import Place
from ..errors import DatasetError
from .check import require_parts
from .commits import Snapshot, append_commit, read_snapshot, set_torn_commit_aside
from .layout import DatasetLayout
from .lock import DatasetLock, reading
from .parts import PartFile, delete_parts, part_file, publish, staged, write_part
from .reader import live_rows
from .storage import arrow_source

#: Ids that are looked for together.
_LOOKED_UP = 50_000


@dataclass(frozen=True)
class Adopted:
    """What was taken from one directory.

    Attributes
    ----------
    source : Path or Url
        The directory.
    tracks, errors : int
        Live rows of these tables.
    parts : int
        Files.
    """

    source: Place
    tracks: int
    errors: int
    parts: int


def adopt(dataset: DatasetLayout | str | Place, others: Iterable[DatasetLayout | str | Place]) -> list[Adopted]:
    """Take the committed rows of other features directories into one, which is made if there is none.

    The others stay as they are, and need not be writable. Their files are linked where both lie on one file system, and
    copied elsewhere. Each directory is one commit, whole or not at all.

    Parameters
    ----------
    dataset : DatasetLayout or str or Path or Url
        Where they are taken to.
    others : iterable of DatasetLayout or str or Path or Url
        Features directories whose tracks are not in it.

    Returns
    -------
    list of Adopted
        In the order of ``others``.

    Raises
    ------
    BusyDatasetError
        A run is at work in one of them.
    LostPartError
        A part of one is missing or damaged.
    DatasetError
        One is no features directory; tracks, or a run, of one are here already; values of a column do not fit the type
        that it has here; or a file cannot be written. What was taken before from other directories stays.
    """
    layout = dataset if isinstance(dataset, DatasetLayout) else DatasetLayout.found(dataset)
    found = []
    with DatasetLock(layout, "merge") as lock:
        layout = DatasetLayout.open(layout.path)
        snapshot = read_snapshot(layout)
        set_torn_commit_aside(layout, snapshot)
        require_parts(layout, snapshot)
        for other in others:
            theirs = DatasetLayout.open(other)
            if _is_same(layout.path, theirs.path):
                raise DatasetError("cannot be taken into itself", source=str(theirs.path))
            lock.require()
            with reading(theirs, "merge"):
                layout, taken = _adopt(layout, snapshot, theirs)
            found.append(taken)
    return found


def _is_same(one: Place, other: Place) -> bool:
    with suppress(OSError, TypeError):
        return os.path.samefile(one, other)  # type: ignore[arg-type]
    return one == other


def _adopt(layout: DatasetLayout, snapshot: Snapshot, theirs: DatasetLayout) -> tuple[DatasetLayout, Adopted]:
    theirs = DatasetLayout.open(theirs.path)  # as the last writer left it
    their_snapshot = read_snapshot(theirs)
    require_parts(theirs, their_snapshot)
    of_other_type = _of_other_type(layout, theirs)
    runs = _runs(layout, snapshot)
    their_runs = _runs(theirs, their_snapshot)
    if twice := {row["run_id"] for row in runs} & {row["run_id"] for row in their_runs}:
        raise DatasetError(f"run {min(twice)} is in {layout.path} already", source=str(theirs.path))
    counts = {table: _require_new(layout, snapshot, theirs, their_snapshot, table) for table in ("tracks", "errors")}
    layout = layout.with_columns(of=theirs)
    added: list[PartFile] = []
    try:
        for part in their_snapshot.parts.values():
            if part.table == "tracks" and of_other_type:
                added.append(_converted(layout, theirs, part, of_other_type))
            elif part.table != "runs":
                added.append(_copied(layout, theirs, part))
        n_parts = len(added)
        if their_runs:
            added.append(write_part(layout, "runs", [*runs, *their_runs], shard="merge"))
    except Exception:
        with suppress(OSError, DatasetError):  # a disk that is full shall not stay so
            delete_parts(layout, [part for part in added if part.path not in snapshot.parts])
        raise
    removed = snapshot.of("runs") if their_runs else []
    append_commit(
        layout,
        snapshot,
        kind="merge",
        source=str(theirs.path),
        counts=counts,
        add=added,
        remove=[part.path for part in removed],
        replaced={
            table: {run: sorted(ids) for run, ids in of.items()} for table, of in their_snapshot.replaced.items()
        },
    )
    with suppress(OSError):  # what cannot be deleted is left for the next run
        delete_parts(layout, removed)
    publish(layout, added)
    return layout, Adopted(theirs.path, counts["tracks"], counts["errors"], n_parts)


def _runs(layout: DatasetLayout, snapshot: Snapshot) -> list[dict[str, Any]]:
    return live_rows(layout, snapshot, "runs").to_table().to_pylist()


def _of_other_type(layout: DatasetLayout, theirs: DatasetLayout) -> set[str]:
    """Catalogue columns that have another type here; DatasetError where other columns have."""
    found = set()
    for table in theirs.tables:
        ours = {f.name: f.type for f in layout.fields(table)} if table in layout.tables else {}
        for f in theirs.fields(table):
            if ours.get(f.name, f.type) == f.type:
                continue
            if f.family != "metadata":
                raise _types_apart(layout, theirs, f.name, f.type, ours[f.name])
            found.add(f.name)
    return found


def _types_apart(layout: DatasetLayout, theirs: DatasetLayout, column: str, one: object, two: object) -> DatasetError:
    return DatasetError(f"column {column!r} holds {one}, in {layout.path} {two}", source=str(theirs.path))


def _require_new(
    layout: DatasetLayout, snapshot: Snapshot, theirs: DatasetLayout, their_snapshot: Snapshot, table: str
) -> int:
    """Count the tracks in a table of theirs; DatasetError when one of them stands in any of ours."""
    n = 0
    for ids in _ids(theirs, their_snapshot, table):
        n += len(ids)
        for ours in ("tracks", "errors"):
            rows = live_rows(layout, snapshot, ours, keys=ids)
            both = rows.head(1, columns=["track_id"], filter=pc.field("track_id").isin(pa.array(ids, pa.string())))
            if len(both):
                what = f"track {both['track_id'][0].as_py()!r} is in {layout.path} already"
                raise DatasetError(what, source=str(theirs.path))
    return n


def _ids(layout: DatasetLayout, snapshot: Snapshot, table: str) -> Iterator[list[str]]:
    """The tracks of a table, many at a time however small its files are."""
    ids: list[str] = []
    for batch in live_rows(layout, snapshot, table).to_batches(columns=["track_id"], batch_size=_LOOKED_UP):
        ids += batch["track_id"].to_pylist()
        if len(ids) >= _LOOKED_UP:
            yield ids
            ids = []
    if ids:
        yield ids


def _copied(layout: DatasetLayout, theirs: DatasetLayout, part: PartFile) -> PartFile:
    try:
        layout.storage.take(part_file(theirs, part), staged(part.path))
    except OSError as e:
        raise DatasetError(f"cannot take {part.path} of {theirs.path}: {e}", source=str(layout.path)) from e
    return part


def _converted(layout: DatasetLayout, theirs: DatasetLayout, part: PartFile, columns: set[str]) -> PartFile:
    """A part of table tracks with catalogue columns in the types that they have here: which they got from the first
    catalogue, and might have got from any part of it."""
    path, fs = arrow_source(part_file(theirs, part))
    schema, types = layout.schema(part.table, describe=False), {f.name: f.type for f in theirs.fields(part.table)}
    try:
        rows = ds.dataset([path], schema=theirs.schema(part.table), format="parquet", filesystem=fs).to_table()
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"cannot take {part.path} of {theirs.path}: {e}", source=str(layout.path)) from e
    made = []
    for f, of in zip(layout.fields(part.table), schema.types):
        column = rows[f.name] if f.name in types else pa.nulls(rows.num_rows, of)
        try:
            made.append(_as_type(column, of) if f.name in columns else column)
        except pa.ArrowInvalid as e:
            raise _types_apart(layout, theirs, f.name, types[f.name], f.type) from e
    return write_part(layout, part.table, pa.Table.from_arrays(made, schema=schema), shard="merge")


def _as_type(values: pa.ChunkedArray, of: pa.DataType) -> pa.ChunkedArray | pa.Array:
    """Values of a catalogue as ``extract`` writes them into a column of a type; ArrowInvalid where they do not fit."""
    if values.null_count == len(values):  # of no type at all
        return pa.nulls(len(values), of)
    if pa.types.is_string(of):
        return pa.array([None if value is None else str(value) for value in values.to_pylist()], of)
    if not {values.type, of} <= {pa.int64(), pa.float64()}:
        raise pa.ArrowInvalid(f"{values.type} are no {of}")
    return values.cast(of)
