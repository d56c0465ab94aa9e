"""Runs that are trained side by side on the same batches, and go on where they were stopped.

Every run has a folder, see :mod:`experiments.run_folder`. Batches are made once and given to every run, so equal data
needs no proof.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from experiments.run_folder import STATE, append_log, cut_log, open_folder
from stemfeatures._util.files import replacing
from stemfeatures.training.data.example import Example
from stemfeatures.training.data.song_store import SongStore
from stemfeatures.training.data.songs import SongMixer

logger = logging.getLogger(__name__)

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """How long and how a run learns: Adam, its rate constant, and falling to zero over the last ``decay`` share.

    ``n_frames``: length of an example on the analysis grid. ``clip``: largest norm of the gradient, None: any.
    """

    steps: int
    batch_size: int = 4
    n_frames: int = 128
    learning_rate: float = 1e-3
    decay: float = 0.4
    clip: float | None = 5.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of step ``step`` (0-based)."""
        return self.learning_rate * min(1.0, (self.steps - step) / max(self.decay * self.steps, 1))


class SongExamples(Dataset):
    """Examples ``first ... last`` of some songs of a store, as ``prepare`` makes arrays of them; a function of the
    songs, the plan and the number alone."""

    def __init__(
        self,
        store: Path,
        songs: Sequence[int],
        plan: Plan,
        prepare: Callable[[Example], dict[str, np.ndarray]],
        first: int,
        last: int,
    ) -> None:
        self.store, self.songs, self.plan, self.prepare = store, tuple(songs), plan, prepare
        self.first, self.last = first, last
        self._mixer: SongMixer | None = None

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __getitem__(self, item: int) -> Batch:
        if self._mixer is None:
            store = SongStore(self.store).select(self.songs)
            self._mixer = SongMixer(store, n_frames=self.plan.n_frames, seed=self.plan.seed)
        example = self._mixer.example(self.first + item)
        return {name: torch.from_numpy(value) for name, value in self.prepare(example).items()}


@dataclass
class Run:
    """One network in training.

    Attributes
    ----------
    losses : ``(network, batch) -> terms``, of which ``loss`` is made smaller.
    step, seconds : steps done and the time they took, over all resumptions.
    """

    folder: Path
    net: nn.Module
    losses: Callable[[nn.Module, Batch], dict[str, Tensor]]
    plan: Plan
    step: int = 0
    seconds: float = 0.0
    _sums: dict[str, float] = field(default_factory=dict, repr=False)
    _count: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=self.plan.learning_rate)

    @property
    def done(self) -> bool:
        return self.step >= self.plan.steps

    def open(self, settings: Mapping[str, Any], device: str = "cpu") -> Run:
        """Go on from the folder, or begin in it.

        Raises
        ------
        ModelError : the folder holds a run of other settings.
        """
        open_folder(self.folder, {**settings, "plan": asdict(self.plan)})
        if (self.folder / STATE).is_file():
            stored = torch.load(self.folder / STATE, map_location=device, weights_only=True)
            self.net.load_state_dict(stored["net"])
            self.optimizer.load_state_dict(stored["optimizer"])
            self.step, self.seconds = int(stored["step"]), float(stored["seconds"])
        cut_log(self.folder, self.step)
        return self

    def learn(self, batch: Batch) -> None:
        """One step."""
        started = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.step)
        self.net.train()
        terms = self.losses(self.net, batch)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        limit = math.inf if self.plan.clip is None else self.plan.clip
        if bool(torch.isfinite(torch.nn.utils.clip_grad_norm_(self.net.parameters(), limit))):
            self.optimizer.step()
        else:
            logger.warning("%s: step %d: gradient is not finite, step skipped", self.folder.name, self.step)
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        self._count += 1
        self.step += 1
        self.seconds += time.perf_counter() - started

    def log(self) -> dict[str, float]:
        """Write and return the mean losses since the last call."""
        means = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        append_log(self.folder, self.step, self.seconds, means)
        return means

    def save(self) -> None:
        state = {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        with replacing(self.folder / STATE) as partial:
            torch.save(state, partial)


def train_together(
    runs: Sequence[Run],
    examples: Callable[[int, int], Dataset],
    prepare: Callable[[Batch], Batch],
    *,
    device: str = "cpu",
    workers: int = 0,
    max_minutes: float | None = None,
    log_every: int = 20,
    save_every: int = 100,
    on_log: Callable[[int, dict[str, dict[str, float]]], None] | None = None,
) -> bool:
    """Train runs of one plan until all are done; True then, False when ``max_minutes`` were over before.

    Parameters
    ----------
    examples : ``(first, last)`` to a data set of these numbers.
    prepare : what is computed once a batch for all runs.
    on_log : called every ``log_every`` steps with the step and the mean losses by folder's name.
    """
    open_runs = [run for run in runs if not run.done]
    if not open_runs:
        return True
    plan, begin = open_runs[0].plan, min(run.step for run in open_runs)
    loader = DataLoader(
        examples(begin * plan.batch_size, plan.steps * plan.batch_size),
        batch_size=plan.batch_size,
        num_workers=workers,
        prefetch_factor=3 if workers else None,
    )
    started = time.monotonic()
    for step, batch in enumerate(loader, begin):
        with torch.no_grad():
            ready = prepare({name: value.to(device) for name, value in batch.items()})
        means = {}
        for run in open_runs:
            if run.step > step:  # it was ahead of the others when they stopped
                continue
            run.learn(ready)
            if run.step % log_every == 0:
                means[run.folder.name] = run.log()
        if means and on_log is not None:
            on_log(step + 1, means)
        late = max_minutes is not None and (time.monotonic() - started) / 60 > max_minutes
        if late or (step + 1) % save_every == 0 or step + 1 == plan.steps:
            for run in open_runs:
                run.save()
        if late:
            break
    return all(run.done for run in runs)
