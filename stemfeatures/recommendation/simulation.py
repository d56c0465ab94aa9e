"""Listeners whose taste is known and catalogues of random numbers, to try recommenders before there is either."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ..fields import Field

_KEYS = tuple(f"{note}:{mode}" for mode in ("major", "minor") for note in ("C", "D", "E", "F", "G", "A"))


def simulate_catalogue(path: str | Path, *, tracks: int, seed: int) -> Path:
    """Write a features directory of tracks whose descriptors are random: there is no music behind them.

    Numbers are uniform in the range of their column (where it has no end, exponential), frequencies and tempi uniform
    in octaves; columns are independent of one another. Nothing but the mechanics can be learned from it.

    Parameters
    ----------
    path : str or Path
        The directory; it must not be there, or be one of an earlier call with the same arguments.
    tracks : int
        How many.
    seed : int
        Equal seeds give equal values.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    FileExistsError
        There is another directory.

    Examples
    --------
    >>> from stemfeatures import open_features
    >>> open_features(simulate_catalogue("made-up", tracks=12, seed=0)).counts()["stems"]
    60
    """
    import pyarrow as pa

    from ..constants import STEM_ROWS
    from ..tables.committer import Committer
    from ..tables.layout import DatasetLayout
    from ..tables.parts import write_part
    from ..tables.reader import open_features
    from ..tables.schema import SCHEMA_VERSION

    path, run_id = Path(path), f"simulated-{tracks}-{seed}"
    if path.exists():
        if run_id in open_features(path).to_arrow("runs")["run_id"].to_pylist():
            return path
        raise FileExistsError(f"{path} is another features directory")
    layout = DatasetLayout.create(path)
    rng = np.random.default_rng(seed)
    ids = [f"simulated/{i:0{len(str(tracks))}d}" for i in range(tracks)]
    made: dict[str, Any] = {"track_id": ids, "run_id": run_id, "config_hash": "simulated", "model_sha256": "simulated"}
    made |= {"schema_version": SCHEMA_VERSION, "model": "simulated", "extracted_at": datetime.now(UTC), "status": "ok"}
    made |= {"source_uri": ids}

    def part(table: str, stem: str | None = None) -> pa.Table:
        given = made | ({} if stem is None else {"stem": stem})
        schema = layout.schema(table, describe=False)
        columns = []
        for f, column in zip(layout.fields(table), schema):
            if f.name in given:
                value = given[f.name]
                values = pa.array(value if isinstance(value, list) else [value] * tracks)
            elif stem is None or f.family in ("key", "provenance") or not f.holds_for(stem):
                values = pa.nulls(tracks)
            else:
                values = pa.array(_random(f, tracks, rng))
            columns.append(values.cast(column.type))
        return pa.Table.from_arrays(columns, schema=schema)

    parts = [write_part(layout, "tracks", part("tracks"), shard="0")]
    parts += [write_part(layout, "stems", part("stems", stem), shard="0") for stem in STEM_ROWS]
    with Committer(layout, {"run_id": run_id, "config_hash": "simulated"}) as committer:
        committer.commit(parts)
        committer.finish(n_skipped=0)
    return path


def _random(f: Field, n: int, rng: np.random.Generator) -> list[object] | np.ndarray:
    """Random values of a column of table ``stems``."""
    if f.name.endswith("_status"):
        return ["ok"] * n
    if f.name in ("key", "key_2"):
        return rng.choice(_KEYS, n).tolist()
    if not f.is_number:
        return [None] * n
    low, high = f.bounds
    if f.unit in ("Hz", "bpm") and low > 0 and high < np.inf:
        return low * (high / low) ** rng.uniform(size=n)
    if f.type.startswith(("int", "uint")):
        return rng.integers(int(max(low, 0)), int(min(high, 50)) + 1, n)
    if low == -np.inf:
        return rng.normal(size=n) * 10
    return low + (rng.exponential(size=n) if high == np.inf else rng.uniform(size=n) * (high - low))


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
