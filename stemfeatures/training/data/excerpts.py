"""Excerpts for learning to separate a target: of pairs, and of recordings of one source or of a mixture alone.

What could give real sources away beside estimates is made alike. *Level*: a recording of one source is played at a
level drawn from those that this source has in the pairs, mixtures at those of their sums; a random gain comes on top,
of everything unpaired and of that alone. *Silence*: how much of a solo's excerpt sounds is drawn from how much of the
target's does in the pairs (solo recordings are rarely silent, targets often are), the accompaniment's likewise.
*Resampling* is the matter of :mod:`.recording_store`. Kinds are drawn independently of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import DatasetError
from .draws import Draws
from .recording_store import BLOCK_S, KINDS, Recording, RecordingStore

#: Places among which the one is chosen whose share of sound is nearest to the one that was drawn.
_PLACES = 8
#: Row of the pairs whose level and silence a kind has; None: their sum's level, silence as it comes.
_ROWS = {"mixtures": None, "solos": 0, "accompaniments": 1}


@dataclass(frozen=True)
class ExcerptSettings:
    """How excerpts of unpaired recordings are drawn, the table ``excerpts`` of a recipe.

    Attributes
    ----------
    gain : tuple[float, float], default=(0.2, 1.2)
        Range of their random gain (amplitude).
    level, silence : bool, default=True
        Whether they are made alike to those of the pairs, see the module's docstring.
    """

    gain: tuple[float, float] = (0.2, 1.2)
    level: bool = True
    silence: bool = True

    def __post_init__(self) -> None:
        low, high = self.gain
        if not 0 < low <= high:
            raise ValueError(f"gain is a range of positive factors, not {self.gain}")


class RecordingExcerpts:
    """Makes example ``i``: a function of the store, the settings, the seed and ``i``.

    Parameters
    ----------
    draws : Draws
        Excerpts of each kind.
    n_samples : int
        Their length.

    Raises
    ------
    DatasetError
        There is nothing of a kind that is drawn.
    """

    def __init__(
        self, store: RecordingStore, draws: Draws, *, n_samples: int, seed: int, settings: ExcerptSettings | None = None
    ) -> None:
        self.store, self.draws, self.n_samples, self.seed = store, draws, n_samples, seed
        self.settings = settings or ExcerptSettings()
        for kind in KINDS:
            if getattr(draws, kind) and not store.recordings[kind]:
                raise DatasetError(f"no {kind} to learn from", source=str(store.path), stage="train")
        pairs = store.recordings["pairs"]
        self._levels: dict[str, np.ndarray] = {}
        self._shares: dict[str, np.ndarray] = {}
        for kind, row in _ROWS.items():
            if row is None:
                levels = [float(np.linalg.norm(pair.levels)) for pair in pairs]
            else:
                levels = [pair.levels[row] for pair in pairs]
                shares = [share for pair in pairs for share in self._sounding(pair.active[row])]
                self._shares[kind] = np.sort(shares)
            self._levels[kind] = np.sort([level for level in levels if level > 0])

    def example(self, index: int) -> dict[str, np.ndarray]:
        """``{kind: (draws, ...)}`` as :mod:`stemfeatures.training.objectives.base` says."""
        found: dict[str, np.ndarray] = {}
        for number, kind in enumerate(KINDS):
            if not (count := getattr(self.draws, kind)):
                continue
            streams = [np.random.default_rng([self.seed, number, draw, index]) for draw in range(count)]
            if kind == "pairs":
                drawn = [self._pair(rng) for rng in streams]
                found["pair_songs"] = np.array([song for song, _ in drawn], np.int64)
                found["pairs"] = np.stack([samples for _, samples in drawn])
                continue
            excerpts = [self._unpaired(kind, rng) for rng in streams]
            found[kind] = np.stack([samples for _, samples in excerpts])
            if kind == "mixtures":
                found["mixture_songs"] = np.array([song for song, _ in excerpts], np.int64)
        return found

    def _pair(self, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        pairs = self.store.recordings["pairs"]
        song = int(rng.integers(len(pairs)))
        return song, self.store.samples(pairs[song], self._place(pairs[song], rng), self.n_samples)

    def _unpaired(self, kind: str, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        recordings = self.store.recordings[kind]
        number = int(rng.integers(len(recordings)))
        recording = recordings[number]
        gain = float(rng.uniform(*self.settings.gain))
        if self.settings.level and len(levels := self._levels[kind]) and recording.levels[0] > 0:
            gain *= float(np.quantile(levels, rng.random())) / recording.levels[0]
        start: int | None = self._place(recording, rng)
        if self.settings.silence and len(shares := self._shares.get(kind, np.zeros(0))):
            start = self._place_like(recording, float(rng.choice(shares)), rng)
        if start is None:
            return number, np.zeros(self.n_samples, np.float32)
        samples = self.store.samples(recording, start, self.n_samples).sum(axis=0)
        return number, (np.float32(gain) * samples).astype(np.float32)

    def _place(self, recording: Recording, rng: np.random.Generator) -> int:
        return int(rng.integers(max(1, round(recording.seconds * self.store.sample_rate) - self.n_samples + 1)))

    def _place_like(self, recording: Recording, share: float, rng: np.random.Generator) -> int | None:
        """A place of which about ``share`` sounds; None stands for silence where the recording has none."""
        active, size = np.frombuffer(recording.active[0].encode(), np.uint8) == ord("1"), self._blocks
        starts = [self._place(recording, rng) for _ in range(_PLACES)]
        first = [int(start / (BLOCK_S * self.store.sample_rate)) for start in starts]
        shares = np.array([active[at : at + size].sum() / size for at in first])
        best = int(np.argmin(np.abs(shares - share)))
        return None if share == 0 and shares[best] > 0 else starts[best]

    @property
    def _blocks(self) -> int:
        return max(1, round(self.n_samples / self.store.sample_rate / BLOCK_S))

    def _sounding(self, active: str) -> np.ndarray:
        """Share of every excerpt, a block apart, that sounds."""
        sounds = np.frombuffer(active.encode(), np.uint8) == ord("1")
        sums = np.concatenate([[0], np.cumsum(np.pad(sounds, (0, max(0, self._blocks - len(sounds)))))])
        return (sums[self._blocks :] - sums[: -self._blocks]) / self._blocks
