"""What the network and one STFT per stem say about each time frame of a track."""

from .types import PitchFrames, StemFrames, TrackFrames, VoiceFrames

__all__ = ["PitchFrames", "StemFrames", "TrackFrames", "VoiceFrames"]
