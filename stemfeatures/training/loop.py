"""The training loop: resumable, logged, the same on CPU and GPU."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import ModelError
from ..models import registry
from ..models.joint import JointConfig, JointNet
from .config import TrainConfig
from .examples import Examples, TrainingData
from .journal import Journal
from .losses import joint_loss, spectrograms
from .validation import Validation

logger = logging.getLogger(__name__)


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
    """The state before the first step.

    Raises
    ------
    ModelError : the recipe's initial checkpoint cannot be loaded, or is of another network than the recipe's.
    """
    torch.manual_seed(config.seed)
    model = JointNet(JointConfig.from_dict(config.model)).to(device)
    if config.initial:
        first = registry.load(config.initial, device=device)
        if first.config != model.config:
            raise ModelError("its network is not the recipe's", source=config.initial, stage="train")
        model.load_state_dict(first.state_dict())
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
    with torch.autocast(spectra[0].device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        output = state.model(spectra[0])
    terms = joint_loss(output.float(), batch, spectra, config.loss)
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
    data: TrainingData,
    run_dir: str | Path,
    *,
    device: str = "cpu",
    workers: int = 1,
    max_minutes: float | None = None,
    validate: Callable[[JointNet], Validation] | None = None,
    on_log: Callable[[int, dict[str, float]], None] | None = None,
    on_validation: Callable[[int, Validation, bool], None] | None = None,
) -> State:
    """Train until ``config.steps``, going on from ``run_dir/last.pt`` when it exists.

    Parameters
    ----------
    data : where the examples come from.
    run_dir : receives ``last.pt`` (every ``save_every`` steps and at the end) and what the journal writes.
    max_minutes : stop early, with the state saved, after so many minutes.
    validate : scores the averaged network every ``validate_every`` steps and at the end; the best one is kept, and the
        run ends early where ``patience`` says so.
    on_log, on_validation : called with the step and its losses, or its validation and whether it is the best so far.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    last = run_dir / "last.pt"
    state = new_state(config, device)
    if last.exists():
        load_state(state, last, device)
        logger.info("going on from step %d", state.step)
    state.model.train()
    journal = Journal(run_dir, state.step)
    examples = Examples(data, config, state.step * config.batch_size, config.steps * config.batch_size)
    loader = DataLoader(
        examples, batch_size=config.batch_size, num_workers=workers, prefetch_factor=3 if workers else None,
        pin_memory=device.startswith("cuda"),
    )  # fmt: skip
    started = time.monotonic()
    sums: dict[str, float] = {}
    for batch in _to_device(loader, device):
        for key, value in train_step(state, batch, config).items():
            sums[key] = sums.get(key, 0.0) + value
        if state.step % config.log_every == 0:
            means = {k: v / config.log_every for k, v in sums.items()}
            rate = config.learning_rate_at(state.step - 1)
            journal.losses(state.step, rate, (time.monotonic() - started) / 60, means)
            if on_log is not None:
                on_log(state.step, means)
            sums = {}
        if state.step % config.save_every == 0:
            save_state(state, last)
        if validate is not None and (state.step % config.validate_every == 0 or state.step == config.steps):
            save_state(state, last)
            validation = validate(state.average)
            best = journal.validation(state.step, validation, state.average)
            if on_validation is not None:
                on_validation(state.step, validation, best)
            if config.patience and journal.looks_since_best >= config.patience:
                logger.info("no better score in %d looks: stopped at step %d", config.patience, state.step)
                break
        if max_minutes is not None and (time.monotonic() - started) / 60 > max_minutes:
            break
    save_state(state, last)
    journal.close()
    return state


def _to_device(loader: DataLoader, device: str) -> Iterator[dict[str, Tensor]]:
    for batch in loader:
        yield {k: v.to(device, non_blocking=True) for k, v in batch.items()}
