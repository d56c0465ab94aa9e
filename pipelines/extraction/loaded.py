"""The network of this process: loaded once, and kept for the shards that come."""

from __future__ import annotations

import gc
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemfeatures._util.collector import collector_paused
from stemfeatures._util.urls import Place, Url
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE
from stemfeatures.errors import DatasetError, ModelError, SeparationError
from stemfeatures.tables.layout import DatasetLayout

from .tasks import ShardTask

if TYPE_CHECKING:
    from stemfeatures.analysis import Analyser

#: A network may take this long to be loaded, and to compile what it calls.
LOAD_TIMEOUT_S = 900.0


@dataclass
class LoadedAnalyser:
    """The network of this process, the lock to hold while using it, and the batch size that was asked for."""

    analyser: Analyser
    batch_size: int
    lock: threading.Lock = field(default_factory=threading.Lock)


_loaded: dict[tuple[str, str, str | None, str], LoadedAnalyser] = {}
_loading = threading.Lock()


def load_analyser(task: ShardTask) -> LoadedAnalyser:
    """The network of this process: loaded and warmed up on the first call; another one takes its place.

    Raises ModelError when the checkpoint or the separator is not there, or not the one the driver saw.
    """
    sha256, batch_size = task.provenance.model_sha256, task.batch_size
    key = (sha256, task.device, task.separator, task.precision)
    with _loading:
        if (loaded := _loaded.get(key)) is None:
            with collector_paused():
                from stemfeatures.analysis import Analyser

            _loaded.clear()
            analyser = Analyser(
                task.model_path, device=task.device, batch_size=batch_size, separator=task.separator,
                precision=task.precision,
            )  # fmt: skip
            _require_same("checkpoint", analyser.checkpoint.sha256, sha256, source=task.model_path)
            if analyser.separator is not None:
                expected = task.provenance.separator_sha256 or ""
                _require_same("separator", analyser.separator.sha256, expected, source=task.separator)
            analyser.configure(requested=task.tables)  # what only these tables need is loaded now, too
            _warm_up(analyser)
            loaded = _loaded[key] = LoadedAnalyser(analyser, batch_size)
        elif loaded.batch_size != batch_size:
            with loaded.lock:
                loaded.analyser.configure(batch_size=batch_size)
                loaded.batch_size = batch_size
        return loaded


def _require_same(what: str, found: str, expected: str, *, source: str | None) -> None:
    if found != expected:
        raise ModelError(f"this is another {what} than the driver's: sha256 {found}, not {expected}", source=source)


def _warm_up(analyser: Analyser) -> None:
    """Compile and load now what would otherwise delay the first track (and count against its time limit)."""
    import numpy as np

    times = np.arange(2 * ANALYSIS_SAMPLE_RATE) / ANALYSIS_SAMPLE_RATE
    tone = np.sin(2 * np.pi * 220 * times) * (times % 0.5 < 0.25) * 0.1
    with suppress(SeparationError):  # one from outside, which need not like a tone: tracks say what it makes of them
        analyser.from_audio(tone.astype(np.float32), ANALYSIS_SAMPLE_RATE)


def forget_analyser() -> None:
    """Load the network anew for the next shard."""
    global _loading
    _loaded.clear()
    _loading = threading.Lock()  # a thread that was given up may hold the other one for ever


def out_of_memory(error: object) -> bool:
    """Whether the device (not the machine) has run out of memory."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError)


def free_device_memory() -> None:
    """Give back what the device's allocator keeps for later."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def check_worker(dataset: Place, model_path: str, sha256: str) -> str | None:
    """What keeps this process from working for a run, None when nothing does. Runs on every worker at the start."""
    from stemfeatures.models.checkpoints import resolve_analysis

    if isinstance(dataset, Url):
        try:
            DatasetLayout.open(dataset)
        except DatasetError as error:
            return f"cannot read {dataset}: {error.message}"
    elif not dataset.is_dir() or not os.access(dataset, os.W_OK):
        return f"cannot write to {dataset}: workers and driver must share this folder"
    try:
        checkpoint, _ = resolve_analysis(model_path)
    except ModelError as error:
        return str(error)
    if checkpoint.sha256 != sha256:
        return f"{model_path} is another checkpoint here than at the driver"
    return None
