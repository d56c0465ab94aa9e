"""Manifests: files of rows with paths, as text or with types (Parquet, Feather, JSON lines)."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from stemfeatures._util.tabular import (
    PARQUET_SUFFIXES,
    TableError,
    csv_rows,
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

from .path_columns import special_columns
from .types import ID_COLUMN, printable
from .walk import manifest_parts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


log = logging.getLogger(__name__)

#: Days from 1970 to the first and the last one that Python knows, and what a day is in each type of Arrow.
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_A_DAY = {"date32[day]": 1, "date64[ms]": 86_400_000, "s": 86_400}
_A_DAY |= {"ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}

#: Header and what stands before it lie among so many characters.
HEADER_CHARACTERS = 1_000_000


_BOOLEANS = ("true", "false")
#: Integers that int64 holds for sure; longer ones (bar codes) stay text.
_INTEGER = r"[+-]?(?:0|[1-9]\d{0,17})"


_ANY_INTEGER = r"[+-]?\d+"


_NUMBER = r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"


#: Stands for a blank at the beginning of a cell; what is text has no NUL.
_BLANK = "\0"


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
    special = special_columns(cells.columns)
    for column in cells.columns:
        if column not in special:
            cells[column] = _typed(cells[column])
    return cells


def _cells(path: Path, limit: int | None) -> pd.DataFrame:
    """The rows of a text file, all of them text."""
    import pandas as pd

    source = printable(os.fspath(path))
    text = _text(path, source)
    start = start_of(text, path)
    body = io.StringIO(text, newline="")
    body.seek(start.character)
    rows = text_rows(body, start, source)
    stated = next(rows)
    header = header_of(stated)
    frame = pd.DataFrame(islice(rows, limit), columns=header, dtype=str)
    nameless = [name for name, given in zip(header, stated) if not given]
    return frame.drop(columns=[name for name in nameless if (frame[name] == "").all()])  # trailing delimiters


class Start(NamedTuple):
    """Where the header of a text file stands, in lines and characters, and what separates its cells."""

    line: int
    character: int
    delimiter: str


def start_of(text: str, path: Path) -> Start:
    """The same of a file that begins with ``text``; CatalogError for an empty one."""
    lines = text[:HEADER_CHARACTERS].splitlines(keepends=True)
    first = header_line(lines)
    if first is None:
        raise CatalogError("the file is empty", source=printable(os.fspath(path)))
    delimiter = find_delimiter(lines[first], default="," if ".csv" in path.name.lower() else "\t")
    return Start(first, sum(map(len, lines[:first])), delimiter)


def header_of(stated: Sequence[str]) -> list[str]:
    """Names of all columns, also of those that state none."""
    return [name or f"column_{i + 1}" for i, name in enumerate(stated)]


class _MarkedLines:
    """The lines of a text table in which blanks at the beginning of a cell outlive ``skipinitialspace``.

    A name may begin with them. They may also stand before a quote, which is one only when they are skipped.
    """

    def __init__(self, lines: Iterable[str], delimiter: str) -> None:
        self._lines = iter(lines)
        d = re.escape(delimiter)
        self._blanks = re.compile(rf"(?:^|(?<={d})) +(?=[^\s\"{d}])")
        self._any = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if " " in line:
                line, n = self._blanks.subn(lambda found: _BLANK * len(found[0]), line)
                self._any = self._any or n > 0
            yield line

    def unmarked(self, row: list[str]) -> list[str]:
        """The row that was read last, as it stands in the file."""
        if self._any:
            self._any = False
            return [cell.replace(_BLANK, " ") for cell in row]
        return row


def text_rows(body: Iterable[str], start: Start, source: str) -> Iterator[list[str]]:
    """The header of a text file as it states it, then the cells of each row; ``body`` are the lines from there on."""
    lines = _MarkedLines(body, start.delimiter)
    reader = csv_rows(lines, delimiter=start.delimiter, skipinitialspace=True, strict=True)
    try:
        filled = (row for row in map(lines.unmarked, reader) if any(cell.strip() for cell in row))
        stated = [name.strip() for name in next(filled, ())]
        if not stated:
            raise CatalogError("the file is empty", source=source)
        require_distinct(header_of(stated))
        yield stated
        for row in filled:
            if any(cell.strip() for cell in row[len(stated) :]):
                raise CatalogError(
                    f"line {start.line + reader.line_num} has {len(row)} fields, the header {len(stated)}; "
                    "names with the delimiter in them must be quoted",
                    source=source,
                )
            yield (row + [""] * len(stated))[: len(stated)]
    except csv.Error as e:
        raise CatalogError(f"line {start.line + reader.line_num}: {e}", source=source) from e
    except TableError as e:
        raise CatalogError(e.message, source=source) from e


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
    kind = TextKind()
    kind.see(values)
    return kind.convert(values)


def _all_match(pattern: str, first: str, values: pd.Series) -> bool:
    """Whether all values have a form, the first of which is given."""
    return re.fullmatch(pattern, first) is not None and bool(values.str.fullmatch(pattern).all())


class TextKind:
    """What a column of text holds; it may be shown in pieces.

    Attributes
    ----------
    is_empty : bool
        No cell holds anything.
    """

    def __init__(self) -> None:
        self.is_empty = self._integers = self._numbers = self._any_integers = self._booleans = True

    def see(self, values: pd.Series) -> None:
        """Take further values."""
        if not (self.is_empty or self._numbers or self._any_integers or self._booleans):
            return  # text, whatever comes
        values = values.str.strip()
        some = values[values != ""]
        if not len(some):
            return
        self.is_empty = False
        # A pass over all values takes far longer than a look at the first, which mostly says what they are not.
        first = str(some.iloc[0])
        self._booleans = self._booleans and first.lower() in _BOOLEANS and bool(some.str.lower().isin(_BOOLEANS).all())
        self._integers = self._integers and _all_match(_INTEGER, first, some)
        if not self._integers:  # they are both of the others
            self._numbers = self._numbers and _all_match(_NUMBER, first, some)
            self._any_integers = self._any_integers and _all_match(_ANY_INTEGER, first, some)

    def convert(self, values: pd.Series) -> pd.Series:
        """Values that have been seen, in the type of all of them."""
        import pandas as pd

        values = values.str.strip()
        null = values == ""
        if self.is_empty:
            return pd.Series(None, index=values.index, dtype=object)
        if self._integers:
            return values.mask(null).astype(object).map(int, na_action="ignore").astype("Int64")
        if self._numbers and not self._any_integers:
            return pd.to_numeric(values.mask(null)).astype("float64")
        if self._booleans:
            return (values.str.lower() == "true").astype("boolean").mask(null)
        return values.astype(object).mask(null, None)

    @property
    def stored(self) -> str:
        """The type of :meth:`convert`'s values in a table, in the words of Arrow."""
        if self.is_empty:
            return "string"
        if self._integers:
            return "int64"
        if self._numbers and not self._any_integers:
            return "float64"
        return "bool" if self._booleans else "string"


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

    special = special_columns([*table.column_names, *keys])
    columns = []
    try:
        for field, values in zip(table.schema, table.columns):
            column = field.name
            if pa.types.is_nested(field.type):
                raise CatalogError(
                    f"column {column!r} is {field.type}; metadata must be numbers, text or booleans",
                    source=source,
                )
            is_path = column in special and column.strip().lower() != ID_COLUMN
            columns.append(_paths(values) if is_path else _plain(values, column, source))
    except TableError as e:
        raise CatalogError(e.message, source=source) from e
    except (OSError, pa.ArrowException) as e:
        raise CatalogError(f"cannot be read: {' '.join(str(e).split())}", source=source) from e
    nullable = {pa.bool_(): pd.BooleanDtype()}
    for bits in (8, 16, 32, 64):
        nullable[getattr(pa, f"int{bits}")()] = getattr(pd, f"Int{bits}Dtype")()
        nullable[getattr(pa, f"uint{bits}")()] = getattr(pd, f"UInt{bits}Dtype")()
    table = pa.Table.from_arrays(columns, names=table.column_names)
    frame = table.to_pandas(types_mapper=nullable.get, ignore_metadata=True)
    for key in keys:
        if key not in special:
            frame[key] = _typed(frame[key].fillna("").astype(str))
    return frame


