"""Faults on purpose, one after the other, on real runs; counts what is lost, doubled, wrong, stuck or misreported.

    python benchmarks/faults.py [--faults NAME,...] [--tracks 24] [--rounds 1] [--seed 0]

A catalogue of short tones is extracted once undisturbed. Then, for each fault, the same run is started in a process of
its own, something is done to it (a signal to the driver, a worker, the scheduler or all of them, a deleted output, a
full disk), and the same command is repeated until it says that nothing is left to do, with ``check --repair`` where it
asks for that. Afterwards every row must stand in exactly one of ``tracks`` and ``errors``, with the values of the
undisturbed run, no track may have been blamed for what was done to its process, and a plain reader of the Parquet files
must never have seen a row twice or one that is not committed. A run that takes longer than ``--patience`` seconds is
stuck. The network has random weights; what it finds is as good as any to compare. Faults that concern the driver alone
run with one process, the others with ``--jobs``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
import torch
from distributed import Client

from stemfeatures.errors import DatasetError
from stemfeatures.models import checkpoints
from stemfeatures.models.joint import JointConfig, JointNet
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.schema import DATA_TABLES

#: Exit codes that a run may have which was disturbed: all done, some failed, storage, busy, lost files, interrupted.
_ALLOWED = {0, 3, 4, 5, 7, 130, -signal.SIGKILL, -signal.SIGTERM}
_RUN_COLUMNS = ["run_id", "extracted_at"]
_MOST_STARTS = 6

#: Preloaded in workers where a decoder is poisoned: what happens at the file whose name says so.
_POISON = """
import os, time
from stemfeatures import audio
real = vars(audio).setdefault("unpoisoned", audio.open_audio)
def open_audio(path, **options):
    name = os.path.basename(str(path))
    if name.startswith("crash"):
        os._exit(11)
    if name.startswith("hang"):
        time.sleep(10**6)
    return real(path, **options)
audio.open_audio = open_audio
"""


@dataclass
class Findings:
    """What went wrong, by kind; ``seen`` are things that are no fault."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, note: str) -> None:
        self.counts[kind] += 1
        self.notes.append(f"{kind}: {note}")


class Job:
    """One extraction into a folder of its own, which can be started, disturbed and started again."""

    def __init__(self, music: Path, model: Path, out: Path, *, jobs: int, patience_s: float, found: Findings) -> None:
        self.music, self.model, self.out, self.jobs, self.patience_s = music, model, out, jobs, patience_s
        self.found = found
        self.hook: Path | None = None
        self.track_timeout_s = 20.0
        self.process: subprocess.Popen[str] | None = None
        self.codes: list[int] = []

    def start(self, *, scheduler: str | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipelines.cli", "extract", str(self.music), "-o", str(self.out)]
        command += ["-m", str(self.model), "-d", "cpu", "--track-timeout", f"{self.track_timeout_s:g}"]
        command += ["-j", str(self.jobs)] if scheduler is None else ["--scheduler", scheduler]
        environment = dict(os.environ)
        if self.hook is not None:
            environment["DASK_DISTRIBUTED__WORKER__PRELOAD"] = str([str(self.hook)])
        self.process = subprocess.Popen(
            command, env=environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return self.process

    def end(self) -> int:
        """The exit code; a run that does not come to an end is killed, and counted."""
        assert self.process is not None
        try:
            said, _ = self.process.communicate(timeout=self.patience_s)
        except subprocess.TimeoutExpired:
            self.found.add("stuck", f"no end after {self.patience_s:g} s")
            os.killpg(self.process.pid, signal.SIGKILL)
            said, _ = self.process.communicate()
        self.codes.append(self.process.returncode)
        if self.process.returncode not in _ALLOWED:
            self.found.add("misreported", f"exit code {self.process.returncode}: {said[-300:]}")
        if "Traceback" in said:
            self.found.add("misreported", f"a traceback: {said[-300:]}")
        return self.process.returncode

    def wait_for(self, n_rows: int) -> None:
        """Until so many tracks are committed, or the run has ended."""
        assert self.process is not None
        end = time.monotonic() + self.patience_s
        while self.process.poll() is None and time.monotonic() < end and committed(self.out) < n_rows:
            time.sleep(0.05)

    def children(self) -> list[int]:
        """Worker processes of the run."""
        return self._processes()[0]

    def fork_servers(self) -> list[int]:
        """What workers of the run are forked from."""
        return self._processes()[1]

    def _processes(self) -> tuple[list[int], list[int]]:
        assert self.process is not None
        workers: list[int] = []
        servers: list[int] = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
                ours = int(fields[3]) == self.process.pid and int(entry.name) != self.process.pid
                if ours and b"forkserver" in command and int(fields[1]) == self.process.pid:
                    servers.append(int(entry.name))
                elif ours and (b"forkserver" in command or b"spawn_main" in command):
                    workers.append(int(entry.name))
        return workers, servers


def committed(out: Path) -> int:
    try:
        return sum(open_features(out).counts().get(table, 0) for table in ("tracks", "errors"))
    except Exception:  # there is none yet
        return 0


# ----------------------------------------------------------------------------------------------------------- faults


def kill_driver(job: Job, rng: random.Random) -> None:
    job.start()
    job.wait_for(rng.randint(0, 8))
    assert job.process is not None
    os.kill(job.process.pid, signal.SIGKILL)
    job.end()


def kill_worker(job: Job, rng: random.Random) -> None:
    job.start()
    job.wait_for(1)
    for _ in range(2):
        if workers := job.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
        time.sleep(rng.uniform(0.2, 2.0))
    job.end()


def kill_fork_server(job: Job, rng: random.Random) -> None:
    """With its workers alive, of whose end the driver hears nothing any more."""
    job.start()
    job.wait_for(rng.randint(0, 3))
    for server in job.fork_servers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)
    job.end()


def stop_worker(job: Job, rng: random.Random) -> None:
    """SIGSTOP, and SIGCONT some seconds later."""
    job.start()
    job.wait_for(1)
    workers = job.children()
    for number, pause in ((signal.SIGSTOP, rng.uniform(2, 5)), (signal.SIGCONT, 0.0)):
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, number)
        time.sleep(pause)
    job.end()


