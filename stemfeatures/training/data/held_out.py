"""Recordings that are kept out of training."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path

from ...datasets.multitrack import MultiTrack
from .stem_sum import StemSum


def matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(path, p) for p in patterns)


def read_patterns(path: str | Path | None) -> list[str]:
    """Glob patterns, one a line; ``#`` starts a comment."""
    if path is None:
        return []
    lines = (line.split("#")[0].strip() for line in Path(path).read_text().splitlines())
    return [line for line in lines if line]


class HeldOut:
    """What is never learned from: recordings that match a pattern.

    A pattern is a glob, or a plain name, of a song or file: ``NAME``, or ``FOLDER/NAME`` with as many of the folders
    above it as one likes, down from the folder that was given; ``FOLDER/*`` is all there. Songs of data sets that are
    not folders are ``DATASET/NAME``. Suffixes of files may be left out.

    Attributes
    ----------
    patterns : Iterable[str], default=()
        All of them.
    matched : set[str]
        Those that something matched so far.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = sorted(set(patterns))
        self.matched: set[str] = set()

    def __call__(self, source: MultiTrack | StemSum | Path, roots: Iterable[str | Path] = ()) -> bool:
        """Whether a recording that was found under one of ``roots`` is held out."""

        labels = _labels(source, roots)
        found = {p for p in self.patterns if p in labels or any(matches(label, [p]) for label in labels)}
        self.matched |= found
        return bool(found)


def _labels(source: MultiTrack | StemSum | Path, roots: Iterable[str | Path]) -> set[str]:
    track = source.track if isinstance(source, StemSum) else source
    path = track if isinstance(track, Path) else getattr(track, "folder", None)
    names = [] if isinstance(track, Path) else [(*track.dataset.split("/"), track.name)]
    if path is not None and (isinstance(track, Path) or path.name == track.name):
        names.append((path.parent.name, path.name))
        for root in (Path(root).resolve() for root in roots):
            if path.is_relative_to(root) and path != root:
                names.append((root.name, *path.relative_to(root).parts))
    ends = {"/".join(folders[i:]) for folders in names for i in range(len(folders))}
    if isinstance(track, Path):
        return ends | {end.removesuffix(track.suffix) for end in ends}
    return ends | {f"{end}/" for end in ends}  # FOLDER/* is for songs too
