"""Rows that are replaced leave their files with the commit that replaces them, where that is cheap.

Who reads the folders as they are sees no row beside the one that took its place then. A large file of which some rows
are replaced stays as it is until ``compact`` or until none of its rows counts: to write it anew with each commit would
cost more than what is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ..errors import DatasetError
from .commits import Snapshot
from .layout import DatasetLayout
from .parts import PartFile, part_file, parts_holding, write_part
from .schema import DATA_TABLES
from .storage import arrow_source

#: Larger parts are not written anew.
MOST_BYTES = 16 << 20

#: Tracks that do not count any more, by run.
_Gone = Mapping[str, Iterable[str]]


class Purge:
    """Takes rows that commits replace out of the parts. Belongs to one writer, who holds the lock.

    Of each large part it keeps a row that counts: the part need not be opened while that one does.
    """

    def __init__(self) -> None:
        self._counts: dict[str, tuple[str, str]] = {}

    def without_replaced(
        self, layout: DatasetLayout, snapshot: Snapshot, replaced: Mapping[str, Mapping[str, Sequence[str]]]
    ) -> tuple[list[PartFile], list[PartFile]]:
        """Parts that take the place of those which hold rows that a commit replaces.

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
            now = {run: set(tracks) for run, tracks in runs.items()}
            ids = [track for tracks in runs.values() for track in tracks]
            for part in parts_holding([p for p in snapshot.parts.values() if p.table in tables], ids):
                made: list[PartFile] | None = None
                try:
                    if part.size <= MOST_BYTES:
                        made = _rest(layout, part, now)
                    elif self._is_over(layout, snapshot, part, now):
                        made = []
                except (OSError, pa.ArrowException, DatasetError):  # a filter hides its rows from our own readers
                    continue
                if made is not None:
                    remove.append(part)
                    add += made
        return add, remove

    def _is_over(self, layout: DatasetLayout, snapshot: Snapshot, part: PartFile, now: Mapping[str, set[str]]) -> bool:
        """Whether no row of a part counts any more, of those that commits before have replaced as well."""
        before = snapshot.replaced.get(part.table, {})
        if (row := self._counts.get(part.path)) is not None:
            track, run = row
            if not any(track in gone.get(run, ()) for gone in (before, now)):
                return False
        for end in (part.min_key, part.max_key):
            if not any(end in tracks for gone in (before, now) for tracks in gone.values()):
                return False
        inside = {
            run: {
                track for gone in (before, now) for track in gone.get(run, ()) if part.min_key <= track <= part.max_key
            }
            for run in {*before, *now}
        }
        left = _rows(layout, part).head(1, columns=["track_id", "run_id"], filter=~_dead(part, inside)).to_pylist()
        if left:
            self._counts[part.path] = left[0]["track_id"], left[0]["run_id"]
        return not left


def _rest(layout: DatasetLayout, part: PartFile, gone: _Gone) -> list[PartFile] | None:
    """What is written of the other rows of a part; None where it has none of those that are gone."""
    rows, dead = _rows(layout, part), _dead(part, gone)
    n_dead = rows.count_rows(filter=dead)
    if n_dead == part.rows:
        return []
    if not n_dead:
        return None
    return [write_part(layout, part.table, rows.to_table(filter=~dead), shard="kept")]


def _rows(layout: DatasetLayout, part: PartFile) -> ds.Dataset:
    path, filesystem = arrow_source(part_file(layout, part))
    schema = layout.schema(part.table, describe=False)
    return ds.dataset([path], schema=schema, format="parquet", filesystem=filesystem)


def _dead(part: PartFile, gone: _Gone) -> pc.Expression:
    expression = Snapshot(replaced={part.table: {run: set(tracks) for run, tracks in gone.items()}}).dead(part.table)
    assert expression is not None
    return expression
