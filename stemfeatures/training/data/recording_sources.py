"""What a target is learned from: multitracks, and recordings of one source, or of nothing but a mixture.

Multitracks can stand for either. As such recordings, their mixture, the target's stem or the sum
of the others is taken, see :func:`find_recordings`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..._util.folders import folders_below
from ...audio import to_mono
from ...constants import MIXTURE, STEMS
from ...datasets.annotations import Annotations
from ...datasets.mir1k import mir1k_tracks
from ...datasets.multitrack import (
    ACCOMPANIMENT,
    AUDIO_SUFFIXES,
    MultiTrack,
    TrackTruth,
    find_audio,
    read_audio,
    rest_of,
)
from ...datasets.opening import find_tracks
from ...errors import CatalogError, DatasetError
from .held_out import HeldOut
from .song_store import is_song_store, stored_tracks
from .stem_sum import StemSum

__all__ = ["HeldOut", "SongFolder", "StemSum", "find_pairs", "find_recordings", "read_stems", "rest_of"]

logger = logging.getLogger(__name__)

_STAGE = "train"
#: Names under which song folders hold the whole mix.
_MIXES = (MIXTURE, "mix", "master")
#: What songs lack that are no use as a kind of recording.
_LACKING = {
    "mixtures": "neither a mixture nor stems to sum",
    "solos": "no stem {!r}",
    "accompaniments": "no stems that are surely free of {!r}",
}


@dataclass(frozen=True)
class SongFolder(MultiTrack):
    """A song folder whose audio files are its stems, whatever their names.

    A ``mixture``, where there is one, is used to check that the stems are all of it, and to separate it where the song
    is one to validate with; elsewhere the sum of the stems is the mixture.
    """

    name: str
    dataset: str
    folder: Path

    @property
    def artist(self) -> str | None:  # type: ignore[override]
        artist, separator, _ = self.name.partition(" - ")
        return artist if separator else None

    @property
    def stem_names(self) -> tuple[str, ...]:
        return tuple(sorted({path.stem for path in _audio_in(self.folder)} - {*_MIXES}))

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        path = find_audio(self.folder, stem)
        if path is not None:
            return read_audio(path)
        if stem != MIXTURE:
            raise KeyError(stem)
        stems, sample_rate = read_stems(self, self._summands())
        return stems.sum(axis=0, keepdims=True), sample_rate

    @property
    def has_mixture(self) -> bool:
        return find_audio(self.folder, MIXTURE) is not None

    def load(self) -> TrackTruth:
        """As of other multitracks, but mono: stems need fit each other no better than those that are learned from."""
        summands = (MIXTURE,) if self.has_mixture else self._summands()
        names = (MIXTURE, *self.stem_names) if self.has_mixture else self.stem_names
        signals, sample_rate = read_stems(self, names)
        stems = dict(zip(names, signals[:, None]))
        mixture = np.sum([stems[name] for name in summands], axis=0)
        stems.pop(MIXTURE, None)
        return TrackTruth(sample_rate, mixture, stems, annotations=self.annotations())

    def _summands(self) -> tuple[str, ...]:
        if not (found := _summands(self)):
            raise CatalogError(_LACKING["mixtures"], source=str(self.folder), stage=_STAGE)
        return found

    def source(self, stem: str = MIXTURE) -> str:
        return str(find_audio(self.folder, stem) or self.folder)

    def annotations(self) -> Annotations:
        return Annotations()


def read_stems(track: MultiTrack, stems: Sequence[str]) -> tuple[np.ndarray, int]:
    """``(stems, n_samples)``, mono, as long as the shortest, and their sample rate.

    Raises
    ------
    CatalogError
        Their rates differ, or their ends by more than 50 ms.
    """
    signals = [track.audio(stem) for stem in stems]
    rates = {rate for _, rate in signals}
    sizes = {y.shape[-1] for y, _ in signals}
    if len(rates) > 1 or max(sizes) - min(sizes) > 0.05 * max(rates):
        message = f"stems of different rates ({sorted(rates)}) or lengths ({min(sizes)} to {max(sizes)} samples)"
        raise CatalogError(message, source=track.source(stems[0]), stage="recordings")
    return np.stack([to_mono(y)[: min(sizes)] for y, _ in signals]), rates.pop()


def find_pairs(spec: str | Path, target: str) -> list[MultiTrack]:
    """Multitracks with the target and something besides.

    Parameters
    ----------
    spec : str | Path
        A song folder ``<song>/<stem>.wav`` (or .flac ...), a folder of such, a store of
        :func:`~.song_store.build_song_store`, or whatever :func:`~stemfeatures.datasets.opening.find_tracks` opens.

    Raises
    ------
    CatalogError
        Nothing of the kind there.
    DatasetError
        None of the tracks has the target and something besides.
    """
    root = Path(spec)
    tracks: list[MultiTrack] = []
    if root.is_file():
        raise DatasetError("a file; expected a song folder, or a folder of them", source=str(spec), stage=_STAGE)
    if is_song_store(root):
        tracks = stored_tracks(root)
    elif root.is_dir():
        root = root.resolve()
        folders = [root, *sorted(child for child in root.iterdir() if child.is_dir())]
        songs = [SongFolder(f.name, f.parent.name, f) for f in folders if _audio_in(f)]
        tracks += [song for song in songs if find_audio(song.folder, target)]
        try:
            tracks = tracks or find_tracks(root, stage=_STAGE)
        except CatalogError:  # stems without a mixture, but not of the target
            tracks = list[MultiTrack](songs)
        if not tracks:
            message = f"no song folders with stems ({target}.wav and others), nor another layout that shows itself"
            raise DatasetError(message, source=str(spec), stage=_STAGE)
    else:
        tracks = find_tracks(spec, stage=_STAGE)
    usable = [track for track in tracks if target in track.stem_names and rest_of(track, target)]
    if not usable:
        message = f"none of {len(tracks)} songs has the stem {target!r} and another; {_stems_in(tracks)}"
        raise DatasetError(message, source=str(spec), stage=_STAGE)
    return usable


def find_recordings(paths: Iterable[str | Path], kind: str, target: str) -> list[Path | StemSum]:
    """Recordings of one kind, each once: audio files, and those in folders at any depth, as they are; of multitracks
    the stems that the kind is about.

    A folder is a song if it holds a file named ``mixture``, ``accompaniment``, as the target or as one of the four
    stems; its audio files are its stems then, and what lies in folders below it is passed over unless they are songs
    themselves. Songs and other files may lie side by side. Songs without them are left out with a warning.

    ================== ================================================================================================
    kind               of a song
    ================== ================================================================================================
    ``mixtures``       its mixture; where there is none, the sum of its stems
    ``solos``          the target's stem
    ``accompaniments`` the sum of the others; all of a song without the target, unless that may be in its
                       ``accompaniment`` or, being none of the four stems, in its ``other``
    ================== ================================================================================================

    Parameters
    ----------
    paths : Iterable[str | Path]
        Audio files, folders, stores of :func:`~.song_store.build_song_store`, or ``NAME:DIR`` as
        :func:`~stemfeatures.datasets.opening.find_tracks` takes them.

    Raises
    ------
    DatasetError
        A path does not exist, holds no audio, or songs alone that lack those stems.
    CatalogError
        Nothing of the layout ``NAME`` there.
    """
    found: dict[object, Path | StemSum] = {}
    for path in paths:
        tracks, files = _look(path, target)
        found |= {file: file for file in files}
        songs = [(track, _stems_for(track, kind, target)) for track in tracks]
        lacking = [track for track, stems in songs if not stems]
        if lacking and len(lacking) == len(tracks) and not files:
            message = f"none of {len(tracks)} songs can be used for the {kind}: {_LACKING[kind].format(target)}; "
            raise DatasetError(message + _stems_in(tracks), source=str(path), stage=_STAGE)
        if lacking:
            message = f"{len(lacking)} of {len(tracks)} songs with {_LACKING[kind].format(target)}"
            logger.warning("left out of the %s: %s, such as %s", kind, message, lacking[0].source())
        found |= {(t.dataset, t.name, t.source()): StemSum(t, stems) for t, stems in songs if stems}
    return list(found.values())


def _stems_for(track: MultiTrack, kind: str, target: str) -> tuple[str, ...]:
    names = track.stem_names
    if kind == "solos":
        return (target,) if target in names else ()
    if kind == "accompaniments":
        hidden = ACCOMPANIMENT in names or ("other" in names and target not in STEMS)
        return rest_of(track, target) if target in names or not hidden else ()
    mixes = _MIXES if isinstance(track, SongFolder) else (MIXTURE,)
    if mix := [name for name in mixes if not isinstance(track, SongFolder) or find_audio(track.folder, name)]:
        return (mix[0],)
    return _summands(track)


def _summands(track: MultiTrack) -> tuple[str, ...]:
    """Stems whose sum is the mixture; none where there is but one."""
    names = track.stem_names
    first = next((name for name in names if name != ACCOMPANIMENT), "")
    return (first, *rest_of(track, first)) if len(names) > 1 else ()


def _look(path: str | Path, target: str) -> tuple[Sequence[MultiTrack], list[Path]]:
    """Songs, and audio files that belong to none, in order."""
    root = Path(path)
    if root.is_file():
        return [], [root.resolve()]
    if not root.is_dir():
        if ":" in str(path):
            return find_tracks(path, stage=_STAGE), []
        raise DatasetError("no such file or folder", source=str(path), stage=_STAGE)
    if is_song_store(root):
        return stored_tracks(root), []
    marks = {MIXTURE, ACCOMPANIMENT, target, *STEMS}
    tracks: list[MultiTrack] = []
    files: list[Path] = []
    songs: set[Path] = set()
    passed = 0
    for folder, _ in folders_below(root.resolve()):
        inside = _audio_in(folder)
        clips = mir1k_tracks(folder)
        if marks & {file.stem for file in inside}:
            tracks.append(SongFolder(folder.name, folder.parent.name, folder))
            songs.add(folder)
        elif songs.intersection(folder.parents):
            passed += len(inside)
        else:
            tracks += clips
            files += [file for file in inside if file.stem not in {clip.name for clip in clips}]
    if passed:
        logger.warning("passed over %d audio files in folders inside song folders of %s", passed, path)
    if not tracks and not files:
        raise DatasetError(f"no audio files ({', '.join(AUDIO_SUFFIXES)})", source=str(path), stage=_STAGE)
    return tracks, sorted(file.resolve() for file in files)


def _audio_in(folder: Path) -> list[Path]:
    """Audio files of a folder; what begins with a dot is none (macOS leaves such beside every file it copies)."""
    inside = (path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES)
    return [path for path in inside if not path.name.startswith(".") and path.is_file()]


def _stems_in(tracks: Iterable[MultiTrack]) -> str:
    names = sorted({stem for track in tracks for stem in track.stem_names})
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"stems here: {', '.join(names[:12]) or 'none'}{more}"