def _plain(column: pa.ChunkedArray, name: str, source: str) -> pa.ChunkedArray:
    """A column that pandas holds; its times of the day end in microseconds, as those of Python do, and its dates lie in
    the years 1 to 9999: what databases write for infinity does not, and becomes null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = decoded(column, name)
    if column.type == pa.time64("ns"):
        return column.cast(pa.time64("us"), safe=False)
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        a_day = _A_DAY[getattr(column.type, "unit", str(column.type))]
        number = column.cast(pa.int32() if a_day == 1 else pa.int64()).cast(pa.int64())
        margin = 0 if getattr(column.type, "tz", None) in (None, "UTC") else 1  # a time zone may be ahead or behind
        first, last = (_FIRST_DAY + margin) * a_day, (_LAST_DAY + 1 - margin) * a_day - 1
        known = pc.and_(
            pc.greater_equal(number, max(first, -(2**63))), pc.less_equal(number, min(last, 2**63 - 1))
        )  # fmt: skip
        if n := pc.sum(pc.invert(known)).as_py():
            log.warning("%s: column %r: %d dates outside of the years 1 to 9999 are stored as null", source, name, n)
            return pc.if_else(known, column, pa.scalar(None, column.type))
    return column


def _paths(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths stay bytes where they are bytes: a file name need not be UTF-8."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
