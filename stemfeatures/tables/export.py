"""Tables for other lakes: Delta Lake, Iceberg and Lance, each written by its own library.

The committed rows are streamed, so that memory does not grow with the catalogue, as one new version of each table:
who reads the old one goes on doing so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from ..errors import DatasetError, LostPartError, UnreachableError
from .away import away_error, is_away
from .parts import repair_hint

if TYPE_CHECKING:
    from .reader import Features

#: So often in a row writers may replace what is being read.
_MOST_TRIES = 5
#: Rows that are in memory at a time: scalars, and rows with series and embeddings.
_ROWS, _LONG_ROWS = 16_384, 512
#: Escape sequences of terminals in messages of libraries.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: Types that not every lake has, and what holds their values.
_WIDER = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.float16(): pa.float32()}


def export(
    features: Features, kind: str, target: str, *, tables: Iterable[str] | None = None, overwrite: bool = False
) -> dict[str, int]:
    """Write the committed tables to a lake.

    Parameters
    ----------
    features : Features
        The directory.
    kind : str
        ``delta``, ``iceberg`` or ``lance``; each is an extra of its name.
    target : str
        Of Delta and Lance a folder or an address that its library knows: every table goes below it, Lance's with the
        suffix ``.lance``. Of Iceberg ``CATALOG.NAMESPACE``, the catalogue as PyIceberg is configured.
    tables : iterable of str, optional
        Names of tables; all by default.
    overwrite : bool, default=False
        Replace what the tables hold, in a new version of them.

    Returns
    -------
    dict of str to int
        Rows written by table.

    Raises
    ------
    ImportError
        The library of ``kind`` is missing.
    ValueError
        ``kind`` is none of the three, or ``target`` names no namespace of a catalogue.
    DatasetError
        The directory has no such table, a part of it is lost, or a table is there already and ``overwrite`` is
        False; nothing is written then. Or the target cannot be written, or rows turn out to be damaged.

    Examples
    --------
    >>> from stemfeatures import open_features
    >>> export(open_features("features"), "delta", "lake", tables=["tracks", "stems"])  # doctest: +SKIP
    {'tracks': 13, 'stems': 65}
    """
    if kind not in LAKES:
        raise ValueError(f"unknown kind {kind!r}; there are: {', '.join(LAKES)}")
    lake = LAKES[kind]
    if find_spec(lake.module) is None:
        raise ImportError(f"{lake.title} needs {lake.module}: pip install 'stemfeatures[{kind}]'")
    sink = lake.open(target)
    names = tuple(tables) if tables is not None else features.tables
    for name in names:
        features.schema(name)  # complains of unknown names
    there = [name for name in names if _asked(sink, name)]
    if there and not overwrite:
        message = f"{', '.join(map(sink.where, there))}: there already; overwrite to replace it"
        raise DatasetError(message, source=str(features.path), stage="export")
    for left in reversed(range(_MOST_TRIES)):
        before = features.commit
        try:
            for name in names:
                features.files(name)  # complains of lost parts, before anything is written
            return {name: _written(features, sink, name) for name in names}
        except LostPartError:
            # Files that writers have replaced meanwhile are not lost; all tables are then written as they are now.
            if not left or features.refresh().commit == before:
                raise
    raise AssertionError("the last try returns or raises")


def _written(features: Features, sink: Any, name: str) -> int:
    """Write a table, and say how many rows it has."""
    schema = plain_schema(features.schema(name))
    counted = _Counted(_stream(features, name, schema), schema)
    try:
        sink.write(name, counted.reader)
    except Exception as e:  # each library has errors of its own, some of them derive from Exception alone
        if isinstance(counted.error, UnreachableError):
            raise counted.error from None
        if counted.error is not None and is_away(counted.error):
            raise away_error(features.path, f"table {name}", counted.error) from e
        if counted.error is not None:
            what = f"table {name} cannot be read: {counted.error}; {repair_hint(features.layout)}"
            raise LostPartError(what, source=str(features.path), stage="export") from e
        raise DatasetError(f"cannot be written: {_said(e)}", source=sink.where(name), stage="export") from e
    return counted.rows


def _asked(sink: Any, table: str) -> bool:
    """Whether a table is there already."""
    try:
        return bool(sink.has(table))
    except Exception as e:
        raise DatasetError(f"cannot be reached: {_said(e)}", source=sink.where(table), stage="export") from e


def _said(error: Exception) -> str:
    """An error of a library in one line, without the colours that some put in."""
    return f"{type(error).__name__}: {' '.join(_COLOUR.sub('', str(error)).split())}"


def _store_options(target: str) -> dict[str, str] | None:
    """What the libraries that read ``AWS_ENDPOINT_URL`` themselves must be told besides: that it may be one of HTTP."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return {"allow_http": "true"} if target.startswith("s3://") and endpoint.startswith("http://") else None


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema in types that all lakes have: text instead of categories, signed integers, lists of any length.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of a table.

    Returns
    -------
    pyarrow.Schema
        The same columns, without metadata: those of the directory are for its own readers.

    Examples
    --------
    >>> plain_schema(pa.schema([("stem", pa.dictionary(pa.int8(), pa.string())), ("n", pa.uint8())])).types
    [DataType(string), DataType(int16)]
    """
    return pa.schema([pa.field(field.name, _plain(field.type), field.nullable) for field in schema])


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return _WIDER.get(kind, kind)


def _stream(features: Features, table: str, schema: pa.Schema) -> Iterable[pa.RecordBatch]:
    nested = any(pa.types.is_nested(field.type) for field in schema)
    batches = features.dataset(table).to_batches(
        batch_size=_LONG_ROWS if nested else _ROWS, batch_readahead=2, fragment_readahead=1
    )
    for batch in batches:
        yield from pa.table(batch).cast(schema).to_batches()


class _Counted:
    """A reader of batches that says afterwards how many rows went through it, and what kept others from it: libraries
    of lakes raise an error of their own, with a traceback in its message."""

    def __init__(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        self.rows = 0
        self.error: Exception | None = None
        self.reader = pa.RecordBatchReader.from_batches(schema, self._through(batches))

    def _through(self, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        try:
            for batch in batches:
                self.rows += batch.num_rows
                yield batch
        except (OSError, pa.ArrowException, DatasetError) as e:
            self.error = e
            raise


class _Delta:
    """One Delta table a table, below a folder or address."""

    def __init__(self, target: str) -> None:
        self.target, self.options = target.rstrip("/"), _store_options(target)

    def where(self, table: str) -> str:
        return f"{self.target}/{table}"

    def has(self, table: str) -> bool:
        from deltalake import DeltaTable

        return bool(DeltaTable.is_deltatable(self.where(table), storage_options=self.options))

    def write(self, table: str, rows: pa.RecordBatchReader) -> None:
        from deltalake import write_deltalake

        write_deltalake(
            self.where(table), rows, mode="overwrite", schema_mode="overwrite", storage_options=self.options
        )


class _Lance:
    """One Lance dataset a table, below a folder or address."""

    def __init__(self, target: str) -> None:
        self.target, self.options = target.rstrip("/"), _store_options(target)

    def where(self, table: str) -> str:
        return f"{self.target}/{table}.lance"

    def has(self, table: str) -> bool:
        import lance

        try:
            lance.dataset(self.where(table), storage_options=self.options)
        except (ValueError, FileNotFoundError):  # what it raises depends on the store
            return False
        return True

    def write(self, table: str, rows: pa.RecordBatchReader) -> None:
        import lance

        mode = "overwrite" if self.has(table) else "create"
        lance.write_dataset(rows, self.where(table), mode=mode, storage_options=self.options)


class _Iceberg:
    """One Iceberg table a table, in a namespace of a catalogue."""

    def __init__(self, target: str) -> None:
        from pyiceberg.catalog import load_catalog

        catalogue, _, self.namespace = target.partition(".")
        if not self.namespace:
            raise ValueError(f"{target!r} is not CATALOG.NAMESPACE")
        self.target = target
        self.catalog = load_catalog(catalogue)

    def where(self, table: str) -> str:
        return f"{self.target}.{table}"

    def has(self, table: str) -> bool:
        return bool(self.catalog.table_exists(f"{self.namespace}.{table}"))

    def write(self, table: str, rows: pa.RecordBatchReader) -> None:
        from pyiceberg.expressions import AlwaysTrue

        self.catalog.create_namespace_if_not_exists(self.namespace)
        created = self.catalog.create_table_if_not_exists(f"{self.namespace}.{table}", rows.schema)
        with created.transaction() as change:
            with change.update_schema() as update:
                update.union_by_name(rows.schema)
            if created.current_snapshot() is not None:
                change.delete(AlwaysTrue())
            for batch in rows:
                change.append(pa.Table.from_batches([batch]))


class Lake(NamedTuple):
    """A kind of lake: what it is called, the library that writes it, and how a target is opened."""

    title: str
    module: str
    open: Callable[[str], Any]


#: By the name of the extra.
LAKES = {
    "delta": Lake("Delta Lake", "deltalake", _Delta),
    "iceberg": Lake("Iceberg", "pyiceberg", _Iceberg),
    "lance": Lake("Lance", "lance", _Lance),
}
