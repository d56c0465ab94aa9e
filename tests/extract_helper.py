"""Helpers of the extraction tests that must be importable from other processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile as sf

from pipelines.extraction.shard import process_on_worker
from pipelines.extraction.tasks import ShardReceipt, ShardTask

#: Put before a track's id: the fake shard function dies on it.
DEADLY = "deadly"


def write_tone(path: Path, *, seconds: float = 0.7, f0: float = 220.0, gain: float = 0.2, channels: int = 1) -> Path:
    """A decaying tone every quarter second over a little noise, 22,050 Hz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(22_050 * seconds)) / 22_050
    noise = np.random.default_rng(round(f0)).standard_normal(len(t))
    y = gain * np.sin(2 * np.pi * f0 * t) * np.exp(-6 * (t % 0.25)) + 0.01 * noise
    sf.write(path, np.repeat(y[:, None], channels, axis=1), 22_050)
    return path


def fake_shard(task: ShardTask) -> ShardReceipt:
    """In place of ``process_on_worker``: needs neither audio nor a network, and dies as a crashing decoder does."""
    if any(track.track_id.startswith(DEADLY) for track in task.tracks):
        os._exit(11)
    return ShardReceipt(task.name, audio_s={track.track_id: 1.0 for track in task.tracks}, worker=str(os.getpid()))


def real_or_deadly_shard(task: ShardTask) -> ShardReceipt:
    """What workers do, unless a track is deadly."""
    return fake_shard(task) if any(track.track_id == DEADLY for track in task.tracks) else process_on_worker(task)


def slow_shard(task: ShardTask) -> ShardReceipt:
    """:func:`fake_shard`, so slow that something can happen meanwhile."""
    time.sleep(0.3)
    return fake_shard(task)


def hungry_shard(task: ShardTask) -> ShardReceipt:
    """:func:`fake_shard`, but a deadly track takes memory until somebody kills it."""
    taken = []
    while any(track.track_id.startswith(DEADLY) for track in task.tracks):
        taken.append(np.ones(4_000_000))
        time.sleep(0.02)
    return fake_shard(task)


#: What :func:`hoarding_shard` has kept.
_KEPT: list[np.ndarray] = []


def hoarding_shard(task: ShardTask) -> ShardReceipt:
    """:func:`hungry_shard`, but a track called "full" leaves its worker with so little memory that Dask pauses it."""
    from distributed import get_worker

    worker = get_worker()
    full = any(track.track_id == "full" for track in task.tracks)
    while full and worker.monitor.get_process_memory() < 0.85 * worker.memory_manager.memory_limit:
        _KEPT.append(np.ones(500_000))
    while full and str(worker.status) != "Status.paused":  # its monitor looks now and then
        time.sleep(0.05)
    return hungry_shard(task)


def gpu_shard(task: ShardTask) -> ShardReceipt:
    """Tells which GPU its process may use; slow enough that one worker cannot do the work of two."""
    time.sleep(0.3)
    return replace(fake_shard(task), worker=os.environ["CUDA_VISIBLE_DEVICES"])


def started_with() -> dict[str, str]:
    """The environment that this process was started with: what its C library has read."""
    pairs = Path("/proc/self/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def broken_shard(task: ShardTask) -> ShardReceipt:
    """Fails for no fault of a track."""
    raise OSError(f"no space left for shard {task.name}")


def main() -> None:
    """``python extract_helper.py CATALOG OUT MODEL N``: extract, and be killed after the N-th track."""
    from pipelines import extract_catalog
    from pipelines.extraction.summary import ExtractProgress

    catalog, out, model, n = sys.argv[1:]

    def progress(state: ExtractProgress) -> None:
        if state.n_done >= int(n):
            os.kill(os.getpid(), signal.SIGKILL)

    extract_catalog(catalog, out, model=model, device="cpu", jobs=1, progress=progress)


if __name__ == "__main__":
    main()
