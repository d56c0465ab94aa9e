"""Lyrics of a shard's tracks, put in time from the vocals that the analysis of the track separates anyway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from stemfeatures._util import objects
from stemfeatures._util.urls import SCHEMES, Url, is_remote
from stemfeatures.descriptors.lyric_tables import LYRIC_TABLES, TEXT_TABLE

from .file_state import WORTH_A_LIST
from .tasks import TrackTask

if TYPE_CHECKING:
    from stemfeatures.analysis import TrackAnalysis
    from stemfeatures.inference.segments import Frames
    from stemfeatures.lyrics import Aligner
    from stemfeatures.lyrics.sources import FoundLyrics
    from stemfeatures.lyrics.vocals import VocalCollector

#: Column of a catalogue with lyrics, or the path of a file with them.
COLUMN = "lyrics"

#: Sources of lyrics that were in the audio file, or may have been.
_FROM_FILE = (None, "tags")


def wants_lyrics(tables: Collection[str]) -> bool:
    """Whether any of some tables is of lyrics."""
    return not {*LYRIC_TABLES, TEXT_TABLE}.isdisjoint(tables)


def lyrics_of(path: str, given: Any, *, tags: bool = True, copy: str | None = None) -> FoundLyrics | None:
    """The lyrics of a row of a catalogue, by its file and its cell of :data:`COLUMN`; ``copy`` is the file on this
    machine, where it is of a store."""
    from stemfeatures.lyrics.sources import find_lyrics

    return find_lyrics(path, given if isinstance(given, str) else None, tags=tags, copy=copy)


def has_same_lyrics(path: str, given: Any, sha256: str | None) -> bool:
    """Whether a file of this machine whose bytes have not changed has the lyrics that it had, by their digest.

    What its tags say has not changed either: they are read only where they may hold what was found.
    """
    found = lyrics_of(path, given, tags=sha256 is not None)
    return sha256 == (None if found is None else found.sha256)


def have_same_lyrics(rows: Iterable[tuple[str, Any, str | None, str | None]]) -> list[bool]:
    """:func:`has_same_lyrics` of many rows whose audio or lyrics lie in stores, some at a time.

    Tags of audio in a store are not read, as the whole file would come for it: where no lyrics are found but those that
    were there may have been in tags, they are taken for what they were. A store that does not answer has lost none.

    Parameters
    ----------
    rows : iterable of tuple
        Path or address, cell of the catalogue, digest of the lyrics that the track had, and where they were found
        (``source`` of table ``lyric_songs``; None where that is not known).

    Returns
    -------
    list of bool
        One a row.
    """
    rows = list(rows)
    if not rows:  # as in every run that asks for no lyrics: what follows loads PyTorch
        return []
    from stemfeatures.lyrics.sources import can_be_missed, lyrics_beside

    folders = Counter(Url(path).parent for path, *_ in rows if is_remote(path))

    def names_in(folder: Url) -> set[str] | None:
        if folders[folder] < WORTH_A_LIST or SCHEMES[folder.scheme] == "http":
            return None
        try:
            return {entry.name for entry in objects.entries(folder)}
        except OSError:
            return None

    def same(row: tuple[str, Any, str | None, str | None]) -> bool:
        path, given, sha256, source = row
        if not is_remote(path):
            return has_same_lyrics(path, given, sha256) or not can_be_missed(path, given)
        names = there[Url(path).parent]
        beside = {str(place).rpartition("/")[2] for place in lyrics_beside(path)}
        given = given if isinstance(given, str) else None
        may_be_in_tags = sha256 is None or source in _FROM_FILE
        if given is None and names is not None and names.isdisjoint(beside):
            return may_be_in_tags
        found = lyrics_of(path, given, tags=False)
        if found is not None:
            return found.sha256 == sha256
        return may_be_in_tags or not can_be_missed(path, given)

    with ThreadPoolExecutor(objects.CONNECTIONS) as pool:
        there = dict(zip(folders, pool.map(names_in, folders)))
        return list(pool.map(same, rows))


@dataclass(frozen=True)
class TrackLyrics:
    """The lyrics of a track.

    Attributes
    ----------
    tables : dict
        Columns of the tables of lyrics.
    sha256 : str or None
        Of their text; None where none were found.
    """

    tables: dict[str, Mapping[str, Sequence[Any]]]
    sha256: str | None = None


class LyricsListener:
    """Collects the vocals of tracks that have lyrics, and aligns them.

    Parameters
    ----------
    tracks : iterable of TrackTask
        Whose lyrics are looked for.
    device : str
        Torch device of the analysis.
    """

    def __init__(self, tracks: Iterable[TrackTask], device: str) -> None:
        self._tracks = {track.track_id: track for track in tracks}
        self._device = device
        self._found: dict[str, FoundLyrics | None] = {}
        self._collectors: dict[str, VocalCollector] = {}

    def find(self, track_id: str, copy: str) -> None:
        """Look for the lyrics of a track whose file is there, in the thread that decodes it: a store may be slow."""
        track = self._tracks[track_id]
        self._found[track_id] = lyrics_of(track.path, track.metadata.get(COLUMN), copy=copy)

    def on_frames(self, track_id: str, frames: Frames) -> None:
        """Further frames of a track."""
        if frames.first == 0:  # a track that is tried again starts over
            self._start(track_id)
        if track_id in self._collectors:
            self._collectors[track_id].add(frames)

    def describe(self, track_id: str, result: TrackAnalysis) -> TrackLyrics:
        """What is known of the lyrics of a track that was analysed."""
        from stemfeatures.lyrics.description import describe_lyrics

        found, collector = self._found.pop(track_id, None), self._collectors.pop(track_id, None)
        if found is None or collector is None:
            return TrackLyrics(describe_lyrics(None, None, result.description))
        vocals = collector.finish(result.frames.n_samples, result.decoded_duration_s)
        aligned = _aligner().from_vocals(vocals, found.text)
        return TrackLyrics(describe_lyrics(aligned, found.source, result.description), found.sha256)

    def _start(self, track_id: str) -> None:
        from stemfeatures.lyrics.vocals import VocalCollector

        if self._found[track_id] is not None:
            self._collectors[track_id] = VocalCollector(self._device)


@cache
def _aligner() -> Aligner:
    from stemfeatures.lyrics import Aligner

    return Aligner()
