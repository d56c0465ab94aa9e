"""Tracks whose parts are known: what evaluation reads, whatever folder layout it came from.

A :class:`MultiTrack` says where a track lies and which truths it has; :meth:`MultiTrack.load` reads them. The
layouts live one a module (:mod:`.stem_folders`, :mod:`.mir1k`); :func:`find_tracks` recognises them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import CatalogError

AUDIO_SUFFIXES = (".flac", ".wav")


@dataclass
class TrackTruth:
    """One track in memory.

    Attributes
    ----------
    sample_rate : Hz, that of the files.
    mixture : (channels, n_samples) float32.
    stems : ``{stem: (channels, n_samples) float32}``, as long and as wide as the mixture; may be empty.
    f0 : ``(times_s, f0_hz)`` of the vocals as float64 arrays covering the whole track, 0 Hz = unvoiced; or None.
    beats : ``(beats_s, beat_positions)``, positions 1-indexed in the bar (1 = downbeat, 0 = not known); or None.
    """

    sample_rate: int
    mixture: np.ndarray
    stems: dict[str, np.ndarray] = field(default_factory=dict)
    f0: tuple[np.ndarray, np.ndarray] | None = None
    beats: tuple[np.ndarray, np.ndarray] | None = None


class MultiTrack(ABC):
    """A track on disk: ``name`` and ``dataset`` identify it, ``tasks`` says what it can be used to evaluate."""

    name: str
    dataset: str

    @property
    @abstractmethod
    def tasks(self) -> frozenset[str]:
        """Those of ``separation``, ``f0`` and ``beats`` that the track holds the truth for; reads no audio."""

    @abstractmethod
    def load(self) -> TrackTruth:
        """Read everything. Raises AudioError or CatalogError naming the file."""


def read_audio(path: Path) -> tuple[np.ndarray, int]:
    """(channels, n_samples) float32 and the sample rate. Raises AudioError."""
    from ..audio import load

    samples, sample_rate = load(path)
    return np.atleast_2d(samples), sample_rate


def find_audio(folder: Path, stem: str) -> Path | None:
    """``folder/stem.flac`` or ``folder/stem.wav``, whichever exists."""
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


def find_tracks(path: str | Path) -> list[MultiTrack]:
    """The tracks under ``path``, sorted by data set and name.

    ``path`` is a song folder, a folder of song folders (:mod:`.stem_folders`), a MIR-1K folder (:mod:`.mir1k`), or a
    folder that holds several of the latter two; what else lies there is passed over.

    Raises
    ------
    CatalogError : ``path`` does not exist or holds no such track.
    """
    from .mir1k import mir1k_tracks
    from .stem_folders import stem_folder_tracks

    root = Path(path)
    if not root.is_dir():
        raise CatalogError("no such folder", source=str(path), stage="evaluate")
    tracks: list[MultiTrack] = [*stem_folder_tracks(root), *mir1k_tracks(root)]
    if not tracks:
        for folder in sorted(child for child in root.iterdir() if child.is_dir()):
            tracks += [*stem_folder_tracks(folder), *mir1k_tracks(folder)]
    if not tracks:
        raise CatalogError(
            "no tracks found: expected song folders with mixture.flac or .wav, or MIR-1K clips with .pv labels",
            source=str(path),
            stage="evaluate",
        )
    return tracks
