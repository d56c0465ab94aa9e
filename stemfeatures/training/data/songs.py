"""Training examples cut from multitracks: pieces of one song, or stems of several songs on top of each other.

Within a song the balance of its mix is kept up to a few dB; across songs stems are brought to common levels (Uhlich et
al., ICASSP 2017, remix sources of different songs likewise). Pitch and tempo change together, by resampling, so every
label stays exact. Beats of a remix are those of its drums.
"""

from __future__ import annotations

import numpy as np
import soxr

from ...constants import ANALYSIS_SAMPLE_RATE as SR
from ...constants import HOP_LENGTH, PITCHED_STEMS, STEMS
from .effects import colour, rms
from .example import Example, label_example
from .joining import Joining
from .song_store import SongStore

#: How often an example is: stems of several songs; one song with the vocals of another; else one song.
REMIX, OTHER_VOCALS = 0.25, 0.2
#: Levels of a remix in dB, and their spread.
LEVELS_DB = {"vocals": 0.0, "drums": -1.0, "bass": -2.5, "other": -1.5}
REMIX_SPREAD_DB, SONG_SPREAD_DB = 4.0, 2.5
#: How often a stem stands in a room, and how often it is equalised.
ROOM, EQUALISER = 0.15, 0.6
#: How often a stem is left out, so that silence is seen beside everything.
SILENT = 0.06


class SongMixer:
    """Makes :class:`~.example.Example` number ``i`` from a store.

    Parameters
    ----------
    store : SongStore
        The songs.
    n_frames : int, default=256
        Length of an example.
    seed : int, default=0
        First number of every example's random state.
    joining : Joining, optional
        Which example is drawn from how many songs of the store, where they join while a run goes on.
    """

    def __init__(self, store: SongStore, *, n_frames: int = 256, seed: int = 0, joining: Joining | None = None) -> None:
        self.n_frames, self.seed, self.joining = n_frames, seed, joining
        self.n_samples = n_frames * HOP_LENGTH
        self._use(store)

    def _use(self, store: SongStore) -> None:
        self.store = store
        seconds = np.array([song.seconds for song in store.songs])
        self._weights = seconds / seconds.sum()

    def example(self, index: int) -> Example:
        """Example number ``index``."""
        if self.joining is not None and (songs := self.joining.songs(index)) != len(self.store.songs):
            self._use(SongStore(self.store.path).select(range(songs)))
        rng = np.random.default_rng([self.seed, index])
        first = self._excerpt(rng)
        draw = rng.random()
        remix = draw < REMIX
        places = {stem: self._excerpt(rng) if remix else first for stem in STEMS}
        if REMIX <= draw < REMIX + OTHER_VOCALS:
            places["vocals"] = self._excerpt(rng)
        stems = np.zeros((len(STEMS), self.n_samples), np.float32)
        f0: dict[str, list[np.ndarray] | None] = {}
        for i, stem in enumerate(STEMS):
            silent = rng.random() < SILENT
            if not silent:
                foreign = remix or places[stem] != first
                stems[i] = self._stem(stem, places[stem], foreign, rng)
            if stem in PITCHED_STEMS:
                f0[stem] = [np.zeros(self.n_frames)] if silent else self._f0(stem, places[stem])
        peak = float(np.abs(stems.sum(axis=0)).max())
        stems *= np.float32(0.5 / max(peak, 1e-5))
        # without drums the other stems of a remix disagree about the beat
        beats = "beats_s" if not remix or stems[STEMS.index("drums")].any() else None
        place = places["drums"]
        onsets = self._times("onsets_s", place) if stems[STEMS.index("drums")].any() else np.zeros(0)
        return label_example(
            stems,
            f0,
            onsets_s=onsets,
            beats_s=self._times(beats, place),
            downbeats_s=self._times("downbeats_s" if beats else None, place),
        )

    def _excerpt(self, rng: np.random.Generator) -> tuple[int, int, float]:
        """Song, first sample and speed of a piece; longer songs are drawn more often."""
        song = int(rng.choice(len(self._weights), p=self._weights))
        rate = float(2 ** np.clip(rng.normal(0, 0.12), -0.3, 0.3)) if rng.random() < 0.7 else 1.0
        latest = self.store.n_samples(song) - int(self.n_samples * rate) - 64
        return song, HOP_LENGTH * int(rng.integers(0, max(1, latest // HOP_LENGTH))), rate

    def _stem(self, stem: str, place: tuple[int, int, float], foreign: bool, rng: np.random.Generator) -> np.ndarray:
        """(n_samples,), equalised and at its level."""
        song, start, rate = place
        y = self.store.stem(song, stem, start, int(self.n_samples * rate) + 64)
        whole = self.store.songs[song].levels[STEMS.index(stem)]
        level = max(rms(y), 0.1 * whole)  # what is left of a tail is not brought to the level of a voice
        if level < 1e-5:
            return np.zeros(self.n_samples, np.float32)
        if rate != 1:
            y = soxr.resample(y, SR * rate, SR, quality="LQ")
        y = np.pad(y[: self.n_samples], (0, max(0, self.n_samples - len(y))))
        if foreign:
            gain = 10 ** ((LEVELS_DB[stem] + rng.normal(0, REMIX_SPREAD_DB)) / 20) * 0.1 / level
        else:
            gain = 10 ** (rng.normal(0, SONG_SPREAD_DB) / 20)
        return colour((y * gain).astype(np.float32), rng, room=ROOM, equaliser=EQUALISER)

    def _f0(self, stem: str, place: tuple[int, int, float]) -> list[np.ndarray] | None:
        """(n_frames,) Hz of every voice in the piece; None where the song does not tell."""
        song, start, rate = place
        stored = self.store.labels(song).get(f"{stem}_f0")
        if stored is None:
            return None
        frames = np.round((start + np.arange(self.n_frames) * HOP_LENGTH * rate) / HOP_LENGTH).astype(int)
        inside = frames < stored.shape[1]
        return [np.where(inside, voice[np.minimum(frames, len(voice) - 1)], 0.0) * rate for voice in stored]

    def _times(self, name: str | None, place: tuple[int, int, float]) -> np.ndarray | None:
        """Events of the piece in seconds from its start."""
        song, start, rate = place
        stored = self.store.labels(song).get(name) if name else None
        return None if stored is None else (stored - start / SR) / rate
