"""Part files: rows in, one typed Parquet file out, whole or not at all.

A part is written under a hidden name, ``.<name>.new``, that no reader of folders takes, and gets its name when a commit
has made it count (:func:`publish`). So ``pandas.read_parquet(DIR / "tracks")`` never shows rows that are not committed.
Readers of the commit log find a part under either name.
"""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
import uuid
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._util.urls import Place, Url
from ..errors import DatasetError, LostPartError
from ..fields import Field
from .away import away_error, is_away
from .layout import DatasetLayout, is_table_name, require_there
from .schema import arrow_type

#: So many parts in a store are looked at one by one; of more, their folder is listed.
MOST_LOOKS = 8
ROW_GROUP_ROWS = 65_536
#: Tables with list columns get smaller row groups, so that one track can be read without decoding thousands.
ROW_GROUP_BYTES = 32 * 2**20
#: Row groups of a part that is written a group at a time, at least.
_GROUPS_OF_PART = 4

#: Parts of more keys than this are sorted by key, or large: their first and last key say enough.
_MAX_KEY_HASHES = 256
_PART_NAME = re.compile(r"part-[A-Za-z0-9_.-]+\.parquet")
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
    key_hashes : str
        CRC-32 of each key, eight hex digits a key, to tell which parts hold a track; empty for parts of many keys.
    """

    path: str
    table: str
    rows: int
    size: int
    min_key: str
    max_key: str
    key_hashes: str = ""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in dataclasses.asdict(self).items() if value != ""}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PartFile:
        """Raises ValueError when it is no description of a part: it may come from anywhere, and ``path`` is opened."""
        part = cls(**{f.name: content[f.name] for f in dataclasses.fields(cls) if f.name in content})
        texts = (part.path, part.min_key, part.max_key, part.key_hashes)
        if not all(isinstance(t, str) for t in texts) or type(part.rows) is not int or type(part.size) is not int:
            raise ValueError(f"no description of a part: {content!r:.200}")
        folder, _, name = part.path.partition("/")
        if folder != part.table or not is_table_name(folder) or not _PART_NAME.fullmatch(name):
            raise ValueError(f"{part.path!r} is no part of a table {part.table!r}")
        return part

    def holds_exactly(self, keys: Iterable[str | None]) -> bool:
        """Whether these can be all of its keys."""
        found = {key for key in keys if key is not None}
        if not found or (min(found), max(found)) != (self.min_key, self.max_key):
            return False
        return not self.key_hashes or self.key_hashes == _hashes(found)

    def may_hold(self, keys: Iterable[str]) -> bool:
        """Whether rows of any of these keys can be in it."""
        keys = [key for key in keys if self.min_key <= key <= self.max_key]
        if not keys or not self.key_hashes:
            return bool(keys)
        hashes = {self.key_hashes[i : i + 8] for i in range(0, len(self.key_hashes), 8)}
        return not hashes.isdisjoint(map(_key_hash, keys))


def parts_holding(parts: Iterable[PartFile], keys: Iterable[str]) -> list[PartFile]:
    """Those of many parts that can hold rows of any of many keys; see :meth:`PartFile.may_hold`."""
    ordered = sorted(set(keys))
    hashes = set(map(_key_hash, ordered))

    def holds(part: PartFile) -> bool:
        first = bisect_left(ordered, part.min_key)
        if first == len(ordered) or ordered[first] > part.max_key:
            return False
        its = part.key_hashes
        return not its or any(its[i : i + 8] in hashes for i in range(0, len(its), 8))

    return [part for part in parts if holds(part)]


def _key_hash(key: str) -> str:
    return f"{zlib.crc32(key.encode()):08x}"


def _hashes(keys: Iterable[str]) -> str:
    return "".join(sorted(map(_key_hash, keys)))


def key_column(names: Iterable[str]) -> str:
    """By which column the rows of a table are told apart: the track, else the first one."""
    names = list(names)
    return "track_id" if "track_id" in names else names[0]


def part_file(dataset: DatasetLayout, part: PartFile) -> Place:
    """Where a part lies: under its name, or still under the hidden one.

    Raises
    ------
    LostPartError
        It is not there, or not as long as it was.
    """
    return _found(dataset, part, find_part(dataset, part))


def part_files(dataset: DatasetLayout, parts: Iterable[PartFile]) -> list[Place]:
    """:func:`part_file` of parts of one table."""
    parts = list(parts)
    return [_found(dataset, part, found) for part, found in zip(parts, find_parts(dataset, parts))]


def _found(dataset: DatasetLayout, part: PartFile, found: tuple[Place | None, str]) -> Place:
    place, fault = found
    if place is None:
        raise LostPartError(f"{part.path} {fault}; {repair_hint(dataset)}", source=str(dataset.path))
    return place


def find_part(dataset: DatasetLayout, part: PartFile) -> tuple[Place | None, str]:
    """Where a part lies, or None and what is wrong, in words. DatasetError when that cannot be told now."""
    for name in (part.path, staged(part.path), part.path):  # it may be published in between
        try:
            entry = dataset.storage.entry(name)
        except OSError as e:
            if is_away(e):
                raise away_error(dataset.path, part.path, e) from e
            return None, str(e.strerror) if e.errno == 0 else f"cannot be read ({e.strerror or e})"
        if entry is not None:
            return _as_committed(dataset, part, name, entry.size)
    return None, "is missing"


def find_parts(dataset: DatasetLayout, parts: Iterable[PartFile]) -> list[tuple[Place | None, str]]:
    """:func:`find_part` of parts of one table; of many in a store by one look at their folder."""
    parts = list(parts)
    if len(parts) <= MOST_LOOKS or not isinstance(dataset.path, Url):
        return [find_part(dataset, part) for part in parts]
    try:
        there = {f"{parts[0].table}/{entry.name}": entry.size for entry in dataset.storage.entries(parts[0].table)}
    except OSError as e:
        if is_away(e):
            raise away_error(dataset.path, parts[0].table, e) from e
        return [(None, f"cannot be read ({e})")] * len(parts)
    found = []
    for part in parts:
        name = next((name for name in (part.path, staged(part.path)) if name in there), None)
        # What is not there may have been published since.
        found.append(find_part(dataset, part) if name is None else _as_committed(dataset, part, name, there[name]))
    return found


def _as_committed(dataset: DatasetLayout, part: PartFile, name: str, size: int) -> tuple[Place | None, str]:
    if size != part.size:
        return None, f"has {size:,} bytes of {part.size:,}"
    return dataset.storage.place(name), ""


def repair_hint(dataset: DatasetLayout) -> str:
    """What to do about a part that is lost."""
    command = f"stemfeatures check {shlex.quote(str(dataset.path))}"
    return f"{command} tells which tracks are lost, and with --repair lets the next extract do them again"


def staged(name: str) -> str:
    """The hidden name of a part until a commit has made it count."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/.{file}.new"


