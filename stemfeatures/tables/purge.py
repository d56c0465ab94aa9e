"""Rows that are replaced leave their files with the commit that replaces them, where that is cheap.

Who reads the folders as they are sees no row beside the one that took its place then. A large file of which some rows
are replaced stays as it is until ``compact``: to write it anew with each commit would cost more than what is committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.dataset as ds

from ..errors import DatasetError
from .commits import Snapshot
from .layout import DatasetLayout
from .parts import PartFile, part_file, write_part
from .schema import DATA_TABLES
from .storage import arrow_source

#: Larger parts are not written anew.
MOST_BYTES = 16 << 20


def without_replaced(
    layout: DatasetLayout, snapshot: Snapshot, replaced: Mapping[str, Mapping[str, Sequence[str]]]
) -> tuple[list[PartFile], list[PartFile]]:
    """Parts that take the place of those which hold rows that a commit replaces. Only for those who hold the lock.

    Parameters
    ----------
    layout : DatasetLayout
        The dataset.
    snapshot : Snapshot
        Its state before the commit.
    replaced : mapping
        What the commit replaces: ``{"data" or "errors": {run_id: track_ids}}``.

    Returns
    -------
    tuple of list of PartFile
        Parts to add, written but hidden, and parts to remove. Parts that cannot be read or written are in neither.
    """
    add: list[PartFile] = []
    remove: list[PartFile] = []
    for kind, runs in replaced.items():
        tables = DATA_TABLES if kind == "data" else (kind,)
        ids = [track for tracks in runs.values() for track in tracks]
        for part in list(snapshot.parts.values()):
            if part.table not in tables or not part.may_hold(ids):
                continue
            of_table = Snapshot(replaced={part.table: {run: set(tracks) for run, tracks in runs.items()}})
            try:
                made = _rest(layout, part, of_table)
            except (OSError, pa.ArrowException, DatasetError):  # a filter hides its rows from our own readers
                continue
            if made is not None:
                remove.append(part)
                add += made
    return add, remove


def _rest(layout: DatasetLayout, part: PartFile, gone: Snapshot) -> list[PartFile] | None:
    """What is written of the other rows of a part; None where it stays as it is."""
    dead = gone.dead(part.table)
    assert dead is not None
    path, filesystem = arrow_source(part_file(layout, part))
    schema = layout.schema(part.table, describe=False)
    rows = ds.dataset([path], schema=schema, format="parquet", filesystem=filesystem)
    n_dead = rows.count_rows(filter=dead)
    if n_dead == part.rows:
        return []
    if not n_dead or part.size > MOST_BYTES:
        return None
    return [write_part(layout, part.table, rows.to_table(filter=~dead), shard="kept")]
