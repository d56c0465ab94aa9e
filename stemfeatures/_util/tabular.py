"""Tables that users bring (catalogues, listening histories): text of any dialect, also compressed, Parquet, Feather
and JSON lines.

What is the same for all of them lies here, so that an id or a header means the same in each: how a file is opened, how
its dialect is found, and how a column becomes ids. ``csv``, pyarrow and pandas each read one dialect well; none of them
finds delimiter, encoding and compression by itself.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ..errors import StemfeaturesError
from .files import printable_name

if TYPE_CHECKING:
    from _csv import Reader

    import pandas as pd

PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
#: Tables with types of their own, and what pyarrow calls their format.
TYPED_FORMATS = {
    **dict.fromkeys(sorted(PARQUET_SUFFIXES), "parquet"),
    ".feather": "feather",
    ".arrow": "feather",
    ".jsonl": "json",
    ".ndjson": "json",
}
TEXT_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".psv"})
#: Suffixes that may follow those of a text table.
COMPRESSED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip"})
#: Tables and archives that people have, and that are neither read here nor audio.
OTHER_TABLES = frozenset(
    {".xlsx", ".xls", ".ods", ".json", ".orc", ".avro", ".db", ".sqlite", ".pkl", ".zip", ".7z", ".rar", ".tar", ".tgz"}
    | {".gz", ".lz4"}
)
#: What is read, for messages.
READ_TABLES = "CSV or TSV (also .gz, .bz2, .xz, .zst, .zip), Parquet, Feather or JSON lines"
DELIMITERS = (",", ";", "\t", "|")

#: What reading a file of :func:`open_table_bytes` raises that is damaged, or whose disk is.
DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
#: First bytes of files that are no text, and what to say of them.
_NOT_TEXT = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; export it as CSV or Parquet",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"PAR1": "a Parquet file; its name must end in .parquet",
    b"SQLite f": "an SQLite database; export the table as CSV or Parquet",
}
#: Whole numbers above this have no exact floating-point value.
_EXACT_BELOW = 2.0**53
_WHOLE_FLOAT = re.compile(r"[+-]?\d+\.0+")
_HEADER_BYTES = 1_000_000
_LARGEST_CELL = 1 << 24  # characters
_STATED_DELIMITER = re.compile(r'"?sep=.?"?', re.IGNORECASE)


class TableError(StemfeaturesError):
    """A table cannot be read; callers raise it again as the error of their stage."""

    stage = "tables"


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The suffix in lower case, that of a compression left out: ``.csv`` for ``plays.CSV.gz``."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@dataclass(frozen=True)
class TextTable:
    """A delimited text file, whose header has been read.

    Attributes
    ----------
    path : Path
        The file.
    encoding : str
        ``"utf-8-sig"`` (with or without BOM) or ``"utf-16"``.
    delimiter : str
        What separates cells.
    names : tuple of str
        The cells of the header, without blanks around them; empty where a column has no name.
    skip_lines : int
        Lines up to the end of the header.
    """

    path: Path
    encoding: str
    delimiter: str
    names: tuple[str, ...]
    skip_lines: int


def open_table_bytes(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file, decompressing gzip, bzip2, xz, Zstandard and zip of one text table (found by content, not by name).

    Raises
    ------
    TableError
        It is no regular file, cannot be opened, or is something else by its first bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise TableError("there is no such file" if not path.exists() else "is not a regular file")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise TableError(f"cannot be read: {error.strerror}") from error
    for magic, what in _NOT_TEXT.items():
        if head.startswith(magic):
            raise TableError(f"is {what}")
    if head.startswith(b"PK\x03\x04"):
        return _only_member(path)
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if head.startswith(b"BZh"):
        return bz2.open(path)
    if head.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(path)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    return path.open("rb")


def _only_member(path: Path) -> IO[bytes]:
    """The one text table that a zip archive holds."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise TableError("is a zip archive or an Excel workbook that is damaged") from error
    files = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
    if any(one.filename == "[Content_Types].xml" for one in files):
        raise TableError("is an Excel workbook; export it as CSV or Parquet")
    if len(files) != 1 or suffix_of(files[0].filename) not in TEXT_SUFFIXES:
        raise TableError("is a zip archive, and not of one CSV or TSV file alone; unpack it")
    if files[0].flag_bits & 1:
        raise TableError("is a zip archive with a password; unpack it")
    try:
        return archive.open(files[0])
    except (*DAMAGED, NotImplementedError) as error:  # also a compression that is not known here
        raise TableError(f"cannot be decompressed: {error}") from error


