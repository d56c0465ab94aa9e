"""Feature matrix, transformer, index and exact search over a million tracks, and usearch beside it.

    python benchmarks/similarity.py [--rows 1000000] [--queries 1000] [--ann-rows 200000] [--work DIR]

The tables are filled with numbers from a low-dimensional model (so that there are neighbours), in the stems mixture,
vocals and drums: about 300 columns. Writing them is not measured. Exact search and usearch are also compared on the
first ``--ann-rows`` tracks; 0 leaves that out.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import contextlib
import resource
import tempfile
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

import stemfeatures
from stemfeatures.similarity.index import SimilarityIndex
from stemfeatures.similarity.search import Space, nearest
from stemfeatures.similarity.store import VectorStore
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import PartFile, write_part
from stemfeatures.tables.schema import TABLES
from stemfeatures.vectors.transformer import FeatureTransformer

STEMS = ("mixture", "vocals", "drums")
KEYS = ("C:major", "G:major", "A:minor", "F#:minor")
LATENT = 12
SHARD = 50_000
K = 10


@contextlib.contextmanager
def measured(what: str) -> Iterator[dict[str, float]]:
    """Prints seconds of CPU and of the clock, and the largest resident size so far."""
    times: dict[str, float] = {}
    cpu, wall = time.process_time(), time.perf_counter()
    yield times
    times |= {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:<52}{times['cpu']:>9.1f} s CPU{times['wall']:>9.1f} s   peak {peak:5.2f} GiB", flush=True)


def write_tables(path: Path, n_rows: int) -> None:
    """A features directory of ``n_rows`` tracks, in shards."""
    layout = DatasetLayout.create(path)
    loadings = np.random.default_rng(0).normal(size=(len(STEMS), len(TABLES["stems"].fields), LATENT))
    run = {"run_id": "benchmark", "config_hash": "0"}
    with Committer(layout, run) as committer:
        for start in range(0, n_rows, SHARD):
            ids = pa.array([f"{i:09d}" for i in range(start, min(start + SHARD, n_rows))])
            committer.commit(list(shard(layout, ids, loadings, start)))
        committer.finish(n_skipped=0)


def shard(layout: DatasetLayout, ids: pa.Array, loadings: np.ndarray, seed: int) -> Iterator[PartFile]:
    """The parts of some tracks."""
    n, rng = len(ids), np.random.default_rng(seed + 1)
    latent = rng.normal(size=(len(STEMS), n, LATENT))
    constants = {
        **{"source_uri": "a.wav", "status": "ok", "run_id": "benchmark", "config_hash": "0", "model_sha256": "0"},
        **{"extracted_at": datetime.now(UTC), "schema_version": "1.0"},
    }

    def part(table: str, values: dict[str, pa.Array]) -> PartFile:
        schema = layout.schema(table, describe=False)
        values = {name: pa.array([value] * n) for name, value in constants.items()} | values
        arrays = [(values[f.name] if f.name in values else pa.nulls(n)).cast(f.type) for f in schema]
        return write_part(layout, table, pa.Table.from_arrays(arrays, schema=schema), shard=f"{seed}")

    yield part("tracks", {"track_id": ids})
    for i, stem in enumerate(STEMS):
        silent = rng.random(n) < 0.05
        values: dict[str, pa.Array] = {"track_id": ids, "stem": pa.array([stem] * n)}
        for j, f in enumerate(TABLES["stems"].fields):
            z = (latent[i] @ loadings[i, j] + rng.normal(size=n)) / np.sqrt(LATENT + 1)
            if f.name.endswith("_status"):
                values[f.name] = pa.array(np.where(silent, "silent", "ok"))
            elif f.family in ("key", "provenance") or not f.holds_for(stem):
                continue
            elif f.name in ("key", "key_2"):
                values[f.name] = pa.array(np.array(KEYS)[rng.integers(0, len(KEYS), n)], mask=silent)
            elif f.type.startswith("int"):
                values[f.name] = pa.array(np.clip(np.round(4 + z), 2, 7).astype(int), mask=silent)
            else:
                values[f.name] = pa.array(100 * 2**z if f.unit in ("Hz", "bpm") else 1 / (1 + np.exp(-z)), mask=silent)
        yield part("stems", values)


def compare(index: SimilarityIndex, n_rows: int, n_queries: int, work: Path) -> None:
    """Exact search and usearch on the same vectors of the first tracks, and how many neighbours they share."""
    import usearch.index

    blocks = index.store.blocks
    small = VectorStore(work / "small", n_rows, blocks)
    small.folder.mkdir()
    ends = np.cumsum([0, *(len(b.names) for b in blocks)])
    chunks = (index.store.read(a, min(a + 2**14, n_rows), blocks) for a in range(0, n_rows, 2**14))
    small.create(chunks, [slice(a, b) for a, b in zip(ends, ends[1:])])
    space = Space(tuple(blocks), (1.0,) * len(blocks))
    queries = np.linspace(0, n_rows - 1, n_queries).astype(int)
    print(f"\n{n_rows:,} tracks, {ends[-1]} coordinates, {n_queries:,} queries, {K} neighbours, one thread")
    with measured("exact") as exact:
        hits = nearest(small, queries, space, K)
    graph = usearch.index.Index(ndim=int(ends[-1]), metric="l2sq", dtype="f16")
    with measured("usearch f16: build") as build:
        for a, b in small.chunks(blocks, values=2**22):
            graph.add(np.arange(a, b, dtype=np.uint64), small.read(a, b, blocks), threads=1)
    vectors = small.take(queries, blocks)
    with measured("usearch f16: search") as search:
        found = [graph.search(v, K + 1, threads=1).keys for v in vectors]
    recall = np.mean([np.isin(rows, keys).mean() for rows, keys in zip(hits.rows, found)])
    print(
        f"usearch over exact: search {search['cpu'] / exact['cpu']:.4f}, build {build['cpu'] / exact['cpu']:.1f}; "
        f"recall@{K} {recall:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--ann-rows", type=int, default=200_000)
    parser.add_argument(
        "--work", type=Path, help="folder for the tables, kept and used again (default: a temporary one)"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with contextlib.ExitStack() as stack:
        work = args.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = work / f"features-{args.rows}"
        if not path.exists():
            write_tables(path, args.rows)
        with measured("features_matrix"):
            matrix = stemfeatures.features_matrix(path, stems=STEMS)
        print(f"  {matrix.shape[0]:,} x {matrix.shape[1]}, {matrix.to_numpy().nbytes / 2**30:.2f} GiB")
        with measured("FeatureTransformer.fit"):
            transformer = FeatureTransformer().fit(matrix)
        print(f"  {len(transformer.mean_)} coordinates")
        del matrix, transformer
        with measured("build_index (matrix, fit, transform, write)"):
            index = stemfeatures.build_index(path, stems=STEMS, index_dir=work / "index")
        rows = np.linspace(0, len(index) - 1, args.queries).astype(int)
        with measured(f"exact top {K} of {args.queries:,} queries, all stems"):
            index.search(rows, k=K, exact=True)
        with measured(f"exact top {K} of {args.queries:,} queries, drums"):
            index.search(rows, stems=["drums"], k=K, exact=True)
        sounding = np.flatnonzero(index.audible["drums"] & index.audible["vocals"])
        with measured("one query, drums, unlike vocals"):
            index.similar(str(index.track_ids[sounding[0]]), stems=["drums"], unlike=["vocals"], k=K)
        if args.ann_rows:
            compare(index, min(args.ann_rows, args.rows), args.queries, work)


if __name__ == "__main__":
    main()