def sleep(job: Job, rng: random.Random) -> None:
    """All processes stand still, as behind the lid of a laptop, for longer than any track may take."""
    job.track_timeout_s = 12.0
    job.start()
    job.wait_for(1)
    assert job.process is not None
    for number, pause in ((signal.SIGSTOP, rng.uniform(18, 22)), (signal.SIGCONT, 0.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.process.pid, number)
        time.sleep(pause)
    if (code := job.end()) != 0:
        job.found.add("misreported", f"exit code {code} after a sleep")


def terminate_group(job: Job, rng: random.Random) -> None:
    job.start()
    job.wait_for(rng.randint(1, 6))
    assert job.process is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.process.pid, signal.SIGTERM)
    code = job.end()
    if code not in (130, 0, 3):
        job.found.add("misreported", f"exit code {code} after SIGTERM")


def delete_part(job: Job, rng: random.Random) -> None:
    job.start()
    job.end()
    files = sorted(file for table in DATA_TABLES for file in (job.out / table).glob("*.parquet"))
    file = rng.choice(files)
    if rng.random() < 0.5:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-100])
    job.start()
    if (code := job.end()) != 7:
        job.found.add("misreported", f"exit code {code} with a lost part")


def delete_output(job: Job, rng: random.Random) -> None:
    job.start()
    job.wait_for(rng.randint(1, 6))
    shutil.rmtree(job.out, ignore_errors=True)
    job.end()
    shutil.rmtree(job.out, ignore_errors=True)  # what the run may have made since


def unwritable(job: Job, rng: random.Random) -> None:
    """The tables cannot be written for a while: not writable, or, as root may write all the same, files."""
    job.start()
    job.wait_for(rng.randint(1, 4))
    folders = [job.out / table for table in DATA_TABLES if (job.out / table).is_dir()]
    for folder in folders:
        if os.getuid():
            folder.chmod(0o500)
        else:
            folder.rename(folder.with_name(f"{folder.name}.away"))
            folder.touch()
    if (code := job.end()) not in (4, 7, 0):
        job.found.add("misreported", f"exit code {code} without a place to write")
    for folder in folders:
        if os.getuid():
            folder.chmod(0o700)
        else:
            folder.unlink()
            folder.with_name(f"{folder.name}.away").rename(folder)


def full_disk(job: Job, rng: random.Random) -> None:
    """No file may grow beyond some kilobytes, which is what a full disk looks like to who writes."""
    command = job.out.parent / "limited.sh"
    command.write_text(f'#!/bin/sh\nulimit -f {rng.choice((8, 16))}\nexec "{sys.executable}" "$@"\n')
    command.chmod(0o755)
    before, sys.executable = sys.executable, str(command)
    try:
        job.start()
    finally:
        sys.executable = before
    if (code := job.end()) not in (4, 0):
        job.found.add("misreported", f"exit code {code} on a full disk")


def two_writers(job: Job, rng: random.Random) -> None:
    first = job.start()
    time.sleep(rng.uniform(0.0, 3.0))
    second = job.start()
    codes = []
    for process in (first, second):
        job.process = process
        codes.append(job.end())
    if sorted(codes) not in ([0, 0], [0, 5]):
        job.found.add("misreported", f"exit codes {codes} of two writers")


