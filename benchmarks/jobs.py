"""Whether processes pay: CPU seconds and throughput of `extract -j 2` beside `-j 1`, on the same files.

    python benchmarks/jobs.py [FILE ...] [--jobs 2] [--tracks 8] [--seconds 60] [--rounds 3]

The last way of each round takes workers as Dask starts them (`--scheduler`), with its setting of the allocator. Wall
clock ratios mean something on a quiet machine only; CPU seconds and the system's share of them do on a busy one, too.
Without files it makes `--tracks` of noise in pulses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from stemfeatures import audio

RATE = 44_100


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
    import resource

    from distributed import LocalCluster

    from pipelines import extract_catalog

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        where: dict[str, Any] = {"jobs": jobs}
        if foreign:
            options = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
            where = {"scheduler": stack.enter_context(LocalCluster(**options)).scheduler_address}
        summary = extract_catalog(paths, Path(folder) / "features", device="cpu", **where)
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    assert summary.n_failed == 0
    print(
        json.dumps(
            {
                "wall": summary.wall_s,
                "user": own.ru_utime + children.ru_utime,
                "system": own.ru_stime + children.ru_stime,
                "minutes": summary.audio_s / 60,
            }
        )
    )


def measure(paths: list[Path], jobs: int, *, foreign: bool) -> dict[str, float]:
    """One run in processes of its own."""
    command = [sys.executable, __file__, *map(str, paths), "--run", str(jobs), *["--foreign"][: int(foreign)]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--foreign", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return extract(args.files, args.run, foreign=args.foreign)
    ways = {
        "-j 1": (1, False),
        f"-j {args.jobs}": (args.jobs, False),
        f"{args.jobs} workers as Dask starts them": (args.jobs, True),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        paths = args.files or make(Path(folder), args.tracks, args.seconds)
        for _ in range(args.rounds):
            for name, (jobs, foreign) in ways.items():
                runs[name].append(measure(paths, jobs, foreign=foreign))
    first = [statistics.median(r[key] for r in runs["-j 1"]) for key in ("wall", "user", "system")]
    print(
        f"{len(paths)} tracks, {runs['-j 1'][0]['minutes']:.2f} minutes, {os.cpu_count()} cores; medians of the rounds"
    )
    for name, rounds in runs.items():
        wall, user, system = (statistics.median(r[key] for r in rounds) for key in ("wall", "user", "system"))
        print(
            f"  {name:32s} wall {wall:7.2f} s  CPU {user + system:7.2f} s, of which system {system:6.2f} s;  "
            f"throughput {first[0] / wall:5.2f}, CPU {(user + system) / (first[1] + first[2]):5.2f} of -j 1"
        )
    return None


if __name__ == "__main__":
    main()
