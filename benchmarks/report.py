"""The page on a features directory of tens of thousands of tracks: how long it takes, how large it is, how fluid.

    python benchmarks/report.py FEATURES [--tracks 30000] [--work DIR]

The rows of a real features directory are multiplied: each new track takes those of one of its tracks, with the numbers
moved by a tenth of their spread, and embeddings on the way to another track. Writing them is not measured. The page is
opened from disk in Chromium, where there is one and playwright is installed.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import resource
import shutil
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines import cli
from stemfeatures import open_features
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import write_part
from stemfeatures.tables.reader import Features

TABLES = ("tracks", "stems", "embeddings")
SHARD = 5000
#: Share of their spread by which numbers are moved.
JITTER = 0.1
#: Places of the pointer that are timed.
MOVES = 200
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

#: Milliseconds of the main thread for what one event of the pointer or the wheel does, each at another place.
TIMED = """async (count) => {
  const over = document.getElementById("over"), box = over.getBoundingClientRect(), took = { hover: [], paint: [] };
  const send = (kind, name, k, more) => over.dispatchEvent(new kind(name, {
    clientX: box.x + box.width * (0.1 + 0.8 * (k * 0.618 % 1)),
    clientY: box.y + box.height * (0.1 + 0.8 * (k * 0.414 % 1)),
    bubbles: true, cancelable: true, ...more,
  }));
  for (let k = 0; k < count; k++) {
    const from = performance.now();
    send(PointerEvent, "pointermove", k);
    over.getBoundingClientRect();
    took.hover.push(performance.now() - from);
  }
  for (let k = 0; k < 20; k++) {
    const from = performance.now();
    send(WheelEvent, "wheel", k, { deltaY: k % 2 ? -30 : 30 });
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
    took.paint.push(performance.now() - from);
  }
  return took;
}"""


def multiply(source: Features, path: Path, n_tracks: int, rng: np.random.Generator) -> None:
    """Write a features directory of ``n_tracks`` tracks that resemble those of ``source``."""
    layout = DatasetLayout.create(path)
    rows = {name: source.to_arrow(name) for name in TABLES}
    ids = rows["tracks"]["track_id"].to_numpy(zero_copy_only=False)
    places = {name: _places(rows[name], ids) for name in TABLES}
    with Committer(layout, {"run_id": "benchmark", "config_hash": "0"}) as committer:
        for first in range(0, n_tracks, SHARD):
            drawn = rng.integers(0, len(ids), min(SHARD, n_tracks - first))
            parts = []
            for name in TABLES:
                taken = np.concatenate([places[name][track] for track in drawn])
                owner = np.repeat(np.arange(len(drawn)), [len(places[name][track]) for track in drawn])
                names = pa.array([f"album {(first + k) // 12:05d}/{first + k:06d}.mp3" for k in owner])
                run = pa.array(["benchmark"] * len(taken))
                table = _moved(rows[name], taken, rng).drop_columns(["track_id", "run_id"])
                table = table.append_column("track_id", names).append_column("run_id", run)
                schema = layout.schema(name, describe=False)
                arrays = [
                    table[f.name].combine_chunks().cast(f.type)
                    if f.name in table.column_names
                    else pa.nulls(len(taken), f.type)
                    for f in schema
                ]
                parts.append(write_part(layout, name, pa.Table.from_arrays(arrays, schema=schema), shard=f"{first}"))
            committer.commit(parts)
        committer.finish(n_skipped=0)


def _places(table: pa.Table, ids: np.ndarray) -> list[np.ndarray]:
    """The rows of each track."""
    of = table["track_id"].to_numpy(zero_copy_only=False)
    return [np.flatnonzero(of == track_id) for track_id in ids]


def _moved(table: pa.Table, taken: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """The rows ``taken``, with other numbers; nulls, words and counts as they are."""
    moved = table.take(pa.array(taken))
    for i, column in enumerate(table.schema):
        if column.name == "vector":
            moved = moved.set_column(i, column.name, _between(table, taken, rng))
        elif pa.types.is_floating(column.type):
            values = moved[column.name].to_numpy(zero_copy_only=False).astype(np.float64)
            spread = np.nanstd(values) if np.isfinite(values).any() else 0.0
            values = values + JITTER * spread * rng.normal(size=len(values))
            moved = moved.set_column(i, column.name, pa.array(values, column.type, from_pandas=True))
    return moved


def _between(table: pa.Table, taken: np.ndarray, rng: np.random.Generator) -> pa.Array:
    """Embeddings up to half of the way to one of another track, same stem."""
    vectors = np.stack([np.asarray(v, np.float32) for v in table["vector"].to_pylist()])
    stems = table["stem"].to_numpy(zero_copy_only=False)
    others = np.empty(len(taken), int)
    for stem in np.unique(stems):
        here = stems[taken] == stem
        others[here] = rng.choice(np.flatnonzero(stems == stem), int(here.sum()))
    share = rng.uniform(0, 0.5, (len(taken), 1))
    found = (1 - share) * vectors[taken] + share * vectors[others]
    found += JITTER * found.std(axis=1, keepdims=True) * rng.normal(size=found.shape)
    return pa.array(list(found.astype(np.float32)))


def watch(page: Path, program: str) -> None:
    """Open the page in Chromium and print how long things take there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        started = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        print(f"opened in Chromium        {time.perf_counter() - started:8.2f} s")
        took: dict[str, Any] = tab.evaluate(TIMED, MOVES)
        for what, called in (("hover", "pointer to label"), ("paint", "one step of zoom")):
            median, most = np.percentile(took[what], [50, 95])
            print(f"{called:<26}{median:8.1f} ms median {most:8.1f} ms at the 95th percentile")
        started = time.perf_counter()
        tab.fill("#find", "album 0000")
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
        print(f"filter by text            {1000 * (time.perf_counter() - started):8.1f} ms")
        tab.screenshot(path=str(page.parent / "report.png"))
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, metavar="FEATURES", help="a features directory of real tracks")
    parser.add_argument("--tracks", type=int, default=30_000)
    parser.add_argument("--work", type=Path, help="folder for tables and page, kept (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stemfeatures-benchmark-") as temporary:
        work = args.work or Path(temporary)
        features, out = work / f"features-{args.tracks}", work / "page"
        if not features.exists():
            multiply(open_features(args.features), features, args.tracks, np.random.default_rng(0))
        cpu, wall = time.process_time(), time.perf_counter()
        if (code := cli.main(["report", str(features), "-o", str(out), "--overwrite"])) != 0:
            sys.exit(code)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{args.tracks:,} tracks")
        print(f"stemfeatures report       {wall:8.1f} s {cpu:8.1f} s CPU, peak {peak:.2f} GiB")
        print(f"page                      {(out / 'index.html').stat().st_size / 1e6:8.2f} MB")
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        if program is None or find_spec("playwright") is None:
            print("not opened: no Chromium, or no playwright")
        else:
            watch(out / "index.html", program)


if __name__ == "__main__":
    main()
