"""Descriptors: from frames to scalars, contours and events. Knows nothing of files, networks or tables."""

from .describe import describe
from .loudness import LoudnessMeter
from .types import Events, F0Contour, TrackDescription

__all__ = ["Events", "F0Contour", "LoudnessMeter", "TrackDescription", "describe"]
