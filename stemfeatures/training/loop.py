"""The training loop: resumable, logged, the same on CPU and GPU."""

from __future__ import annotations

import csv
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..models.joint import JointConfig, JointNet
from .bank import SoundBank
from .config import TrainConfig
from .losses import joint_loss, spectrograms
from .mixing import Mixer

logger = logging.getLogger(__name__)
_LOGGED = ("loss", "separation", "pitch", "voicing", "rhythm")


class MixedExamples(Dataset):
    """Examples ``first ... last`` of a :class:`Mixer` as tensors."""

    def __init__(self, bank_dir: str, config: TrainConfig, first: int, last: int) -> None:
        self.bank_dir, self.config, self.first, self.last = bank_dir, config, first, last
        self._mixer: Mixer | None = None

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        if self._mixer is None:
            self._mixer = Mixer(SoundBank(self.bank_dir), n_frames=self.config.n_frames, seed=self.config.seed)
        example = self._mixer.example(self.first + item)
        return {k: torch.from_numpy(v) for k, v in vars(example).items()}


@dataclass
class State:
    """What a run needs to go on."""

    model: JointNet
    average: JointNet
    optimizer: torch.optim.Optimizer
    step: int = 0

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        # Early on the average follows quickly, so that short runs are not dominated by the random start.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.average.state_dict().values(), self.model.state_dict().values()):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def new_state(config: TrainConfig, device: str) -> State:
    torch.manual_seed(config.seed)
    model = JointNet(JointConfig.from_dict(config.model)).to(device)
    average = JointNet(model.config).to(device)
    average.load_state_dict(model.state_dict())
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return State(model, average, torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98)))


def save_state(state: State, path: Path) -> None:
    """Write everything a run needs to go on; the old file stays until the new one is whole."""
    temporary = path.with_suffix(".tmp")
    torch.save(
        {
            "model": state.model.state_dict(),
            "average": state.average.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "step": state.step,
        },
        temporary,
    )
    os.replace(temporary, path)


def load_state(state: State, path: Path, device: str) -> None:
    stored = torch.load(path, map_location=device, weights_only=True)
    state.model.load_state_dict(stored["model"])
    state.average.load_state_dict(stored["average"])
    state.optimizer.load_state_dict(stored["optimizer"])
    state.step = int(stored["step"])


def train_step(state: State, batch: dict[str, Tensor], config: TrainConfig) -> dict[str, float]:
    """One optimiser step; returns the unweighted losses."""
    for group in state.optimizer.param_groups:
        group["lr"] = config.learning_rate_at(state.step)
    spectra = spectrograms(batch["stems"])
    output = state.model(spectra[0])
    terms = joint_loss(output, batch, spectra, config.loss)
    state.optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
    if torch.isfinite(norm):
        state.optimizer.step()
    else:
        logger.warning("step %d: gradient is not finite, step skipped", state.step)
    state.step += 1
    state.update_average(config.ema)
    return {k: float(v.detach()) for k, v in terms.items()}


def train(
    config: TrainConfig,
    bank_dir: str | Path,
    run_dir: str | Path,
    *,
    device: str = "cpu",
    workers: int = 1,
    max_minutes: float | None = None,
    on_log: Callable[[int, dict[str, float]], None] | None = None,
) -> State:
    """Train until ``config.steps``, going on from ``run_dir/last.pt`` when it exists.

    Parameters
    ----------
    bank_dir : a bank made by :func:`~stemfeatures.training.bank.build_bank`.
    run_dir : receives ``last.pt`` (every ``save_every`` steps and at the end) and ``log.csv``.
    max_minutes : stop early, with the state saved, after so many minutes.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    last = run_dir / "last.pt"
    state = new_state(config, device)
    if last.exists():
        load_state(state, last, device)
        logger.info("going on from step %d", state.step)
    state.model.train()
    first, end = state.step * config.batch_size, config.steps * config.batch_size
    data = MixedExamples(str(bank_dir), config, first, end)
    loader = DataLoader(
        data, batch_size=config.batch_size, num_workers=workers, prefetch_factor=3 if workers else None,
        pin_memory=device.startswith("cuda"),
    )  # fmt: skip
    started = time.monotonic()
    sums: dict[str, float] = {}
    for batch in _to_device(loader, device):
        for key, value in train_step(state, batch, config).items():
            sums[key] = sums.get(key, 0.0) + value
        if state.step % config.log_every == 0:
            means = {k: v / config.log_every for k, v in sums.items()}
            minutes = (time.monotonic() - started) / 60
            _append_log(run_dir / "log.csv", state.step, config.learning_rate_at(state.step - 1), minutes, means)
            if on_log is not None:
                on_log(state.step, means)
            sums = {}
        if state.step % config.save_every == 0:
            save_state(state, last)
        if max_minutes is not None and (time.monotonic() - started) / 60 > max_minutes:
            break
    save_state(state, last)
    return state


def _to_device(loader: DataLoader, device: str) -> Iterator[dict[str, Tensor]]:
    for batch in loader:
        yield {k: v.to(device, non_blocking=True) for k, v in batch.items()}


def _append_log(path: Path, step: int, rate: float, minutes: float, means: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as handle:
        writer = csv.writer(handle)
        if new:
            writer.writerow(["step", "learning_rate", "minutes", *_LOGGED])
        writer.writerow(
            [step, f"{rate:.3g}", f"{minutes:.2f}", *(f"{means.get(k, float('nan')):.5f}" for k in _LOGGED)]
        )
