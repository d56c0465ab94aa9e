"""Part files: rows in, one typed Parquet file out, whole or not at all."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .._util.files import fsync_path, temporary_name
from ..errors import DatasetError
from ..fields import Field
from .layout import DatasetLayout
from .schema import arrow_type

ROW_GROUP_ROWS = 65_536
#: Tables with list columns get smaller row groups, so that one track can be read without decoding thousands.
ROW_GROUP_BYTES = 32 * 2**20

_FLOAT32_MAX = float(np.finfo(np.float32).max)

Rows: TypeAlias = Iterable[Mapping[str, Any]] | pa.Table | pa.RecordBatch


@dataclass(frozen=True)
class PartFile:
    """The receipt of one part file. Small: this is what a worker returns.

    Attributes
    ----------
    path : str
        Relative to the dataset, with forward slashes.
    table : str
        Table it belongs to.
    rows : int
        Number of rows.
    size : int
        Bytes.
    min_key : str
        First ``track_id`` (``run_id`` in table runs).
    max_key : str
        Last one.
    null_counts : dict
        Columns that hold nulls, and how many.
    """

    path: str
    table: str
    rows: int
    size: int
    min_key: str
    max_key: str
    null_counts: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PartFile:
        return cls(**{f.name: content[f.name] for f in dataclasses.fields(cls) if f.name in content})


def to_table(dataset: DatasetLayout | str | Path, table: str, rows: Rows) -> pa.Table:
    """Rows as an Arrow table with exactly the columns of ``table`` in this dataset.

    Missing columns become null; NaN in a scalar column becomes null. Raises DatasetError naming table, column and
    track when a column is unknown, a value does not fit its type, a number is infinite, or a key is missing. Call it on
    the rows of one track to learn whether they can be written.
    """
    layout = DatasetLayout.open(dataset)
    fields = layout.fields(table)
    schema = layout.schema(table, describe=False)
    if isinstance(rows, (pa.Table, pa.RecordBatch)):
        rows = rows.to_pylist()
    rows = list(rows)
    known = set(schema.names)
    for row in rows:
        if unknown := [name for name in row if name not in known]:
            raise _error(table, unknown[0], row, "there is no such column")
    return pa.Table.from_arrays([_column(table, f, rows) for f in fields], schema=schema)


def _column(table: str, f: Field, rows: list[Mapping[str, Any]]) -> pa.Array:
    of = arrow_type(f.type)
    nested = pa.types.is_list(of) or pa.types.is_fixed_size_list(of)
    convert = _list_converter(of.value_type) if nested else _scalar_converter(of, lenient=f.family == "metadata")
    values = []
    for row in rows:
        try:
            value = row.get(f.name)
            value = None if _missing(value) else convert(value)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as e:
            raise _error(table, f.name, row, f"{e} (wanted {f.type})") from e
        if value is None and not f.nullable:
            raise _error(table, f.name, row, "may not be null")
        values.append(value)
    if pa.types.is_list(of):
        offsets = np.cumsum([0, *(0 if v is None else len(v) for v in values)])
        lists = [v for v in values if v is not None]
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()),
            pa.concat_arrays(lists) if lists else pa.array([], of.value_type),
            type=of,
            mask=pa.array([v is None for v in values]),
        )
    if nested:
        values = [None if v is None else v.to_pylist() for v in values]
    try:
        return pa.array(values, of)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        for row, value in zip(rows, values):
            try:
                pa.array([value], of)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as e:
                raise _error(table, f.name, row, f"{e} (wanted {f.type})") from e
        raise


def _list_converter(element: pa.DataType) -> Callable[[Any], pa.Array]:
    """A function from a list, NumPy array or Arrow array to an Arrow array of ``element``; raises for any loss."""

    def convert(value: Any) -> pa.Array:
        if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__len__"):
            raise TypeError(f"{type(value).__name__} is not a list")
        if isinstance(value, np.ndarray) and value.ndim != 1:
            raise ValueError(f"array of shape {value.shape} is not one-dimensional")
        if pa.types.is_integer(element) and not isinstance(value, (pa.Array, np.ndarray)):
            value = [_integer(v) for v in value]
        array = value if isinstance(value, pa.Array) else pa.array(value, from_pandas=False)
        if pa.types.is_string(array.type) != pa.types.is_string(element):
            raise TypeError(f"a list of {array.type} is not one of {element}")
        # A narrower float only rounds; every other cast must keep the value.
        array = array.cast(element, safe=not pa.types.is_floating(element))
        if pa.types.is_floating(element) and not pc.all(pc.is_finite(array), min_count=0).as_py():
            raise ValueError("the list holds NaN or infinity")
        return array

    return convert


def _scalar_converter(of: pa.DataType, *, lenient: bool) -> Callable[[Any], Any]:
    """A function from a Python or NumPy scalar to what ``pa.array`` takes without loss; raises otherwise."""
    if pa.types.is_integer(of):
        return _integer
    if pa.types.is_floating(of):
        return _number
    if pa.types.is_string(of) and lenient:
        return str
    return lambda value: value.item() if isinstance(value, np.generic) else value


def _integer(value: Any) -> Any:
    if value is None or (isinstance(value, (int, np.integer)) and not isinstance(value, bool)):
        return value
    if isinstance(value, (float, np.floating)) and math.isfinite(value) and value == int(value):
        return int(value)
    raise TypeError(f"{value!r} is not an integer")


def _number(value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{value!r} is not a number")
    if abs(float(value)) > _FLOAT32_MAX:
        raise ValueError("infinite")
    return float(value)


def _missing(value: Any) -> bool:
    # pandas' own nulls come with catalogue columns; knowing them by name spares the import.
    nan = isinstance(value, (float, np.floating)) and value != value
    return value is None or bool(nan) or type(value).__name__ in ("NAType", "NaTType")


def _error(table: str, column: str, row: Mapping[str, Any], why: str) -> DatasetError:
    return DatasetError(
        f"table {table}, column {column!r}, track {row.get('track_id')!r}: {why}", source=row.get("source_uri")
    )


def write_part(
    dataset: DatasetLayout | str | Path, table: str, rows: Rows, *, shard: str, describe: bool = False
) -> PartFile:
    """Write rows to ``<table>/part-<shard>-<uuid>.parquet``, sorted by track, and return the receipt.

    The file appears whole or not at all, and counts only when a :class:`~.committer.Committer` commits
    the receipt; so a shard may be written any number of times.

    Parameters
    ----------
    dataset : DatasetLayout or str or Path
        The dataset or its path.
    table : str
        A registered table.
    rows : Rows
        Mappings from column to value (see :func:`to_table`), or an Arrow table with the dataset's schema.
    shard : str
        What the part holds, for people who look at file names.
    describe : bool
        Store units and descriptions of the columns in the file, too (tens of kB for a wide table).

    Raises
    ------
    DatasetError
        A row does not fit the table, or the file cannot be written.
    """
    layout = DatasetLayout.open(dataset)
    schema = layout.schema(table, describe=describe)
    if isinstance(rows, pa.Table) and rows.schema.equals(schema):
        data = rows.replace_schema_metadata(schema.metadata)
    else:
        data = to_table(layout, table, rows)
    if not data.num_rows:
        raise DatasetError(f"table {table}: no rows to write", source=str(layout.path))
    data = data.replace_schema_metadata(schema.metadata)
    key = "track_id" if "track_id" in schema.names else schema.names[0]
    if key == "track_id":  # stable, so a track's rows keep their order
        data = data.take(pc.sort_indices(data, [(key, "ascending")]))
    name = f"part-{re.sub(r'[^A-Za-z0-9_.-]+', '_', shard)[:80]}-{uuid.uuid4().hex}.parquet"
    path = layout.directory(table) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = temporary_name(path)
        pq.write_table(data, tmp, compression="zstd", row_group_size=_row_group_rows(data), **_encodings(schema))
        fsync_path(tmp)
        size = tmp.stat().st_size
        os.replace(tmp, path)
        fsync_path(path.parent)
    except OSError as e:
        raise DatasetError(f"cannot write a part: {e}", source=str(path)) from e
    return PartFile(
        path=f"{table}/{name}",
        table=table,
        rows=data.num_rows,
        size=size,
        min_key=pc.min(data[key]).as_py(),
        max_key=pc.max(data[key]).as_py(),
        null_counts={c: n for c in data.column_names if (n := data[c].null_count)},
    )


def _row_group_rows(data: pa.Table) -> int:
    if any(pa.types.is_nested(t) for t in data.schema.types):
        return max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES * data.num_rows // max(data.nbytes, 1)))
    return ROW_GROUP_ROWS


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    """Dictionaries for strings only: on float columns they cost half as much again in size and time."""
    dictionary, encoding = [], {}
    for f in schema:
        nested = pa.types.is_list(f.type) or pa.types.is_fixed_size_list(f.type)
        leaf, of = (f"{f.name}.list.element", f.type.value_type) if nested else (f.name, f.type)
        if pa.types.is_string(of):
            dictionary.append(leaf)
        elif pa.types.is_floating(of):
            encoding[leaf] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_integer(of) or pa.types.is_timestamp(of):
            encoding[leaf] = "DELTA_BINARY_PACKED"
    return {"use_dictionary": dictionary or False, "column_encoding": encoding}
