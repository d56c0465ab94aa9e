"""Which large parts hold a track, remembered in this process: a part that is committed never changes.

Large parts say their first and last key alone. Where ids have no order, each of them may hold any, and who looks for
many ids, as each portion of a large catalogue does, would read the ids of all that is there, again and again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np

from .parts import PartFile

#: Tables with a row a track, in which tracks are looked for.
TABLES = frozenset({"tracks", "errors"})
#: Fewer keys are found by the row groups of a part.
MANY_KEYS = 1000
#: Memory for hashes, eight bytes a row; parts beyond it may hold any key.
MOST_BYTES = 256 << 20


class KeyIndex:
    """Sorted hashes of the keys of parts that have been looked at; threads may share one.

    Parameters
    ----------
    most_bytes : int
        Memory that they may take.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._left = most_bytes
        self._hashes: dict[tuple[str, str, int], np.ndarray] = {}
        self._lock = threading.Lock()

    def holding(
        self, dataset: str, parts: list[PartFile], keys: Iterable[str], read: Callable[[PartFile], Iterable[str]]
    ) -> list[PartFile]:
        """Those of some parts that can hold any of many keys.

        Parameters
        ----------
        dataset : str
            Where it lies.
        parts : list of PartFile
            Of a table of it.
        keys : iterable of str
            Any of them.
        read : callable
            Gives the key of each row of a part; what it raises is raised.

        Returns
        -------
        list of PartFile
            All that hold one, and few others.
        """
        keys = set(keys)
        if len(keys) < MANY_KEYS:
            return parts
        hashes: np.ndarray | None = None
        found = []
        for part in parts:
            if part.table in TABLES and not part.key_hashes and (its := self._of(dataset, part, read)) is not None:
                hashes = _hashes(keys, len(keys)) if hashes is None else hashes
                places = np.searchsorted(its, hashes)
                if not (its[np.minimum(places, len(its) - 1)] == hashes).any():
                    continue
            found.append(part)
        return found

    def _of(self, dataset: str, part: PartFile, read: Callable[[PartFile], Iterable[str]]) -> np.ndarray | None:
        """None where there is no memory for them."""
        name = (dataset, part.path, part.size)
        with self._lock:
            if (known := self._hashes.get(name)) is not None:
                return known
            if 8 * part.rows > self._left or not part.rows:
                return None
        found = _hashes(read(part), part.rows)
        found.sort()
        with self._lock:
            self._left -= found.nbytes if name not in self._hashes else 0
            self._hashes[name] = found
        return found


def _hashes(keys: Iterable[str], count: int) -> np.ndarray:
    """Hashes of this process, of so many keys."""
    return np.fromiter(map(hash, keys), np.int64, count)


#: Of this process.
INDEX = KeyIndex()
