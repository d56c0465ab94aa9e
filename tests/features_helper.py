"""Features directories made of numbers, without audio: many tracks in a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from stemfeatures.constants import STEM_ROWS
from stemfeatures.fields import Field
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import write_part
from stemfeatures.tables.schema import TABLES

KEYS = ("C:major", "G:major", "A:minor", "F#:minor")
N_DIMS = 6


def column(f: Field, n: int, rng: np.random.Generator) -> pa.Array:
    """Random values of a field of table ``stems``, in about its range."""
    if f.name.endswith("_status"):
        return pa.array(["ok"] * n)
    if f.name in ("key", "key_2"):
        return pa.array(rng.choice(KEYS, n))
    if f.unit == "Hz" or f.unit == "bpm":
        return pa.array(100 * 2 ** rng.uniform(-1, 1, n))
    if f.type.startswith("int"):
        return pa.array(rng.integers(2, 7, n))
    # On a logarithmic scale what is below its floor is one value.
    low = f.scale.floor if f.scale.kind == "log" and f.scale.floor >= 1 else 0.0
    return pa.array(low + rng.uniform(0, 1, n))


def write_features(
    path: Path,
    track_ids: Sequence[str],
    *,
    seed: int = 0,
    silent: Mapping[str, Sequence[str]] | None = None,
    overwrite: Mapping[tuple[str, str], Mapping[str, Sequence[object]]] | None = None,
    model: str = "sha-1",
    config: str = "config-1",
    run_id: str = "run-1",
    metadata: Mapping[str, Sequence[object]] | None = None,
) -> Path:
    """Commit tracks with random descriptors to the features directory ``path``; returns it.

    ``silent`` tells the tracks in which a stem does not sound; ``overwrite`` gives values of fields by
    ``(stem, track)`` or, for track ``""``, one list for all tracks; ``metadata`` the catalogue's columns.
    """
    n, rng = len(track_ids), np.random.default_rng(seed)
    metadata = metadata or {}
    fields = [Field(f"meta_{name}", _type(values[0]), name, family="metadata") for name, values in metadata.items()]
    layout = DatasetLayout.create(path, metadata=fields)
    made = {"schema_version": "1.0", "run_id": run_id, "config_hash": config, "model_sha256": model}
    provenance = {name: pa.array([value] * n) for name, value in made.items()}
    tracks = {
        "track_id": pa.array(track_ids),
        "source_uri": pa.array([f"{t}.wav" for t in track_ids]),
        "status": pa.array(["ok"] * n),
        "extracted_at": pa.array([datetime.now(UTC)] * n),
        **{f"meta_{name}": pa.array(values, from_pandas=True) for name, values in metadata.items()},
        **provenance,
    }
    parts = [_write(layout, "tracks", tracks, n)]
    for stem in STEM_ROWS:
        quiet = np.isin(track_ids, (silent or {}).get(stem, []))
        values = {"track_id": pa.array(track_ids), "stem": pa.array([stem] * n), **provenance}
        for f in TABLES["stems"].fields:
            if f.family in ("key", "provenance"):
                continue
            cells = column(f, n, rng) if f.holds_for(stem) else pa.nulls(n)
            if f.name.endswith("_status"):
                cells = pa.array(np.where(quiet, "silent", "ok"))
            elif not pa.types.is_null(cells.type) and f.name != "activity_ratio":
                cells = pa.array(cells.to_pylist(), mask=quiet)
            given = (overwrite or {}).get((stem, ""), {}).get(f.name)
            values[f.name] = cells if given is None else pa.array(given)
        parts.append(_write(layout, "stems", values, n))
        heard = [t for t, q in zip(track_ids, quiet) if not q]
        vectors = {
            "track_id": pa.array(heard),
            "stem": pa.array([stem] * len(heard)),
            "model": pa.array(["test"] * len(heard)),
            "vector": pa.array(rng.normal(size=(len(heard), N_DIMS)).tolist()),
            **{name: pa.array([value] * len(heard)) for name, value in made.items()},
        }
        if heard:
            parts.append(_write(layout, "embeddings", vectors, len(heard)))
    with Committer(layout, {"run_id": run_id, "config_hash": config}) as committer:
        committer.commit(parts)
        committer.finish(n_skipped=0)
    return path


def _type(value: object) -> str:
    return "string" if isinstance(value, str) else "float64" if isinstance(value, float) else "int64"


def _write(layout: DatasetLayout, table: str, values: Mapping[str, pa.Array], n: int):
    schema = layout.schema(table, describe=False)
    arrays = [(values[f.name] if f.name in values else pa.nulls(n)).cast(f.type) for f in schema]
    return write_part(layout, table, pa.Table.from_arrays(arrays, schema=schema), shard="0")