def is_staged(path: str) -> bool:
    """Whether this is where :func:`staged` puts a part.

    >>> is_staged("stems/.part-0.parquet.new"), published("stems/.part-0.parquet.new")
    (True, 'stems/part-0.parquet')
    """
    name = path.rpartition("/")[2]
    return name.startswith(".") and name.endswith(".new")


def published(path: str) -> str:
    """The name of a part that :func:`staged` has hidden."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.removeprefix('.').removesuffix('.new')}"


def publish(dataset: DatasetLayout, parts: Iterable[PartFile]) -> None:
    """Give committed parts the names under which readers of folders find them. Only for those who hold the lock."""
    parts = list(parts)
    if len(parts) > MOST_LOOKS and isinstance(dataset.path, Url):
        there = {f"{t}/{e.name}" for t in {p.table for p in parts} for e in dataset.storage.entries(t)}
        parts = [part for part in parts if staged(part.path) in there]
    for part in parts:
        with suppress(FileNotFoundError):  # it has it already
            dataset.storage.move(staged(part.path), part.path)


def delete_parts(dataset: DatasetLayout, parts: Iterable[PartFile]) -> None:
    """Delete parts that a commit has removed. OSError when one cannot be deleted."""
    for part in parts:
        for name in (part.path, staged(part.path)):
            dataset.storage.delete(name)


def to_table(dataset: DatasetLayout | str | Place, table: str, rows: Rows) -> pa.Table:
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
    dataset: DatasetLayout | str | Place, table: str, rows: Rows, *, shard: str, describe: bool = False
) -> PartFile:
    """Write rows to a part file, sorted by track, and return the receipt.

    The file appears whole or not at all, under a hidden name, and counts only when a :class:`~.committer.Committer`
    commits the receipt; so a shard may be written any number of times.

    Parameters
    ----------
    dataset : DatasetLayout or str or Path or Url
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
    key = key_column(schema.names)
    if key == "track_id":  # stable, so a track's rows keep their order
        data = data.take(pc.sort_indices(data, [(key, "ascending")]))
    name = _part_name(table, shard)
    options = {"row_group_size": _row_group_rows(data), **_options(schema)}
    with _writing(layout, name):
        size = layout.storage.write_table(data, staged(name), **options)
    keys = pc.unique(data[key]).to_pylist()
    return PartFile(
        path=name,
        table=table,
        rows=data.num_rows,
        size=size,
        min_key=min(keys),
        max_key=max(keys),
        key_hashes=_hashes(keys) if len(keys) <= _MAX_KEY_HASHES else "",
    )


