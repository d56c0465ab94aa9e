"""Delete what no commit names. Only for those who hold the lock."""

from __future__ import annotations

import time

from .._util.objects import Entry
from .._util.urls import Place
from ..errors import DatasetError
from .commits import Snapshot
from .layout import COMMITS, SCHEMA, DatasetLayout

#: A temporary file younger than this may belong to a worker that is still writing.
_TEMPORARY_AGE_S = 3600.0
#: Begins the names of the folders in which ``compact`` works.
WORK = ".compact-"


def clear(layout: DatasetLayout, snapshot: Snapshot, *, older_than_s: float = 0.0) -> list[Place]:
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
    now, storage = time.time(), layout.storage
    deleted: list[Place] = []

    def delete(folder: str, entry: Entry, age: float) -> None:
        if now - entry.modified_s < age:
            return
        name = f"{folder}/{entry.name}".lstrip("/")
        try:
            storage.delete(name)
            deleted.append(layout.path / name)
        except OSError as e:
            raise DatasetError(f"cannot delete: {e}", source=str(layout.path / name)) from e

    found = storage.tree(("", *layout.tables, COMMITS, SCHEMA))
    for table in layout.tables:
        for entry in found[table]:
            if (part := _part_name(entry.name)) is not None and f"{table}/{part}" not in snapshot.parts:
                delete(table, entry, older_than_s)
    for folder in (*layout.tables, COMMITS, SCHEMA):
        for entry in found[folder]:
            if entry.name.startswith(".") and entry.name.endswith(".tmp"):
                delete(folder, entry, max(older_than_s, _TEMPORARY_AGE_S))
    for entry in found[""]:
        if entry.name.startswith(WORK):
            delete("", entry, older_than_s)
    return deleted


def _part_name(file: str) -> str | None:
    """The name of the part that a file is, published or not; None for other files."""
    if file.startswith(".part-") and file.endswith(".parquet.new"):
        return file[1:].removesuffix(".new")
    return file if file.startswith("part-") and file.endswith(".parquet") else None
