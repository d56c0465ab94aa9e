"""Fewer, larger, sorted files, and nothing else in the folders.

A run leaves one small part per shard and table; rows it replaced stay in their files, and dead attempts leave files
that no commit names. ``compact`` merges small parts, rewrites parts that hold replaced rows, commits that, and then
deletes what no longer counts. It may be killed at any moment and started again. Afterwards every table folder holds
exactly the live rows, so any Parquet reader can take the folder as it is.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from .._util.urls import Place
from ..errors import DatasetError, LostPartError
from .away import away_error, is_away
from .check import require_parts
from .clear import WORK, clear
from .commits import Snapshot, append_commit, read_snapshot, set_torn_commit_aside, write_checkpoint
from .external_sort import in_order
from .layout import DatasetLayout
from .lock import DatasetLock
from .parts import PartFile, delete_parts, key_column, part_file, publish, repair_hint, write_parts
from .reader import rows_of
from .storage import arrow_source

log = logging.getLogger(__name__)

TARGET_BYTES = 192 * 2**20
#: Parts that are opened together.
_READ_TOGETHER = 16


@dataclass(frozen=True)
class CompactResult:
    """What happened to one table: files and bytes before and after."""

    table: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int


def compact(
    dataset: DatasetLayout | str | Place,
    *,
    tables: Iterable[str] | None = None,
    target_bytes: int = TARGET_BYTES,
    rewrite: bool = True,
) -> list[CompactResult]:
    """Merge the parts of each table into files of about ``target_bytes`` sorted by track, and delete the old ones.

    Files above half the target are left alone unless they hold replaced rows or lack columns, and without ``rewrite``
    they are not even opened to see that. Memory does not grow with the tables: rows are sorted
    :data:`.external_sort.MEMORY_BYTES` at a time. Needs free space for a second copy of the largest table, and for
    another of its rows, compressed lightly, in the folder or, of a store, on this machine.

    Raises
    ------
    DatasetError
        No dataset, unknown table, or a run is at work.
    """
    layout = DatasetLayout.open(dataset)
    chosen = layout.tables if tables is None else tuple(tables)
    for table in chosen:
        layout.fields(table)
    results = []
    with DatasetLock(layout, "compact"):
        layout = DatasetLayout.open(layout.path)  # as the last writer left it
        snapshot = read_snapshot(layout)
        set_torn_commit_aside(layout, snapshot)
        require_parts(layout, snapshot)
        publish(layout, snapshot.parts.values())
        clear(layout, snapshot)  # first, as what a process that was killed has left may fill the disk
        for table in chosen:
            before = snapshot.of(table)
            _compact_table(layout, snapshot, table, target_bytes, rewrite=rewrite)
            after = snapshot.of(table)
            if before:
                sizes = sum(p.size for p in before), sum(p.size for p in after)
                results.append(CompactResult(table, len(before), len(after), *sizes))
        clear(layout, snapshot)
        write_checkpoint(layout, snapshot)
    return results


def compact_if_many(dataset: DatasetLayout | str | Place, *, parts: int) -> bool:
    """Merge small parts (:func:`compact` without ``rewrite``) where there are more than so many; whether there were.

    Raises
    ------
    DatasetError
        No dataset, or a run is at work; a file cannot be written or deleted.
    """
    layout = DatasetLayout.open(dataset)
    small = sum(part.size < TARGET_BYTES // 2 for part in read_snapshot(layout).parts.values())
    if small > parts:
        compact(layout, rewrite=False)
    return small > parts


def vacuum(dataset: DatasetLayout | str | Place, *, older_than_s: float = 0.0) -> list[Place]:
    """Delete the part files that no longer count, or never did, and return their paths.

    Refuses (DatasetError) while a run is at work. ``older_than_s`` spares younger files, for readers
    that still use them.
    """
    layout = DatasetLayout.open(dataset)
    with DatasetLock(layout, "vacuum"):
        snapshot = read_snapshot(layout)
        deleted = clear(layout, snapshot, older_than_s=older_than_s)
        publish(layout, snapshot.parts.values())
    return deleted


def _compact_table(layout: DatasetLayout, snapshot: Snapshot, table: str, target: int, *, rewrite: bool) -> None:
    replaced = rewrite and table in snapshot.replaced
    parts = snapshot.of(table)
    small = {part.path for part in parts if part.size < target // 2}
    if len(small) < 2:  # nothing to merge it with
        small = set()
    dead = snapshot.dead(table)
    chosen = [part for part in parts if part.path in small or (rewrite and _needs_rewrite(layout, part, dead))]
    if not chosen and not replaced:
        return
    number = snapshot.commit + 1
    new = _merge(layout, snapshot, table, chosen, target, f"c{number:06d}")
    append_commit(
        layout,
        snapshot,
        kind="compact",
        add=new,
        remove=[part.path for part in chosen],
        purged=[table] if replaced else [],
    )
    with suppress(OSError):  # what cannot be deleted is left for the next time
        delete_parts(layout, chosen)  # first, so that nobody who reads the folder sees rows twice
    publish(layout, new)


def _needs_rewrite(layout: DatasetLayout, part: PartFile, dead: pc.Expression | None) -> bool:
    """Whether a part lacks columns, has them in another type (as earlier versions wrote them), or holds dead rows."""
    (path, fs), schema = arrow_source(part_file(layout, part)), layout.schema(part.table)
    try:
        have = pq.read_schema(path, filesystem=fs)
    except (OSError, pa.ArrowInvalid) as e:
        if is_away(e):
            raise away_error(layout.path, part.path, e) from e
        raise LostPartError(f"{part.path} cannot be read: {e}; {repair_hint(layout)}", source=str(layout.path)) from e
    if {(f.name, f.type) for f in schema} - {(f.name, f.type) for f in have}:
        return True
    return dead is not None and ds.dataset([path], schema=schema, filesystem=fs).count_rows(filter=dead) > 0


def _merge(
    layout: DatasetLayout, snapshot: Snapshot, table: str, parts: list[PartFile], target: int, shard: str
) -> list[PartFile]:
    if not parts:
        return []
    schema = layout.schema(table)
    part_rows = sum(p.rows for p in parts) * target // max(1, sum(p.size for p in parts))
    # Beside the tables, where there is room for a copy of them; of a store, on this machine.
    where = layout.path if isinstance(layout.path, Path) else None
    try:
        with tempfile.TemporaryDirectory(prefix=WORK, dir=where, ignore_cleanup_errors=True) as work:
            key, dead = key_column(schema.names), snapshot.dead(table)  # once: it may list a million tracks
            rows = (
                rows
                for group in _apart(parts)
                for rows in in_order(_batches(layout, table, group, dead), schema, key, Path(work))
            )
            return write_parts(layout, table, rows, shard=shard, part_bytes=target, part_rows=part_rows)
    except (OSError, pa.ArrowInvalid) as e:  # a full disk, or a part that is damaged inside
        raise DatasetError(f"cannot merge the parts of table {table}: {e}", source=str(layout.path)) from e


def _apart(parts: list[PartFile]) -> Iterator[list[PartFile]]:
    """Groups of parts one after the other, no key of which lies among those of another group.

    Shards of a catalogue whose ids are in order lie so, and rows of a group that are sorted need not be laid aside.
    """
    group: list[int] = []
    last = ""
    for i in sorted(range(len(parts)), key=lambda i: parts[i].min_key):
        if len(group) >= _READ_TOGETHER and parts[i].min_key > last:
            yield [parts[k] for k in sorted(group)]  # rows of one key stay in their order
            group = []
        group.append(i)
        last = max(last, parts[i].max_key)
    yield [parts[k] for k in sorted(group)]


def _batches(
    layout: DatasetLayout, table: str, parts: list[PartFile], dead: pc.Expression | None
) -> Iterator[pa.RecordBatch]:
    """The live rows of some parts, a few parts at a time: a data set keeps the metadata of each file it has opened,
    which is half a megabyte where there are hundreds of columns."""
    nested = any(pa.types.is_nested(t) for t in layout.schema(table).types)
    for first in range(0, len(parts), _READ_TOGETHER):
        rows = rows_of(layout, parts[first : first + _READ_TOGETHER], table, dead=dead)
        yield from rows.to_batches(batch_size=512 if nested else 16_384, batch_readahead=2, fragment_readahead=1)