def read_table_bytes(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a file, decompressed; see :func:`open_table_bytes`."""
    try:
        with open_table_bytes(path) as file:
            return bytes(file.read())
    except DAMAGED as error:
        raise TableError(f"cannot be decompressed: {error}") from error


def encoding_of(head: bytes) -> str:
    """``"utf-16"`` where a byte order mark says so, ``"utf-16-le"`` or ``-be`` where zeros do, else ``"utf-8-sig"``."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise TableError("is text in UTF-32; save it as UTF-8")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # Of Latin letters, delimiters and line ends one byte of two is zero; other text has no zeros at all.
    some = head[:_HEADER_BYTES]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(some) > 3 and some[first::2].count(0) > 0.4 * (len(some) // 2) and not some[1 - first :: 2].count(0):
            return encoding
    return "utf-8-sig"


def find_delimiter(header: str, default: str = ",") -> str:
    """The delimiter that a header line uses most outside of quotes; ``default`` where it has none."""
    bare = re.sub(r'"[^"]*"', "", header)
    best = max(DELIMITERS, key=bare.count)
    return best if bare.count(best) else default


def csv_rows(lines: Iterable[str], **options: Any) -> Reader:
    """``csv.reader``, of cells as long as those with lyrics or scores in them are; its own limit, which holds for the
    whole process, is 131,072 characters."""
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))
    return csv.reader(lines, **options)


def header_line(lines: Sequence[str]) -> int | None:
    """Where the header of a text table stands: the first line that is not empty, and not ``sep=;``, which Excel writes
    in front; None where there is none."""
    filled = [i for i, line in enumerate(lines) if line.strip() and not _STATED_DELIMITER.fullmatch(line.strip())]
    return filled[0] if filled else None


def open_text_table(path: str | os.PathLike[str]) -> TextTable:
    """Find out encoding, delimiter and header of a text file.

    Raises
    ------
    TableError
        It cannot be read, is empty or no text, or two columns have one name.
    """
    path = Path(path)
    try:
        with open_table_bytes(path) as file:
            head = bytes(file.read(_HEADER_BYTES))
    except DAMAGED as error:
        raise TableError(f"cannot be decompressed: {error}") from error
    encoding = encoding_of(head)
    text = head.decode(encoding, "replace")
    if "\0" in text:
        raise TableError(f"is not text in UTF-8 or UTF-16 (the first bytes are {head[:8]!r})")
    lines = text.splitlines()
    skip = header_line(lines)
    if skip is None:
        raise TableError("the file is empty")
    delimiter = find_delimiter(lines[skip])
    names = tuple(name.strip() for name in next(csv_rows([lines[skip]], delimiter=delimiter, skipinitialspace=True)))
    require_distinct(names)
    return TextTable(path, encoding, delimiter, names, skip + 1)


def require_distinct(names: Sequence[str]) -> None:
    """TableError for two columns of one name; columns without a name may be several."""
    for i, name in enumerate(names):
        if name and name in names[:i]:
            raise TableError(f"two columns are called {name!r}")


def named_index_as_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """A DataFrame with the levels of its index as columns where they have names: ``set_index("track_id")`` loses no
    ids."""
    levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
    return frame.reset_index(level=levels) if levels else frame


def open_typed(path: str | os.PathLike[str]) -> tuple[ds.Dataset, tuple[str, ...]]:
    """A file of :data:`TYPED_FORMATS`, or a folder of Parquet files, in which folders called ``key=value`` are columns.

    Returns
    -------
    dataset : pyarrow.dataset.Dataset
        All columns. Where types of files differ, those that hold all of their values; columns that some files lack are
        null there.
    keys : tuple of str
        Those that come from names of folders. They are text: ``user_id=007`` is not the number 7.

    Raises
    ------
    TableError
        It is no such table, a folder without any, or two columns have one name.
    """
    path = Path(path)
    form = TYPED_FORMATS.get(path.suffix.lower(), "parquet") if not path.is_dir() else "parquet"
    try:
        dataset = ds.dataset(path, format=form)
        if not dataset.files:
            raise TableError("holds no Parquet files")
        folders = (part for file in dataset.files for part in Path(file).relative_to(path).parts[:-1])
        keys = tuple(dict.fromkeys(part.partition("=")[0] for part in folders if "=" in part))
        partitioning = None
        if keys:
            partitioning = ds.partitioning(pa.schema([pa.field(key, pa.string()) for key in keys]), flavor="hive")
            dataset = ds.dataset(path, format=form, partitioning=partitioning)
        if len(dataset.files) > 1:
            dataset = ds.dataset(path, schema=_common_schema(dataset), format=form, partitioning=partitioning)
    except (OSError, pa.ArrowException) as error:
        require_distinct(_stated_names(path, form))
        called = {"parquet": "a Parquet", "feather": "a Feather", "json": "a JSON lines"}[form]
        raise TableError(f"not {called} file: {' '.join(str(error).split())}") from error
    require_distinct(dataset.schema.names)
    return dataset, keys


