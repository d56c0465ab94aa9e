"""Units of the generator: its sample rate, and MIDI numbers in Hz."""

from __future__ import annotations

SR = 44_100


def midi_to_hz(midi: float) -> float:
    """Equal temperament, A4 = 69 = 440 Hz."""
    return float(440.0 * 2.0 ** ((midi - 69.0) / 12.0))
