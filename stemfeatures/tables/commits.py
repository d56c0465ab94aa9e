"""The commit log: what counts in a dataset.

``_commits/00000042.json`` says what the 42nd commit changed; commits are numbered from 1 without gaps and never
altered. The **snapshot** is the fold of all of them:

* ``add`` and ``remove`` say which part files belong to the dataset. A part that no commit names does not exist for
  readers, so a worker may die at any moment, or write a shard twice.
* ``replaced`` says which rows inside those parts no longer count, as pairs of run and track:
  ``{"data": {run_id: [track_id, ...]}, "errors": {run_id: [...]}}``. A row of a data table (or of ``errors``) is live
  unless its ``(run_id, track_id)`` is listed. Every row carries both as columns, so one filter expression applies it.
* ``purged`` lists the tables whose replaced rows have been rewritten away (by ``compact``): their lists start anew.

What makes every track stand in exactly one of ``tracks`` and ``errors``, once:

1. One committer at a time (a lock), which knows the live owner ``track -> (tracks or errors, run)``.
2. Between runs the later result wins: committing a track replaces the rows of whichever run owned it, in ``tracks`` or
   in ``errors``. This is how a retry clears an error, and how ``--overwrite`` or a new model replaces old rows.
3. Within a run the first success wins, and beats errors: rows of a second attempt are left out of the part before it
   is committed. So no pair ``(run, track)`` is ever live twice.
4. A run id is used once. So a pair that has been replaced never comes back.
5. Additions and replacements are one commit, one file, created by ``link``, or in a store by a conditional request: all
   or nothing.

Two processes that both believed to hold the lock still could not harm each other: commit numbers are created if absent,
and the second gets a DatasetError.

So that opening a dataset of a million commits does not read them all, every ``CHECKPOINT_EVERY`` commits are also put
into one file, ``00000512.delta.json``, or, when there are twice as many commits as at the last time, their folded
state into ``00000512.checkpoint.json``; what came before is deleted then. All these files together are no larger than
the log. Each may be deleted at any time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .._util.urls import Place
from ..errors import DatasetError
from .layout import COMMITS, DatasetLayout, require_there
from .parts import PartFile
from .schema import DATA_TABLES
from .storage import each, read_json

log = logging.getLogger(__name__)

CHECKPOINT_EVERY = 256
FORMAT = 1
_CHECKPOINT, _DELTA = ".checkpoint.json", ".delta.json"
#: What reading a checkpoint raises that is damaged, or just being deleted.
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, DatasetError)

#: Commits behind which the last run is looked for: others than of runs are few in a row.
_RECENT = 32
#: So often the log is listed where a commit is missing in it.
_MOST_LOOKS = 3
#: ``{table: {run_id: set of track_id}}``
Replaced = dict[str, dict[str, set[str]]]


@dataclass
class Snapshot:
    """The committed state of a dataset.

    Attributes
    ----------
    commit : int
        Number of the last commit, 0 for a new dataset.
    parts : dict
        Part files by path.
    replaced : Replaced
        Rows inside them that no longer count, ``{table: {run_id: {track_id, ...}}}``.
    """

    commit: int = 0
    parts: dict[str, PartFile] = field(default_factory=dict)
    replaced: Replaced = field(default_factory=dict)

    def apply(self, number: int, entry: dict[str, Any]) -> None:
        """Fold one commit in."""
        for path in entry.get("remove", ()):
            del self.parts[path]
        for part in entry.get("add", ()):
            self.parts[part["path"]] = PartFile.from_json(part)
        for table in entry.get("purged", ()):
            self.replaced.pop(table, None)
        for kind, runs in entry.get("replaced", {}).items():
            for table in DATA_TABLES if kind == "data" else (kind,):
                for run_id, ids in runs.items():
                    self.replaced.setdefault(table, {}).setdefault(run_id, set()).update(ids)
        self.commit = number

    def of(self, table: str) -> list[PartFile]:
        """The parts of ``table``, in the order they were committed."""
        return [p for p in self.parts.values() if p.table == table]

    def dead(self, table: str) -> pc.Expression | None:
        """A filter that is true for rows of ``table`` which no longer count; None if all do."""
        expression = None
        for run_id, ids in sorted(self.replaced.get(table, {}).items()):
            rows = (pc.field("run_id") == run_id) & pc.field("track_id").isin(pa.array(sorted(ids), pa.string()))
            expression = rows if expression is None else expression | rows
        return expression

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "commit": self.commit,
            "parts": [p.to_json() for p in self.parts.values()],
            "replaced": {t: {r: sorted(ids) for r, ids in runs.items()} for t, runs in self.replaced.items()},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Snapshot:
        """Raises ValueError, KeyError, TypeError or AttributeError when it is no state of a dataset."""
        parts = (PartFile.from_json(p) for p in content["parts"])
        replaced = {t: {r: set(ids) for r, ids in runs.items()} for t, runs in content["replaced"].items()}
        return cls(int(content["commit"]), {p.path: p for p in parts}, replaced)


class _MissingCommitError(DatasetError):
    """A commit is not there, and a later one is."""


def _names(layout: DatasetLayout) -> list[str]:
    """What lies in the log. There may be millions: list them once."""
    return layout.storage.file_names(COMMITS)


def _numbers(names: Iterable[str], suffix: str) -> list[int]:
    """The numbers of the files with this suffix, sorted."""
    stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
    return sorted(int(stem) for stem in stems if stem.isdigit())


def commit_path(layout: DatasetLayout, number: int) -> Place:
    return _log_file(layout, number, ".json")


def _log_file(layout: DatasetLayout, number: int, suffix: str) -> Place:
    return layout.path / COMMITS / f"{number:08d}{suffix}"


def _read(file: Place) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError("not an object")
    if content.get("format", FORMAT) != FORMAT:
        raise DatasetError(f"commit format {content['format']} is newer than this library", source=str(file))
    return content


def read_commits(dataset: DatasetLayout | str | Place, *, after: int = 0) -> list[dict[str, Any]]:
    """All commits behind number ``after``, oldest first: the history of the dataset."""
    layout = DatasetLayout.open(dataset)
    return [entry for _, entry in _entries(layout, _names(layout), after)]


def order_of_runs(layout: DatasetLayout, commit: int, runs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of table ``runs``, the last run last.

    The clock says when a run began, and may have been set back since: so the run that the history names last is the
    last one. Where it names none any more, the clock decides.

    Parameters
    ----------
    layout : DatasetLayout
        The dataset.
    commit : int
        Number of its last commit.
    runs : iterable of mapping
        The rows, in any order.

    Returns
    -------
    list of dict
        All of them.
    """
    rows = sorted((dict(row) for row in runs), key=lambda row: row["started_at"])
    ids = {row["run_id"] for row in rows}
    last = None
    with suppress(DatasetError, OSError):
        entries = read_commits(layout, after=max(0, commit - _RECENT))
        last = next((entry["run_id"] for entry in reversed(entries) if entry.get("run_id") in ids), None)
    return sorted(rows, key=lambda row: row["run_id"] == last)


