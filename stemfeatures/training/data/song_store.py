"""Multitracks decoded once for training: four stems on the analysis grid and what is known of them.

::

    <store>/store.json            version and the songs: data set, track, artist, seconds, what is known
    <store>/00000.npy             (4, n_samples) int16, mono, 22,050 Hz, in the order of STEMS
    <store>/00000.npz             vocals_f0 (voices, n_frames), bass_f0 (1, n_frames): Hz every HOP_LENGTH samples, 0 =
                                  unvoiced; onsets_s of the drums, beats_s, downbeats_s; what is not known is not there

Building goes on where it was stopped. A store can take more songs later, also while a run reads it: they come after
those that are there, whose numbers stay::

    python -m stemfeatures.training.data.song_store STORE SONGS
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.files import write_replace
from ..._util.pools import starmap
from ...audio import resample, to_mono
from ...constants import ANALYSIS_SAMPLE_RATE as SR
from ...constants import HOP_LENGTH, MIXTURE, PITCHED_STEMS, STEMS
from ...datasets.annotations import F0, Annotations
from ...datasets.multitrack import MultiTrack
from ...datasets.opening import find_tracks
from ...errors import AudioError, CatalogError, DatasetError, WorkerError
from ...evaluation.f0 import resample_f0
from ..one_line import one_line_errors
from .effects import rms
from .song_files import song_digests
from .store_index import read_index

logger = logging.getLogger(__name__)

VERSION = 1
_INDEX = "store.json"
_FULL = 32_000


@dataclass(frozen=True)
class StoredSong:
    """A song of a store.

    ``scale``: full scale per integer step; ``levels``: RMS of every stem where it sounds; ``known``: names of labels;
    ``digests``: SHA-256 of the files it was decoded from, empty in stores of before.
    """

    number: int
    dataset: str
    track: str
    artist: str | None
    seconds: float
    scale: float
    levels: list[float]
    known: tuple[str, ...]
    digests: tuple[str, ...] = ()


def build_song_store(
    tracks: Sequence[MultiTrack],
    out_dir: str | Path,
    *,
    jobs: int = 1,
    progress: Callable[[Iterable, int], Iterable] | None = None,
) -> Path:
    """Decode tracks that have all of ``STEMS``; returns ``out_dir``.

    Tracks that cannot be read are left out with a warning. Songs of a store that is there already stay, with their
    numbers, and those that are new come after them.

    Parameters
    ----------
    jobs : int, default=1
        Processes; with several, a script must make the call under ``if __name__ == "__main__":``.
    progress : Callable[[Iterable, int], Iterable], optional
        Goes between the songs and their use, given how many there will be.

    Raises
    ------
    DatasetError
        No track has four stems, or none can be read.
    """
    out_dir = Path(out_dir)
    usable = [t for t in tracks if set(STEMS) <= set(t.stem_names)]
    if not usable:
        message = f"none of {len(tracks)} tracks has the stems {', '.join(STEMS)}"
        raise DatasetError(message, source=tracks[0].dataset if tracks else str(out_dir), stage="songs")
    if len(usable) < len(tracks):
        logger.warning("%d of %d tracks lack a stem and are left out", len(tracks) - len(usable), len(tracks))
    out_dir.mkdir(parents=True, exist_ok=True)
    songs = list(SongStore(out_dir).songs) if is_song_store(out_dir) else []
    there = {(song.dataset, song.track) for song in songs}
    usable = [track for track in usable if (track.dataset, track.name) not in there]
    first = 1 + max((song.number for song in songs), default=-1)
    made: Iterable = starmap(
        partial(_store_track, out_dir=out_dir),
        [(track, number) for number, track in enumerate(usable, first)],
        jobs=jobs,
        stage="songs",
        name=lambda track, _: track.source(),
        catch=(AudioError, CatalogError, WorkerError),
    )
    for song in progress(made, len(usable)) if progress is not None else made:
        if isinstance(song, Exception):
            logger.warning("left out of the songs: %s", song)
        else:
            songs.append(song)
    if not songs:
        raise DatasetError("no track could be read", source=str(out_dir), stage="songs")
    index = {"version": VERSION, "songs": [asdict(s) for s in songs]}
    write_replace(out_dir / _INDEX, json.dumps(index, indent=1).encode())
    return out_dir


def _store_track(track: MultiTrack, number: int, out_dir: Path) -> StoredSong:
    note = out_dir / f"{number:05d}.json"
    if note.is_file():
        stored = _song(json.loads(note.read_text()))
        if (stored.dataset, stored.track) == (track.dataset, track.name):
            return stored
    truth = track.load()
    stems = np.stack([resample(to_mono(truth.stems[s]), truth.sample_rate, SR) for s in STEMS])
    scale = max(float(np.abs(stems).max(initial=0.0)), 1e-6) / _FULL
    labels = _labels(truth.annotations, stems.shape[1])
    np.save(out_dir / f"{number:05d}.npy", np.round(stems / scale).astype(np.int16))
    np.savez(out_dir / f"{number:05d}.npz", **labels)  # type: ignore[arg-type]
    known = tuple(sorted(labels))
    levels = [rms(stem) for stem in stems]
    digests = song_digests(track, [stem for stem in STEMS if truth.stems[stem].any()])
    song = StoredSong(
        number, track.dataset, track.name, track.artist, stems.shape[1] / SR, scale, levels, known, digests
    )
    write_replace(note, json.dumps(asdict(song)).encode())
    return song


def _labels(known: Annotations, n_samples: int) -> dict[str, np.ndarray]:
    times = np.arange(1 + n_samples // HOP_LENGTH) * (HOP_LENGTH / SR)
    labels: dict[str, np.ndarray] = {}
    for stem in PITCHED_STEMS:
        if stem in known.f0:
            voices = [resample_f0(*voice, times) for voice in known.f0[stem]] or [np.zeros(len(times))]
            labels[f"{stem}_f0"] = np.array(voices, np.float32)
    if "drums" in known.onsets_s:
        labels["onsets_s"] = np.asarray(known.onsets_s["drums"])
    if known.beats is not None:
        beats_s, positions = known.beats
        labels["beats_s"] = beats_s
        if np.all(positions > 0):
            labels["downbeats_s"] = beats_s[positions == 1]
    return labels


def _songs(index: dict[str, Any]) -> tuple[StoredSong, ...]:
    return tuple(map(_song, index["songs"]))


def _song(values: dict[str, Any]) -> StoredSong:
    return StoredSong(**values | {name: tuple(values.get(name, ())) for name in ("known", "digests")})


class SongStore:
    """Random access to a store; audio stays on disk (memory-mapped).

    Raises
    ------
    DatasetError
        Not a store, of another version, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.songs = read_index(self.path / _INDEX, version=VERSION, what="songs", parse=_songs)
        self._labels: dict[int, dict[str, np.ndarray]] = {}

    def select(self, songs: Iterable[int]) -> SongStore:
        """The same store with these songs alone (places in :attr:`songs`), numbered anew from 0."""
        some = copy.copy(self)
        some.songs = tuple(self.songs[song] for song in songs)
        some._labels = {}
        return some

    def n_samples(self, song: int) -> int:
        return round(self.songs[song].seconds * SR)

    def stem(self, song: int, stem: str, start: int, length: int) -> np.ndarray:
        """(length,) float32 from sample ``start`` on; zeros beyond the end."""
        stored = self.songs[song]
        audio = np.load(self.path / f"{stored.number:05d}.npy", mmap_mode="r")
        samples = audio[STEMS.index(stem), start : start + length].astype(np.float32) * np.float32(stored.scale)
        return np.pad(samples, (0, length - len(samples)))

    def labels(self, song: int) -> dict[str, np.ndarray]:
        """The arrays named in the module's docstring."""
        if song not in self._labels:
            stored = self.songs[song]
            with np.load(self.path / f"{stored.number:05d}.npz") as arrays:
                self._labels[song] = {name: arrays[name] for name in stored.known}
        return self._labels[song]


