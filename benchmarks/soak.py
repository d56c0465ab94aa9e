"""What a long run of many short tracks makes of memory, open files and the commit log, by tracks done.

    python benchmarks/soak.py [--tracks 5000] [--seconds 1] [--jobs 2] [--looks 8] [--model NAME]

A catalogue of tones of a second is extracted by ``stemfeatures extract -j``, in processes of their own. Whenever
another share of the tracks is committed, the resident memory and the open files of the driver (the scheduler is in it)
and of its workers are read, and how many files and bytes the commit log has. The last line tells what a thousand tracks
add from the second look on, when all that is loaded once is there. Without ``--model`` the network has random weights
and costs next to nothing: it keeps nothing from track to track.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from faults import committed, write_catalogue, write_model

MIB = 2**20
#: Seconds between questions how far the run is.
_PAUSE_S = 0.5


@dataclass(frozen=True)
class Look:
    """What the processes and the log of a run take at one time; sums over the workers."""

    tracks: int
    seconds: float
    driver_mib: float
    driver_files: int
    workers_mib: float
    workers_files: int
    log_files: int
    log_mib: float

    def __str__(self) -> str:
        return (
            f"{self.tracks:7d} {self.seconds:7.0f} s {self.driver_mib:8.0f} {self.driver_files:6d} "
            f"{self.workers_mib:9.0f} {self.workers_files:6d} {self.log_files:9d} {self.log_mib:8.2f}"
        )


def look(driver: psutil.Process, out: Path, tracks: int, seconds: float) -> Look:
    """Read them; of processes and files that end meanwhile nothing counts."""
    sizes, files, log = [], [], []
    for process in [driver, *_children(driver)]:
        try:
            size, n_files = process.memory_info().rss / MIB, process.num_fds()
        except psutil.Error:
            size, n_files = 0.0, 0
        sizes.append(size)
        files.append(n_files)
    for path in (out / "_commits").iterdir():
        with suppress(FileNotFoundError):
            log.append(path.stat().st_size)
    return Look(tracks, seconds, sizes[0], files[0], sum(sizes[1:]), sum(files[1:]), len(log), sum(log) / MIB)


def _children(driver: psutil.Process) -> list[psutil.Process]:
    try:
        return list(driver.children(recursive=True))
    except psutil.Error:
        return []


def run(music: Path, out: Path, model: str, jobs: int, at: list[int]) -> list[Look]:
    """Extract, and look whenever one of the counts of ``at`` is reached."""
    command = [sys.executable, "-m", "pipelines.cli", "extract", str(music), "-o", str(out), "-m", model, "-d", "cpu"]
    started = time.monotonic()
    looks: list[Look] = []
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([*command, "-j", str(jobs)], env=dict(os.environ), stdout=said, stderr=said)
        driver = psutil.Process(process.pid)
        while process.poll() is None and len(looks) < len(at):
            time.sleep(_PAUSE_S)
            tracks = committed(out)
            if tracks >= at[len(looks)]:
                looks.append(look(driver, out, tracks, time.monotonic() - started))
                print(looks[-1], flush=True)
                at = at[: len(looks)] + [count for count in at[len(looks) :] if count > tracks]
        if process.wait():
            said.seek(0)
            sys.exit(f"extract ended with {process.returncode}: {said.read()[-1000:]}")
    return looks


def growth(early: Look, late: Look) -> str:
    """What a thousand tracks add, between two looks."""
    names = ("driver_mib", "driver_files", "workers_mib", "workers_files", "log_files", "log_mib")
    thousands = (late.tracks - early.tracks) / 1000
    return ", ".join(f"{name} {(getattr(late, name) - getattr(early, name)) / thousands:+.2f}" for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a track (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--looks", type=int, default=8, help="how often to look (default: %(default)s)")
    parser.add_argument("--model", help="checkpoint (default: a small one with random weights)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_catalogue(work / "music", args.tracks, args.seconds)
        model = args.model or str(write_model(work))
        print(" tracks     time   driver  files   workers  files  log files  log MiB")
        at = [max(1, args.tracks * (i + 1) // args.looks) for i in range(args.looks - 1)]
        looks = run(work / "music", work / "features", model, args.jobs, at)
        rest = committed(work / "features")
    print(f"{rest} of {args.tracks} tracks are committed")
    if len(looks) > 2:
        print("a thousand tracks more: " + growth(looks[1], looks[-1]))


if __name__ == "__main__":
    main()
