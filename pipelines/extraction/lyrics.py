"""Lyrics of a shard's tracks, put in time from the vocals that the analysis of the track separates anyway."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from stemfeatures.descriptors.lyric_tables import LYRIC_TABLES, TEXT_TABLE

from .tasks import TrackTask

if TYPE_CHECKING:
    from stemfeatures.analysis import TrackAnalysis
    from stemfeatures.inference.segments import Frames
    from stemfeatures.lyrics import Aligner
    from stemfeatures.lyrics.sources import FoundLyrics
    from stemfeatures.lyrics.vocals import VocalCollector

#: Column of a catalogue with lyrics, or the path of a file with them.
COLUMN = "lyrics"


def wants_lyrics(tables: Collection[str]) -> bool:
    """Whether any of some tables is of lyrics."""
    return not {*LYRIC_TABLES, TEXT_TABLE}.isdisjoint(tables)


def lyrics_of(path: str, given: Any, *, tags: bool = True) -> FoundLyrics | None:
    """The lyrics of a row of a catalogue, by its file and its cell of :data:`COLUMN`."""
    from stemfeatures.lyrics.sources import find_lyrics

    return find_lyrics(path, given if isinstance(given, str) else None, tags=tags)


def has_same_lyrics(path: str, given: Any, sha256: str | None) -> bool:
    """Whether a file whose bytes have not changed has the lyrics that it had, by their digest.

    What its tags say has not changed either: they are read only where they may hold what was found.
    """
    found = lyrics_of(path, given, tags=sha256 is not None)
    return sha256 == (None if found is None else found.sha256)


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

        track = self._tracks[track_id]
        found = self._found[track_id] = lyrics_of(track.path, track.metadata.get(COLUMN))
        if found is not None:
            self._collectors[track_id] = VocalCollector(self._device)


@cache
def _aligner() -> Aligner:
    from stemfeatures.lyrics import Aligner

    return Aligner()
