"""What a run may learn from, as its user names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

#: Kinds of recordings that a target is learned from, and what they are.
RECORDING_KINDS = {
    "pairs": "multitracks: song folders with the target's stem and others, stores of songs, or NAME:DIR as for songs",
    "mixtures": "songs of which nothing else is known: audio files, folders of them, or multitracks for their mixtures",
    "solos": "recordings of the target alone: audio files, folders of them, or multitracks for the target's stems",
    "accompaniments": "songs without the target: audio files, folders of them, or multitracks for all other stems",
}

#: ``(what, items, total) -> items``: passes items on as they are decoded, for example through a progress bar.
Watch: TypeAlias = Callable[[str, Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class TrainingSources:
    """What a run learns from, and what it must not.

    Attributes
    ----------
    sounds : Path, optional
        Folder of isolated sounds with ``index.csv``, from which the bank is built.
    bank : Path, optional
        Folder of the bank; default: ``bank`` in the directory of the run.
    songs : sequence of str
        Multitracks of the objective ``joint``: folders, stores of songs, or ``NAME:DIR`` (see ``find_tracks``).
    pairs, mixtures, solos, accompaniments : sequence of str
        What the other objectives learn a target from, see :data:`RECORDING_KINDS`.
    held_out : Path, optional
        File of patterns, one a line, of what is never learned from.
    development : Path, optional
        Songs with truth for validation; none of them may be learned from.
    development_limit : int, optional
        At most so many of a data set of them are looked at.
    """

    sounds: Path | None = None
    bank: Path | None = None
    songs: Sequence[str] = ()
    pairs: Sequence[str] = ()
    mixtures: Sequence[str] = ()
    solos: Sequence[str] = ()
    accompaniments: Sequence[str] = ()
    held_out: Path | None = None
    development: Path | None = None
    development_limit: int | None = None

    def recordings(self) -> dict[str, Sequence[str]]:
        """The kinds of :data:`RECORDING_KINDS` that are given."""
        return {kind: given for kind in RECORDING_KINDS if (given := getattr(self, kind))}


@dataclass(frozen=True)
class FoundRecordings:
    """The recordings of one kind.

    Attributes
    ----------
    kind : str
        Of :data:`RECORDING_KINDS`.
    kept : list
        Multitracks, sums of their stems, or paths of files.
    n_songs : int
        How many of them belong to a song.
    n_held_out : int
        How many were left out.
    """

    kind: str
    kept: list[Any] = field(default_factory=list)
    n_songs: int = 0
    n_held_out: int = 0

    @property
    def n_files(self) -> int:
        """How many are audio files that belong to no song."""
        return len(self.kept) - self.n_songs
