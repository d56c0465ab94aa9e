"""Tracks whose parts are known, and sets of them: what evaluation and training read, whatever layout it came from.

A :class:`MultiTrack` says where a track lies and what is known of it; nothing is read before it is asked for. A
:class:`MultitrackDataset` is a named sequence of them. The layouts live one a module; :func:`open_dataset` opens one
by name, :func:`find_tracks` recognises those that can be told from their files.

Levels, channels and silence are treated alike everywhere; the rules are stated in :mod:`.mixing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np

from ..audio import load
from ..constants import MIXTURE
from ..errors import CatalogError
from .annotations import Annotations

#: In the order of preference where several exist: exact before lossy.
AUDIO_SUFFIXES = (".flac", ".wav", ".aiff", ".ogg", ".opus", ".mp3", ".m4a")
#: Name of the stem that is everything but one other.
ACCOMPANIMENT = "accompaniment"


@dataclass
class TrackTruth:
    """One track in memory.

    Attributes
    ----------
    sample_rate : int
        Hz, that of the files.
    mixture : np.ndarray
        (channels, n_samples) float32.
    stems : dict[str, np.ndarray], default={}
        ``{stem: (channels, n_samples) float32}``, as long and as wide as the mixture; may be empty.
    f0 : tuple[np.ndarray, np.ndarray], optional
        ``(times_s, f0_hz)`` of the lead vocals as float64 arrays covering the whole track, 0 Hz = unvoiced; or None.
    beats : tuple[np.ndarray, np.ndarray], optional
        ``(beats_s, beat_positions)``, positions 1-indexed in the bar (1 = downbeat, 0 = not known); or None.
    annotations : Annotations
        All that is known, F0 and beats as the data set lists them.
    """

    sample_rate: int
    mixture: np.ndarray
    stems: dict[str, np.ndarray] = field(default_factory=dict)
    f0: tuple[np.ndarray, np.ndarray] | None = None
    beats: tuple[np.ndarray, np.ndarray] | None = None
    annotations: Annotations = field(default_factory=Annotations)


class MultiTrack(ABC):
    """A track on disk.

    Attributes
    ----------
    name, dataset : str
        Identify it.
    artist : str, optional
        Artist or singer as the data set spells it, the unit of splits; None if the data set does not say.
    split : str, optional
        ``train``, ``valid`` or ``test`` where the data set comes with a split of its own, else None.
    lists_unvoiced
        False where the data set leaves unvoiced frames out of its F0 lists.
    lyrics_lead_s
        By how much the times of words lead what is heard.
    """

    name: str
    dataset: str
    artist: str | None = None
    split: str | None = None
    lists_unvoiced = True
    lyrics_lead_s = 0.0

    @property
    @abstractmethod
    def stem_names(self) -> tuple[str, ...]:
        """Stems there is audio of, besides the mixture; reads no audio."""

    @abstractmethod
    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        """``(channels, n_samples)`` float32 and the sample rate of a stem or of the mixture.

        Raises KeyError for a stem the track does not have; AudioError or CatalogError naming the file.
        """

    @abstractmethod
    def annotations(self) -> Annotations:
        """All that is known besides the audio. Raises CatalogError naming the file."""

    @property
    def tasks(self) -> frozenset[str]:
        """Those of ``separation``, ``f0`` (of the vocals), ``beats``, ``notes`` and ``lyrics`` (timed) that the track
        holds the truth for; reads no audio. Raises CatalogError if the annotations cannot be read."""
        known = self.annotations()
        found = {
            "separation": bool(self.stem_names),
            "f0": bool(known.f0.get("vocals")),
            "beats": known.beats is not None,
            "notes": bool(known.notes),
            "lyrics": known.lyrics is not None and known.lyrics.timed,
        }
        return frozenset(task for task, there in found.items() if there)

    def load(self) -> TrackTruth:
        """Read everything.

        Raises AudioError or CatalogError naming the file, also when a stem does not fit its mixture.
        """
        mixture, sample_rate = self.audio()
        stems = {}
        for stem in self.stem_names:
            stems[stem], stem_rate = self.audio(stem)
            if stem_rate != sample_rate or stems[stem].shape != mixture.shape:
                raise CatalogError(
                    f"{stem}: {stems[stem].shape} at {stem_rate} Hz does not match its mixture, "
                    f"{mixture.shape} at {sample_rate} Hz (channels, samples)",
                    source=self.source(stem),
                )
        known = self.annotations()
        f0 = None
        if voices := known.f0.get("vocals"):
            f0 = voices[0] if self.lists_unvoiced else fill_unvoiced(*voices[0], mixture.shape[1] / sample_rate)
        return TrackTruth(sample_rate, mixture, stems, f0, known.beats, known)

    def source(self, stem: str = MIXTURE) -> str:
        """What messages call the file of a stem."""
        return f"{self.dataset}/{self.name}"


class MultitrackDataset(Sequence[MultiTrack]):
    """The one form every data set comes in: a named, sorted sequence of tracks that have read nothing yet.

    Functions over tracks take any sequence of :class:`MultiTrack`; this one adds a name, selection and splits.
    """

    def __init__(self, name: str, tracks: Iterable[MultiTrack]) -> None:
        self.name = name
        self.tracks = tuple(tracks)

    @overload
    def __getitem__(self, index: int) -> MultiTrack: ...

    @overload
    def __getitem__(self, index: slice) -> MultitrackDataset: ...

    def __getitem__(self, index: int | slice) -> MultiTrack | MultitrackDataset:
        if isinstance(index, slice):
            return MultitrackDataset(self.name, self.tracks[index])
        return self.tracks[index]

    def __len__(self) -> int:
        return len(self.tracks)

    def __repr__(self) -> str:
        return f"MultitrackDataset({self.name!r}, {len(self)} tracks)"

    def with_truth(self, *tasks: str) -> MultitrackDataset:
        """The tracks that hold the truth for all of ``tasks``, see :attr:`MultiTrack.tasks`."""
        return MultitrackDataset(self.name, (track for track in self.tracks if track.tasks.issuperset(tasks)))

    def of_split(self, split: str) -> MultitrackDataset:
        """The tracks of one part of the data set's own split.

        Raises
        ------
        CatalogError
            No track is in it; for data sets without a split see :func:`.splits.split_by_artist`.
        """
        tracks = [track for track in self.tracks if track.split == split]
        if not tracks:
            there = sorted({track.split for track in self.tracks if track.split})
            raise CatalogError(f"no track is in the split {split!r}; splits here: {there}", source=self.name)
        return MultitrackDataset(self.name, tracks)


def rest_of(track: MultiTrack, target: str) -> tuple[str, ...]:
    """The stems whose sum is everything but the target; all of them where it is not among them."""
    others = tuple(stem for stem in track.stem_names if stem != target)
    parts = tuple(stem for stem in others if stem != ACCOMPANIMENT)
    # Beside its parts an accompaniment would count them twice; alone it is the rest of what was taken out of it.
    return parts or others


def read_audio(path: Path, *, stream: int | None = None) -> tuple[np.ndarray, int]:
    """(channels, n_samples) float32 and the sample rate, of the default audio stream or another. Raises AudioError."""
    samples, sample_rate = load(path, stream=stream)
    return np.atleast_2d(samples), sample_rate


def find_audio(folder: Path, stem: str) -> Path | None:
    """``folder/stem`` with one of the usual suffixes, uncompressed before lossy; None if there is none."""
    return next((path for suffix in AUDIO_SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)


def read_numbers(path: Path, *, separator: str | None, columns: int) -> np.ndarray:
    """(n_rows, columns) of a headerless text table; further columns are ignored. Raises CatalogError with the line."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            cells = [float(cell) for cell in line.split(separator)[:columns]]
            if len(cells) < columns or not np.all(np.isfinite(cells)):
                raise ValueError
        except ValueError:
            raise CatalogError(f"line {number}: expected {columns} numbers, got {line!r}", source=str(path)) from None
        rows.append(cells)
    return np.array(rows, dtype=np.float64).reshape(-1, columns)


