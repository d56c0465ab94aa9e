"""What the network and one STFT per stem say about each time frame of a track."""

from .types import PitchFrames, StemFrames, TrackFrames

__all__ = ["PitchFrames", "StemFrames", "TrackFrames"]
