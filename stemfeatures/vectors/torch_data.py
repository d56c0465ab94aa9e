"""Torch data sets over the tables: tracks for an item tower, interactions for a two-tower model.

Both may be indexed by a number, for a plain ``DataLoader``, or by many at once, which is much quicker:

>>> from torch.utils.data import BatchSampler, DataLoader, RandomSampler
>>> from stemfeatures import FeatureTransformer, features_matrix
>>> import pandas as pd
>>> items = ItemDataset(FeatureTransformer().set_output(transform="pandas").fit_transform(features_matrix("features")))
>>> data = InteractionDataset(pd.read_parquet("listening.parquet"), items)
>>> batches = BatchSampler(RandomSampler(data), batch_size=16, drop_last=True)
>>> for batch in DataLoader(data, sampler=batches, batch_size=None):
...     assert batch["features"].shape[0] == 16     # of the others in a batch a two-tower model makes negatives
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


class ItemDataset(Dataset[dict[str, Tensor]]):
    """Tracks with their features: ``{"item": int64, "features": float32 (n_features,)}``.

    Parameters
    ----------
    vectors : DataFrame
        (n_tracks, n_features) without nulls, indexed by ``track_id``; what a
        :class:`~.transformer.FeatureTransformer` gives with ``set_output(transform="pandas")``.

    Attributes
    ----------
    track_ids : Index
        What ``item`` counts in.
    features : Tensor of float32
        (n_tracks, n_features).

    Raises
    ------
    ValueError
        When a value is not finite or a track stands twice.
    """

    def __init__(self, vectors: pd.DataFrame) -> None:
        values = vectors.to_numpy(np.float32, copy=True)
        if not np.isfinite(values).all():
            raise ValueError("features hold NaN or infinity; a FeatureTransformer says what nulls shall be")
        if not vectors.index.is_unique:
            raise ValueError(f"track {vectors.index[vectors.index.duplicated()][0]!r} stands twice")
        self.track_ids = vectors.index
        self.features = torch.from_numpy(values)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: Any) -> dict[str, Tensor]:
        items = torch.as_tensor(index, dtype=torch.int64)
        return {"item": items, "features": self.features[items]}


class InteractionDataset(Dataset[dict[str, Tensor]]):
    """Who liked what: ``{"user": int64, "item": int64, "features": float32 (n_features,), "weight": float32}``.

    Parameters
    ----------
    interactions : DataFrame
        DataFrame with ``user_id``, ``track_id`` and, if they have weights, ``weight``.
    items : ItemDataset
        The tracks. Interactions with others are left out, counted and logged.
    user_ids : Index, optional
        The users in the order of their numbers; those of the interactions, sorted, by default. For a test set, give it
        those of the training set.

    Attributes
    ----------
    user_ids : Index or None
        Index; ``user`` counts in it.
    n_unknown
        Interactions that were left out, because their track or user is not known.
    Raises ValueError when a column is missing or no interaction is left.
    """

    def __init__(self, interactions: pd.DataFrame, items: ItemDataset, *, user_ids: pd.Index | None = None) -> None:
        import pandas as pd

        if missing := [c for c in ("user_id", "track_id") if c not in interactions]:
            raise ValueError(f"interactions have no column {missing[0]!r}")
        self.items = items
        self.user_ids = pd.Index(interactions["user_id"].unique()).sort_values() if user_ids is None else user_ids
        users = self.user_ids.get_indexer(interactions["user_id"])
        tracks = items.track_ids.get_indexer(interactions["track_id"])
        known = (users >= 0) & (tracks >= 0)
        self.n_unknown = int(np.count_nonzero(~known))
        if self.n_unknown:
            log.warning("%d of %d interactions are with unknown tracks or users", self.n_unknown, len(known))
        if not known.any():
            raise ValueError(f"none of the {len(known)} interactions is with a known track and user")
        weights = interactions["weight"].to_numpy(np.float32) if "weight" in interactions else np.ones(len(known), "f4")
        self._users, self._tracks = torch.from_numpy(users[known]), torch.from_numpy(tracks[known])
        self._weights = torch.from_numpy(weights[known])

    def __len__(self) -> int:
        return len(self._users)

    def __getitem__(self, index: Any) -> dict[str, Tensor]:
        at = torch.as_tensor(index, dtype=torch.int64)
        return {"user": self._users[at], **self.items[self._tracks[at]], "weight": self._weights[at]}
