"""CPU seconds to find which tracks of a portion are done, among rows whose ids have no order, with and without memory.

    python benchmarks/known_ids.py [--rows 1000000] [--portion 50000] [--portions 5]

Rows of table ``tracks`` with nothing but ids are committed as large parts. Then portions of ids that are new, and one
of which half are done, are looked for as a run does: once in a process that remembers what parts hold, once in one that
reads their ids each time. The first portion is the one that reads them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stemfeatures.tables import reader
from stemfeatures.tables.commits import read_snapshot
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.key_index import KeyIndex
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import write_part

#: Rows of a part.
PART_ROWS = 500_000


def ids_of(rng: np.random.Generator, count: int) -> pa.Array:
    """As those of catalogues that are made of digests."""
    return pa.array([f"{high:016x}{low:016x}" for high, low in rng.integers(0, 2**63, (count, 2))])


def write_tracks(layout: DatasetLayout, ids: pa.Array) -> None:
    """Rows that are done, in parts that are not sorted among each other."""
    schema = layout.schema("tracks")
    with Committer(layout, {"run_id": "bench"}) as committer:
        for first in range(0, len(ids), PART_ROWS):
            some = ids.slice(first, PART_ROWS)
            given = {"track_id": some, "run_id": pa.repeat("bench", len(some))}
            columns = [
                given.get(field.name, pa.nulls(len(some), field.type) if field.nullable else _filled(field, len(some)))
                for field in schema
            ]
            committer.commit([write_part(layout, "tracks", pa.table(columns, schema=schema), shard=str(first))])


def _filled(field: pa.Field, count: int) -> pa.Array:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return pa.repeat(pa.scalar("x" if text else 0, kind), count).cast(field.type)


def find(layout: DatasetLayout, ids: pa.Array) -> tuple[int, float]:
    """How many of them are done, and the CPU seconds that it took to find out."""
    started = time.process_time()
    rows = reader.live_rows(layout, read_snapshot(layout), "tracks", keys=ids.to_pylist())
    found = rows.to_table(columns=["track_id"], filter=pc.field("track_id").isin(ids))
    return len(found), time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows that are there")
    parser.add_argument("--portion", type=int, default=50_000, help="rows that are looked for at a time")
    parser.add_argument("--portions", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    done = ids_of(rng, args.rows)
    looked_for = [ids_of(rng, args.portion) for _ in range(args.portions)]
    half = args.portion // 2
    looked_for.append(pa.concat_arrays([done.slice(0, half), looked_for[-1].slice(half)]))
    with tempfile.TemporaryDirectory() as folder:
        layout = DatasetLayout.create(Path(folder) / "features")
        write_tracks(layout, done)
        for name, most_bytes in (("remembered", args.rows * 8), ("read each time", 0)):
            with mock.patch.object(reader, "INDEX", KeyIndex(most_bytes)):
                told = [find(layout, ids) for ids in looked_for]
            assert [n for n, _ in told] == [0] * args.portions + [half]
            seconds = "  ".join(f"{spent:.3f}" for _, spent in told)
            print(f"{name:16s} {seconds}")


if __name__ == "__main__":
    main()
