"""What the network and one STFT per stem say about each time frame of a track."""

from .types import FeatureCells, InharmonicityFrames, NoteFrames, PitchFrames, StemFrames, TrackFrames, VoiceFrames

__all__ = [
    "FeatureCells",
    "InharmonicityFrames",
    "NoteFrames",
    "PitchFrames",
    "StemFrames",
    "TrackFrames",
    "VoiceFrames",
]
