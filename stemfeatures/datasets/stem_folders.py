"""A folder of song folders, each with a mixture, its stems and perhaps annotations.

::

    <song>/mixture.flac                              required (or .wav, .mp3 ...)
    <song>/{vocals,drums,bass,other}.flac            any of them; or vocals and accompaniment
    <song>/vocals_f0.csv                             time in s, F0 in Hz (0 = unvoiced), further columns ignored
    <song>/beats.tsv                                 time in s, beat in the bar (1 = downbeat)
    <song>/truth.json                                all that is known of a generated song, see :mod:`.truth_json`

This is the layout of the musdb exports and of generated songs; the tables are those of MedleyDB and its derivatives.
A table wins over the same truth in ``truth.json``. The artist is that of a folder named ``Artist - Title``; a generated
song names its lead singer itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..constants import MIXTURE, STEMS
from ..errors import CatalogError
from .annotations import F0, Annotations, Beats
from .multitrack import MultiTrack, fill_unvoiced, find_audio, read_audio, read_numbers
from .registry import register_dataset
from .truth_json import lead_singer, read_truth_json

__all__ = ["StemFolderTrack", "fill_unvoiced", "stem_folder_tracks"]

F0_FILE = "vocals_f0.csv"
BEATS_FILE = "beats.tsv"
TRUTH_FILE = "truth.json"


@dataclass(frozen=True)
class StemFolderTrack(MultiTrack):
    """One song folder."""

    name: str
    dataset: str
    folder: Path

    @cached_property
    def artist(self) -> str | None:  # type: ignore[override]
        artist, separator, _ = self.name.partition(" - ")
        if separator:
            return artist
        path = self.folder / TRUTH_FILE
        # An instrumental shares its singer with nobody.
        return lead_singer(read_truth_json(path)) or self.name if path.is_file() else None

    @property
    def lists_unvoiced(self) -> bool:  # type: ignore[override]
        return not (self.folder / F0_FILE).is_file()

    @property
    def stem_names(self) -> tuple[str, ...]:
        found = tuple(stem for stem in STEMS if find_audio(self.folder, stem))
        # Beside its parts, the accompaniment would count them twice.
        if set(found) <= {"vocals"} and find_audio(self.folder, "accompaniment"):
            found += ("accompaniment",)
        return found

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        path = find_audio(self.folder, stem)
        if path is None:
            if stem == MIXTURE:
                raise CatalogError("no mixture.flac or mixture.wav", source=str(self.folder))
            raise KeyError(stem)
        return read_audio(path)

    def source(self, stem: str = MIXTURE) -> str:
        return str(find_audio(self.folder, stem) or self.folder)

    def annotations(self) -> Annotations:
        path = self.folder / TRUTH_FILE
        known = read_truth_json(path) if path.is_file() else Annotations()
        if f0 := self._f0():
            known = replace(known, f0={**known.f0, "vocals": (f0,)})
        return replace(known, beats=self._beats() or known.beats)

    def _f0(self) -> F0 | None:
        path = self.folder / F0_FILE
        if not path.is_file():
            return None
        times, f0 = read_numbers(path, separator=",", columns=2).T
        if np.any(np.diff(times) <= 0) or np.any(f0 < 0):
            raise CatalogError("times must increase and F0 must not be negative", source=str(path))
        return F0(times, f0)

    def _beats(self) -> Beats | None:
        path = self.folder / BEATS_FILE
        if not path.is_file():
            return None
        times, positions = read_numbers(path, separator=None, columns=2).T
        if np.any(np.diff(times) <= 0):
            raise CatalogError("beat times must increase", source=str(path))
        return Beats(times, positions.astype(np.int64))


@register_dataset("stems", recognised=True)
def stem_folder_tracks(root: Path) -> list[StemFolderTrack]:
    """Song folders directly under ``root``, or ``root`` itself if it is one; empty if neither."""
    root = root.resolve()
    if find_audio(root, MIXTURE):
        return [StemFolderTrack(root.name, root.parent.name, root)]
    songs = sorted(child for child in root.iterdir() if child.is_dir() and find_audio(child, MIXTURE))
    return [StemFolderTrack(song.name, root.name, song) for song in songs]
