"""Manifests: files of rows with paths, as text or with types (Parquet, Feather, JSON lines)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from stemfeatures._util.tabular import (
    PARQUET_SUFFIXES,
    TableError,
    decoded,
    encoding_of,
    find_delimiter,
    header_line,
    open_typed,
    read_table_bytes,
    require_distinct,
    suffix_of,
)
from stemfeatures.errors import CatalogError

from .types import ID_COLUMN, PATH_COLUMNS, printable
from .walk import manifest_parts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


#: Header and what stands before it lie among so many characters.
_HEADER_CHARACTERS = 1_000_000


#: Integers that int64 holds for sure; longer ones (bar codes) stay text.
_INTEGER = r"[+-]?(?:0|[1-9]\d{0,17})"


_ANY_INTEGER = r"[+-]?\d+"


_NUMBER = r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"


#: What Hive and Spark call a folder for rows without a value.
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def read_csv(path: Path, limit: int | None) -> pd.DataFrame:
    """A text manifest as a table; columns of numbers or booleans get a type, empty cells are null."""
    return _with_types(_cells(path, limit))


def read_parts(folder: Path, limit: int | None) -> pd.DataFrame:
    """A manifest of several files below a folder: Parquet, or text with one header; ``key=value`` folders are columns.

    Raises CatalogError naming the file where one has other columns than the first.
    """
    import pandas as pd

    parts = manifest_parts(folder)
    parts = [part for part in parts if part.stat().st_size] or parts  # of a partition without rows Spark writes nothing
    if suffix_of(parts[0]) in PARQUET_SUFFIXES:
        return read_typed(folder, limit)
    frames: list[pd.DataFrame] = []
    n_rows = 0
    for part in parts:
        if limit is not None and n_rows >= limit:
            break
        frame = _cells(part, None if limit is None else limit - n_rows)
        for key, _, value in (name.partition("=") for name in part.relative_to(folder).parts[:-1] if "=" in name):
            frame[key] = "" if value == _HIVE_NULL else unquote(value)
        if frames and sorted(frame.columns) != sorted(frames[0].columns):
            raise CatalogError(
                f"its columns are {', '.join(frame.columns)}, those of {printable(parts[0].name)} "
                f"{', '.join(frames[0].columns)}; the files of a manifest have one header",
                source=printable(os.fspath(part)),
            )
        frames.append(frame)
        n_rows += len(frame)
    return _with_types(pd.concat(frames, ignore_index=True))


def _with_types(cells: pd.DataFrame) -> pd.DataFrame:
    special = {*PATH_COLUMNS, ID_COLUMN}
    for column in cells.columns:
        if column.lower() not in special:
            cells[column] = _typed(cells[column])
    return cells


def _cells(path: Path, limit: int | None) -> pd.DataFrame:
    """The rows of a text file, all of them text."""
    import pandas as pd

    source = printable(os.fspath(path))
    text = _text(path, source)
    lines = text[:_HEADER_CHARACTERS].splitlines(keepends=True)
    first = header_line(lines)
    if first is None:
        raise CatalogError("the file is empty", source=source)
    delimiter = find_delimiter(lines[first], default="," if ".csv" in path.name.lower() else "\t")
    body = io.StringIO(text, newline="")
    body.seek(sum(map(len, lines[:first])))
    reader = csv.reader(body, delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[list[str]] = []
    try:
        filled = (row for row in reader if any(cell.strip() for cell in row))
        stated = [name.strip() for name in next(filled)]
        header = [name or f"column_{i + 1}" for i, name in enumerate(stated)]
        for row in islice(filled, limit):
            if any(cell.strip() for cell in row[len(header) :]):
                raise CatalogError(
                    f"line {first + reader.line_num} has {len(row)} fields, the header {len(header)}; "
                    "names with the delimiter in them must be quoted",
                    source=source,
                )
            rows.append((row + [""] * len(header))[: len(header)])
        require_distinct(header)
    except csv.Error as e:
        raise CatalogError(f"line {first + reader.line_num}: {e}", source=source) from e
    except TableError as e:
        raise CatalogError(e.message, source=source) from e
    frame = pd.DataFrame(rows, columns=header, dtype=str)
    nameless = [f"column_{i + 1}" for i, name in enumerate(stated) if not name]
    return frame.drop(columns=[name for name in nameless if (frame[name] == "").all()])  # trailing delimiters


def _text(path: Path, source: str) -> str:
    try:
        data = read_table_bytes(path)
        text = data.decode(encoding_of(data))
    except TableError as e:
        raise CatalogError(e.message, source=source) from e
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        raise CatalogError(
            f"line {line} is not {e.encoding.upper()} ({e.reason}); save it as UTF-8", source=source
        ) from e
    if "\0" in text:
        raise CatalogError("the file is not text (it holds NUL)", source=source)
    return text


def _typed(values: pd.Series) -> pd.Series:
    """A column of text as int64, float64 or bool where *every* value is one; else as it is. Empty is null.

    Numbers with leading zeros are text (bar codes, dates), and so are ``NA`` and ``None``, which are artists.
    """
    import pandas as pd

    values = values.str.strip()
    null = values == ""
    some = values[~null]
    if not len(some):
        return pd.Series(None, index=values.index, dtype=object)
    if some.str.fullmatch(_INTEGER).all():
        return values.mask(null).astype(object).map(int, na_action="ignore").astype("Int64")
    if some.str.fullmatch(_NUMBER).all() and not some.str.fullmatch(_ANY_INTEGER).all():
        return pd.to_numeric(values.mask(null)).astype("float64")
    lower = some.str.lower()
    if lower.isin(["true", "false"]).all():
        return (values.str.lower() == "true").astype("boolean").mask(null)
    return values.astype(object).mask(null, None)


def read_typed(path: Path, limit: int | None) -> pd.DataFrame:
    """A Parquet manifest (a file, or a folder of files), Feather or JSON lines; integers with gaps stay integers."""
    import pyarrow as pa

    source = printable(os.fspath(path))
    try:
        dataset, keys = open_typed(path)
        table = dataset.to_table() if limit is None else dataset.head(limit)
    except TableError as e:
        raise CatalogError(e.message, source=source) from e
    except (OSError, pa.ArrowException) as e:
        raise CatalogError(f"not a Parquet file: {e}", source=source) from e
    return frame_of(table, keys, source)


def frame_of(table: pa.Table, keys: Iterable[str], source: str) -> pd.DataFrame:
    """Rows of a Parquet manifest as a table; ``keys`` are the columns that come from names of folders."""
    import pandas as pd
    import pyarrow as pa

    try:
        for i, column in enumerate(table.column_names):
            if pa.types.is_nested(table.schema.types[i]):
                raise CatalogError(
                    f"column {column!r} is {table.schema.types[i]}; metadata must be numbers, text or booleans",
                    source=source,
                )
            values = table.column(i)
            table = table.set_column(i, column, _paths(values) if _is_path(column) else decoded(values, column))
    except TableError as e:
        raise CatalogError(e.message, source=source) from e
    except (OSError, pa.ArrowException) as e:
        raise CatalogError(f"cannot be read: {' '.join(str(e).split())}", source=source) from e
    nullable = {pa.bool_(): pd.BooleanDtype()}
    for bits in (8, 16, 32, 64):
        nullable[getattr(pa, f"int{bits}")()] = getattr(pd, f"Int{bits}Dtype")()
        nullable[getattr(pa, f"uint{bits}")()] = getattr(pd, f"UInt{bits}Dtype")()
    frame = table.to_pandas(types_mapper=nullable.get, ignore_metadata=True)
    for key in keys:
        if key.strip().lower() not in {*PATH_COLUMNS, ID_COLUMN}:
            frame[key] = _typed(frame[key].fillna("").astype(str))
    return frame


def _is_path(column: str) -> bool:
    return column.strip().lower() in PATH_COLUMNS


def _paths(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths stay bytes where they are bytes: a file name need not be UTF-8."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
