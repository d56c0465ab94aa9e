"""The sum of some stems of a song, as a recording."""

from __future__ import annotations

from dataclasses import dataclass

from ...datasets.multitrack import MultiTrack


@dataclass(frozen=True)
class StemSum:
    """The sum of some ``stems`` of a multitrack (or its ``mixture``), as a recording of which nothing else is known."""

    track: MultiTrack
    stems: tuple[str, ...]

    @property
    def source(self) -> str:
        return self.track.source(self.stems[0])
