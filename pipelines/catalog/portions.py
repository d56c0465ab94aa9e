"""Large manifests (Parquet, CSV, TSV), a portion of rows at a time: memory does not grow with their length.

A text manifest is written as Parquet into the temporary folder first (:mod:`.spooled`).

What needs all rows is found in one pass over the columns that name tracks and files: rows that repeat the id or the
file of another one (:mod:`.repeats`), whether text ids are integers that were floating-point numbers once, and whether
integers are too large for int64. Else the types of columns are those of the Parquet file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stemfeatures._util.tabular import (
    PARQUET_SUFFIXES,
    TEXT_SUFFIXES,
    TableError,
    as_ids,
    is_whole_float,
    open_typed,
    suffix_of,
)
from stemfeatures._util.urls import Url, is_remote
from stemfeatures.errors import CatalogError

from . import remote, spooled
from .manifest import frame_of
from .path_columns import path_column
from .read import from_frame
from .scratch import scratch_folder
from .types import ID_COLUMN, ON_DUPLICATE, Catalog, CatalogSpec, printable
from .walk import holds_parquet

if TYPE_CHECKING:
    import pyarrow.dataset as ds

#: Rows that are planned together: some 100 MB. Of manifests with very many columns, fewer rows: some 500 MB.
PORTION_ROWS = 50_000
PORTION_CELLS = 5_000_000
#: Rows that are looked through together: two columns of them.
_LOOK_ROWS = 200_000
#: Groups of rows with one hash whose values are looked up together.
_LOOKED_UP = 10_000


@dataclass(frozen=True)
class Portions:
    """A large manifest; iterate over it for catalogues of :func:`portion_rows` rows.

    Attributes
    ----------
    origin : str
        The manifest, for people.
    n_rows : int
        Rows that are taken, of all portions.
    n_dropped : int
        Rows that share their id or their file with another, and are left out.
    """

    origin: str
    n_rows: int
    n_dropped: int
    _dataset: ds.Dataset
    _keys: tuple[str, ...]
    _root: str | Path
    _restore: bool
    _as_text: frozenset[str]
    _dropped: np.ndarray
    _limit: int

    def __len__(self) -> int:
        return self.n_rows

    @property
    def rows_each(self) -> int:
        """Rows of a portion, but for the last."""
        return portion_rows(len(self._dataset.schema))

    def __iter__(self) -> Iterator[Catalog]:
        types = {field.name: _type_of(field.type) for field in self._dataset.schema}
        types |= dict.fromkeys((*self._keys, *self._as_text), "string")
        first = 0
        for table in _tables(self._dataset, self._limit, rows=self.rows_each):
            frame = frame_of(table, self._keys, self.origin)
            catalog = from_frame(
                frame, self._root, self.origin, first_row=first, restore_ids=self._restore, metadata_types=types
            )
            here = self._dropped[(self._dropped >= first) & (self._dropped < first + len(frame))] - first
            first += len(frame)
            if len(here) < len(frame):
                yield catalog.without_rows(here)


def portion_rows(n_columns: int) -> int:
    """Rows that are planned together of a manifest with so many columns.

    Examples
    --------
    >>> portion_rows(12), portion_rows(1500)
    (50000, 3333)
    """
    return max(1, min(PORTION_ROWS, PORTION_CELLS // max(1, n_columns)))


@contextmanager
def portions_of(
    spec: CatalogSpec, *, limit: int | None = None, on_duplicate: str = "error"
) -> Iterator[Portions | None]:
    """A manifest of more than :func:`portion_rows` rows in portions: CSV, TSV, or Parquet, also a folder of its parts.

    Parameters
    ----------
    spec : str, path, sequence of paths, DataFrame or Catalog
        As for :func:`pipelines.catalog.read_catalog`.
    limit : int, optional
        Only the first rows.
    on_duplicate : str
        As for :meth:`Catalog.without_duplicates`; ids and files are compared as the manifest states them.

    Yields
    ------
    Portions or None
        None for any other catalogue, which is read as a whole.

    Raises
    ------
    CatalogError
        It cannot be read, no column names the files, or rows share their id or their file and must not.
    """
    with ExitStack() as stack:
        found = _manifest(spec, limit, stack)
        if found is None:
            yield None
            return
        path, root, origin = found
        try:
            dataset, keys = open_typed(path)
            n_rows = dataset.count_rows() if limit is None else min(limit, dataset.count_rows())
            if n_rows <= portion_rows(len(dataset.schema)):
                yield None
                return
            restore, as_text, dropped = _look_through(dataset, n_rows, on_duplicate, origin)
        except TableError as error:
            raise CatalogError(error.message, source=origin) from error
        except (OSError, pa.ArrowException) as error:
            raise CatalogError(f"not a Parquet file: {error}", source=origin) from error
        n_kept = n_rows - len(dropped)
        yield Portions(origin, n_kept, len(dropped), dataset, keys, root, restore, as_text, dropped, n_rows)


def _manifest(spec: CatalogSpec, limit: int | None, stack: ExitStack) -> tuple[Path, str | Path, str] | None:
    """Path, root and name of a Parquet manifest, or of a large text manifest as one; None for other catalogues."""
    if not isinstance(spec, (str, os.PathLike)) or (limit is not None and limit <= PORTION_ROWS):
        return None
    text = os.fspath(spec)
    if is_remote(text):
        url = Url(text)
        suffix = suffix_of(str(url).partition("?")[0])
        if suffix in PARQUET_SUFFIXES:
            return stack.enter_context(remote.brought(text)), url.parent.address, printable(text)
        if suffix not in TEXT_SUFFIXES or (remote.size_of(text) or 0) < spooled.LEAST_BYTES:
            return None
        spool = _spooled(stack.enter_context(remote.brought(text)), stack)
        return None if spool is None else (spool, url.parent.address, printable(text))
    path = Path(text)
    if os.path.isdir(path):
        return (path, path.absolute(), printable(text)) if holds_parquet(path) else None
    if os.path.isfile(path) and path.suffix.lower() in PARQUET_SUFFIXES:
        return path, path.absolute().parent, printable(text)
    if os.path.isfile(path) and suffix_of(path) in TEXT_SUFFIXES and (spool := _spooled(path, stack)) is not None:
        return spool, path.absolute().parent, printable(text)
    return None


def _spooled(path: Path, stack: ExitStack) -> Path | None:
    """All rows, whatever the limit: types are those of the whole manifest."""
    with ExitStack() as written:
        folder = written.enter_context(scratch_folder("stemfeatures-manifest-"))
        spool = spooled.spool(path, folder, more_than=portion_rows)
        if spool is not None:  # else what has been written, up to a full disk, is of no use
            stack.enter_context(written.pop_all())
    return spool


def _tables(dataset: ds.Dataset, limit: int, columns: list[str] | None = None, *, rows: int) -> Iterator[pa.Table]:
    """The first rows in order, ``rows`` at a time."""
    kept: list[pa.RecordBatch] = []
    n_kept = 0
    for batch in _batches(dataset, columns, rows):
        while batch.num_rows and limit:
            some = batch.slice(0, min(rows - n_kept, limit))
            batch = batch.slice(some.num_rows)
            kept.append(some)
            n_kept, limit = n_kept + some.num_rows, limit - some.num_rows
            if n_kept == rows or not limit:
                yield pa.Table.from_batches(kept)
                kept, n_kept = [], 0
        if not limit:
            return
    if kept:
        yield pa.Table.from_batches(kept)


def _batches(dataset: ds.Dataset, columns: list[str] | None, most: int) -> Iterator[pa.RecordBatch]:
    """Row group by row group: a scan of the data set reads ahead of a slow consumer without any limit."""
    for fragment in dataset.get_fragments():
        for group in fragment.split_by_row_group():
            yield from group.to_table(schema=dataset.schema, columns=columns).to_batches(max_chunksize=most)


def _ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same; the next one is read while one is looked through."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, tables, None)
        while (table := coming.result()) is not None:
            coming = pool.submit(next, tables, None)
            yield table


def _type_of(of: pa.DataType) -> str:
    """The type in which the values of a column are stored; see :func:`~.metadata.settled`."""
    if pa.types.is_dictionary(of):
        of = of.value_type
    if pa.types.is_boolean(of):
        return "bool"
    if pa.types.is_integer(of):
        return "int64"
    return "float64" if pa.types.is_floating(of) or pa.types.is_decimal(of) else "string"


# ---------------------------------------------------------------------------------------------------- one look at all


def _look_through(
    dataset: ds.Dataset, n_rows: int, on_duplicate: str, origin: str
) -> tuple[bool, frozenset[str], np.ndarray]:
    """Whether text ids are to be restored, which columns of integers become text, and which rows are left out."""
    from .repeats import Repeats  # numba, which other catalogues do without

    if on_duplicate not in ON_DUPLICATE:
        raise ValueError(f"on_duplicate must be one of {', '.join(ON_DUPLICATE)}, not {on_duplicate!r}")
    names = {name.strip().lower(): name for name in reversed(dataset.schema.names)}
    path, given = path_column(dataset.schema.names, origin), names.get(ID_COLUMN)
    columns = {path: "file"} if given is None else {given: "track id", path: "file"}
    unsigned = [f.name for f in dataset.schema if f.type == pa.uint64() and f.name not in columns]
    large: set[str] = set()
    restore = given is not None
    dropped: list[np.ndarray] = [np.empty(0, np.int64)]
    with scratch_folder("stemfeatures-rows-") as folder:
        repeats = {column: Repeats(folder / str(i)) for i, column in enumerate(columns)}
        first = 0
        for table in _ahead(_tables(dataset, n_rows, [*columns, *unsigned], rows=_LOOK_ROWS)):
            for column, some in repeats.items():
                values = as_ids(table[column], column)
                some.add(values, first)
                if column == given and restore:
                    restore = is_whole_float(values)
            large |= {name for name in unsigned if (pc.max(table[name]).as_py() or 0) >= 2**63}
            first += table.num_rows
        gone = np.zeros(n_rows, bool)
        for column, some in repeats.items():
            # Who shares a file with a row that is left out already stays.
            for rows, value in _alike(dataset, column, (rows[~gone[rows]] for rows in some.rows())):
                if on_duplicate == "error":
                    raise CatalogError(
                        f"row {rows[0] + 1:,} and row {rows[1] + 1:,} have the same {columns[column]} "
                        f"{printable(value)!r}; --on-duplicate says what becomes of such rows",
                        source=origin,
                    )
                dropped.append(rows[1:] if on_duplicate == "first" else rows)
            gone[np.concatenate(dropped)] = True
    if gone.all():
        raise CatalogError("every row shares its id or its file with another", source=origin)
    return restore, frozenset(large), gone.nonzero()[0]


def _alike(dataset: ds.Dataset, column: str, groups: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, str]]:
    """Of groups of rows of one hash those of one value, and the value.

    Many are looked up together: to find rows the column is read from its beginning.
    """
    several = (rows for rows in groups if len(rows) > 1)
    while some := list(islice(several, _LOOKED_UP)):
        pairs = np.concatenate([rows[:2] for rows in some])
        values = as_ids(dataset.take(pairs, columns=[column])[column], column).to_pylist()
        for rows, value, other in zip(some, values[::2], values[1::2]):
            if value == other:
                yield rows, value
