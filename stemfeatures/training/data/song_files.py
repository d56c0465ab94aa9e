"""Digests of the files that songs are made of: the same song is found again under any name, in any folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...audio import file_sha256
from ...constants import MIXTURE
from ...datasets.multitrack import MultiTrack


def files_of(track: MultiTrack, stems: Iterable[str]) -> tuple[Path, ...]:
    """The files of some of a track's stems, each once; those that are no files of their own are left out."""
    return tuple(dict.fromkeys(path for stem in stems if (path := Path(track.source(stem))).is_file()))


def song_digests(track: MultiTrack, sounding: Iterable[str]) -> tuple[str, ...]:
    """What tells a song from others: SHA-256 of its mixture's file and of those of its stems.

    Parameters
    ----------
    sounding : Iterable[str]
        The stems that are not silent throughout; silence of one length is the same file in many songs.
    """
    sounding = tuple(sounding)
    return tuple(sorted({file_sha256(path) for path in files_of(track, (MIXTURE, *sounding))})) if sounding else ()


def holds_any(track: MultiTrack, digests: set[str] | frozenset[str]) -> bool:
    """Whether a track's mixture or one of its stems is a file of one of ``digests``."""
    return bool(digests) and any(file_sha256(path) in digests for path in files_of(track, (MIXTURE, *track.stem_names)))
