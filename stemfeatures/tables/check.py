"""Whether the committed parts are there as they were written, and what to do when they are not.

Disks lose files, people delete them, copies break off. The commit log says what each part was: its size, its rows, its
first and last track. ``check`` compares; ``repair`` takes what is lost out of the dataset, together with what other
tables hold of the same tracks, so that the next ``extract`` does these tracks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DatasetError, LostPartError
from .commits import Replaced, Snapshot, append_commit, read_commits, read_snapshot, set_torn_commit_aside
from .layout import DatasetLayout
from .lock import DatasetLock
from .parts import PartFile, part_file, publish, repair_hint, staged, write_part
from .reader import live_rows
from .schema import DATA_TABLES

#: Rows that a deep check holds at a time.
_BATCH_ROWS = 1024


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
    for part in snapshot.parts.values():
        try:
            part_file(layout, part)
        except LostPartError as e:
            lost.append(DamagedPart(part, e.message.partition(";")[0].removeprefix(f"{part.path} ")))
    return lost


def require_parts(layout: DatasetLayout, snapshot: Snapshot) -> None:
    """Raise LostPartError when parts are missing, or of another size."""
    if lost := lost_parts(layout, snapshot):
        first = lost[0]
        more = f" (and {len(lost) - 1:,} more parts are damaged)" if len(lost) > 1 else ""
        raise LostPartError(f"{first.part.path} {first.what}{more}; {repair_hint(layout)}", source=str(layout.path))


def whole_snapshot(layout: DatasetLayout) -> Snapshot:
    """The committed state, all parts of which are there.

    Raises
    ------
    LostPartError
        Parts are missing, and not because somebody has committed in the meantime.
    """
    snapshot = read_snapshot(layout)
    while True:
        try:
            require_parts(layout, snapshot)
            return snapshot
        except LostPartError:
            now = read_snapshot(layout)
            if now.commit == snapshot.commit:
                raise
            snapshot = now


def check(dataset: DatasetLayout | str | Path, *, deep: bool = False, repair: bool = False) -> CheckResult:
    """Compare the part files with the commit log.

    Parameters
    ----------
    dataset : DatasetLayout or str or Path
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
    """
    layout = DatasetLayout.open(dataset)
    if not repair:
        return _examine(layout, read_snapshot(layout), deep=deep)[0]
    with DatasetLock(layout, "check --repair"):
        snapshot = read_snapshot(layout)
        set_torn_commit_aside(layout, snapshot)
        result, replaced = _examine(layout, snapshot, deep=deep)
        if not result.damaged and not result.tracks:
            return result
        _repair(layout, snapshot, [d.part for d in result.damaged], replaced)
    return CheckResult(result.n_parts, result.damaged, result.tracks, result.n_unknown, repaired=True)


def _examine(layout: DatasetLayout, snapshot: Snapshot, *, deep: bool) -> tuple[CheckResult, Replaced]:
    """What is damaged, and the rows of tracks that are not whole any more, by run."""
    damaged = [d for part in snapshot.parts.values() if (d := _damage(layout, part, deep=deep)) is not None]
    if not damaged:
        return CheckResult(len(snapshot.parts), ()), {}
    gone = {d.part.path for d in damaged}
    rest = Snapshot(
        snapshot.commit, {path: p for path, p in snapshot.parts.items() if path not in gone}, snapshot.replaced
    )
    replaced, named = _not_whole(layout, rest, [d.part for d in damaged])
    tracks = {t for runs in replaced.values() for ids in runs.values() for t in ids}
    unnamed = sum(d.part.rows for d in damaged if d.part.table in ("tracks", "errors")) - named
    return CheckResult(len(snapshot.parts), tuple(damaged), tuple(sorted(tracks)), max(0, unnamed)), replaced


def _damage(layout: DatasetLayout, part: PartFile, *, deep: bool) -> DamagedPart | None:
    try:
        path = part_file(layout, part)
    except LostPartError as e:
        return DamagedPart(part, e.message.partition(";")[0].removeprefix(f"{part.path} "))
    try:
        with pq.ParquetFile(path) as file:
            rows = file.metadata.num_rows
            if deep:
                rows = sum(batch.num_rows for batch in file.iter_batches(_BATCH_ROWS))
    except (OSError, pa.ArrowException, ValueError) as e:
        return DamagedPart(part, f"cannot be read ({str(e).splitlines()[0]})")
    if rows != part.rows:
        return DamagedPart(part, f"holds {rows:,} rows of {part.rows:,}")
    return None


def _not_whole(layout: DatasetLayout, rest: Snapshot, lost: list[PartFile]) -> tuple[Replaced, int]:
    """Tracks of which one table is lost and another there: ``{table: {run: ids}}``, and how many lost ``tracks`` rows
    belong to them."""
    have = {table: _ids(layout, rest, table) for table in DATA_TABLES}
    replaced: Replaced = {}
    stray: set[str] = set()
    for table in DATA_TABLES[1:]:  # their row of tracks is lost
        for key, run in have[table].items():
            if key not in have["tracks"]:
                replaced.setdefault("data", {}).setdefault(run, set()).add(key)
                stray.add(key)
    together = _committed_together(layout, rest, {p.path for p in lost if p.table in DATA_TABLES[1:]})
    for part in lost:
        if part.table not in DATA_TABLES[1:]:
            continue
        known = together.get(part.path)
        for key, run in have["tracks"].items():
            if key in have[part.table] or not part.may_hold([key]):
                continue
            if known is None or (key, run) in known:
                replaced.setdefault("data", {}).setdefault(run, set()).add(key)
    return replaced, len(stray)


def _ids(layout: DatasetLayout, snapshot: Snapshot, table: str) -> dict[str, str]:
    """The run of each track that has live rows in a table."""
    rows = live_rows(layout, snapshot, table).to_table(columns=["track_id", "run_id"])
    return dict(zip(rows["track_id"].to_pylist(), rows["run_id"].to_pylist()))


def _committed_together(layout: DatasetLayout, rest: Snapshot, paths: set[str]) -> dict[str, set[tuple[str, str]]]:
    """``(track, run)`` of the shard with which a part was committed; without those of compacted and unknown shards."""
    if not paths:
        return {}
    found = {}
    for entry in read_commits(layout):
        here = [part["path"] for part in entry.get("add", ()) if part["path"] in paths]
        if not here or entry.get("kind") != "shard":
            continue
        parts = [rest.parts[p["path"]] for p in entry["add"] if p["table"] == "tracks" and p["path"] in rest.parts]
        keys = set(_pairs(layout, parts))
        if parts:
            found.update(dict.fromkeys(here, keys))
    return found


def _pairs(layout: DatasetLayout, parts: Iterable[PartFile]) -> Iterator[tuple[str, str]]:
    for part in parts:
        rows = pq.read_table(part_file(layout, part), columns=["track_id", "run_id"], partitioning=None)
        yield from zip(rows["track_id"].to_pylist(), rows["run_id"].to_pylist())


def _repair(layout: DatasetLayout, snapshot: Snapshot, lost: list[PartFile], replaced: Replaced) -> None:
    add = []
    if any(part.table == "runs" for part in lost):
        rows = _runs_of(layout, snapshot)
        add = [write_part(layout, "runs", rows, shard="repair")] if rows else []
    append_commit(
        layout,
        snapshot,
        kind="repair",
        add=add,
        remove=[part.path for part in lost],
        replaced={kind: {run: sorted(ids) for run, ids in runs.items()} for kind, runs in replaced.items()},
    )
    for part in lost:
        path = layout.directory(part.table) / part.path.rpartition("/")[2]
        for place in (path, staged(path)):
            try:
                place.unlink(missing_ok=True)
            except OSError as e:
                raise DatasetError(f"cannot delete: {e}", source=str(place)) from e
    publish(layout, snapshot.parts.values())


def _runs_of(layout: DatasetLayout, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Rows of table ``runs`` as far as the commit log knows them: when a run first committed, and how much."""
    rows: dict[str, dict[str, Any]] = {}
    for entry in read_commits(layout):
        if not (run := entry.get("run_id")):
            continue
        at = datetime.fromisoformat(entry["at"]).astimezone(UTC)
        row = rows.setdefault(
            run,
            {
                "run_id": run,
                "started_at": at,
                "finished_at": None,
                "status": "interrupted",
                "n_tracks": 0,
                "n_errors": 0,
                "schema_version": layout.schema_version,
            },
        )
        row["finished_at"] = at
        for name in ("tracks", "errors"):
            row[f"n_{name}"] += entry.get("counts", {}).get(name, 0)
    return list(rows.values())