def poisoned_decoder(job: Job, rng: random.Random) -> None:
    job.hook, job.track_timeout_s = job.out.parent / "poison.py", 10.0
    job.hook.write_text(_POISON)
    for i, name in enumerate(("crash", "hang")):  # each of its own, as equal audio is decoded once
        noise = np.random.default_rng(i).standard_normal(11_025)
        sf.write(job.music / f"{name}.wav", 0.1 * noise, 22_050)
    try:
        job.start()
        job.end()
        errors = open_features(job.out).to_pandas("errors")
        found = dict(zip(errors["track_id"], errors["error_type"]))
        if found != {"crash.wav": "WorkerCrash", "hang.wav": "TrackTimeout"}:
            job.found.add("misreported", f"errors of poisoned files: {found}")
    finally:
        job.hook = None
        for name in ("crash", "hang"):
            (job.music / f"{name}.wav").unlink()


def restart_scheduler(job: Job, rng: random.Random) -> None:
    """A scheduler of one's own is killed, its worker leaves with it, and both are started again at the same port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", str(port))
    worker = ("worker", address, "--nthreads", "1")
    servers = [_dask(job, *scheduler), _dask(job, *worker)]
    try:
        job.start(scheduler=address)
        job.wait_for(1)
        _kill(servers[0])
        time.sleep(rng.uniform(14, 18))  # longer than a client of Dask tries to connect again
        servers += [_dask(job, *scheduler), _dask(job, *worker)]
        if (code := job.end()) != 0:
            job.found.add("misreported", f"exit code {code} after the scheduler was restarted")
    finally:
        for server in servers:
            _kill(server)


def lose_machines(job: Job, rng: random.Random) -> None:
    """Worker and nanny of a scheduler of one's own go at once, as a spot machine does, time after time; others come."""

    def lose(address: str, worker: subprocess.Popen[bytes]) -> None:
        _kill(worker)

    _with_changing_workers(job, rng, lose)


def retire_workers(job: Job, rng: random.Random) -> None:
    """Workers are told to hand over what they have and to go, as a scheduler that scales down does; others come."""

    def retire(address: str, worker: subprocess.Popen[bytes]) -> None:
        with Client(address, timeout=20, set_as_default=False) as client:
            pid = client.run(os.getppid)  # the nanny is a worker's parent, and what was started here
            client.retire_workers([of for of, parent in pid.items() if parent == worker.pid], close_workers=True)
        worker.wait(timeout=job.patience_s)

    _with_changing_workers(job, rng, retire)


