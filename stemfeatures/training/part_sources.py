"""What a target is learned from: multitracks, and recordings of which only one part is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..constants import MIXTURE
from ..datasets.annotations import Annotations
from ..datasets.multitrack import AUDIO_SUFFIXES, MultiTrack, find_audio, find_tracks, read_audio
from ..errors import CatalogError, DatasetError

ACCOMPANIMENT = "accompaniment"
#: Names under which song folders hold the whole mix.
_MIXES = (MIXTURE, "mix", "master")


@dataclass(frozen=True)
class PartsFolder(MultiTrack):
    """A song folder whose audio files are its stems, whatever their names; ``mixture``, where there is one, is used to
    check that the stems are all of it."""

    name: str
    dataset: str
    folder: Path

    @property
    def artist(self) -> str | None:  # type: ignore[override]
        artist, separator, _ = self.name.partition(" - ")
        return artist if separator else None

    @property
    def stem_names(self) -> tuple[str, ...]:
        names = {path.stem for path in self.folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES}
        return tuple(sorted(names - {*_MIXES}))

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        path = find_audio(self.folder, stem)
        if path is None:
            if stem == MIXTURE:
                raise CatalogError("no mixture", source=str(self.folder))
            raise KeyError(stem)
        return read_audio(path)

    def source(self, stem: str = MIXTURE) -> str:
        return str(find_audio(self.folder, stem) or self.folder)

    def annotations(self) -> Annotations:
        return Annotations()


def find_pairs(spec: str | Path, target: str) -> list[MultiTrack]:
    """Multitracks with the target and something besides.

    Parameters
    ----------
    spec : a song folder ``<song>/<stem>.wav`` (or .flac ...), a folder of such, or whatever
        :func:`~stemfeatures.datasets.multitrack.find_tracks` opens.

    Raises
    ------
    CatalogError : nothing of the kind there. DatasetError : none of the tracks has the target and something besides.
    """
    root = Path(spec)
    tracks: list[MultiTrack] = []
    if root.is_dir():
        root = root.resolve()
        folders = [root, *sorted(child for child in root.iterdir() if child.is_dir())]
        tracks += [PartsFolder(f.name, f.parent.name, f) for f in folders if find_audio(f, target)]
    tracks = tracks or find_tracks(spec, stage="parts")
    usable = [track for track in tracks if target in track.stem_names and rest_of(track, target)]
    if not usable:
        there = sorted({stem for track in tracks for stem in track.stem_names})
        message = f"none of {len(tracks)} songs has the stem {target!r} and another; stems here: {', '.join(there)}"
        raise DatasetError(message, source=str(spec), stage="parts")
    return usable


def rest_of(track: MultiTrack, target: str) -> tuple[str, ...]:
    """The stems whose sum is everything but the target."""
    others = tuple(stem for stem in track.stem_names if stem != target)
    parts = tuple(stem for stem in others if stem != ACCOMPANIMENT)
    # Beside its parts an accompaniment would count them twice; alone it is the rest of what was taken out of it.
    return parts or others


def find_recordings(paths: Iterable[str | Path]) -> list[Path]:
    """Audio files, and those in folders at any depth, in order and each once.

    Raises
    ------
    DatasetError : a path does not exist, or holds no audio.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
            if not inside:
                raise DatasetError(f"no audio files ({', '.join(AUDIO_SUFFIXES)})", source=str(path), stage="parts")
        elif path.is_file():
            inside = [path]
        else:
            raise DatasetError("no such file or folder", source=str(path), stage="parts")
        found |= dict.fromkeys(p.resolve() for p in inside)
    return list(found)
