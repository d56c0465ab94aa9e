"""Fewer, larger, sorted files, and nothing else in the folders.

A run leaves one small part per shard and table; rows it replaced stay in their files, and dead attempts leave files
that no commit names. ``compact`` merges small parts, rewrites parts that hold replaced rows, commits that, and then
deletes what no longer counts. It may be killed at any moment and started again. Afterwards every table folder holds
exactly the live rows, so any Parquet reader can take the folder as it is.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from .._util.urls import Place
from ..errors import LostPartError
from .check import require_parts
from .clear import WORK, clear
from .commits import Snapshot, append_commit, read_snapshot, set_torn_commit_aside, write_checkpoint
from .layout import DatasetLayout
from .lock import DatasetLock
from .parts import PartFile, delete_parts, part_file, publish, repair_hint, write_part
from .reader import live_rows
from .storage import arrow_source

log = logging.getLogger(__name__)

TARGET_BYTES = 192 * 2**20


@dataclass(frozen=True)
class CompactResult:
    """What happened to one table: files and bytes before and after."""

    table: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int


def compact(
    dataset: DatasetLayout | str | Place, *, tables: Iterable[str] | None = None, target_bytes: int = TARGET_BYTES
) -> list[CompactResult]:
    """Merge the parts of each table into files of about ``target_bytes`` sorted by track, and delete the old ones.

    Files above half the target are left alone unless they hold replaced rows or lack columns. Tables larger than memory
    are no problem: a table is first split into key ranges of ``target_bytes``. Needs free space for a second copy of
    the largest table, and of one in a store also on this machine.

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
        snapshot = read_snapshot(layout)
        set_torn_commit_aside(layout, snapshot)
        require_parts(layout, snapshot)
        publish(layout, snapshot.parts.values())
        for table in chosen:
            before = snapshot.of(table)
            _compact_table(layout, snapshot, table, target_bytes)
            after = snapshot.of(table)
            if before:
                sizes = sum(p.size for p in before), sum(p.size for p in after)
                results.append(CompactResult(table, len(before), len(after), *sizes))
        clear(layout, snapshot)
        write_checkpoint(layout, snapshot)
    return results


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


def _compact_table(layout: DatasetLayout, snapshot: Snapshot, table: str, target: int) -> None:
    replaced = table in snapshot.replaced
    parts = snapshot.of(table)
    small = {part.path for part in parts if part.size < target // 2}
    if len(small) < 2:  # nothing to merge it with
        small = set()
    dead = snapshot.dead(table)
    chosen = [part for part in parts if part.path in small or _needs_rewrite(layout, part, dead)]
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
        raise LostPartError(f"{part.path} cannot be read: {e}; {repair_hint(layout)}", source=str(layout.path)) from e
    if {(f.name, f.type) for f in schema} - {(f.name, f.type) for f in have}:
        return True
    return dead is not None and ds.dataset([path], schema=schema, filesystem=fs).count_rows(filter=dead) > 0


def _merge(
    layout: DatasetLayout, snapshot: Snapshot, table: str, parts: list[PartFile], target: int, shard: str
) -> list[PartFile]:
    some = Snapshot(snapshot.commit, {p.path: p for p in parts}, snapshot.replaced)
    source = live_rows(layout, some, table)
    ranges = round(sum(p.size for p in parts) / target)
    key = layout.schema(table).names[0]
    if ranges < 2:
        rows = source.to_table()
        return [write_part(layout, table, rows, shard=shard, describe=True)] if rows.num_rows else []
    keys = np.sort(source.to_table(columns=[key])[key].to_numpy())
    bounds = np.unique([keys[i * len(keys) // ranges] for i in range(1, ranges)]) if len(keys) else keys
    # Beside the tables, where there is room for a copy of them; of a store, on this machine.
    where = layout.path if isinstance(layout.path, Path) else None
    with tempfile.TemporaryDirectory(prefix=WORK, dir=where, ignore_cleanup_errors=True) as work:
        return _merge_ranges(layout, table, source, bounds, Path(work), shard)


def _merge_ranges(
    layout: DatasetLayout, table: str, source: ds.Dataset, bounds: np.ndarray, work: Path, shard: str
) -> list[PartFile]:
    """Deal the rows out to one temporary file per key range, then sort each in memory."""
    schema = layout.schema(table)
    nested = any(pa.types.is_nested(t) for t in schema.types)
    files = [work / f"{i}.arrow" for i in range(len(bounds) + 1)]
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    writers = [pa.ipc.new_stream(str(file), schema, options=options) for file in files]
    try:
        batches = source.to_batches(batch_size=512 if nested else 16_384, batch_readahead=2, fragment_readahead=1)
        for batch in batches:
            place = np.searchsorted(bounds, batch.column(0).to_numpy(zero_copy_only=False), side="right")
            for i in np.unique(place):
                writers[i].write_batch(batch.filter(pa.array(place == i)))
    finally:
        for writer in writers:
            writer.close()
    parts = []
    for i, file in enumerate(files):
        with pa.ipc.open_stream(str(file)) as stream:
            rows = stream.read_all()
        file.unlink()
        if rows.num_rows:
            parts.append(write_part(layout, table, rows, shard=f"{shard}-{i:04d}", describe=True))
    return parts
