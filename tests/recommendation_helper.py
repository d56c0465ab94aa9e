"""A features directory without audio, and listeners whose taste depends on known columns of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import stemfeatures
from stemfeatures.constants import STEM_ROWS
from stemfeatures.descriptors.types import Events, TrackDescription
from stemfeatures.recommendation.simulation import simulate_listeners
from stemfeatures.tables import schema
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import write_part
from stemfeatures.tables.rows import Provenance, TrackInfo, track_rows

#: What the listeners of :func:`listeners` hear: the register of the voice, and how busy the drums are.
TASTE = ("vocals__f0_median_hz", "drums__onset_rate")
#: Every so many-th track has no drums.
NO_DRUMS = 10

_KEYS = [f"{tonic}:{mode}" for tonic in ("C", "D", "E", "F", "G", "A", "B") for mode in ("major", "minor")]


def write_features(
    path: Path,
    names: list[str],
    *,
    seed: int = 0,
    run_id: str = "r1",
    model: str = "sha-1",
    config: str = "c1",
    silent: bool = False,
    same_bass_after: int | None = None,
) -> Path:
    """Commit tracks with random descriptors of all stems to the features directory ``path``.

    With ``same_bass_after``, the bass is that of the track so many before.
    """
    rng = np.random.default_rng(seed)
    layout = DatasetLayout.create(path)
    by = Provenance(run_id, config, "joint-test", model)
    rows: dict[str, list[dict[str, object]]] = {}
    basses: list[dict[str, object]] = []
    for i, name in enumerate(names):
        stems = {
            stem: _descriptors(stem, rng, silent=silent or (stem == "drums" and i % NO_DRUMS == 0))
            for stem in STEM_ROWS
        }
        if same_bass_after is not None and i >= same_bass_after:
            stems["bass"] = basses[i - same_bass_after]
        basses.append(stems["bass"])
        empty = np.zeros(0)
        description = TrackDescription(stems, {}, Events(empty, empty.astype(int), {}), {})
        made = track_rows(TrackInfo(name, f"{name}.wav"), description, by, tables=("tracks", "stems"))
        for table, some in made.items():
            rows.setdefault(table, []).extend(some)
    with Committer(
        layout, {"run_id": run_id, "config_hash": config, "model": "joint-test", "model_sha256": model}
    ) as c:
        c.commit([write_part(layout, table, some, shard=run_id) for table, some in rows.items()])
        c.finish()
    return path


def _descriptors(stem: str, rng: np.random.Generator, *, silent: bool) -> dict[str, object]:
    values: dict[str, object] = {}
    for f in schema.TABLES["stems"].fields:
        if f.family in ("key", "provenance"):
            continue
        if f.name.endswith("_status"):
            values[f.name] = "silent" if silent else "ok"
        elif silent or not f.holds_for(stem):
            continue
        elif f.name in ("key", "key_2"):
            values[f.name] = str(rng.choice(_KEYS))
        elif f.type.startswith("float"):
            values[f.name] = float(np.exp(rng.normal(4.5, 0.4)) if f.name.endswith("_hz") else rng.uniform(0.05, 0.95))
        elif "int" in f.type:
            values[f.name] = int(rng.integers(1, 50))
    return values


def listeners(features: Path, *, users: int = 150, seed: int = 1, **options: float) -> pd.DataFrame:
    """Interactions of listeners with a taste for TASTE; a track without drums is as good as the average one."""
    taste = stemfeatures.features_matrix(features)[list(TASTE)]
    taste[TASTE[0]] = np.log2(taste[TASTE[0]])
    return simulate_listeners(taste.fillna(taste.mean()), users=users, seed=seed, **options)