def is_song_store(path: str | Path) -> bool:
    return (Path(path) / _INDEX).is_file()


def stored_tracks(path: str | Path) -> list[MultiTrack]:
    """All songs of a store as tracks with truth. Raises DatasetError as :class:`SongStore`."""
    store = SongStore(path)
    return [StoredTrack(store, place) for place in range(len(store.songs))]


class StoredTrack(MultiTrack):
    """A song of a store (its place in :attr:`SongStore.songs`) as a track with truth: mono, 22,050 Hz; the mixture is
    the sum of the stems. With ``dataset`` it stands in another data set, its own in front of its name."""

    def __init__(self, store: SongStore, place: int, *, dataset: str | None = None) -> None:
        self.store = store.select([place])  # what travels to workers is small
        song = self.store.songs[0]
        self.name = song.track if dataset is None else f"{song.dataset}/{song.track}"
        self.dataset, self.artist = dataset or song.dataset, song.artist

    @property
    def stem_names(self) -> tuple[str, ...]:
        return STEMS

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        if stem not in (MIXTURE, *STEMS):
            raise KeyError(stem)
        try:
            names = STEMS if stem == MIXTURE else (stem,)
            stems = np.stack([self.store.stem(0, name, 0, self.store.n_samples(0)) for name in names])
        except (OSError, EOFError, ValueError) as error:
            raise CatalogError(f"cannot be read: {error}", source=self.source(), stage="songs") from error
        return stems.sum(axis=0, keepdims=True), SR

    def source(self, stem: str = MIXTURE) -> str:
        return str(self.store.path / f"{self.store.songs[0].number:05d}.npy")

    def annotations(self) -> Annotations:
        voices = self.store.labels(0).get("vocals_f0")
        if voices is None:
            return Annotations()
        times_s = np.arange(voices.shape[1]) * (HOP_LENGTH / SR)
        return Annotations(f0={"vocals": tuple(F0(times_s, voice.astype(np.float64)) for voice in voices)})


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="folder of the store; it is made where there is none")
    parser.add_argument("songs", nargs="+", help="song folders, or NAME:DIR for the layouts of docs/datasets.md")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes (default: %(default)s)")
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        tracks = [track for spec in args.songs for track in find_tracks(spec, stage="songs")]
        store = SongStore(build_song_store(tracks, args.store, jobs=args.jobs))
        print(f"{len(store.songs)} songs in {store.path}")


if __name__ == "__main__":
    main()
