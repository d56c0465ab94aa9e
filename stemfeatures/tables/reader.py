"""Read the committed tables of a features directory, also while a run is writing to it."""

from __future__ import annotations

import pyarrow.dataset as ds

from .commits import Snapshot
from .layout import DatasetLayout


def live_rows(layout: DatasetLayout, snapshot: Snapshot, table: str) -> ds.Dataset:
    """The rows of ``table`` that count, as a dataset; empty when there are none."""
    files = [str(layout.path / part.path) for part in snapshot.of(table)]
    dataset = ds.dataset(files, schema=layout.schema(table), format="parquet")
    dead = snapshot.dead(table)
    return dataset if dead is None else dataset.filter(~dead)
