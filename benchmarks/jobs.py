"""Whether processes pay: CPU seconds and throughput of `extract -j 2` beside `-j 1`, on the same files.

    python benchmarks/jobs.py [FILE ...] [--jobs 2] [--tracks 8] [--seconds 60] [--rounds 3] [--ways WAY ...]

Each way runs over a quarter of the files and over all of them: the slope is what a minute of audio costs once all is
loaded, and what is left at no audio is the start-up. As many runs of `-j 1` at once, each over its share of the files,
show what the machine itself gives: cores that share units, caches or memory need more CPU seconds for the same work
when all are busy. The last way of each round takes workers as Dask starts them (`--scheduler`), with its setting of the
allocator. Wall clock ratios mean something on a quiet machine only; CPU seconds and the system's share of them do on a
busy one, too. Without files it makes `--tracks` of noise in pulses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from stemfeatures import audio

RATE = 44_100
_WAYS = ("at-once", "jobs", "foreign")


def make(folder: Path, tracks: int, seconds: float) -> list[Path]:
    """Stereo files of noise in pulses."""
    paths = []
    for number in range(tracks):
        y = np.random.default_rng(number).normal(scale=0.1, size=(2, round(RATE * seconds))).astype(np.float32)
        paths.append(folder / f"{number:03d}.wav")
        audio.write(paths[-1], y * (np.arange(y.shape[1]) % (RATE // 2) < RATE // 6), RATE)
    return paths


def extract(paths: list[Path], jobs: int, *, foreign: bool) -> None:
    """One run in this process and its workers; prints what it took as JSON."""
    from distributed import LocalCluster

    from pipelines import extract_catalog

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        where: dict[str, Any] = {"jobs": jobs}
        if foreign:
            options = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
            where = {"scheduler": stack.enter_context(LocalCluster(**options)).scheduler_address}
        summary = extract_catalog(paths, Path(folder) / "features", device="cpu", **where)
    assert summary.n_failed == 0
    user, system = used()
    print(
        json.dumps(
            {
                "wall": summary.wall_s,
                "user": user,
                "system": system,
                "minutes": summary.audio_s / 60,
            }
        )
    )


def used() -> tuple[float, float]:
    """CPU seconds of this process and of those it has started: those that have ended, and the fork server with its."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    living = [process.cpu_times() for process in psutil.Process().children()]
    user = own.ru_utime + ended.ru_utime + sum(times.user + times.children_user for times in living)
    return user, own.ru_stime + ended.ru_stime + sum(times.system + times.children_system for times in living)


def start(paths: list[Path], jobs: int, *, foreign: bool = False) -> subprocess.Popen[str]:
    """A run in processes of its own."""
    command = [sys.executable, __file__, *map(str, paths), "--run", str(jobs), *["--foreign"][: int(foreign)]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result_of(run: subprocess.Popen[str]) -> dict[str, float]:
    """What a run took, in seconds, and the minutes of audio."""
    out, error = run.communicate()
    if run.returncode:
        raise SystemExit(error)
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def at_once(paths: list[Path], jobs: int) -> dict[str, float]:
    """Runs of ``-j 1`` beside one another, each over its share of the files."""
    runs = [start(share, 1) for i in range(jobs) if (share := paths[i::jobs])]
    results = [result_of(run) for run in runs]
    total = {name: sum(result[name] for result in results) for name in ("user", "system", "minutes")}
    return {"wall": max(result["wall"] for result in results), **total}


def line(name: str, few: list[dict[str, float]], all_: list[dict[str, float]], first: list[dict[str, float]]) -> str:
    """A way: its whole run, and what of it is start-up. ``first`` are the whole runs that it is compared with."""
    some, whole, other = (
        {key: statistics.median(run[key] for run in runs) for key in ("wall", "user", "system", "minutes")}
        for runs in (few, all_, first)
    )
    cpu, cpu_of_some, cpu_of_other = (run["user"] + run["system"] for run in (whole, some, other))
    text = (
        f"  {name:32s} wall {whole['wall']:7.2f} s  CPU {cpu:7.2f} s, of which system {whole['system']:6.2f} s;  "
        f"throughput {other['wall'] / whole['wall']:5.2f}, CPU {cpu / cpu_of_other:5.2f} of -j 1"
    )
    minutes = whole["minutes"] - some["minutes"]
    if minutes <= 0:
        return text
    wall_rate, rate = (whole["wall"] - some["wall"]) / minutes, (cpu - cpu_of_some) / minutes
    beginning = f"start-up {cpu - rate * whole['minutes']:6.2f} CPU s"
    return f"{text};  a minute {wall_rate:6.2f} s, {rate:6.2f} CPU s; {beginning}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--ways", nargs="+", choices=_WAYS, default=_WAYS, help="only these, beside -j 1 (default: all)"
    )
    parser.add_argument("--run", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--foreign", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return extract(args.files, args.run, foreign=args.foreign)
    jobs = args.jobs
    ways: dict[str, Callable[[list[Path]], dict[str, float]]] = {"-j 1": lambda paths: result_of(start(paths, 1))}
    if jobs > 1 and "at-once" in args.ways:
        ways[f"{jobs} runs of -j 1 at once"] = lambda paths: at_once(paths, jobs)
    if "jobs" in args.ways:
        ways[f"-j {jobs}"] = lambda paths: result_of(start(paths, jobs))
    if "foreign" in args.ways:
        ways[f"{jobs} workers as Dask starts them"] = lambda paths: result_of(start(paths, jobs, foreign=True))
    runs: dict[str, tuple[list[dict[str, float]], list[dict[str, float]]]] = {name: ([], []) for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        paths = args.files or make(Path(folder), args.tracks, args.seconds)
        few = paths[: max(jobs, len(paths) // 4)]
        for _ in range(args.rounds):
            for name, run in ways.items():
                some, whole = runs[name]
                whole.append(run(paths))
                some.append(run(few) if len(few) < len(paths) else whole[-1])
    first = runs["-j 1"][1]
    print(f"{len(paths)} tracks, {first[0]['minutes']:.2f} minutes, {os.cpu_count()} cores; medians of the rounds")
    for name, (some, whole) in runs.items():
        print(line(name, some, whole, first))
    return None


if __name__ == "__main__":
    main()
