"""The speed of a tape: wow and flutter, the same for every stem, known to the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..track import F0_HOP_S
from ..units import SR
from .console import resampled

#: How often a song has been on a worn tape.
TAPE = 0.07


@dataclass(frozen=True)
class Tape:
    """Speed errors of a tape machine; depths are shares of the speed, rates in hertz.

    Times move by a millisecond or two at most, pitch by up to a tenth of a semitone: beats, notes and words stay what
    they are, F0 does not.
    """

    wow: float
    wow_hz: float
    flutter: float
    flutter_hz: float
    phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Tape:
        return cls(
            wow=float(rng.uniform(0.001, 0.004)), wow_hz=float(rng.uniform(0.5, 1.6)),
            flutter=float(rng.uniform(0.0002, 0.0012)), flutter_hz=float(rng.uniform(6.0, 11.0)),
            phase=float(rng.uniform(0.0, 2 * np.pi)),
        )  # fmt: skip

    def speed(self, times_s: np.ndarray) -> np.ndarray:
        """How fast the tape runs at these times, 1 on average."""
        slow = self.wow * np.sin(2 * np.pi * self.wow_hz * times_s + self.phase)
        return 1.0 + slow + self.flutter * np.sin(2 * np.pi * self.flutter_hz * times_s)

    def play(self, stems: np.ndarray) -> np.ndarray:
        """(n_stems, 2, n) at the tape's speed, as long as before."""
        n = stems.shape[2]
        speed = self.speed(np.arange(n) / SR)
        speed /= max(1.0, float(np.sum(speed)) / max(n - 4, 1))  # it must not run out
        out = np.zeros_like(stems)
        for stem, worn in zip(stems, out):
            for side, y in zip(worn, stem):
                if np.any(y):
                    played = resampled(y, speed)
                    side[: len(played)] = played
        return out

    def shift(self, f0_hz: np.ndarray) -> np.ndarray:
        """F0 on the grid of F0_HOP_S as the tape plays it."""
        return np.asarray(f0_hz) * self.speed(F0_HOP_S * np.arange(len(f0_hz)))
