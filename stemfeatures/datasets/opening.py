"""Data sets opened by name, and songs found in whatever lies in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import CatalogError
from .multitrack import MultiTrack, MultitrackDataset

#: What :func:`open_dataset` knows, and the extra options of each. ``mirdata:<name>`` is known besides.
LAYOUTS = ("stems", "mir1k", "musdb18", "musdb18hq", "ultrastar", "jamendolyrics")


def open_dataset(name: str, root: str | Path, **options: Any) -> MultitrackDataset:
    """Open a data set by name; reads lists and labels at most, no audio.

    Parameters
    ----------
    name : ``stems`` (:mod:`.stem_folders`), ``mir1k``, ``musdb18`` (stem files), ``musdb18hq`` (wav), ``ultrastar``,
        ``jamendolyrics``, or ``mirdata:<name>`` for a data set of :mod:`.mirdata_sets`.
    root : its folder; for mirdata the ``data_home``.
    options : keywords of the loader, for example ``version`` of a mirdata data set.

    Raises
    ------
    CatalogError : unknown name, no such folder, or nothing of that layout in it.
    ImportError : the extra ``datasets`` is needed and not installed.
    """
    path = Path(root).expanduser()
    kind, _, which = name.partition(":")
    if kind not in (*LAYOUTS, "mirdata"):
        raise CatalogError(
            f"unknown data set {name!r}, expected one of {', '.join(LAYOUTS)} or mirdata:<name>", source=str(root)
        )
    if not path.is_dir():
        raise CatalogError("no such folder", source=str(root))
    if kind == "mirdata":
        from .mirdata_sets import mirdata_dataset

        return mirdata_dataset(which, path, **options)
    if kind in ("musdb18", "musdb18hq"):
        from .musdb18 import musdb18

        return musdb18(path, hq=kind == "musdb18hq", **options)
    if kind == "stems":
        from .stem_folders import stem_folder_tracks

        return MultitrackDataset(path.resolve().name, _some(stem_folder_tracks(path, **options), path))
    if kind == "mir1k":
        from .mir1k import mir1k_tracks

        return MultitrackDataset("mir1k", _some(mir1k_tracks(path, **options), path))
    if kind == "ultrastar":
        from .ultrastar import ultrastar

        return ultrastar(path, **options)
    from .jamendolyrics import jamendolyrics

    return jamendolyrics(path, **options)


def _some(tracks: Sequence[MultiTrack], path: Path) -> Sequence[MultiTrack]:
    if not tracks:
        raise CatalogError("no tracks of that layout found", source=str(path))
    return tracks


def find_tracks(path: str | Path, *, stage: str = CatalogError.stage) -> list[MultiTrack]:
    """The tracks under ``path``, sorted by data set and name.

    ``path`` is a song folder, a folder of song folders (:mod:`.stem_folders`), a MIR-1K folder (:mod:`.mir1k`), or a
    folder that holds several of the latter two; what else lies there is passed over. Layouts that cannot be told from
    their files are asked for as ``"<name of open_dataset>:<folder>"``, for example ``"musdb18:/data/musdb18"`` or
    ``"mirdata:ikala:/data/ikala"``. ``stage`` is what errors call the work that the tracks are for.

    Raises
    ------
    CatalogError : ``path`` does not exist or holds no such track.
    """
    try:
        return _find_tracks(path)
    except CatalogError as error:
        error.stage = stage
        raise


def _find_tracks(path: str | Path) -> list[MultiTrack]:
    from .mir1k import mir1k_tracks
    from .stem_folders import stem_folder_tracks

    root = Path(path)
    if not root.is_dir():
        kind, _, rest = str(path).partition(":")
        if kind == "mirdata" and ":" in rest:
            which, _, rest = rest.partition(":")
            return list(open_dataset(f"mirdata:{which}", rest))
        if kind in LAYOUTS and rest:
            return list(open_dataset(kind, rest))
        raise CatalogError("no such folder", source=str(path))
    tracks: list[MultiTrack] = [*stem_folder_tracks(root), *mir1k_tracks(root)]
    if not tracks:
        for folder in sorted(child for child in root.iterdir() if child.is_dir()):
            tracks += [*stem_folder_tracks(folder), *mir1k_tracks(folder)]
    if not tracks:
        raise CatalogError(
            "no tracks found: expected song folders with mixture.flac or .wav, or MIR-1K clips with .pv labels",
            source=str(path),
        )
    return tracks
