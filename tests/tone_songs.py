"""A store of songs whose parts are as simple as they can be told apart: for tests of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stemfeatures.constants import MIXTURE, STEMS
from stemfeatures.datasets.annotations import F0, Annotations
from stemfeatures.datasets.multitrack import MultiTrack
from stemfeatures.training.data.song_store import SongStore, build_song_store

RATE, SECONDS = 22_050, 7.0


class ToneSong(MultiTrack):
    """Harmonic tones for vocals (a vibrato), bass and other, clicks for drums; the singer is the artist."""

    def __init__(self, name: str, artist: str, hertz: float, *, seconds: float = SECONDS) -> None:
        self.name, self.dataset, self.artist = name, "tones", artist
        self.hertz, self.seconds = hertz, seconds

    @property
    def stem_names(self) -> tuple[str, ...]:
        return STEMS

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        if stem == MIXTURE:
            return np.sum([self.audio(s)[0] for s in STEMS], axis=0), RATE
        t = np.arange(int(self.seconds * RATE)) / RATE
        if stem == "drums":
            y = np.random.default_rng(0).standard_normal(len(t)) * np.exp(-((t * 2) % 1) * 20)
        else:
            base = {"vocals": self.hertz, "bass": 61.0, "other": 1.37 * self.hertz}[stem]
            depth = 0.02 if stem == "vocals" else 0.0
            phase = 2 * np.pi * np.cumsum(base * (1 + depth * np.sin(2 * np.pi * 5.5 * t))) / RATE
            y = sum(np.sin(k * phase) / k for k in range(1, 7))
        if stem == "vocals":
            y = y * (t % 4 < 3)
        return (0.1 * y[None]).astype(np.float32), RATE

    def annotations(self) -> Annotations:
        t = np.arange(0, self.seconds, 0.01)
        f0_hz = self.hertz * (1 + 0.02 * np.sin(2 * np.pi * 5.5 * t)) * (t % 4 < 3)
        return Annotations(f0={"vocals": (F0(t, f0_hz),)})


def tone_store(folder: Path) -> SongStore:
    """Four songs of three singers."""
    songs = [ToneSong(str(i), artist, 220 * 2 ** (i / 5)) for i, artist in enumerate(("a", "b", "b", "c"))]
    return SongStore(build_song_store(songs, folder))