def _stated_names(path: Path, form: str) -> list[str]:
    """The columns of a file as it names them, also where Arrow makes no data set of them; none where that is not
    known."""
    with suppress(OSError, pa.ArrowException):
        if form == "parquet" and path.is_file():
            return list(pq.read_schema(path).names)
        if form == "feather":
            with pa.OSFile(str(path)) as file:
                return list(pa.ipc.open_file(file).schema.names)
    return []


def _common_schema(dataset: ds.Dataset) -> pa.Schema:
    """The columns of all files; the first file alone would decide otherwise."""
    schemas = [fragment.physical_schema for fragment in dataset.get_fragments()]
    try:
        return pa.unify_schemas([*schemas, dataset.schema], promote_options="permissive")
    except pa.ArrowException as error:
        raise TableError(f"its files do not fit together: {' '.join(str(error).split())}") from error


def decoded(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column without dictionary, its bytes and UUIDs as text.

    Raises
    ------
    TableError
        Bytes that are not UTF-8; the message names the column.
    """
    if pa.types.is_dictionary(column.type):
        kind = column.type.value_type
        if pa.types.is_string_view(kind):  # categories of Polars, which Arrow cannot cast
            parts = [chunk.dictionary.cast(pa.string()).take(chunk.indices) for chunk in column.chunks]
            return pa.chunked_array(parts, pa.string())
        column = column.cast(kind)
    if isinstance(column.type, pa.BaseExtensionType):
        if column.type.extension_name != "arrow.uuid":
            return decoded(column.cast(column.type.storage_type), name)
        return pa.chunked_array([[None if v is None else str(v) for v in column.to_pylist()]], pa.string())
    binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    if binary or pa.types.is_fixed_size_binary(column.type):
        try:
            return column.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid as error:
            raise TableError(f"column {name!r} holds bytes that are not UTF-8 text") from error
    return column


def as_ids(values: Any, name: str) -> pa.ChunkedArray:
    """A column of any type as ids: text without blanks around it, null where there is none.

    Whole numbers in floating point, which is what a gap makes of integers, are integers again. Text that looks like
    them stays; see :func:`restore_integers`, which needs the whole column.

    Parameters
    ----------
    values : array-like
        Arrow array, pandas Series (nullable and Arrow-backed ones, too) or sequence; integers and text may be mixed.
    name : str
        What messages call it.

    Returns
    -------
    pyarrow.ChunkedArray
        Of type string.

    Raises
    ------
    TableError
        Floating-point numbers that are too large to be exact, bytes that are not UTF-8, or lists.
    """
    column = _as_arrow(values, name)
    if pa.types.is_nested(column.type):
        raise TableError(f"column {name!r} is {column.type}; ids must be text or numbers")
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_finite(column), column, None)
        if pc.any(pc.greater(pc.abs(column), _EXACT_BELOW)).as_py():
            raise TableError(
                f"column {name!r} holds ids as floating-point numbers above 2^53, which are not exact; "
                "write them as integers or text"
            )
        whole = pc.equal(pc.floor(column), column)
        integers = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(pa.string())
        column = pc.if_else(whole, integers, column.cast(pa.string()))
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    if pc.any(pc.starts_with(text, '"')).as_py():  # a blank before the quote keeps it from being one
        text = pc.replace_substring_regex(text, r'^"(.*)"$', r"\1")
    return pc.if_else(pc.equal(text, ""), None, text)


def is_whole_float(ids: pa.ChunkedArray) -> bool:
    """Whether all text ids are integers that were floating-point numbers; see :func:`restore_integers`."""
    return bool(pc.all(pc.match_substring_regex(ids, f"^{_WHOLE_FLOAT.pattern}$"), min_count=0).as_py())


def restore_integers(ids: Sequence[str]) -> list[str]:
    """Text ids as they are, but ``12`` for ``12.0`` where *all* of them are such: integers that were floats once."""
    if all(_WHOLE_FLOAT.fullmatch(text) for text in ids):
        return [text.partition(".")[0] for text in ids]
    return list(ids)


def _as_arrow(values: Any, name: str) -> pa.ChunkedArray:
    if not isinstance(values, (pa.Array, pa.ChunkedArray)):
        try:
            values = pa.array(values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError):  # mixed, or objects of other types
            values = pa.array([_cell(value, name) for value in values], pa.string())
    if isinstance(values, pa.Array):
        values = pa.chunked_array([values])
    return decoded(values, name)


def _cell(value: Any, name: str) -> str | None:
    """One cell of a column of mixed types."""
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_BELOW:
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise TableError(f"column {name!r} holds bytes that are not UTF-8 text") from error
    return printable_name(str(value))
