"""Signals to time-frequency representations and back: transforms, the same in a stream, filters."""
