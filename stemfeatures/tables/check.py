"""Whether the committed parts are there as they were written, and what to do when they are not.

Disks lose files, people delete them, copies break off. The commit log says what each part was: its size, its rows, its
first and last track. ``check`` compares; ``repair`` takes what is lost out of the dataset, together with what other
tables hold of the same tracks, so that the next ``extract`` does these tracks again.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from .._util.urls import Place
from ..errors import DatasetError, LostPartError
from .away import away_error, is_away
from .commits import Snapshot, append_commit, read_snapshot, readable_commits, set_torn_commit_aside
from .layout import DatasetLayout
from .lock import DatasetLock
from .parts import (
    PartFile,
    delete_parts,
    find_part,
    find_parts,
    key_column,
    part_file,
    publish,
    repair_hint,
    write_part,
)
from .reader import live_rows
from .schema import DATA_TABLES
from .storage import arrow_source, parquet_file

#: Rows that a deep check holds at a time.
_BATCH_ROWS = 1024
#: What reading a damaged Parquet file raises.
_UNREADABLE = (OSError, pa.ArrowException, ValueError)
#: Tables with one row a track.
_ONE_ROW = ("tracks", "errors")
#: So often in a row writers may delete what is being read.
_MOST_TRIES = 20

#: ``{run_id: {track_id, ...}}``
_Runs = dict[str, set[str]]


@dataclass(frozen=True)
class DamagedPart:
    """A part that is not as it was written.

    Attributes
    ----------
    part : PartFile
        What the commit says of it.
    what : str
        What is wrong, in words.
    """

    part: PartFile
    what: str


@dataclass(frozen=True)
class CheckResult:
    """What :func:`check` found.

    Attributes
    ----------
    n_parts : int
        Committed parts.
    damaged : tuple of DamagedPart
        Those that are missing or damaged.
    tracks : tuple of str
        Ids of tracks that stand in the dataset without rows which they had, or may have had: where a part is lost, its
        ids are known from what else was committed with it, or lies between its first and last.
    n_unknown : int
        Rows of ``tracks`` and ``errors`` that are lost with their ids: nothing else in the dataset names them. The next
        ``extract`` finds that they are not done.
    repaired : bool
        Whether they have been taken out.
    """

    n_parts: int
    damaged: tuple[DamagedPart, ...]
    tracks: tuple[str, ...] = ()
    n_unknown: int = 0
    repaired: bool = False


def lost_parts(layout: DatasetLayout, snapshot: Snapshot) -> list[DamagedPart]:
    """Parts that are missing, or of another size; no file is opened."""
    lost = []
    for table in {part.table: None for part in snapshot.parts.values()}:
        parts = snapshot.of(table)
        found = find_parts(layout, parts)
        lost += [DamagedPart(part, fault) for part, (place, fault) in zip(parts, found) if place is None]
    return lost


def require_parts(layout: DatasetLayout, snapshot: Snapshot) -> None:
    """Raise LostPartError when parts are missing, or of another size."""
    if lost := lost_parts(layout, snapshot):
        first = lost[0]
        more = f" (and {len(lost) - 1:,} more parts are damaged)" if len(lost) > 1 else ""
        raise LostPartError(f"{first.part.path} {first.what}{more}; {repair_hint(layout)}", source=str(layout.path))


def check(dataset: DatasetLayout | str | Place, *, deep: bool = False, repair: bool = False) -> CheckResult:
    """Compare the part files with the commit log.

    Parameters
    ----------
    dataset : DatasetLayout or str or Path or Url
        The dataset or its path.
    deep : bool
        Read all rows; by default sizes and footers are looked at.
    repair : bool
        Take what is lost out of the dataset. Tracks that lack rows are taken out whole, and are not done any more.

    Returns
    -------
    CheckResult
        What is damaged, and which tracks are affected.

    Raises
    ------
    DatasetError
        There is no dataset, its commit log itself is damaged, or ``repair`` while a run is at work.
    UnreachableError
        A disk or a store does not let us look: what may be whole is not taken out.
    """
    layout = DatasetLayout.open(dataset)
    if not repair:
        return _examine_beside_writers(layout, deep=deep)
    with DatasetLock(layout, "check --repair"):
        snapshot = read_snapshot(layout)
        set_torn_commit_aside(layout, snapshot)
        damaged = _damaged(layout, snapshot, deep=deep)
        if not damaged:
            return CheckResult(len(snapshot.parts), ())
        result, runs = _judge(layout, snapshot, damaged)
        _repair(layout, snapshot, [d.part for d in result.damaged], runs)
    return dataclasses.replace(result, repaired=True)


def _examine_beside_writers(layout: DatasetLayout, *, deep: bool) -> CheckResult:
    """What is damaged; files that a run or ``compact`` has replaced and deleted meanwhile are not."""
    tries = 0
    while True:
        snapshot = read_snapshot(layout)
        damaged = _damaged(layout, snapshot, deep=deep)
        if not damaged:
            return CheckResult(len(snapshot.parts), ())
        now = read_snapshot(layout)
        # A part has another name once it is published, which may be while it is opened: it is looked at again.
        here = {d.part.path: now.parts[d.part.path] for d in damaged if d.part.path in now.parts}
        damaged = _damaged(layout, dataclasses.replace(now, parts=here), deep=deep)
        if damaged:
            now = read_snapshot(layout)
            damaged = [d for d in damaged if d.part.path in now.parts]
        if not damaged:
            return CheckResult(len(now.parts), ())
        try:
            return _judge(layout, now, damaged)[0]
        except LostPartError:  # deleted just now
            tries += 1
            if tries == _MOST_TRIES:
                raise


def _damaged(layout: DatasetLayout, snapshot: Snapshot, *, deep: bool) -> list[DamagedPart]:
    found = ((part, _fault(layout, part, deep=deep)) for part in snapshot.parts.values())
    return [DamagedPart(part, fault) for part, fault in found if fault]


def _judge(layout: DatasetLayout, snapshot: Snapshot, damaged: list[DamagedPart]) -> tuple[CheckResult, _Runs]:
    """What damaged parts cost, and the tracks of which rows are left, by run."""
    while True:
        gone = {d.part.path for d in damaged}
        parts = {path: part for path, part in snapshot.parts.items() if path not in gone}
        rest = Snapshot(snapshot.commit, parts, snapshot.replaced)
        lost = [d.part for d in damaged]
        try:
            runs, stray = _not_whole(layout, rest, lost)
            break
        except _UNREADABLE as e:
            if is_away(e):
                raise away_error(layout.path, "a table", e) from e
            # The ids of another part cannot be read either, which only a deep look tells.
            more = _damaged(layout, rest, deep=True)
            if not more:
                raise
            damaged = [*damaged, *more]
    tracks = tuple(sorted({t for ids in runs.values() for t in ids}))
    n_unknown = max(0, sum(_live_rows_of(snapshot, part) for part in lost if part.table in _ONE_ROW) - len(stray))
    return CheckResult(len(snapshot.parts), tuple(damaged), tracks, n_unknown), runs


def _live_rows_of(snapshot: Snapshot, part: PartFile) -> int:
    """Rows of a lost part that counted, as far as the commits tell."""
    if not part.key_hashes:
        return part.rows
    replaced = snapshot.replaced.get(part.table, {}).values()
    return part.rows - sum(part.may_hold([key]) for ids in replaced for key in ids)


def _fault(layout: DatasetLayout, part: PartFile, *, deep: bool) -> str:
    """What is wrong with a part; empty when nothing is."""
    path, fault = find_part(layout, part)
    if path is None:
        return fault
    try:
        with parquet_file(path, verify=deep) as file:
            rows = file.metadata.num_rows
            keys: set[str] = set()
            if deep:
                rows, key = 0, key_column(file.schema_arrow.names)
                for batch in file.iter_batches(_BATCH_ROWS):
                    rows += batch.num_rows
                    keys.update(pc.unique(batch[key]).to_pylist())
    except _UNREADABLE as e:
        if is_away(e):
            raise away_error(layout.path, part.path, e) from e
        return f"cannot be read ({(str(e) or type(e).__name__).splitlines()[0]})"
    if rows != part.rows:
        return f"holds {rows:,} rows of {part.rows:,}"
    return "" if not deep or part.holds_exactly(keys) else "holds rows of other tracks"


def _not_whole(layout: DatasetLayout, rest: Snapshot, lost: list[PartFile]) -> tuple[_Runs, set[str]]:
    """Tracks of which one table is lost and another there, by run; and those whose row of ``tracks`` is lost."""
    owners = dict(_keys(layout, rest, "tracks"))
    further = sorted({part.table for part in lost} - {*DATA_TABLES, "errors", "runs"})
    together = _committed_together(layout, rest, {p.path for p in lost if p.table in (*DATA_TABLES[1:], *further)})
    runs: _Runs = {}
    stray: set[str] = set()
    for table in (*DATA_TABLES[1:], *further):
        of_table = [part for part in lost if part.table == table]
        have: set[str] = set()
        for key, run in _keys(layout, rest, table):
            if key not in owners:
                runs.setdefault(run, set()).add(key)
                stray.add(key)
            elif of_table:
                have.add(key)
        for part in of_table:
            for key, run in together.get(part.path, owners.items()):
                if owners.get(key) == run and key not in have and part.may_hold([key]):
                    runs.setdefault(run, set()).add(key)
    return runs, stray


def _keys(layout: DatasetLayout, snapshot: Snapshot, table: str) -> Iterator[tuple[str, str]]:
    """Each track that has live rows in a table, with its run; a track again for every block of rows it is in."""
    if "track_id" not in layout.schema(table, describe=False).names:
        return
    for batch in live_rows(layout, snapshot, table).to_batches(columns=["track_id", "run_id"]):
        pairs = pa.Table.from_batches([batch]).group_by(["track_id", "run_id"], use_threads=False).aggregate([])
        yield from zip(pairs["track_id"].to_pylist(), map(sys.intern, pairs["run_id"].to_pylist()))


def _committed_together(
    layout: DatasetLayout, rest: Snapshot, paths: set[str]
) -> dict[str, frozenset[tuple[str, str]]]:
    """``(track, run)`` of the shard with which a part was committed; without those of compacted and unknown shards."""
    found = {}
    for entry in readable_commits(layout) if paths else ():
        with suppress(KeyError, TypeError, AttributeError, ValueError):  # what checkpoints cover may be damaged
            added = [part for part in entry["add"] if part["path"] not in entry.get("kept", ())]
            here = [part["path"] for part in added if part["path"] in paths]
            if not here or entry["kind"] != "shard":
                continue
            tracks = [part["path"] for part in added if part["table"] == "tracks"]
            if tracks and all(path in rest.parts for path in tracks):
                pairs = frozenset(pair for path in tracks for pair in _pairs(layout, rest.parts[path]))
                found.update(dict.fromkeys(here, pairs))
    return found


def _pairs(layout: DatasetLayout, part: PartFile) -> Iterator[tuple[str, str]]:
    path, fs = arrow_source(part_file(layout, part))
    rows = pq.read_table(path, columns=["track_id", "run_id"], partitioning=None, filesystem=fs)
    return zip(rows["track_id"].to_pylist(), rows["run_id"].to_pylist())


def _repair(layout: DatasetLayout, snapshot: Snapshot, lost: list[PartFile], runs: _Runs) -> None:
    """Commit the dataset without the lost parts, and without what other parts hold of the same tracks.

    These are written anew, so that nobody who reads the folders sees rows that do not count.
    """
    add, remove = _parts_without(layout, snapshot, {p.path for p in lost}, runs)
    if any(part.table == "runs" for part in lost):
        rows = _runs_of(layout, snapshot)
        add += [write_part(layout, "runs", rows, shard="repair")] if rows else []
    gone = [*lost, *remove]
    append_commit(layout, snapshot, kind="repair", add=add, remove=[part.path for part in gone])
    try:
        delete_parts(layout, gone)
    except OSError as e:
        raise DatasetError(f"cannot delete: {e}", source=str(layout.path)) from e
    publish(layout, snapshot.parts.values())


def _parts_without(
    layout: DatasetLayout, snapshot: Snapshot, lost: set[str], runs: _Runs
) -> tuple[list[PartFile], list[PartFile]]:
    """Parts to add, and those to remove, for rows of tracks to be gone."""
    tracks = {track for ids in runs.values() for track in ids}
    add, remove = [], []
    for part in snapshot.parts.values():
        if part.path in lost or part.table in ("errors", "runs") or not part.may_hold(tracks):
            continue
        schema = layout.schema(part.table, describe=False)
        dead = Snapshot(replaced={part.table: runs}).dead(part.table)
        path, fs = arrow_source(part_file(layout, part))
        data = ds.dataset([path], schema=schema, format="parquet", filesystem=fs)
        rows = data.to_table(filter=None if dead is None else ~dead)
        if rows.num_rows < part.rows:
            remove.append(part)
            add += [write_part(layout, part.table, rows, shard="repair")] if rows.num_rows else []
    return add, remove


def _runs_of(layout: DatasetLayout, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Rows of table ``runs`` as far as the commit log knows them: when a run was at work, what it did, how it ended."""
    rows: dict[str, dict[str, Any]] = {}
    for entry in readable_commits(layout):
        run, counts = entry.get("run_id"), entry.get("counts")
        try:
            at = datetime.fromisoformat(entry["at"]).astimezone(UTC)
            if not isinstance(run, str):
                continue
        except (KeyError, TypeError, ValueError):  # a damaged commit, which a checkpoint covers
            continue
        row = rows.setdefault(run, {"run_id": run, "started_at": at, "n_tracks": 0, "n_errors": 0})
        row |= {"finished_at": at, "schema_version": layout.schema_version}
        ended = entry.get("status") in ("finished", "failed")  # shards, and older commits, do not tell
        row["status"] = entry["status"] if ended else "interrupted"
        for name in ("tracks", "errors"):
            n = counts.get(name, 0) if isinstance(counts, dict) else 0
            row[f"n_{name}"] += n if isinstance(n, int) else 0
    return list(rows.values())