def readable_commits(layout: DatasetLayout) -> Iterator[dict[str, Any]]:
    """The history as far as it can be read: commits that checkpoints hold may be gone."""
    for number in _numbers(_names(layout), ".json"):
        with suppress(*_UNUSABLE):
            yield _read(commit_path(layout, number))


def _entries(layout: DatasetLayout, names: list[str], after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    numbers = [n for n in _numbers(names, ".json") if n > after]
    files = [commit_path(layout, number) for number in numbers]
    for expected, (number, file, read) in enumerate(zip(numbers, files, each(_read, files)), after + 1):
        if number != expected:
            raise _MissingCommitError(f"commit {expected} is missing", source=str(layout.path))
        try:
            yield number, read()
        except (OSError, ValueError, RecursionError) as e:
            if number == numbers[-1] and isinstance(e, ValueError):  # only on file systems without hard links
                log.warning("%s: ignoring a commit that was not written to its end", file)
                return
            raise DatasetError(f"damaged commit: {e}", source=str(file)) from e


def read_snapshot(dataset: DatasetLayout | str | Place) -> Snapshot:
    """The committed state. Raises DatasetError when a commit is missing or damaged."""
    layout = DatasetLayout.open(dataset)
    for left in reversed(range(_MOST_LOOKS)):
        try:
            return _folded(layout)
        except _MissingCommitError:
            # A folder that is listed while a writer creates files may show the second of them and not the first.
            if not left:
                raise
    raise AssertionError("the last look returns or raises")


def _folded(layout: DatasetLayout) -> Snapshot:
    try:
        names = _names(layout)
        snapshot = _last_checkpoint(layout, names)
        if not snapshot.commit and _numbers(names, _CHECKPOINT):  # a writer may just have replaced it
            names = _names(layout)
            snapshot = _last_checkpoint(layout, names)
        _apply_deltas(layout, snapshot, names)
        for number, entry in _entries(layout, names, snapshot.commit):
            _apply(layout, snapshot, number, entry)
    except OSError as e:
        raise DatasetError(f"the commit log cannot be read: {e}", source=str(layout.path)) from e
    return snapshot


def _last_checkpoint(layout: DatasetLayout, names: list[str]) -> Snapshot:
    for number in reversed(_numbers(names, _CHECKPOINT)):
        with suppress(*_UNUSABLE):
            return Snapshot.from_json(_read(_log_file(layout, number, _CHECKPOINT)))
    return Snapshot()


def _apply_deltas(layout: DatasetLayout, snapshot: Snapshot, names: list[str]) -> None:
    """Fold in what is there in files of many commits, as far as these follow one another without a gap."""
    for number in _numbers(names, _DELTA):
        if number <= snapshot.commit:
            continue
        try:
            entries = list(_read(_log_file(layout, number, _DELTA))["entries"])
            if number - len(entries) != snapshot.commit:
                return
        except _UNUSABLE:
            return
        for i, entry in enumerate(entries, snapshot.commit + 1):
            _apply(layout, snapshot, i, entry)


def _apply(layout: DatasetLayout, snapshot: Snapshot, number: int, entry: dict[str, Any]) -> None:
    try:
        snapshot.apply(number, entry)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        what = f"damaged commit: {type(e).__name__}: {e}"
        raise DatasetError(what, source=str(commit_path(layout, number))) from e


def append_commit(
    layout: DatasetLayout,
    snapshot: Snapshot,
    *,
    kind: str,
    run_id: str | None = None,
    add: Iterable[PartFile] = (),
    remove: Iterable[str] = (),
    replaced: dict[str, dict[str, list[str]]] | None = None,
    purged: Iterable[str] = (),
    **more: Any,
) -> int:
    """Write the commit after ``snapshot`` and fold it in. Only for those who hold the lock.

    Raises DatasetError when another process committed in between.
    """
    number = snapshot.commit + 1
    entry = {
        "format": FORMAT,
        "commit": number,
        "kind": kind,
        "run_id": run_id,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **more,
        "add": [p.to_json() for p in add],
        "remove": list(remove),
        "replaced": replaced or {},
        "purged": list(purged),
    }
    file = commit_path(layout, number)
    try:
        layout.storage.create(f"{COMMITS}/{file.name}", json.dumps(entry, ensure_ascii=False).encode())
    except FileExistsError:
        raise DatasetError(f"another process committed {file.name} at the same time", source=str(layout.path)) from None
    except OSError as e:
        require_there(layout, "cannot commit", e)
        raise DatasetError(f"cannot commit: {e}", source=str(file)) from e
    snapshot.apply(number, entry)
    if number % CHECKPOINT_EVERY == 0:
        last = max(_numbers(_names(layout), _CHECKPOINT), default=0)
        if number >= 2 * last:
            write_checkpoint(layout, snapshot)
        else:
            _write_log_file(layout, number, _DELTA, {"entries": read_commits(layout, after=number - CHECKPOINT_EVERY)})
    return number


def write_checkpoint(layout: DatasetLayout, snapshot: Snapshot) -> None:
    """Store the folded state, and delete earlier checkpoints and deltas. Only for those who hold the lock."""
    _write_log_file(layout, snapshot.commit, _CHECKPOINT, snapshot.to_json())
    names = _names(layout)
    for suffix in (_CHECKPOINT, _DELTA):
        for number in _numbers(names, suffix):
            if number < snapshot.commit or suffix == _DELTA:
                layout.storage.delete(f"{COMMITS}/{number:08d}{suffix}")


def _write_log_file(layout: DatasetLayout, number: int, suffix: str, content: dict[str, Any]) -> None:
    data = json.dumps({"format": FORMAT, **content}, ensure_ascii=False).encode()
    try:
        layout.storage.replace(f"{COMMITS}/{number:08d}{suffix}", data)
    except OSError as e:  # the commits themselves are there
        log.warning("%s: cannot write a checkpoint: %s", layout.path, e)


def set_torn_commit_aside(layout: DatasetLayout, snapshot: Snapshot) -> None:
    """Rename a last commit that was not written to its end, so that its number is free. Only under the lock."""
    file = commit_path(layout, snapshot.commit + 1)
    with suppress(FileNotFoundError):
        try:
            _read(file)
        except ValueError:
            name = f"{COMMITS}/{file.name}"
            layout.storage.move(name, name.removesuffix(".json") + ".torn")
