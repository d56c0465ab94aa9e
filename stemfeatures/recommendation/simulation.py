"""Listeners whose taste is known, to test recommenders and to try them before there are real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def simulate_listeners(
    features: pd.DataFrame,
    *,
    users: int,
    seed: int,
    tracks_per_user: float = 20.0,
    taste: float = 2.0,
    popularity: float = 1.0,
    days: float = 365.0,
) -> pd.DataFrame:
    """Interactions of listeners who like tracks for nothing but ``features``.

    Every listener draws a direction in the space of the standardised features, uniformly. Tracks are drawn one after
    the other without replacement, with log odds ``taste`` times the (standardised) position in that direction plus
    ``popularity`` times a standard normal number of the track's own; the number of plays of a track is geometric.

    Parameters
    ----------
    features : DataFrame
        (n_tracks, n_features), indexed by ``track_id``, no NaN: all that taste depends on.
    users : int
        How many.
    seed : int
        Of all that is random.
    tracks_per_user : float
        Mean of the number of tracks, which is Poisson, at least 1.
    taste, popularity : float
        How much either counts; 0 for not at all.
    days : float
        The times are uniform in so many days from 2024-01-01.

    Returns
    -------
    DataFrame
        Columns ``user_id, track_id, weight, time``, by time. Equal seeds give equal listeners.
    """
    import pandas as pd

    values = features.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("features hold NaN or infinity")
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    rng = np.random.default_rng(seed)
    appeal = popularity * rng.standard_normal(len(values))
    users_at, tracks_at = [], []
    for user in range(users):
        direction = rng.standard_normal(values.shape[1])
        odds = appeal + taste * (values @ (direction / np.linalg.norm(direction)))
        n = int(np.clip(rng.poisson(tracks_per_user), 1, len(values)))
        # The Gumbel-max trick: the n largest are n draws without replacement.
        users_at.append(np.full(n, user))
        tracks_at.append(np.argsort(-(odds + rng.gumbel(size=len(values))), kind="stable")[:n])
    who, what = np.concatenate(users_at), np.concatenate(tracks_at)
    seconds = np.sort(rng.uniform(0, days * 86_400, len(who))).astype("int64")
    order = rng.permutation(len(who))
    width = len(str(max(users - 1, 0)))
    return pd.DataFrame(
        {
            "user_id": [f"listener-{u:0{width}d}" for u in who[order]],
            "track_id": features.index.to_numpy()[what[order]],
            "weight": rng.geometric(0.4, len(who)),
            "time": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(seconds, unit="s"),
        }
    )
