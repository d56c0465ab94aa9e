"""Splits by artist: no singer is heard in training and in the test.

Splitting by clip or by song leaks: MIR-1K cut by clip has every song and every singer of its test part in training too,
and what is measured then is memory. The place of an artist is a hash of its name, so the same artist falls into the
same split in *every* data set (MUSDB18 and MedleyDB share songs), in any order of the tracks, and whatever is added
later. What that costs: fractions are met on average only. With few artists look at the sizes, and try another seed.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Literal

from ..errors import CatalogError
from .multitrack import MultiTrack


def artist_key(artist: str) -> str:
    """One spelling for an artist: case, accents, punctuation and guests (``feat. ...``) do not matter.

    Names in other scripts stay as they are; ``The`` and word order count.
    """
    name = re.split(r"\s[(\[]?(?:feat\.?|ft\.?|featuring)\s", artist, maxsplit=1, flags=re.IGNORECASE)[0]
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    return "".join(c for c in plain if c.isalnum()) or plain.strip()


def split_by_artist(
    tracks: Iterable[MultiTrack],
    *,
    fractions: Mapping[str, float],
    seed: int = 0,
    unknown: Literal["error", "track"] = "error",
) -> dict[str, list[MultiTrack]]:
    """Divide tracks so that no artist or singer is in two splits.

    Parameters
    ----------
    tracks : iterable of MultiTrack
        What to divide.
    fractions : mapping of str to float
        ``{"train": 0.8, "valid": 0.1, "test": 0.1}``: shares of the *artists*, positive, with the sum 1. Their order
        counts: it says which stretch of the hash belongs to which split.
    seed : int
        Another seed is another division.
    unknown : {"error", "track"}
        Tracks whose data set names no artist: ``error``, or ``track`` to let each stand for an artist of its own (the
        best that can be done for Ballroom or GTZAN, and no proof against leaks).

    Returns
    -------
    dict of str to list of MultiTrack
        Each split's tracks in the order given; may be empty.

    Raises
    ------
    ValueError
        Fractions that are not positive or do not sum to 1.
    CatalogError
        A track without an artist, with ``unknown="error"``.
    """
    if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-9:
        raise ValueError(f"fractions must be positive and sum to 1: {dict(fractions)}")
    splits: dict[str, list[MultiTrack]] = {name: [] for name in fractions}
    for track in tracks:
        if track.artist:
            key = artist_key(track.artist)
        elif unknown == "track":
            key = f"{track.dataset}/{track.name}"
        else:
            raise CatalogError(
                'names no artist; unknown="track" takes each track for an artist of its own',
                source=f"{track.dataset}/{track.name}",
                stage="split",
            )
        splits[_split(key, fractions, seed)].append(track)
    return splits


def _split(key: str, fractions: Mapping[str, float], seed: int) -> str:
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    upper = 0.0
    for name, fraction in fractions.items():
        upper += fraction
        if place < upper:
            return name
    return name  # the last, where rounding left the sum a little below 1
