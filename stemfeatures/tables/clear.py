"""Delete what no commit names. Only for those who hold the lock."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import DatasetError
from .commits import Snapshot
from .layout import COMMITS, SCHEMA, DatasetLayout
from .parts import PartFile, staged

#: A temporary file younger than this may belong to a worker that is still writing.
_TEMPORARY_AGE_S = 3600.0
#: Begins the names of the folders in which ``compact`` works.
WORK = ".compact-"


def clear(layout: DatasetLayout, snapshot: Snapshot, *, older_than_s: float = 0.0) -> list[Path]:
    """Delete part files that no longer count, or never did, and what dead processes have left; returns their paths.

    Parameters
    ----------
    layout : DatasetLayout
        The dataset.
    snapshot : Snapshot
        Its committed state.
    older_than_s : float
        Younger files are spared, for readers that still use them.

    Raises
    ------
    DatasetError
        One cannot be deleted, or a folder of a table is a link.
    """
    now = time.time()
    deleted = []

    def delete(path: Path, age: float) -> None:
        try:
            if now - path.lstat().st_mtime >= age:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                deleted.append(path)
        except FileNotFoundError:
            pass
        except OSError as e:
            raise DatasetError(f"cannot delete: {e}", source=str(path)) from e

    for table in layout.tables:
        folder = layout.directory(table)
        for path in folder.glob("part-*.parquet"):
            if f"{table}/{path.name}" not in snapshot.parts:
                delete(path, older_than_s)
        for path in folder.glob(".part-*.parquet.*"):
            name = path.name[1:].partition(".parquet.")[0] + ".parquet"
            if path.name.endswith(".new") and f"{table}/{name}" not in snapshot.parts:
                delete(path, older_than_s)
    for name in (*layout.tables, COMMITS, SCHEMA):
        for path in (layout.path / name).glob(".*.tmp"):
            delete(path, max(older_than_s, _TEMPORARY_AGE_S))
    for path in layout.path.glob(f"{WORK}*"):
        delete(path, older_than_s)
    return deleted


def delete_parts(layout: DatasetLayout, parts: Iterable[PartFile]) -> None:
    """Delete parts that a commit has just removed; what cannot be deleted is left for :func:`clear`."""
    for part in parts:
        path = layout.directory(part.table) / part.path.rpartition("/")[2]
        for place in (path, staged(path)):
            with suppress(OSError):
                place.unlink()