def _with_changing_workers(
    job: Job, rng: random.Random, lose: Callable[[str, subprocess.Popen[bytes]], None], times: int = 3
) -> None:
    """A run on a scheduler of its own, two workers of which are lost one by one, at any time, and replaced."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    start = ("worker", address, "--nthreads", "1")
    scheduler = _dask(job, "scheduler", "--host", "127.0.0.1", "--port", str(port))
    workers = [_dask(job, *start) for _ in range(2)]
    try:
        run = job.start(scheduler=address)
        job.wait_for(1)
        for number in range(times):
            workers.append(_dask(job, *start))
            time.sleep(rng.uniform(0, 3))
            if run.poll() is not None:
                print(f"    the run was over when {number} workers were lost: give it more --tracks")
                break
            lose(address, workers.pop(0))
        if (code := job.end()) != 0:
            job.found.add("misreported", f"exit code {code} after workers had gone")
    finally:
        for server in [scheduler, *workers]:
            _kill(server)


def _dask(job: Job, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{arguments[0]}", *arguments[1:], "--no-dashboard"]
    with (job.out.parent / "dask.log").open("ab") as log:
        return subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log)


def _kill(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


#: Faults of the driver or the output: one process is enough.
ALONE: dict[str, Callable[[Job, random.Random], None]] = {
    f.__name__: f
    for f in (kill_driver, terminate_group, delete_part, delete_output, unwritable, full_disk, two_writers)
}
OTHERS = (
    kill_worker,
    kill_fork_server,
    stop_worker,
    sleep,
    poisoned_decoder,
    restart_scheduler,
    lose_machines,
    retire_workers,
)
FAULTS = {**ALONE, **{f.__name__: f for f in OTHERS}}


# ------------------------------------------------------------------------------------------------------- the campaign


@contextlib.contextmanager
def plain_reader(out: Path, found: Findings) -> Iterator[None]:
    """Reads the folder of tracks all the time, as pandas does, and counts rows that it must not see."""
    over = threading.Event()

    def read() -> None:
        while not over.wait(0.2):
            try:
                ids = pd.read_parquet(out / "tracks", columns=["track_id"])["track_id"].tolist()
                known = set(open_features(out).to_pandas("tracks", columns=["track_id"])["track_id"])
            except Exception:  # not there yet, or compacted just now: what counts is what is read
                continue
            if len(ids) != len(set(ids)):
                found.add("doubled", "a plain reader saw a track twice")
            if unknown := set(ids) - known:
                found.add("uncommitted", f"a plain reader saw {len(unknown)} rows that are not committed")

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def finish(job: Job) -> None:
    """Repeat the command, as a user would, until nothing is left to do."""
    for _ in range(_MOST_STARTS):
        job.start()
        code = job.end()
        if code == 0:
            return
        if code == 7:
            repair = [sys.executable, "-m", "pipelines.cli", "check", str(job.out), "--repair", "-q"]
            subprocess.run(repair, check=True, stdout=subprocess.DEVNULL, timeout=job.patience_s)
    job.found.add("stuck", f"not done after {_MOST_STARTS} starts")


def blame(job: Job) -> None:
    """Count the tracks that a disturbed run has put into ``errors``."""
    try:
        errors = open_features(job.out).to_pandas("errors")
    except DatasetError:  # there is none any more, or parts of it are lost
        return
    for row in errors[~errors["track_id"].isin(["crash.wav", "hang.wav"])].itertuples():
        job.found.add("misreported", f"{row.track_id} in errors: {row.error_type}: {row.message}")


def compare(out: Path, expected: Path, found: Findings) -> None:
    features, reference = open_features(out), open_features(expected)
    tracks, errors = (features.to_pandas(table)["track_id"].tolist() for table in ("tracks", "errors"))
    wanted = set(reference.to_pandas("tracks")["track_id"])
    for name, n in Counter([*tracks, *errors]).items():
        if n > 1:
            found.add("doubled", name)
    for name in wanted - set(tracks):
        found.add("lost", name)
    for table in DATA_TABLES:
        frames = []
        for one in (features, reference):
            frame = one.to_pandas(table).drop(columns=_RUN_COLUMNS, errors="ignore")
            frame = frame[frame["track_id"].isin(wanted)].astype(dict.fromkeys(frame.select_dtypes("category"), object))
            frames.append(frame.sort_values([c for c in ("track_id", "stem", "kind") if c in frame], ignore_index=True))
        try:
            pd.testing.assert_frame_equal(*frames, check_exact=True)
        except AssertionError as error:
            found.add("wrong", f"{table}: {str(error).splitlines()[0]}")


def write_catalogue(folder: Path, n_tracks: int, seconds: float = 0.4) -> None:
    folder.mkdir()
    for i in range(n_tracks):
        t = np.arange(round(22_050 * (seconds + 0.02 * (i % 5)))) / 22_050
        sf.write(
            folder / f"{i:03d}.wav", 0.2 * np.sin(2 * np.pi * (110 + 10 * i) * t) * np.exp(-6 * (t % 0.25)), 22_050
        )


def write_model(folder: Path) -> Path:
    torch.manual_seed(0)
    small = JointConfig(
        channels=(8, 8, 8, 8), dense=4, recurrent=8, pitch_channels=(4, 4, 4), rhythm_channels=8, rhythm_layers=2
    )
    card = {"licence": "none", "description": "random weights"}
    return checkpoints.save(JointNet(small).eval(), folder / "random.safetensors", card).path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default=",".join(FAULTS), help="comma-separated (default: all)")
    parser.add_argument("--tracks", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--patience", type=float, default=300.0, help="seconds after which a run is stuck")
    args = parser.parse_args()
    rng, total = random.Random(args.seed), Findings()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_catalogue(work / "music", args.tracks)
        model = write_model(work)
        options = {"jobs": args.jobs, "patience_s": args.patience}
        undisturbed = Job(work / "music", model, work / "undisturbed", found=total, **options)
        undisturbed.start()
        undisturbed.end()
        for fault in args.faults.split(",") * args.rounds:
            out, found, started = work / "out", Findings(), time.monotonic()
            job = Job(work / "music", model, out, found=found, **(options | {"jobs": 1} if fault in ALONE else options))
            with plain_reader(out, found):
                FAULTS[fault](job, rng)
                blame(job)
                finish(job)
            compare(out, work / "undisturbed", found)
            shutil.rmtree(out)
            total.counts += found.counts
            said = ", ".join(f"{n} {kind}" for kind, n in found.counts.items()) or "nothing wrong"
            codes = " ".join(map(str, job.codes))
            print(f"{fault:<18} exit codes {codes:<12} {time.monotonic() - started:5.0f} s: {said}", flush=True)
            for note in found.notes:
                print(f"    {note}")
    kinds = ("lost", "doubled", "uncommitted", "wrong", "stuck", "misreported")
    print("in all: " + ", ".join(f"{total.counts[kind]} {kind}" for kind in kinds))
    return 1 if total.counts else 0


if __name__ == "__main__":
    sys.exit(main())
