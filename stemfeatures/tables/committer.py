"""The one process that decides which rows count."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .._util.urls import Place
from ..errors import ChangedDatasetError, DatasetError, LostOutputError, LostPartError
from ..fields import Field
from .check import require_parts
from .clear import clear
from .commits import Snapshot, append_commit, read_snapshot, set_torn_commit_aside
from .layout import DatasetLayout, require_there
from .lock import DatasetLock
from .parts import PartFile, delete_parts, part_file, publish, write_part
from .purge import Purge
from .reader import live_rows
from .schema import DATA_TABLES, SCHEMA_VERSION
from .storage import arrow_source

log = logging.getLogger(__name__)

#: What no commit names is cleared away at the start of a run when it is so old, and all of it at the end: who calls
#: this library may write parts first and begin the run then.
_DEAD_AGE_S = 3600.0


@dataclass(frozen=True)
class CommitResult:
    """What one commit did.

    Attributes
    ----------
    number : int or None
        Number of the commit; None when nothing in it counted.
    tracks, errors : tuple of str
        Ids of the tracks that now stand in ``tracks`` and in ``errors``.
    replaced : int
        How many of them replaced earlier rows.
    dropped : tuple of str
        Ids that this run had committed before, and whose rows were left out.
    """

    number: int | None
    tracks: tuple[str, ...]
    errors: tuple[str, ...]
    replaced: int
    dropped: tuple[str, ...]


class Committer:
    """Commits the parts of one run. A context manager; see :mod:`.commits` for the rules.

    >>> from stemfeatures.tables.layout import DatasetLayout
    >>> with Committer(DatasetLayout.open("features"), {"run_id": "night", "config_hash": "0"}) as committer:
    ...     result = committer.commit([])  # the part files of a finished shard
    ...     committer.finish(n_skipped=3)

    Leaving the block by an exception records the run as ``failed`` (``interrupted`` for KeyboardInterrupt); a run that
    was killed is recorded as ``interrupted`` by the next one.

    Parameters
    ----------
    dataset : DatasetLayout or str or Path or Url
        The dataset or its path; it must exist (``DatasetLayout.create``).
    run : mapping
        Columns of the row in table ``runs``; ``run_id`` must be new to this dataset. ``started_at``, ``host``,
        ``schema_version``, ``status`` and the counts are filled in.
    metadata : iterable of Field
        Catalogue columns that the rows will have; what the dataset lacks is added once nobody else can write.
    seen : int, optional
        Number of the last commit that the caller has planned with.
    tracks : iterable of str, optional
        Ids of all tracks that the run may commit. Of others nothing is held in memory.

    Attributes
    ----------
    layout : DatasetLayout
        The dataset, inside the block with all of its columns.

    Raises
    ------
    BusyDatasetError
        Another writer is at work.
    ChangedDatasetError
        There are commits behind ``seen``.
    LostPartError
        A committed part is missing or damaged.
    DatasetError
        No dataset, or a ``run_id`` used before.
    """

    def __init__(
        self,
        dataset: DatasetLayout | str | Place,
        run: Mapping[str, Any],
        *,
        metadata: Iterable[Field] = (),
        seen: int | None = None,
        tracks: Iterable[str] | None = None,
    ) -> None:
        self.layout = DatasetLayout.open(dataset)
        self._metadata, self._seen = tuple(metadata), seen
        self._tracks = None if tracks is None else frozenset(tracks)
        self.run = {
            "started_at": datetime.now(UTC),
            "host": socket.gethostname(),
            "schema_version": SCHEMA_VERSION,
            **run,
            "finished_at": None,
            "status": "running",
            "n_tracks": 0,
            "n_errors": 0,
        }
        if not self.run.get("run_id"):
            raise DatasetError("a run needs a run_id", source=str(self.layout.path))
        self.run_id: str = self.run["run_id"]
        self._since = time.monotonic()
        self.snapshot = Snapshot()
        self._purge = Purge()
        self._lock = DatasetLock(self.layout, f"run {self.run_id}")
        self._open = False

    def __enter__(self) -> Committer:
        self._lock.__enter__()
        try:
            self.layout = DatasetLayout.open(self.layout.path)  # as the last writer left it
            self.snapshot = read_snapshot(self.layout)
            if self._seen is not None and self.snapshot.commit != self._seen:
                raise ChangedDatasetError("another run has written here meanwhile", source=str(self.layout.path))
            set_torn_commit_aside(self.layout, self.snapshot)
            require_parts(self.layout, self.snapshot)
            self._clear(older_than_s=_DEAD_AGE_S)
            publish(self.layout, self.snapshot.parts.values())
            self.layout = self.layout.with_columns(self._metadata)
            self._runs = live_rows(self.layout, self.snapshot, "runs").to_table().to_pylist()
            if any(row["run_id"] == self.run_id for row in self._runs):
                raise DatasetError(f"run id {self.run_id!r} was used before", source=str(self.layout.path))
            for row in self._runs:
                if row["status"] == "running":  # whoever it was held the lock and no longer does
                    row["status"] = "interrupted"
            self._owner = self._owners()
            self._write_runs()
            self._open = True
        except BaseException:
            self._lock.release()
            raise
        return self

    def _owners(self) -> dict[str, tuple[str, str]]:
        """In which table, and of which run, the rows of each track are that count."""
        owner = {}
        chosen = (
            None if self._tracks is None else pc.field("track_id").isin(pa.array(sorted(self._tracks), pa.string()))
        )
        for table, kind in (("tracks", "data"), ("errors", "errors")):
            rows = live_rows(self.layout, self.snapshot, table, keys=self._tracks)
            for batch in rows.to_batches(columns=["track_id", "run_id"], filter=chosen):
                for track, run in zip(batch["track_id"].to_pylist(), batch["run_id"].to_pylist()):
                    owner[track] = (kind, run)
        return owner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._open:
                if error is None:
                    self.finish()
                else:
                    self.finish(status="failed" if isinstance(error, Exception) else "interrupted")
        finally:
            self._lock.release()

    def finish(self, *, status: str = "finished", **columns: Any) -> None:
        """Record the end of the run; ``columns`` are more columns of its row (``n_skipped``, ``audio_s``)."""
        self._check_open()
        # The clock may have been set back meanwhile; this one stands still while the machine sleeps.
        finished_at = max(datetime.now(UTC), self.run["started_at"] + timedelta(seconds=time.monotonic() - self._since))
        self.run.update(columns, status=status, finished_at=finished_at)
        self._write_runs()
        self._clear()
        self._open = False
        self._lock.release()

    def _clear(self, *, older_than_s: float = 0.0) -> None:
        """Delete what dead runs have left: nobody else is at work, and what this run wrote has been committed."""
        if self._lock.is_exclusive:
            try:
                self._lock.require()
                clear(self.layout, self.snapshot, older_than_s=older_than_s)
            except DatasetError as error:
                log.warning("%s", error)

    def _check_open(self) -> None:
        if not self._open:
            raise DatasetError("the run is over, or was never begun", source=str(self.layout.path))
        self._lock.require()

    def _write_runs(self) -> None:
        """Table runs is small: it is written anew, in one part."""
        part = write_part(self.layout, "runs", [*self._runs, self.run], shard=self.run_id)
        old = self.snapshot.of("runs")
        append_commit(
            self.layout,
            self.snapshot,
            kind="run",
            run_id=self.run_id,
            add=[part],
            remove=[p.path for p in old],
            status=self.run["status"],
        )
        with suppress(OSError):  # what cannot be deleted is left for the next run
            delete_parts(self.layout, old)
        publish(self.layout, [part])

    def commit(self, parts: Iterable[PartFile], *, shard: str = "") -> CommitResult:
        """Make the parts of one shard count, all or none of them.

        Rows of tracks that this run committed before are left out, so a shard may be handed in twice, or after some
        of its tracks were committed on their own.

        Raises
        ------
        DatasetError
            A part cannot be read or is of another run; a track has rows in a data table but not in ``tracks``, or
            stands in both ``tracks`` and ``errors``, or twice in one.
        """
        self._check_open()
        parts = list(parts)
        ids = {part.path: self._track_ids(part) for part in parts}
        tracks = _unique("tracks", [t for p in parts if p.table == "tracks" for t in ids[p.path]])
        errors = _unique("errors", [t for p in parts if p.table == "errors" for t in ids[p.path]])
        if self._tracks is not None and (other := (tracks | errors) - self._tracks):
            raise DatasetError(f"track {min(other)!r} is none of this run's", source=str(self.layout.path))
        if both := tracks & errors:
            raise DatasetError(f"track {min(both)!r} stands in tracks and in errors", source=str(self.layout.path))
        for part in parts:
            if part.table in DATA_TABLES and (stray := set(ids[part.path]) - tracks):
                raise DatasetError(
                    f"{part.path}: track {min(stray)!r} has no row in tracks", source=str(self.layout.path)
                )

        drop: set[str] = set()
        replaced: dict[str, dict[str, list[str]]] = {}
        for track in sorted(tracks | errors):
            if (owner := self._owner.get(track)) is None:
                continue
            kind, run = owner
            if run == self.run_id and (kind == "data" or track in errors):
                drop.add(track)
            else:
                replaced.setdefault(kind, {}).setdefault(run, []).append(track)
        tracks, errors = tracks - drop, errors - drop
        result = CommitResult(
            number=None,
            tracks=tuple(sorted(tracks)),
            errors=tuple(sorted(errors)),
            replaced=sum(len(ids) for runs in replaced.values() for ids in runs.values()),
            dropped=tuple(sorted(drop)),
        )
        if not tracks and not errors:
            return result
        if drop:
            parts = [kept for part in parts if (kept := self._without(part, drop, shard)) is not None]
        rest, gone = self._purge.without_replaced(self.layout, self.snapshot, replaced)
        number = append_commit(
            self.layout,
            self.snapshot,
            kind="shard",
            run_id=self.run_id,
            shard=shard,
            counts={"tracks": len(tracks), "errors": len(errors)},
            add=[*parts, *rest],
            remove=[part.path for part in gone],
            replaced=replaced,
            kept=[part.path for part in rest],
        )
        with suppress(OSError):  # what cannot be deleted is left for the end of the run
            delete_parts(self.layout, gone)  # first, so that nobody who reads the folder sees rows twice
        publish(self.layout, [*parts, *rest])
        self._owner.update(dict.fromkeys(tracks, ("data", self.run_id)))
        self._owner.update(dict.fromkeys(errors, ("errors", self.run_id)))
        own = len(replaced.get("errors", {}).get(self.run_id, ()))  # retried within this run
        self.run["n_tracks"] += len(tracks)
        self.run["n_errors"] += len(errors) - own
        return CommitResult(number, result.tracks, result.errors, result.replaced, result.dropped)

    def _track_ids(self, part: PartFile) -> list[str]:
        """Read the part's ids from the file: what counts must be readable, and ours."""
        path = self.layout.path / part.path
        try:
            file, fs = arrow_source(part_file(self.layout, part))
            keys = pq.read_table(file, columns=["track_id", "run_id"], partitioning=None, filesystem=fs)
        except LostPartError as e:
            require_there(self.layout, "cannot commit a part", e)
            raise LostOutputError(f"cannot commit a part: {e.message.partition(';')[0]}", source=str(path)) from e
        except (OSError, pa.ArrowException, ValueError, KeyError) as e:
            raise DatasetError(f"cannot commit a part: {e}", source=str(path)) from e
        if (runs := set(pc.unique(keys["run_id"]).to_pylist())) != {self.run_id}:
            raise DatasetError(f"the part is of run {', '.join(sorted(runs))}, not {self.run_id}", source=str(path))
        return keys["track_id"].to_pylist()

    def _without(self, part: PartFile, drop: set[str], shard: str) -> PartFile | None:
        file, fs = arrow_source(part_file(self.layout, part))
        data = pq.read_table(file, partitioning=None, filesystem=fs)
        keep = data.filter(pc.invert(pc.is_in(data["track_id"], pa.array(sorted(drop), pa.string()))))
        if not keep.num_rows:
            return None
        return (
            part if keep.num_rows == data.num_rows else write_part(self.layout, part.table, keep, shard=shard or "rest")
        )


def _unique(table: str, ids: list[str]) -> set[str]:
    unique = set(ids)
    if len(unique) < len(ids):
        twice = next(t for t in sorted(unique) if ids.count(t) > 1)
        raise DatasetError(f"track {twice!r} stands twice in {table}")
    return unique
