"""Rows of many files in one order, with little memory: an external merge sort.

Batches are collected up to :data:`MEMORY_BYTES`, sorted and laid aside as a **run** in a temporary file; the runs are
then read side by side. In memory is one collection with a sorted copy, or a block of each run, and no more however
large the table is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

#: Rows that are sorted together, as they lie in memory.
MEMORY_BYTES = 96 * 2**20
#: Runs that are read side by side; of more, so many are merged into one first.
MOST_RUNS = 64
#: Rows of a run that are read together, at most; runs of wide rows or long lists have fewer.
_BLOCK_ROWS = 8192


def in_order(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, key: str, work: Path, *, memory_bytes: int | None = None
) -> Iterator[pa.Table]:
    """Rows in the order of a text column, a table at a time; all rows of a key are in one of them.

    Parameters
    ----------
    batches : iterable of RecordBatch
        The rows, in any order.
    schema : Schema
        Theirs.
    key : str
        Column without nulls to sort by. Rows of one key stay in the order in which they come.
    work : Path
        Folder for temporary files.
    memory_bytes : int, optional
        Rows that are sorted together; :data:`MEMORY_BYTES` by default.

    Yields
    ------
    Table
        Of some :data:`_BLOCK_ROWS` rows, or a few MB.
    """
    memory_bytes = memory_bytes or MEMORY_BYTES
    names = (work / f"{i}.arrow" for i in count())
    runs: list[Path] = []
    kept: list[pa.RecordBatch] = []
    n_bytes = 0
    for batch in filter(len, batches):
        kept.append(batch)
        n_bytes += batch.nbytes
        if n_bytes >= memory_bytes:
            runs.append(_laid_aside(_sorted(kept, schema, key, memory_bytes), schema, next(names), memory_bytes))
            kept, n_bytes = [], 0
    if not runs:
        if kept:
            yield from _interleaved([_sorted(kept, schema, key, memory_bytes)], key)
        return
    if kept:
        runs.append(_laid_aside(_sorted(kept, schema, key, memory_bytes), schema, next(names), memory_bytes))
        kept = []
    while len(runs) > MOST_RUNS:
        some = [runs[i : i + MOST_RUNS] for i in range(0, len(runs), MOST_RUNS)]  # neighbours, so that order is kept
        runs = [_laid_aside(_side_by_side(group, key), schema, next(names), memory_bytes) for group in some]
    yield from _side_by_side(runs, key)


def _sorted(kept: list[pa.RecordBatch], schema: pa.Schema, key: str, memory_bytes: int) -> Iterator[pa.Table]:
    """Some rows in order, a block at a time. Empties the list."""
    rows = _in_one_piece(kept, schema)
    n_block = _block_rows(rows, memory_bytes)  # so that the copy is small
    order = pc.sort_indices(rows, [(key, "ascending")])  # stable
    for first in range(0, rows.num_rows, n_block):
        yield rows.take(order.slice(first, n_block))


def _in_one_piece(kept: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Batches as a table of one piece, column by column, so that a copy of one column is all that is there twice.
    Empties the list."""
    pieces = [[batch.column(i) for batch in kept] for i in range(len(schema))]
    kept.clear()
    columns = []
    while pieces:
        columns.append(pa.concat_arrays(pieces.pop(0)))
    return pa.Table.from_arrays(columns, schema=schema)


def _block_rows(rows: pa.Table, memory_bytes: int) -> int:
    """So many that a block of each run takes no more than what is sorted together."""
    of_block = memory_bytes // MOST_RUNS * rows.num_rows / max(rows.nbytes, 1)
    return max(1, min(_BLOCK_ROWS, math.floor(of_block)))


def _laid_aside(tables: Iterable[pa.Table], schema: pa.Schema, file: Path, memory_bytes: int) -> Path:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema, options=options) as writer:
        for table in tables:
            writer.write_table(table, max_chunksize=_block_rows(table, memory_bytes))
    pa.default_memory_pool().release_unused()
    return file


def _side_by_side(runs: list[Path], key: str) -> Iterator[pa.Table]:
    """The rows of sorted runs in order. Deletes the runs."""
    with ExitStack() as stack:
        files = [stack.enter_context(pa.OSFile(str(run))) for run in runs]
        streams = [stack.enter_context(pa.ipc.open_stream(file)) for file in files]
        yield from _interleaved([(pa.Table.from_batches([batch]) for batch in stream) for stream in streams], key)
    for run in runs:
        run.unlink()


def _interleaved(sources: list[Iterator[pa.Table]], key: str) -> Iterator[pa.Table]:
    """Rows of sorted sources in order, those of a key all together.

    Whatever lies before the last key of every block that has been read cannot come again: so much is taken of each, in
    the order of the sources, and those that end with this key are read on.
    """
    blocks = {i: next(source) for i, source in enumerate(sources)}
    open_ones = set(blocks)
    while open_ones:
        lasts = {i: blocks[i][key][-1].as_py() for i in open_ones}
        bound = min(lasts.values())
        n_before = {i: pc.sum(pc.less(block[key], bound)).as_py() or 0 for i, block in blocks.items()}
        if any(n_before.values()):
            yield _sorted_table([block.slice(0, n_before[i]) for i, block in blocks.items()], key)
        blocks = {i: block.slice(n_before[i]) for i, block in blocks.items()}
        for i in [i for i, last in lasts.items() if last == bound]:
            if (more := next(sources[i], None)) is None:
                open_ones.discard(i)
            else:
                blocks[i] = pa.concat_tables([blocks[i], more])
    if any(block.num_rows for block in blocks.values()):
        yield _sorted_table(list(blocks.values()), key)


def _sorted_table(tables: list[pa.Table], key: str) -> pa.Table:
    some = [table for table in tables if table.num_rows]
    if len(some) == 1:
        return some[0]
    rows = pa.concat_tables(some).combine_chunks()
    return rows.take(pc.sort_indices(rows, [(key, "ascending")]))