def write_parts(
    layout: DatasetLayout, table: str, tables: Iterator[pa.Table], *, shard: str, part_bytes: int, part_rows: int
) -> list[PartFile]:
    """Write any number of rows as described parts, a row group at a time. When it fails none of them is left.

    Parameters
    ----------
    layout : DatasetLayout
        The dataset.
    table : str
        A table of it.
    tables : iterator of Table
        The rows in the order of their key, with the dataset's columns; those of one key in one of the tables.
    shard : str
        As for :func:`write_part`.
    part_bytes : int
        A part ends when it has so many.
    part_rows : int
        About how many rows that is; the size of row groups follows from it.

    Returns
    -------
    list of PartFile
        Receipts.

    Raises
    ------
    DatasetError
        A file cannot be written.
    """
    schema = layout.schema(table)
    groups = _Groups(tables, schema, max(1, part_rows // _GROUPS_OF_PART))
    parts: list[PartFile] = []
    try:
        while groups.has_more():
            name = _part_name(table, f"{shard}-{len(parts):04d}")
            with _writing(layout, name):
                size = layout.storage.write_tables(
                    groups, schema, staged(name), most_bytes=part_bytes, **_options(schema)
                )  # fmt: skip
            rows, keys = groups.told()
            hashes = _hashes(keys) if len(keys) <= _MAX_KEY_HASHES else ""
            parts.append(PartFile(name, table, rows, size, keys[0], keys[-1], hashes))
    except BaseException:
        with suppress(OSError):  # a disk that is full shall not stay so
            delete_parts(layout, parts)
        raise
    return parts


class _Groups:
    """Row groups from sorted tables; remembers what it has given."""

    def __init__(self, tables: Iterator[pa.Table], schema: pa.Schema, most_rows: int) -> None:
        self._tables, self._schema = tables, schema
        self._most_rows = min(most_rows, ROW_GROUP_ROWS)
        self._most_bytes = ROW_GROUP_BYTES if any(map(pa.types.is_nested, schema.types)) else math.inf
        self._key = key_column(schema.names)
        self._left: pa.Table | None = None
        self._rows = 0
        self._keys: list[str] = []

    def told(self) -> tuple[int, list[str]]:
        """How many rows were given since it was asked last, and their keys in order."""
        found = self._rows, self._keys
        self._rows, self._keys = 0, []
        return found

    def has_more(self) -> bool:
        if self._left is None:
            self._left = next(self._tables, None)
        return self._left is not None

    def __iter__(self) -> _Groups:
        return self

    def __next__(self) -> pa.Table:
        kept: list[pa.Table] = []
        n_rows = n_bytes = 0
        while self.has_more() and n_rows < self._most_rows and n_bytes < self._most_bytes:
            some, self._left = self._cut(self._most_rows - n_rows)
            kept.append(some)
            n_rows, n_bytes = n_rows + some.num_rows, n_bytes + some.nbytes
        if not kept:
            raise StopIteration
        group = pa.concat_tables(kept).replace_schema_metadata(self._schema.metadata)
        self._rows += n_rows
        keys = pc.unique(group[self._key]).to_pylist()
        self._keys += keys
        return group

    def _cut(self, rows: int) -> tuple[pa.Table, pa.Table | None]:
        """About so many rows of what is left, up to the next key, and the rest."""
        left = self._left
        assert left is not None
        if rows >= left.num_rows:
            return left, None
        last = left[self._key][rows - 1]
        end = rows + pc.sum(pc.equal(left[self._key].slice(rows), last), min_count=0).as_py()
        return left.slice(0, end), left.slice(end) if end < left.num_rows else None


def _part_name(table: str, shard: str) -> str:
    return f"{table}/part-{re.sub(r'[^A-Za-z0-9_.-]+', '_', shard)[:80]}-{uuid.uuid4().hex}.parquet"


@contextmanager
def _writing(layout: DatasetLayout, name: str) -> Iterator[None]:
    """Tells of a part that cannot be written."""
    folder, _, file = name.partition("/")
    layout.directory(folder)
    try:
        yield
    except OSError as e:
        require_there(layout, "cannot write a part", e)
        raise DatasetError(f"cannot write a part: {e}", source=str(layout.directory(folder) / file)) from e


def _row_group_rows(data: pa.Table) -> int:
    if any(pa.types.is_nested(t) for t in data.schema.types):
        return max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES * data.num_rows // max(data.nbytes, 1)))
    return ROW_GROUP_ROWS


def _options(schema: pa.Schema) -> dict[str, Any]:
    return {"compression": "zstd", "write_page_checksum": True, **_encodings(schema)}


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
