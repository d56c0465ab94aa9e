"""A sound bank for training: recordings decoded once, with their class, role, pitch and F0.

The bank is built from a folder with an ``index.csv`` (``path, class, source, licence, seconds``) and optionally
``vocals/singbank/*.npz`` (lines of singing as WORLD parameters). Three files come out:

``audio.npy``       every sound one after the other, mono, 22,050 Hz, int16
``f0.npy``          F0 in Hz every ``HOP_LENGTH`` samples where it is known: 0 = unvoiced, NaN = not sure
``sounds.parquet``  a row a sound: where it lies, what it is, its licence

F0 of sung and played phrases is pYIN's (Mauch & Dixon, ICASSP 2014) on the isolated recording, kept only where the
voicing decision is clear; F0 of rendered singing is exact; the pitch of a note is measured inside the octave that
its file name gives (the octave convention is found per source).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import DatasetError

logger = logging.getLogger(__name__)


@dataclass
class Sound:
    """One decoded recording, ready to be stored."""

    row: dict
    samples: np.ndarray
    f0: np.ndarray | None = None


class SoundBank:
    """Random access to a bank; audio stays on disk (memory-mapped)."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not (path / "sounds.parquet").is_file():
            raise DatasetError("not a sound bank (no sounds.parquet)", source=str(path), stage="bank")
        self.path = path
        self.sounds = pd.read_parquet(path / "sounds.parquet")
        self._audio = np.load(path / "audio.npy", mmap_mode="r")
        self._f0 = np.load(path / "f0.npy", mmap_mode="r")

    def samples(self, row: int, start: int = 0, length: int | None = None) -> np.ndarray:
        """float32 samples of a sound, or of an excerpt of it."""
        s = self.sounds.iloc[row]
        stop = s["length"] if length is None else min(start + length, s["length"])
        return self._audio[s["start"] + start : s["start"] + stop].astype(np.float32) * np.float32(s["scale"])

    def f0(self, row: int) -> np.ndarray | None:
        """F0 in Hz every HOP_LENGTH samples, or None when it is not known for this sound."""
        s = self.sounds.iloc[row]
        return None if s["f0_start"] < 0 else np.asarray(self._f0[s["f0_start"] : s["f0_start"] + s["f0_length"]])
