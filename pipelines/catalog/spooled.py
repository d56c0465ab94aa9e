"""A long text manifest as a Parquet file on disk: in memory is a piece of it at a time.

Whether a column is one of numbers is known at the end of the manifest only, so cells are written as text first, and in
their types then.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stemfeatures._util.tabular import DAMAGED, TableError, encoding_of, open_table_bytes
from stemfeatures.errors import CatalogError

from .manifest import HEADER_CHARACTERS, TextKind, header_of, start_of, text_rows
from .path_columns import special_columns
from .types import printable

#: Rows that are held in memory, and of manifests with very many columns the cells.
_ROWS, _CELLS = 20_000, 5_000_000
#: A manifest of fewer bytes is read as a whole, which takes some ten times as much memory.
LEAST_BYTES = 2_000_000


def spool(path: Path, folder: Path, *, more_than: Callable[[int], int]) -> Path | None:
    """Write a text manifest into a Parquet file, with the types that its columns have when it is read as a whole.

    Parameters
    ----------
    path : Path
        CSV or TSV, compressed or not.
    folder : Path
        Where to write to.
    more_than : callable
        A manifest of no more rows than that is not written; asked with its number of columns.

    Returns
    -------
    Path or None
        The Parquet file; None for a short manifest, and for one in which something is wrong: who reads it as a whole
        says what.
    """
    with suppress(*DAMAGED, UnicodeError, TableError, CatalogError):
        if path.stat().st_size < LEAST_BYTES:
            return None
        rows = _rows(path)
        stated = next(rows)
        header = header_of(stated)
        least = more_than(len(header))
        begun = list(islice(rows, least + 1))
        if len(begun) <= least:
            return None
        as_text, typed = folder / "text.parquet", folder / "typed.parquet"
        special = special_columns(header)
        kinds = {name: TextKind() for name in header if name not in special}
        _write_text(as_text, header, chain(begun, rows), kinds)
        kept = [
            name for name, given in zip(header, stated) if given or name not in kinds or not kinds[name].is_empty
        ]  # trailing delimiters make columns of nothing
        _write_typed(as_text, typed, kept, kinds)
        as_text.unlink()
        return typed
    return None


def _rows(path: Path) -> Iterator[list[str]]:
    with open_table_bytes(path) as file:
        encoding = encoding_of(file.read(HEADER_CHARACTERS))
    with open_table_bytes(path) as file, io.TextIOWrapper(file, encoding, newline="") as body:
        start = start_of(body.read(HEADER_CHARACTERS), path)
    with open_table_bytes(path) as file, io.TextIOWrapper(file, encoding, newline="") as body:
        body.read(start.character)
        yield from text_rows(_lines(body), start, printable(os.fspath(path)))


def _lines(body: io.TextIOWrapper) -> Iterator[str]:
    for line in body:
        if "\0" in line:
            raise CatalogError("the file is not text (it holds NUL)")
        yield line


def _rows_held(n_columns: int) -> int:
    return max(1, min(_ROWS, _CELLS // max(1, n_columns)))


def _write_text(path: Path, header: list[str], rows: Iterator[list[str]], kinds: dict[str, TextKind]) -> None:
    schema = pa.schema([(name, pa.string()) for name in header])
    with pq.ParquetWriter(path, schema) as writer:
        while some := list(islice(rows, _rows_held(len(header)))):
            cells = pd.DataFrame(some, columns=header, dtype=str)
            for name, kind in kinds.items():
                kind.see(cells[name])
            writer.write_table(pa.Table.from_pandas(cells, schema, preserve_index=False))


def _write_typed(source: Path, path: Path, kept: list[str], kinds: dict[str, TextKind]) -> None:
    schema = pa.schema([(name, kinds[name].stored if name in kinds else "string") for name in kept])
    with pq.ParquetFile(source) as file, pq.ParquetWriter(path, schema) as writer:
        for batch in file.iter_batches(_rows_held(len(kept)), columns=kept):
            cells = batch.to_pandas()
            for name in kept:
                if name in kinds:
                    cells[name] = kinds[name].convert(cells[name])
            writer.write_table(pa.Table.from_pandas(cells, schema, preserve_index=False))
