"""Songs of an experiment: a store of multitracks, and the part of it that no network learns from."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from stemfeatures.datasets.multitrack import MultiTrack
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.datasets.splits import artist_key
from stemfeatures.errors import DatasetError
from stemfeatures.training.data.song_store import SongStore, StoredSong, build_song_store, is_song_store
from stemfeatures.training.preparation.development import require_apart

logger = logging.getLogger(__name__)

#: Data set that held-out songs stand in.
HELD_OUT = "held_out"


def open_songs(path: str | Path, store_dir: Path, *, jobs: int = 1) -> SongStore:
    """The store at ``path``, or one decoded into ``store_dir`` from the multitracks there (any layout of
    :func:`~stemfeatures.datasets.opening.find_tracks`).

    Raises
    ------
    DatasetError, CatalogError : nothing of the kind there.
    """
    if is_song_store(path):
        return SongStore(path)
    return SongStore(build_song_store(find_tracks(path), store_dir, jobs=jobs))


def hold_out(songs: Sequence[StoredSong], share: float) -> tuple[list[int], list[int]]:
    """``(learned from, held out)``: places of songs, no artist or singer on both sides.

    Artists are held out in the order of a hash of their names, as many as fit into ``share`` of the songs, at least
    one; a song without an artist stands for an artist of its own.

    Raises
    ------
    DatasetError : all songs are of one artist.
    """
    by_artist: dict[str, list[int]] = {}
    for place, song in enumerate(songs):
        key = artist_key(song.artist) if song.artist else f"{song.dataset}/{song.track}"
        by_artist.setdefault(key, []).append(place)
    if len(by_artist) < 2:
        raise DatasetError("songs of two artists at least are needed, to hold one out", stage="songs")
    ordered = sorted(by_artist, key=lambda key: hashlib.sha256(key.encode()).digest())
    held: list[int] = []
    for key in ordered:
        if len(held) + len(by_artist[key]) <= share * len(songs):
            held += by_artist[key]
    if not held:
        held = min((by_artist[key] for key in ordered), key=len)
    outside = set(held)
    return [place for place in range(len(songs)) if place not in outside], sorted(held)


def find_real(folders: Sequence[str], learned: Sequence[StoredSong]) -> list[MultiTrack]:
    """The tracks of some folders, none of which may be learned from.

    Raises
    ------
    CatalogError, TrainingError : nothing there, or one of them is among ``learned``.
    """
    names = [(song.dataset, song.track) for song in learned]
    digests = {digest for song in learned for digest in song.digests}
    tracks: list[MultiTrack] = []
    for folder in folders:
        found = find_tracks(folder)
        require_apart(folder, found, names, digests)
        tracks += found
    return tracks


def digest(songs: Sequence[StoredSong]) -> str:
    """A short name for a set of songs."""
    names = "\n".join(sorted(f"{song.dataset}/{song.track}/{song.seconds:.3f}" for song in songs))
    return hashlib.sha256(names.encode()).hexdigest()[:16]
