"""What the index answers, and what it says when it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DatasetError
from .search import Space

if TYPE_CHECKING:
    import pandas as pd


class SimilarityError(DatasetError):
    """A question that the index cannot answer."""

    stage = "similar"


#: Neighbours that are printed.
_SHOWN = 10


@dataclass(frozen=True, repr=False)
class Neighbours:
    """The tracks nearest to one track, nearest first.

    Attributes
    ----------
    query : str
        The track asked for.
    track_ids : list of str
        The neighbours.
    distances : (k,) ndarray
        0 is equal, 1 what two random tracks are apart.
    scores : (k,) ndarray
        What they are ranked by: the distances, unless there is contrast (see :mod:`.search`).
    by_stem : dict
        Distances in each stem of ``near`` alone, {stem: (k,)}.
    unlikeness : dict
        Distances in each stem of ``unlike``, {stem: (k,)}.
    near : Space
        The blocks in which they are near.
    unlike : Space or None
        The blocks in which they are to differ; None without contrast.
    rows : (k,) ndarray
        Rows of the neighbours in the index.
    """

    query: str
    track_ids: list[str]
    distances: np.ndarray
    scores: np.ndarray
    by_stem: dict[str, np.ndarray]
    unlikeness: dict[str, np.ndarray]
    near: Space
    unlike: Space | None
    rows: np.ndarray

    def __repr__(self) -> str:
        contrast = f", unlike {', '.join(self.unlikeness)}" if self.unlikeness else ""
        lines = [f"<Neighbours of {self.query!r}: {len(self.track_ids):,}, by {', '.join(self.by_stem)}{contrast}>"]
        lines += [f"  {d:.2f}  {track_id!r}" for d, track_id in zip(self.distances[:_SHOWN], self.track_ids)]
        if len(self.track_ids) > _SHOWN:
            lines.append("  ... (to_pandas() has all)")
        return "\n".join(lines)

    def to_pandas(self) -> pd.DataFrame:
        """Indexed by ``track_id``: ``score``, ``distance``, ``distance_<stem>``, ``unlike_<stem>``."""
        import pandas as pd

        columns = {"score": self.scores, "distance": self.distances}
        columns |= {f"distance_{stem}": values for stem, values in self.by_stem.items()}
        columns |= {f"unlike_{stem}": values for stem, values in self.unlikeness.items()}
        return pd.DataFrame(columns, index=pd.Index(self.track_ids, name="track_id"))
