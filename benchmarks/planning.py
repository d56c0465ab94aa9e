"""What it takes to plan a run: seconds to the first shard, and the peak of memory, by rows of a manifest.

    python benchmarks/planning.py [--rows 100000,1000000] [--parts 8] [--csv] [--whole] [--first]

Each number is of a process of its own. "portions" is what `extract` does with large manifests, "whole" (`--whole`) all
rows at once, as it does with small ones; ``--first`` ends with the first shard. The manifest is a folder of Parquet
parts, or with ``--csv`` one text file. It names files that are not
there: their folder is asked for each, as for files that are. What the process takes before it reads anything is told as
"idle".
"""

from __future__ import annotations

import argparse
import json
import resource
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

#: Rows of a part are made so many at a time.
_BLOCK = 100_000


def make(folder: Path, rows: int, parts: int, *, lengths_s: tuple[float, float] = (60, 400)) -> None:
    """A folder of Parquet parts with paths, ids, lengths between two bounds, and two columns of metadata."""
    rng = np.random.default_rng(0)
    genres = pa.array(["rock", "pop", "jazz", "folk"])
    bounds = np.linspace(0, rows, parts + 1).astype(int)
    for part, (first, last) in enumerate(zip(bounds, bounds[1:])):
        writer = None
        for start in range(first, last, _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, last))
            columns = {
                "path": _text(
                    "/nowhere/artist {:06d}/album {}/track {:09d}.flac", numbers // 100, numbers // 10 % 10, numbers
                ),
                "track_id": _text("isrc-{:012d}", numbers),
                "duration_s": rng.uniform(*lengths_s, len(numbers)),
                "genre": genres.take(pa.array(rng.integers(0, len(genres), len(numbers)))),
                "year": rng.integers(1950, 2026, len(numbers)),
            }
            table = pa.table(columns)
            writer = writer or pq.ParquetWriter(folder / f"part-{part:04d}.parquet", table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _text(pattern: str, *columns: np.ndarray) -> pa.Array:
    """``pattern.format`` of each row of integers."""
    pieces: list[Any] = []
    for i, (literal, _, width, _) in enumerate(string.Formatter().parse(pattern)):
        pieces.append(literal)
        if i < len(columns):
            digits = pa.array(columns[i]).cast(pa.string())
            pieces.append(pc.utf8_lpad(digits, int(width[1:-1]), "0") if width else digits)
    return pc.binary_join_element_wise(*pieces, "")


def make_csv(folder: Path) -> Path:
    """The same rows as text."""
    path = folder.with_suffix(".csv")
    with pa.OSFile(str(path), "wb") as file:
        for part in sorted(folder.iterdir()):
            options = csv.WriteOptions(include_header=file.tell() == 0)
            csv.write_csv(pq.read_table(part), file, options)
    return path


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plan(manifest: Path, *, whole: bool, first: bool) -> dict[str, float]:
    """Plan all rows, or up to the first shard, and drop what is planned."""
    from pipelines.catalog import portions_of, read_catalog
    from pipelines.extraction.prepare import ExtractOptions, data_tables, plan_tasks, prepare
    from stemfeatures.audio import AudioLimits
    from stemfeatures.models.checkpoints import DEFAULT_MODEL, resolve_analysis

    resolve_analysis(DEFAULT_MODEL)
    options = ExtractOptions(
        model=DEFAULT_MODEL,
        device="cpu",
        jobs=1,
        scheduler=None,
        batch_size=None,
        overwrite=False,
        dry_run=False,
        limit=None,
        tables=data_tables(None),
        retry_failed=True,
        track_timeout_s=None,
        limits=AudioLimits(),
    )
    idle, started, cpu = peak_mb(), time.perf_counter(), time.process_time()
    first_s = first_cpu_s = 0.0
    n_planned = 0
    with portions_of(manifest) as portions:
        for catalog in [read_catalog(manifest)] if whole or portions is None else portions:
            prepared = prepare(catalog, manifest.parent / "features", options)
            shards = plan_tasks(prepared.tasks, "cpu", 1)
            n_planned += sum(map(len, shards))
            if not first_s:
                first_s, first_cpu_s = time.perf_counter() - started, time.process_time() - cpu
            if first:
                break
    return {
        "rows": n_planned,
        "first_s": first_s,
        "first_cpu_s": first_cpu_s,
        "cpu_s": time.process_time() - cpu,
        "idle_mb": idle,
        "peak_mb": peak_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="100000,1000000", help="numbers of rows (default: %(default)s)")
    parser.add_argument("--parts", type=int, default=8, help="files of the manifest (default: %(default)s)")
    parser.add_argument("--csv", action="store_true", help="a text file instead of Parquet")
    parser.add_argument("--whole", action="store_true", help="also plan all rows at once")
    parser.add_argument("--first", action="store_true", help="only up to the first shard")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plan is not None:
        print(json.dumps(plan(args.plan, whole=args.whole, first=args.first)))
        return
    print("rows       way       first shard  CPU of it  CPU of all  idle MB  peak MB  kB a row")
    for rows in map(int, args.rows.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "manifest"
            folder.mkdir()
            make(folder, rows, args.parts)
            manifest = make_csv(folder) if args.csv else folder
            for way in ("portions", *(["whole"] if args.whole else [])):
                command = [sys.executable, __file__, "--plan", str(manifest), *(["--whole"] if way == "whole" else [])]
                command += ["--first"] if args.first else []
                made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                r = json.loads(made.stdout.splitlines()[-1])
                assert args.first or r["rows"] == rows
                per_row = (r["peak_mb"] - r["idle_mb"]) * 1024 / rows
                print(
                    f"{rows:<10,} {way:<9} {r['first_s']:>9.1f} s {r['first_cpu_s']:>8.1f} s {r['cpu_s']:>9.1f} s "
                    f"{r['idle_mb']:>7.0f} {r['peak_mb']:>8.0f} {per_row:>9.2f}"
                )


if __name__ == "__main__":
    main()
