"""One track of a features directory as the analysis gave it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from ..constants import PITCHED_STEMS
from ..descriptors.types import Events, F0Contour, TrackDescription
from ..errors import DatasetError, LostPartError, UnreachableError

if TYPE_CHECKING:
    from .reader import Features

#: Tables that are read otherwise.
_OTHERS = frozenset({"tracks", "stems", "contours", "events", "embeddings", "errors", "runs"})


def describe_track(features: Features, track_id: str) -> TrackDescription:
    """Read what the tables hold of one track.

    Parameters
    ----------
    features : Features
        The directory.
    track_id : str
        The track.

    Returns
    -------
    TrackDescription
        Without what was not written.

    Raises
    ------
    DatasetError
        There is no such track.
    """
    chosen = pc.field("track_id") == track_id
    if not features.read_again(lambda: features.dataset("tracks").count_rows(filter=chosen)):
        raise DatasetError(f"there is no track {track_id!r}", source=str(features.path))
    have = set(features.tables)

    def rows(table: str) -> list[dict[str, Any]]:
        return features.to_arrow(table, filter=chosen).to_pylist() if table in have else []

    contours: dict[str, F0Contour] = {}
    for stem in PITCHED_STEMS:
        try:
            contours[stem] = features.contour(track_id, stem)
        except (LostPartError, UnreachableError):
            raise
        except DatasetError:  # there is none
            continue
    beats = next((r for r in rows("events") if r["kind"] == "beat"), None)
    events = Events(
        np.array(beats["times_s"] if beats else [], dtype=np.float64),
        np.array((beats and beats["positions"]) or [], dtype=np.int64),
        {r["stem"]: np.array(r["times_s"], dtype=np.float64) for r in rows("events") if r["kind"] == "onset"},
    )
    stems = {r["stem"]: r for r in rows("stems")}
    vectors = {r["stem"]: np.array(r["vector"], dtype=np.float32) for r in rows("embeddings")}
    found = TrackDescription(stems, contours, events, vectors)
    if hasattr(found, "tables"):
        others = (table for table in features.tables if table not in _OTHERS)
        found.tables = {table: features.to_arrow(table, filter=chosen).to_pydict() for table in others}
    return found
