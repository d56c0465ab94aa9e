"""What a folder or a store says of a file, without opening it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from stemfeatures._util import objects
from stemfeatures._util.objects import Entry
from stemfeatures._util.urls import SCHEMES, Url, is_remote

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Of a folder in a store with fewer files in question, each is asked for; else the folder is listed.
WORTH_A_LIST = 8


class FileState(NamedTuple):
    """Size in bytes and time of the last change: the identity of a file, as far as its folder or store states it."""

    size: int
    modified_at: datetime | None

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> FileState | None:
        """None when there is no such file, or it is not a regular one (a pipe has no identity)."""
        if isinstance(path, str) and is_remote(path):
            return _state_of_object(path)
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return cls(status.st_size, _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000))


def state_of(entry: Entry) -> FileState:
    """Size and time of change of an object, in whole seconds: listings of some stores say more than objects do."""
    return FileState(entry.size, _EPOCH + timedelta(seconds=int(entry.modified_s)) if entry.modified_s else None)


def _state_of_object(address: str) -> FileState | None:
    try:
        entry = objects.info(Url(address))
    except OSError:
        return None
    return None if entry is None else state_of(entry)


def remote_states(addresses: Iterable[str]) -> dict[str, FileState | None]:
    """The state of each of many objects: by one look at their folder where several are in one.

    Parameters
    ----------
    addresses : iterable of str
        Of objects.

    Returns
    -------
    dict
        By address; None where there is no such object, or the store does not answer.
    """
    folders: dict[Url, list[str]] = {}
    states: dict[str, FileState | None] = {}
    for address in addresses:
        folders.setdefault(Url(address).parent, []).append(address)

    def look(item: tuple[Url, list[str]]) -> dict[str, FileState | None]:
        folder, some = item
        if len(some) < WORTH_A_LIST or SCHEMES[folder.scheme] == "http":
            return {address: _state_of_object(address) for address in some}
        try:
            there = {entry.name: state_of(entry) for entry in objects.entries(folder)}
        except OSError:
            there = {}
        return {address: there.get(Url(address).name) for address in some}

    with ThreadPoolExecutor(objects.CONNECTIONS) as pool:
        for found in pool.map(look, folders.items()):
            states.update(found)
    return states
