"""Songs that join a run while it goes on.

A store of songs may grow during a run. From which example on how many of its songs are drawn from is noted in a file
of the run (``songs.csv``: columns ``example``, ``songs``), so that example ``i`` still depends on nothing but the data,
the seed, ``i`` and that file, whoever makes it and however often the run is stopped.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from ..._util.csv_log import append_row, whole_lines
from .song_store import SongStore

_HEADER = ("example", "songs")


@dataclass
class Joining:
    """The file of a run and the store that it speaks of.

    Attributes
    ----------
    path : Path
        The file; it need not exist.
    store : Path
        Folder of the store.
    """

    path: Path
    store: Path
    _stamp: tuple[int, int] | None = field(default=None, repr=False)
    _notes: list[tuple[int, int]] = field(default_factory=list, repr=False)

    def look(self, first: int) -> int | None:
        """Note the store's songs of now, for examples from ``first`` on, if there are more than before.

        ``first`` must lie beyond every example that may have been made. Returns how many songs there are now, None
        where nothing was noted.
        """
        songs, notes = len(SongStore(self.store).songs), self._read()
        if notes and songs <= notes[-1][1]:
            return None
        first = max(first, notes[-1][0]) if notes else 0
        append_row(self.path, _HEADER, (first, songs))
        return songs

    def songs(self, example: int) -> int:
        """How many songs of the store example number ``example`` is drawn from: the first so many."""
        known = [songs for first, songs in self._read() if first <= example]
        return known[-1] if known else len(SongStore(self.store).songs)

    def _read(self) -> list[tuple[int, int]]:
        if not self.path.is_file():
            return []
        now = self.path.stat()
        stamp = (now.st_mtime_ns, now.st_size)
        if stamp != self._stamp:
            rows = csv.DictReader(whole_lines(self.path))
            self._notes = [(int(row["example"]), int(row["songs"])) for row in rows]
            self._stamp = stamp
        return self._notes
