"""Which device is faster on this machine for the whole job, its GPUs or its cores: measured once, and remembered.

On a GPU the cores do the same work but for network and frames, which is less than all. So the GPUs are the faster ones
where their networks alone keep up with what the cores make of the whole job.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import numpy as np

import stemfeatures
from stemfeatures._util.files import cache_folders, write_replace
from stemfeatures._util.python_process import python_command
from stemfeatures.models.checkpoints import Checkpoint

log = logging.getLogger(__name__)

#: Seconds of the signal that is analysed, two segments and a bit, and its sample rate.
SIGNAL_S, RATE = 45.0, 44_100
#: Forward passes on a GPU that are timed, and those before.
PASSES, WARM_UP = 8, 3
#: A machine on which measuring takes longer computes where it always did.
LIMIT_S = 300.0
#: What measures, in a process of its own.
PROGRAM = f"from {__name__} import main; main()"
#: In the user's cache folder.
FILE = "devices.json"


class Speeds(NamedTuple):
    """Times real time: what one core makes of the whole job, and a GPU of the network alone."""

    core: float
    gpu: float


def choice(speeds: Speeds, *, n_cores: int, n_gpus: int) -> tuple[str, str]:
    """The faster device, and a sentence that says so.

    Parameters
    ----------
    speeds : Speeds
        Of this machine.
    n_cores : int
        Processes that there would be without GPUs.
    n_gpus : int
        Those that can be used.

    Returns
    -------
    tuple of str
        ``"cuda"`` or ``"cpu"``, and why.

    Examples
    --------
    >>> choice(Speeds(core=36.0, gpu=900.0), n_cores=64, n_gpus=1)[0]
    'cpu'
    """
    by_cores, by_gpus = n_cores * speeds.core, n_gpus * speeds.gpu
    device = "cuda" if by_gpus >= by_cores else "cpu"
    cores = f"{n_cores} core{'s' * (n_cores > 1)} would make {_rounded(by_cores)} x real time of the whole job"
    gpus = f"{n_gpus} GPU{'s' * (n_gpus > 1)} {_rounded(by_gpus)} x of the network"
    return device, f"on {device}, as was measured here: {cores}, {gpus}"


def _rounded(speed: float) -> str:
    return f"{float(f'{speed:.2g}'):,.0f}" if speed >= 1 else f"{speed:.1g}"


def speeds_here(checkpoint: Checkpoint, precision: str, gpus: tuple[str, ...]) -> Speeds | None:
    """The speeds of this machine, from an earlier run of anybody who has this cache folder, or measured now.

    Parameters
    ----------
    checkpoint : Checkpoint
        The network.
    precision : str
        In which it computes on a CPU.
    gpus : tuple of str
        What the GPUs are called.

    Returns
    -------
    Speeds or None
        None where they cannot be measured, which is logged.
    """
    return _speeds(str(checkpoint.path.absolute()), checkpoint.sha256, precision, gpus)


@lru_cache(maxsize=4)
def _speeds(model: str, sha256: str, precision: str, gpus: tuple[str, ...]) -> Speeds | None:
    key = _key(sha256, precision, gpus)
    for folder in cache_folders():
        with suppress(OSError, ValueError, KeyError, TypeError):
            return Speeds(**json.loads((folder / FILE).read_text())[key])
    log.info("measuring whether GPUs or cores are faster here: once, for half a minute")
    try:
        # In a process of its own: it takes memory of a GPU as long as it lives.
        command = python_command(PROGRAM, model, precision)
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
        found = Speeds(**json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, IndexError) as error:
        said = (getattr(error, "stderr", None) or "").strip().splitlines()
        log.warning("cannot measure whether GPUs or cores are faster here: %s", said[-1] if said else error)
        return None
    _remember(key, found)
    return found


def _key(sha256: str, precision: str, gpus: tuple[str, ...]) -> str:
    import torch

    of = [stemfeatures.__version__, torch.__version__, sha256, precision, _processor(), gpus]
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]


def _processor() -> str:
    """What the processor is called."""
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _remember(key: str, speeds: Speeds) -> None:
    for folder in cache_folders():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            known: dict[str, dict[str, float]] = {}
            with suppress(OSError, ValueError):
                known = json.loads((folder / FILE).read_text())
            write_replace(folder / FILE, json.dumps({**known, key: speeds._asdict()}, indent=1).encode())
            return


# ------------------------------------------------------------------------------------------------ in its own process


def signal() -> np.ndarray:
    """``(2, n)`` a voice over strokes: how much of a track is sung decides what its pitch costs."""
    t = np.arange(round(SIGNAL_S * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(220.0 * 2 ** (np.round(2 * np.sin(0.9 * t)) / 12 + 0.02 * np.sin(34 * t))) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * (np.sin(0.4 * t) > -0.6)
    strokes = np.random.default_rng(0).standard_normal((2, len(t))) * np.exp(-20 * (t % 0.5))
    return (0.05 * voice + 0.1 * strokes).astype(np.float32)


def core_speed(model: str, precision: str) -> float:
    """Times real time of the analysis on one core, by CPU time, which other work on the machine does not slow."""
    from stemfeatures.analysis import Analyser

    from . import threads

    y = signal()
    with threads.single_threaded(), threads.keeping_memory():
        analyser = Analyser(model, precision=precision)
        analyser.from_audio(y[:, : 5 * RATE], RATE)
        started = time.process_time()
        analyser.from_audio(y, RATE)
        return SIGNAL_S / (time.process_time() - started)


def network_speed(model: str, device: str) -> float:
    """Times real time of the network alone on a device, in batches as a run has them."""
    import torch

    from stemfeatures.analysis import Analyser
    from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_BINS
    from stemfeatures.inference.segments import BORDER, SEGMENT

    from .plan import DEFAULT_GPU_BATCH

    on_gpu = device.startswith("cuda")
    wait: Callable[[], object] = torch.cuda.synchronize if on_gpu else int
    clock = time.perf_counter if on_gpu else time.process_time  # of which other work on the processor takes none
    net = Analyser(model, device=device).net
    segments = torch.rand(DEFAULT_GPU_BATCH, N_BINS, SEGMENT, device=device)
    with torch.inference_mode():
        for _ in range(WARM_UP):
            net(segments)
        wait()
        started = clock()
        for _ in range(PASSES):
            net(segments)
        wait()
    step_s = (SEGMENT - 2 * BORDER) * HOP_LENGTH / ANALYSIS_SAMPLE_RATE
    return PASSES * len(segments) * step_s / (clock() - started)


def main() -> None:
    """The process of :data:`PROGRAM`, with the arguments MODEL PRECISION [DEVICE]: prints the speeds as JSON."""
    model, precision, *device = sys.argv[1:]
    speeds = Speeds(core_speed(model, precision), network_speed(model, device[0] if device else "cuda"))
    print(json.dumps(speeds._asdict()))
