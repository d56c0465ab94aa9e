"""Data sets opened by name, and songs found in whatever lies in a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from ..errors import CatalogError
from .multitrack import MultiTrack, MultitrackDataset
from .registry import Loader, loaders


def open_dataset(name: str, root: str | Path, **options: Any) -> MultitrackDataset:
    """Open a data set by name; reads lists and labels at most, no audio.

    Parameters
    ----------
    name : str
        ``stems`` (:mod:`.stem_folders`), ``mir1k``, ``musdb18`` (stem files), ``musdb18hq`` (wav), ``ultrastar``,
        ``jamendolyrics``, ``mirdata:<name>`` for a data set of :mod:`.mirdata_sets`, or what else is registered
        (:func:`.registry.register_dataset`).
    root : str or Path
        Its folder; for mirdata the ``data_home``.
    **options
        Keywords of the loader, for example ``version`` of a mirdata data set.

    Returns
    -------
    MultitrackDataset
        Its tracks, by name.

    Raises
    ------
    CatalogError
        Unknown name, no such folder, or nothing of that layout in it.
    ImportError
        The extra ``datasets`` is needed and not installed.

    See Also
    --------
    find_tracks : Recognises layouts by their files.
    """
    path = Path(root).expanduser()
    kind, colon, variant = name.partition(":")
    known = loaders()
    loader = known.get(kind)
    if loader is None or loader.has_variants != bool(colon):
        names = ", ".join(map(_spelling, known.values()))
        raise CatalogError(f"unknown data set {name!r}, expected one of {names}", source=str(root))
    if not path.is_dir():
        raise CatalogError("no such folder", source=str(root))
    tracks = loader.open(path, *([variant] if loader.has_variants else []), **options)
    if not tracks:
        raise CatalogError("no tracks of that layout found", source=str(path))
    return tracks if isinstance(tracks, MultitrackDataset) else MultitrackDataset(tracks[0].dataset, tracks)


def _spelling(loader: Loader) -> str:
    return f"{loader.name}:<name>" if loader.has_variants else loader.name


def find_tracks(path: str | Path, *, stage: str = CatalogError.stage) -> list[MultiTrack]:
    """The tracks under a folder, sorted by data set and name.

    Parameters
    ----------
    path : str or Path
        A song folder, a folder of song folders (:mod:`.stem_folders`), a MIR-1K folder (:mod:`.mir1k`), or a folder
        that holds several of the latter two; what else lies there is passed over. Where there is none of these, other
        layouts are tried, each on the whole folder: ``musdb18``, ``ultrastar`` and the like. ``"<name of
        open_dataset>:<folder>"`` asks for one, for example ``"musdb18:/data/musdb18"`` or
        ``"mirdata:ikala:/data/ikala"``.
    stage : str
        What errors call the work that the tracks are for.

    Returns
    -------
    list of MultiTrack
        Nothing of them is read yet.

    Raises
    ------
    CatalogError
        ``path`` does not exist or holds no such track.

    See Also
    --------
    open_dataset : Opens one data set by its name.
    """
    try:
        return _find_tracks(path)
    except CatalogError as error:
        error.stage = stage
        raise


def _find_tracks(path: str | Path) -> list[MultiTrack]:
    root = Path(path)
    known = loaders()
    if not root.is_dir():
        kind, _, rest = str(path).partition(":")
        loader = known.get(kind)
        if loader is not None and loader.has_variants and ":" in rest:
            variant, _, rest = rest.partition(":")
            return list(open_dataset(f"{kind}:{variant}", rest))
        if loader is not None and not loader.has_variants and rest:
            return list(open_dataset(kind, rest))
        if loader is not None and loader.has_variants and rest:
            raise CatalogError(f"{kind} needs a name as well: {kind}:NAME:{rest}", source=str(path))
        if rest and Path(rest.rpartition(":")[2]).expanduser().is_dir():
            names = ", ".join(map(_spelling, known.values()))
            raise CatalogError(f"unknown data set {kind!r}, expected one of {names}", source=str(path))
        raise CatalogError("no such folder", source=str(path))
    recognised = [loader for loader in known.values() if loader.recognised]
    tracks = _found_in(root, recognised)
    if not tracks:
        for folder in sorted(child for child in root.iterdir() if child.is_dir()):
            tracks += _found_in(folder, recognised)
    return tracks or _found_by_others(root, list(known.values()))


def _found_by_others(root: Path, known: list[Loader]) -> list[MultiTrack]:
    """Tracks of the one layout, among those that no single folder tells, that is found under a folder."""
    others = [loader for loader in known if not loader.recognised and not loader.has_variants]
    found: dict[str, list[MultiTrack]] = {}
    for loader in others:
        with contextlib.suppress(CatalogError, ImportError):
            if tracks := list(loader.open(root)):
                found[loader.name] = tracks
    if len(found) == 1:
        return next(iter(found.values()))
    names = ", ".join(f"{name}:{root}" for name in found or [loader.name for loader in others])
    if found:
        raise CatalogError(f"more than one layout of tracks found, say which: {names}", source=str(root))
    raise CatalogError(
        "no tracks found: expected song folders with mixture.flac or .wav, MIR-1K clips with .pv labels, or one of "
        f"{names}",
        source=str(root),
    )


def _found_in(folder: Path, recognised: list[Loader]) -> list[MultiTrack]:
    tracks = [track for loader in recognised for track in loader.open(folder)]
    return sorted(tracks, key=lambda track: (track.dataset, track.name))
