"""A catalogue of a million rows rehearsed: what the driver, the tables and the commit log make of it, by rows done.

    python benchmarks/rehearsal.py [--rows 100000] [--portion 10000] [--seconds 2] [--lengths 60 400] [--no-compact]

The whole of `extract -j 1` runs over a manifest of that length but for its workers' part: in place of decoder, network
and descriptors, the rows of one track that was analysed once are written under the ids of each shard, with other
numbers. So files, commits and their number are those of a real run: shards hold as many tracks as the lengths that the
manifest states let them. A large manifest is planned and extracted a portion at a time, and each is a
run of its own; a line a portion tells what it took to plan it against what is there (plan), to open the dataset for it
(open), to write a shard (which workers do at a time) and to commit it (which the driver does, one after the other), to
merge small files before it (merge), the driver's memory and its peak, the files of all tables and the commit log.
Then: opening the tables and counting, planning all rows once more when all are done, and ``compact`` in a process of
its own. The last lines extrapolate, from four portions on: plan and open grow with what is there.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from planning import make

from pipelines import extract_catalog
from pipelines.catalog import portions
from pipelines.extraction import driver, executor, extract, run
from pipelines.extraction.plan import LIMITS
from pipelines.extraction.rows import analysed_rows, worker_name
from pipelines.extraction.tasks import ShardReceipt, ShardTask, TrackOutcome
from stemfeatures import Analyser, open_features
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE
from stemfeatures.tables.layout import COMMITS, DatasetLayout
from stemfeatures.tables.parts import write_part

MIB = 2**20
_PORTION_ROWS = portions.PORTION_ROWS
#: Portions that a line can be laid through, and one before them.
_ENOUGH = 4


class Stub:
    """Shards whose tracks have the rows of one, with other numbers in table stems.

    Parameters
    ----------
    seconds : float
        Length of the track that is analysed.
    """

    def __init__(self, seconds: float) -> None:
        times = np.arange(round(seconds * ANALYSIS_SAMPLE_RATE)) / ANALYSIS_SAMPLE_RATE
        tone = 0.1 * np.sin(2 * np.pi * 220 * times) * (times % 0.5 < 0.25)
        self.seconds = seconds
        self.analysis = Analyser(device="cpu").from_audio(tone.astype(np.float32), ANALYSIS_SAMPLE_RATE)
        self.rng = np.random.default_rng(0)
        self.run_id = ""
        self.rows: dict[str, pa.Table] = {}
        self.counts: dict[str, int] = {}

    def process(
        self, task: ShardTask, *, on_track: Callable[[TrackOutcome], None] | None = None, **_: Any
    ) -> ShardReceipt:
        """What :func:`pipelines.extraction.shard.process_shard` does."""
        layout = DatasetLayout.open(task.dataset)
        if self.run_id != task.provenance.run_id:
            self.run_id = task.provenance.run_id
            self._make_rows(task, layout)
        ids = [track.track_id for track in task.tracks]
        receipt = ShardReceipt(task.name, worker=worker_name(), audio_s=dict.fromkeys(ids, self.seconds))
        for name, rows in self.rows.items():
            rows = rows.slice(0, len(ids) * self.counts[name])
            rows = _with(rows, "track_id", np.repeat(np.array(ids, object), self.counts[name]))
            if name == "tracks":
                rows = _with(rows, "source_uri", [track.source_uri for track in task.tracks])
            if name == "stems":
                rows = _scaled(rows, float(self.rng.uniform(0.9, 1.1)))
            receipt.parts.append(write_part(layout, name, rows, shard=task.name))
        for track in ids:
            if on_track is not None:
                on_track(TrackOutcome(track, self.seconds))
        return receipt

    def _make_rows(self, task: ShardTask, layout: DatasetLayout) -> None:
        """Of a full shard; the numbers of each row of stems are others, as they do not compress then."""
        one = analysed_rows(task, layout, task.tracks[0], self.analysis, tags=None, state=None, lyrics=None)
        n_tracks = LIMITS["cpu"].tracks
        self.counts = {name: rows.num_rows for name, rows in one.items() if rows.num_rows}
        self.rows = {name: pa.concat_tables([one[name]] * n_tracks).combine_chunks() for name in self.counts}
        stems = self.rows["stems"]
        factors = pa.array(self.rng.uniform(0.9, 1.1, stems.num_rows), pa.float32())
        self.rows["stems"] = _scaled(stems, factors)


def _with(rows: pa.Table, name: str, values: Any) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), pa.array(values, pa.string()))


def _scaled(rows: pa.Table, factor: float | pa.Array) -> pa.Table:
    """All floating-point columns times a factor, or one for each row."""
    for i, column in enumerate(rows.schema):
        if column.type == pa.float32():
            rows = rows.set_column(i, column, pc.multiply(rows[i], factor).cast(column.type))
    return rows


@dataclass
class Clock:
    """Seconds and CPU seconds spent in the calls that are watched, and how many there were."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def watching(self, place: Any, name: str, what: str) -> Iterator[None]:
        """Time the calls of ``place.name`` as ``what``."""
        real = getattr(place, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            started, cpu = time.perf_counter(), time.process_time()
            try:
                return real(*arguments, **options)
            finally:
                self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started
                self.cpu[what] = self.cpu.get(what, 0.0) + time.process_time() - cpu
                self.calls[what] = self.calls.get(what, 0) + 1

        with mock.patch.object(place, name, timed):
            yield


@dataclass(frozen=True)
class Look:
    """What a portion took, and what was there behind it."""

    rows: int
    plan_s: float
    open_s: float
    write_ms: float
    write_cpu_ms: float
    commit_ms: float
    commit_cpu_ms: float
    merge_s: float
    driver_mib: float
    peak_mib: float
    files: int
    log_files: int
    log_mib: float
    shard_rows: float

    def __str__(self) -> str:
        return (
            f"{self.rows:11,d} {self.plan_s:7.2f} {self.open_s:7.2f} {self.write_ms:7.0f} ({self.write_cpu_ms:3.0f}) "
            f"{self.commit_ms:7.0f} ({self.commit_cpu_ms:3.0f}) {self.merge_s:7.1f} {self.driver_mib:6.0f} "
            f"({self.peak_mib:5.0f}) "
            f"{self.files:9,d} {self.log_files:9,d} {self.log_mib:8.2f}"
        )


def peak_mib() -> float:
    """Of this process, so far."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return float("nan") if found is None else int(found[1]) / 1024


def look(out: Path, rows: int, done: int, clock: Clock) -> Look:
    log = [entry.stat().st_size for entry in os.scandir(out / COMMITS)]
    tables = [entry.path for entry in os.scandir(out) if entry.is_dir() and entry.name != COMMITS]
    files = sum(len(os.listdir(table)) for table in tables)
    shards = max(1, clock.calls.get("write", 0))
    return Look(
        rows=rows,
        plan_s=clock.cpu.get("plan", 0.0),
        open_s=clock.cpu.get("open", 0.0),
        write_ms=1000 * clock.seconds.get("part", 0.0) / shards,
        write_cpu_ms=1000 * clock.cpu.get("part", 0.0) / shards,
        commit_ms=1000 * clock.seconds.get("commit", 0.0) / shards,
        commit_cpu_ms=1000 * clock.cpu.get("commit", 0.0) / shards,
        merge_s=clock.cpu.get("merge", 0.0),
        driver_mib=psutil.Process().memory_info().rss / MIB,
        peak_mib=peak_mib(),
        files=files,
        log_files=len(log),
        log_mib=sum(log) / MIB,
        shard_rows=done / shards,
    )


def rehearse(manifest: Path, out: Path, stub: Stub) -> list[Look]:
    """Extract, and look behind each portion."""
    looks: list[Look] = []
    clock = Clock()
    real = extract._extract

    def portion(*arguments: Any) -> Any:
        summary = real(*arguments)
        before = looks[-1].rows if looks else 0
        looks.append(look(out, before + summary.n_done, summary.n_done, clock))
        print(looks[-1], flush=True)
        clock.seconds, clock.cpu, clock.calls = {}, {}, {}
        return summary

    with (
        mock.patch.object(executor, "process_shard", stub.process),
        mock.patch.object(executor, "load_analyser", return_value=None),
        mock.patch.object(extract, "_extract", portion),
        clock.watching(extract, "prepare", "plan"),
        clock.watching(run.Committer, "__enter__", "open"),
        clock.watching(sys.modules[__name__], "write_part", "part"),
        clock.watching(executor, "process_shard", "write"),
        clock.watching(extract, "_merge_parts", "merge"),
        clock.watching(driver.Driver, "commit", "commit"),
    ):
        summary = extract_catalog(manifest, out, device="cpu", jobs=1)
    assert summary.n_failed == 0
    return looks


def slope(looks: list[Look], name: str) -> tuple[float, float]:
    """Seconds at no rows, and what each row that is there adds, of portions but the first."""
    before = [look.rows for look in looks[:-1]]
    added, first = np.polyfit(before, [getattr(look, name) for look in looks[1:]], 1)
    if added < 0:  # nothing grows, as where small files were merged
        return float(np.mean([getattr(look, name) for look in looks[1:]])), 0.0
    return float(first), float(added)


def extrapolate(looks: list[Look], tried: int, rows: int) -> str:
    """What planning and opening come to at last and in all, and merges and commits, in portions of the usual size.

    ``tried`` is the size of the portions that were looked at: what they take with nothing there grows with that.
    """
    n = rows // _PORTION_ROWS
    at_last = in_all = 0.0
    for name in ("plan_s", "open_s"):
        first, added = slope(looks, name)
        first *= _PORTION_ROWS / tried
        at_last += first + added * rows
        in_all += n * first + added * _PORTION_ROWS * n * (n - 1) / 2
    last = looks[-1]
    commits_h = rows / last.shard_rows * last.commit_cpu_ms / 3.6e6
    merges_h = rows * sum(look.merge_s for look in looks) / last.rows / 3600
    return (
        f"{rows:11,d} rows: plan and open {at_last:,.0f} CPU s for the last of {n:,d} portions, {in_all / 3600:,.1f} h "
        f"in all; merges {merges_h:,.1f} h, commits {commits_h:,.1f} h"
    )


def timed(what: str, call: Callable[[], Any]) -> Any:
    started, cpu = time.perf_counter(), time.process_time()
    found = call()
    print(f"{what}: {time.perf_counter() - started:.1f} s ({time.process_time() - cpu:.1f} of CPU), ", end="")
    print(f"{psutil.Process().memory_info().rss / MIB:.0f} MiB", flush=True)
    return found


#: Peaks are those of ``/proc``: the one that ``getrusage`` tells is that of the process before it ran this.
_COMPACT = """
import re, sys, time
from stemfeatures.tables.compact import compact
idle = re.search(r"VmHWM: +([0-9]+)", open("/proc/self/status").read().replace(chr(9), " "))[1]
compact(sys.argv[1])
peak = re.search(r"VmHWM: +([0-9]+)", open("/proc/self/status").read().replace(chr(9), " "))[1]
print(time.process_time(), int(peak) // 1024, int(idle) // 1024)
"""


def compact_apart(out: Path) -> str:
    """In a process of its own: seconds, the peak of memory, and what the process takes before."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _COMPACT, str(out)], check=True, stdout=subprocess.PIPE, text=True)
    cpu_s, peak, idle = done.stdout.split()
    took_s = time.perf_counter() - started
    return f"{took_s:.1f} s ({float(cpu_s):.1f} of CPU), peak {peak} MiB ({idle} before)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="of the manifest (default: %(default)s)")
    parser.add_argument("--portion", type=int, default=10_000, help="rows planned together (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of the track (default: %(default)s)")
    parser.add_argument(
        "--lengths", type=float, nargs=2, default=(60, 400), metavar="S", help="the least and most that the manifest "
        "states, which fills shards (default: those of songs)"
    )  # fmt: skip
    parser.add_argument("--apart", action="store_true", help="do not merge small files between portions")
    parser.add_argument("--no-compact", action="store_true", help="leave the tables in parts")
    args = parser.parse_args()
    most_parts = 10**9 if args.apart else extract.MOST_PARTS
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(portions, "PORTION_ROWS", args.portion),
        mock.patch.object(extract, "MOST_PARTS", most_parts),
    ):
        manifest, out = Path(name) / "manifest", Path(name) / "features"
        manifest.mkdir()
        make(manifest, args.rows, 2, lengths_s=tuple(args.lengths))
        stub = Stub(args.seconds)
        print("       rows  plan s  open s   write (CPU)  commit (CPU) ms   merge s    MiB  (peak)     files ", end="")
        print("log files  log MiB")
        looks = rehearse(manifest, out, stub)
        counts = timed("open and count", lambda: open_features(out).counts())
        assert counts["tracks"] == args.rows
        with mock.patch.object(executor, "process_shard", None):
            again = timed("plan all rows again", lambda: extract_catalog(manifest, out, device="cpu", jobs=1))
        assert again.n_skipped == args.rows
        if not args.no_compact:
            print(f"compact: {compact_apart(out)}")
            timed("open and count then", lambda: open_features(out).counts())
        for rows in (1_000_000, 100_000_000) if len(looks) >= _ENOUGH else ():
            print(extrapolate(looks, args.portion, rows))


if __name__ == "__main__":
    main()