def fill_unvoiced(times_s: np.ndarray, f0_hz: np.ndarray, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """An F0 annotation on every frame of the track: frames that are not listed are unvoiced (0 Hz).

    MedleyDB and Tony leave unvoiced frames out instead of writing 0, so a listing read as it stands has hardly an
    unvoiced frame, and a false alarm rate measured on it means nothing. The hop is the smallest usual step
    (the median); listed frames keep their own times.
    """
    if len(times_s) < 2:
        return times_s, f0_hz
    hop = float(np.median(np.diff(times_s)))
    # not %: 0.3 % 0.01 is 0.00999..., which would lose the first frame
    before = hop * np.floor(times_s[0] / hop + 1e-6)
    edges = np.concatenate([[times_s[0] - before - hop], times_s, [max(duration_s, times_s[-1] + hop)]])
    missing = []
    for left, right in pairwise(edges):
        # -0.5: a step of one hop plus jitter misses nothing, a step of two hops misses one frame
        missing.append(left + hop * np.arange(1, int((right - left) / hop - 0.5) + 1))
    gaps = np.concatenate(missing)
    gaps = gaps[(gaps > -0.01 * hop) & (gaps <= duration_s)].clip(min=0.0)
    times = np.concatenate([times_s, gaps])
    order = np.argsort(times, kind="stable")
    return times[order], np.concatenate([f0_hz, np.zeros(len(gaps))])[order]
