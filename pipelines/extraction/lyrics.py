"""Lyrics of a shard's tracks, put in time from the vocals that the analysis of the track separates anyway."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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

    def tables(self, track_id: str, result: TrackAnalysis) -> dict[str, Mapping[str, Sequence[Any]]]:
        """Columns of the tables of lyrics of a track that was analysed."""
        from stemfeatures.lyrics.description import describe_lyrics

        found, collector = self._found.pop(track_id, None), self._collectors.pop(track_id, None)
        if found is None or collector is None:
            return describe_lyrics(None, None, result.description)
        vocals = collector.finish(result.frames.n_samples, result.decoded_duration_s)
        return describe_lyrics(_aligner().from_vocals(vocals, found.text), found.source, result.description)

    def _start(self, track_id: str) -> None:
        from stemfeatures.lyrics.sources import find_lyrics
        from stemfeatures.lyrics.vocals import VocalCollector

        track = self._tracks[track_id]
        given = track.metadata.get(COLUMN)
        found = self._found[track_id] = find_lyrics(track.path, given if isinstance(given, str) else None)
        if found is not None:
            self._collectors[track_id] = VocalCollector(self._device)


@cache
def _aligner() -> Aligner:
    from stemfeatures.lyrics import Aligner

    return Aligner()
