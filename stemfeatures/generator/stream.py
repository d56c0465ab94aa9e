"""Generated songs as training tensors, without touching the disk.

    loader = DataLoader(SyntheticSongs(seed=0, excerpt_s=6.0), batch_size=8, num_workers=4)

Each worker makes songs of its own; which excerpts come is a function of the seed and the number of workers alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..constants import STEMS
from .compose.grooves import GrooveBank
from .compose.score import seeded_rng
from .mix.codecs import CODECS, codec_round_trip
from .play.note_bank import NoteBank
from .song import F0_HOP_S, Song, generate_song
from .units import SR

if TYPE_CHECKING:
    from .sing.recording_bank import RecordingBank
    from .sing.voice import VoiceBank

#: Voices of an excerpt's F0; silent ones are all zeros.
MAX_VOICES = 4


class SyntheticSongs(IterableDataset):
    """Endless excerpts of generated songs.

    Parameters
    ----------
    seed : int
        First number of every song's seed.
    excerpt_s : float
        Seconds of an excerpt.
    song_s : float
        Seconds of the songs they are cut from.
    excerpts_per_song : int
        How many are cut from each.
    notes : NoteBank, optional
        See :func:`.song.generate_song`.
    voices : VoiceBank, optional
        See :func:`.song.generate_song`.
    recordings : RecordingBank, optional
        See :func:`.song.generate_song`.
    grooves : GrooveBank, optional
        See :func:`.song.generate_song`.
    codec_chance : float
        How often the mixture goes through a lossy codec; it is then no longer the exact sum.

    Yields
    ------
    Dictionaries of tensors. ``stems`` (4, 2, n) in the order of ``STEMS`` and ``mixture`` (2, n), float32 at 44.1 kHz.
    On frames of 10 ms, frame k at k * 10 ms of the excerpt: ``vocals_f0_hz`` (4, n_frames) and ``bass_f0_hz``
    (n_frames,), 0 = unvoiced; ``beat``, ``downbeat`` (n_frames,) and ``onset`` (4, n_frames by stem) float32, 1 in the
    frame nearest to an event. ``seed`` and ``start_s`` say where it is from.

    Raises
    ------
    ValueError
        Numbers out of range.
    """

    def __init__(
        self,
        seed: int,
        *,
        excerpt_s: float = 6.0,
        song_s: float = 45.0,
        excerpts_per_song: int = 6,
        notes: NoteBank | None = None,
        voices: VoiceBank | None = None,
        recordings: RecordingBank | None = None,
        grooves: GrooveBank | None = None,
        codec_chance: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < excerpt_s <= 0.8 * song_s or excerpts_per_song < 1 or not 0 <= codec_chance <= 1:
            raise ValueError("excerpt_s must be above 0 and at most 0.8 song_s, excerpts_per_song at least 1")
        self.seed, self.excerpt_s, self.song_s = seed, excerpt_s, song_s
        self.excerpts_per_song, self.codec_chance = excerpts_per_song, codec_chance
        self.notes, self.voices, self.recordings, self.grooves = notes, voices, recordings, grooves

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        index, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        while True:
            yield from self.song(index)
            index += step

    def song(self, index: int) -> list[dict[str, torch.Tensor]]:
        """The excerpts of song number ``index``."""
        song_seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint32)[0])
        song = generate_song(
            song_seed,
            duration_s=self.song_s,
            notes=self.notes,
            voices=self.voices,
            recordings=self.recordings,
            grooves=self.grooves,
        )
        rng = seeded_rng(self.seed, "excerpts", index)
        latest = max(0.0, song.duration_s - self.excerpt_s - F0_HOP_S)
        starts = F0_HOP_S * np.floor(rng.uniform(0, latest, self.excerpts_per_song) / F0_HOP_S)
        return [self._excerpt(song, float(start), rng) for start in starts]

    def _excerpt(self, song: Song, start_s: float, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        truth = song.truth
        first, n = round(start_s * SR), round(self.excerpt_s * SR)
        n_frames = int(self.excerpt_s / F0_HOP_S + 1e-6) + 1
        frame = round(start_s / F0_HOP_S)
        stems = np.stack([song.stems[s][:, first : first + n] for s in STEMS])
        mixture = stems.sum(axis=0, dtype=np.float64).astype(np.float32)
        if rng.random() < self.codec_chance:
            mixture = codec_round_trip(mixture, CODECS[int(rng.integers(len(CODECS)))], float(rng.random()))

        def impulses(times_s: list[float]) -> np.ndarray:
            out = np.zeros(n_frames, np.float32)
            frames = np.round((np.array(times_s) - start_s) / F0_HOP_S).astype(int)
            out[frames[(frames >= 0) & (frames < n_frames)]] = 1.0
            return out

        def contour(f0_hz: np.ndarray) -> np.ndarray:
            part = f0_hz[frame : frame + n_frames].astype(np.float32)
            return np.pad(part, (0, n_frames - len(part)))

        voices = [contour(v["f0_hz"]) for v in truth.f0["vocals"][:MAX_VOICES]]
        voices += [np.zeros(n_frames, np.float32)] * (MAX_VOICES - len(voices))
        arrays = {
            "stems": stems,
            "mixture": mixture,
            "vocals_f0_hz": np.stack(voices),
            "bass_f0_hz": contour(truth.f0["bass"]["f0_hz"]),
            "beat": impulses(truth.beats_s),
            "downbeat": impulses(truth.downbeats_s),
            "onset": np.stack([impulses(truth.onsets_s[s]) for s in STEMS]),
            "seed": np.array(truth.seed),
            "start_s": np.array(start_s),
        }
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
