"""Manifests: CSV and Parquet files of rows with paths."""

from __future__ import annotations

import csv
import io
import os
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from stemfeatures.errors import CatalogError

from .types import (
    ID_COLUMN,
    PATH_COLUMNS,
    printable,
)

if TYPE_CHECKING:
    import pandas as pd


_INTEGER = r"[+-]?(?:0|[1-9]\d{0,17})"


_NUMBER = r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"


def _read_csv(path: Path, limit: int | None) -> pd.DataFrame:
    import pandas as pd

    source = printable(os.fspath(path))
    text = _decode(path, source)
    first = next((line for line in text.splitlines() if line.strip()), None)
    if first is None:
        raise CatalogError("the file is empty", source=source)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path, first), strict=True)
    rows: list[list[str]] = []
    try:
        filled = (row for row in reader if any(cell.strip() for cell in row))
        stated = [name.strip() for name in next(filled)]
        header = [name or f"column_{i + 1}" for i, name in enumerate(stated)]
        for row in islice(filled, limit):
            if any(cell.strip() for cell in row[len(header) :]):
                raise CatalogError(
                    f"line {reader.line_num} has {len(row)} fields, the header {len(header)}; "
                    "names with the delimiter in them must be quoted",
                    source=source,
                )
            rows.append((row + [""] * len(header))[: len(header)])
    except csv.Error as e:
        raise CatalogError(f"line {reader.line_num}: {e}", source=source) from e
    if twice := [name for name in header if header.count(name) > 1]:
        raise CatalogError(f"two columns are called {twice[0]!r}", source=source)
    frame = pd.DataFrame(rows, columns=header, dtype=str)
    nameless = [f"column_{i + 1}" for i, name in enumerate(stated) if not name]
    frame = frame.drop(columns=[name for name in nameless if (frame[name] == "").all()])  # trailing delimiters
    special = {*PATH_COLUMNS, ID_COLUMN}
    for column in frame.columns:
        if column.lower() not in special:
            frame[column] = _typed(frame[column])
    return frame


def _decode(path: Path, source: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as e:
        raise CatalogError(f"cannot be read: {e.strerror}", source=source) from e
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        raise CatalogError(
            f"line {line} is not {e.encoding.upper()} ({e.reason}); save it as UTF-8", source=source
        ) from e
    if "\0" in text:
        raise CatalogError("the file is not text (it holds NUL)", source=source)
    return text


def _delimiter(path: Path, header: str) -> str:
    """The delimiter that the header line uses most outside of quotes; a header of one word has none."""
    bare = re.sub(r'"[^"]*"', "", header)
    counts = {d: bare.count(d) for d in (",", ";", "\t", "|")}
    best = max(counts, key=lambda d: counts[d])
    return best if counts[best] else ("\t" if path.suffix.lower() != ".csv" else ",")


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
    if some.str.fullmatch(_NUMBER).all():
        return pd.to_numeric(values.mask(null)).astype("float64")
    lower = some.str.lower()
    if lower.isin(["true", "false"]).all():
        return (values.str.lower() == "true").astype("boolean").mask(null)
    return values.astype(object).mask(null, None)


def _read_parquet(path: Path, limit: int | None) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = printable(os.fspath(path))
    try:
        with pq.ParquetFile(path) as file:
            if limit is None:
                table = file.read()
            else:  # only as many row groups as are needed
                batches = []
                missing = limit
                for batch in file.iter_batches(batch_size=min(limit, 65_536)):
                    batches.append(batch.slice(0, missing))
                    missing -= len(batches[-1])
                    if missing <= 0:
                        break
                table = pa.Table.from_batches(batches, file.schema_arrow)
    except (OSError, pa.ArrowException) as e:
        raise CatalogError(f"not a Parquet file: {e}", source=source) from e
    for column, of in zip(table.column_names, table.schema.types):
        if pa.types.is_nested(of):
            raise CatalogError(f"column {column!r} is {of}; metadata must be numbers, text or booleans", source=source)
    # Nullable types keep integers with gaps integers.
    nullable = {pa.bool_(): pd.BooleanDtype()}
    for bits in (8, 16, 32, 64):
        nullable[getattr(pa, f"int{bits}")()] = getattr(pd, f"Int{bits}Dtype")()
        nullable[getattr(pa, f"uint{bits}")()] = getattr(pd, f"UInt{bits}Dtype")()
    return table.to_pandas(types_mapper=nullable.get, ignore_metadata=True)
