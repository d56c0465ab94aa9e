"""A folder of song folders, each with a mixture, its stems and perhaps annotations.

::

    <song>/mixture.flac                              required (or .wav)
    <song>/{vocals,drums,bass,other}.flac            any of them (or .wav)
    <song>/vocals_f0.csv                             time in s, F0 in Hz (0 = unvoiced), further columns ignored
    <song>/beats.tsv                                 time in s, beat in the bar (1 = downbeat)

This is the layout of the musdb exports; the annotations are those of MedleyDB and its derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..constants import MIXTURE, STEMS
from ..errors import CatalogError
from .multitrack import MultiTrack, TrackTruth, find_audio, read_audio, read_numbers

F0_FILE = "vocals_f0.csv"
BEATS_FILE = "beats.tsv"


def fill_unvoiced(times_s: np.ndarray, f0_hz: np.ndarray, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """An F0 annotation on every frame of the track: frames that are not listed are unvoiced (0 Hz).

    MedleyDB and Tony leave unvoiced frames out instead of writing 0, so a listing read as it stands has hardly an
    unvoiced frame, and a false alarm rate measured on it means nothing. The hop is the smallest usual step
    (the median); listed frames keep their own times.
    """
    if len(times_s) < 2:
        return times_s, f0_hz
    hop = float(np.median(np.diff(times_s)))
    edges = np.concatenate([[times_s[0] % hop - hop], times_s, [max(duration_s, times_s[-1] + hop)]])
    missing = []
    for left, right in pairwise(edges):
        # -0.5: a step of one hop plus jitter misses nothing, a step of two hops misses one frame
        missing.append(left + hop * np.arange(1, int((right - left) / hop - 0.5) + 1))
    gaps = np.concatenate(missing)
    gaps = gaps[(gaps >= 0) & (gaps <= duration_s)]
    times = np.concatenate([times_s, gaps])
    order = np.argsort(times, kind="stable")
    return times[order], np.concatenate([f0_hz, np.zeros(len(gaps))])[order]


@dataclass(frozen=True)
class StemFolderTrack(MultiTrack):
    """One song folder."""

    name: str
    dataset: str
    folder: Path

    @property
    def tasks(self) -> frozenset[str]:
        found = {
            "separation": any(find_audio(self.folder, stem) for stem in STEMS),
            "f0": (self.folder / F0_FILE).is_file(),
            "beats": (self.folder / BEATS_FILE).is_file(),
        }
        return frozenset(task for task, there in found.items() if there)

    def load(self) -> TrackTruth:
        path = find_audio(self.folder, MIXTURE)
        if path is None:
            raise CatalogError("no mixture.flac or mixture.wav", source=str(self.folder))
        mixture, sample_rate = read_audio(path)
        stems = {}
        for stem in STEMS:
            if path := find_audio(self.folder, stem):
                stems[stem], stem_rate = read_audio(path)
                if stem_rate != sample_rate or stems[stem].shape != mixture.shape:
                    raise CatalogError(
                        f"{stems[stem].shape} at {stem_rate} Hz does not match its mixture, "
                        f"{mixture.shape} at {sample_rate} Hz (channels, samples)",
                        source=str(path),
                    )
        return TrackTruth(sample_rate, mixture, stems, self._f0(mixture.shape[1] / sample_rate), self._beats())

    def _f0(self, duration_s: float) -> tuple[np.ndarray, np.ndarray] | None:
        path = self.folder / F0_FILE
        if not path.is_file():
            return None
        times, f0 = read_numbers(path, separator=",", columns=2).T
        if np.any(np.diff(times) <= 0) or np.any(f0 < 0):
            raise CatalogError("times must increase and F0 must not be negative", source=str(path))
        return fill_unvoiced(times, f0, duration_s)

    def _beats(self) -> tuple[np.ndarray, np.ndarray] | None:
        path = self.folder / BEATS_FILE
        if not path.is_file():
            return None
        times, positions = read_numbers(path, separator=None, columns=2).T
        if np.any(np.diff(times) <= 0):
            raise CatalogError("beat times must increase", source=str(path))
        return times, positions.astype(np.int64)


def stem_folder_tracks(root: Path) -> list[StemFolderTrack]:
    """Song folders directly under ``root``, or ``root`` itself if it is one; empty if neither."""
    root = root.resolve()
    if find_audio(root, MIXTURE):
        return [StemFolderTrack(root.name, root.parent.name, root)]
    songs = sorted(child for child in root.iterdir() if child.is_dir() and find_audio(child, MIXTURE))
    return [StemFolderTrack(song.name, root.name, song) for song in songs]
