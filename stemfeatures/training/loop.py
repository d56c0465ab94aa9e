"""The training loop: resumable, logged, the same on CPU and GPU, whatever the objective."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .._util.files import replacing
from ..errors import TrainingError
from ..models.network import Network
from .config import TrainConfig
from .journal import Journal, looks_without_better
from .objectives.base import Objective
from .objectives.find import find_objective
from .training_data import Examples, TrainingData
from .validation import Validation

logger = logging.getLogger(__name__)

#: Batches that every loading process makes in advance.
_PREFETCH = 3


def save_state(objective: Objective, path: Path) -> None:
    """Write everything a run needs to go on; the old file stays until the new one is whole."""
    with replacing(path) as temporary:
        torch.save(objective.state_dict(), temporary)


def train(
    config: TrainConfig,
    data: TrainingData,
    run_dir: str | Path,
    *,
    device: str = "cpu",
    workers: int = 1,
    max_minutes: float | None = None,
    validate: Callable[[Network], Validation] | None = None,
    on_log: Callable[[int, dict[str, float]], None] | None = None,
    on_validation: Callable[[int, Validation, bool], None] | None = None,
) -> Objective:
    """Train until ``config.steps``, going on from ``run_dir/last.pt`` when it exists; returns the recipe's objective.

    Parameters
    ----------
    data : TrainingData
        Where the examples come from.
    run_dir : str | Path
        Receives ``last.pt`` (every ``save_every`` steps and at the end) and what the journal writes.
    max_minutes : float, optional
        Stop early, with the state saved, after so many minutes.
    validate : Callable[[Network], Validation], optional
        Scores the exported network every ``validate_every`` steps and at the end; the best one is kept. After
        ``patience`` looks without a better one the objective's next phase begins, or, after its last, the run ends.
    on_log : Callable[[int, dict[str, float]], None], optional
        Called with the step and the mean losses since the last call.
    on_validation : Callable[[int, Validation, bool], None], optional
        Called with the step, its validation, and whether it is the best so far.

    Raises
    ------
    ModelError
        The recipe cannot work.
    DatasetError
        The data are not there.
    TrainingError
        The run cannot go on from ``last.pt``, or its ``validation.csv`` cannot be read.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    last = run_dir / "last.pt"
    objective = _open_objective(config, last, device)
    if config.mixing == "device":  # songs are read once, before the first step
        data = replace(data, joining=None)
    if data.joining is not None:
        data.joining.look(objective.steps_done * config.batch_size)
    journal = Journal(run_dir, objective.steps_done, terms=objective.terms)
    if validate is not None and _out_of_patience(config, objective, journal, run_dir, device):
        journal.close()
        return objective  # it had ended before
    ahead = _PREFETCH * workers + 2  # steps: the examples of none of those after it are being made yet
    started = time.monotonic()
    sums: dict[str, float] = {}
    summed = 0  # steps; fewer than log_every after a run that was stopped between two rows
    for batch in _batches(config, data, objective.steps_done, device=device, workers=workers):
        if objective.phase_is_over:
            objective.advance(journal.load_best(device))
        for key, value in objective.step(batch).items():
            sums[key] = sums.get(key, 0.0) + value
        summed += 1
        step = objective.steps_done
        if step % config.log_every == 0:
            means = {k: v / summed for k, v in sums.items()}
            journal.losses(step, objective.learning_rate, (time.monotonic() - started) / 60, means)
            if on_log is not None:
                on_log(step, means)
            sums, summed = {}, 0
        if step % config.save_every == 0:
            save_state(objective, last)
            if data.joining is not None and (songs := data.joining.look((step + ahead) * config.batch_size)):
                logger.info("%d songs from step %d on", songs, step + ahead)
        if validate is not None and (step % config.validate_every == 0 or step == config.steps):
            save_state(objective, last)
            validation = validate(objective.exported.eval())
            best = journal.validation(step, validation, objective.exported)
            if on_validation is not None:
                on_validation(step, validation, best)
            if _out_of_patience(config, objective, journal, run_dir, device):
                break
        if max_minutes is not None and (time.monotonic() - started) / 60 > max_minutes:
            break
    save_state(objective, last)
    journal.close()
    return objective


def _open_objective(config: TrainConfig, last: Path, device: str) -> Objective:
    """The recipe's objective, as the state ``last`` left it where there is one."""
    kind = find_objective(config.objective)
    kind.check(config)
    objective = kind(config, device)
    if last.exists():
        try:
            objective.load_state_dict(torch.load(last, map_location=device, weights_only=True))
        except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            message = f"the run cannot go on from this state, which is damaged or of another network: {reason}"
            raise TrainingError(message, source=str(last)) from error
        logger.info("going on from step %d", objective.steps_done)
    return objective


def _out_of_patience(config: TrainConfig, objective: Objective, journal: Journal, run_dir: Path, device: str) -> bool:
    """Whether the run ends for want of a better score; a phase that is not the last gives way to the next instead."""
    step = objective.steps_done
    looks = looks_without_better(run_dir, step, since=objective.phase_began)
    if not config.patience or looks < config.patience:
        return False
    if not objective.advance(journal.load_best(device)):
        logger.info("no better score in %d looks: stopped at step %d", config.patience, step)
        return True
    logger.info("no better score in %d looks: the next phase begins at step %d", config.patience, step)
    save_state(objective, run_dir / "last.pt")
    return False


def _batches(
    config: TrainConfig, data: TrainingData, first: int, *, device: str, workers: int
) -> Iterator[dict[str, Tensor]]:
    """Those of steps ``first ... config.steps``, on the device."""
    if config.mixing == "device":
        mixer = data.open_on(device, config)
        yield from (mixer.batch(step) for step in range(first, config.steps))
        return
    examples = Examples(data, config, first * config.batch_size, config.steps * config.batch_size)
    loader = DataLoader(
        examples, batch_size=config.batch_size, num_workers=workers, prefetch_factor=_PREFETCH if workers else None,
        pin_memory=device.startswith("cuda"),
    )  # fmt: skip
    for batch in loader:
        yield {k: v.to(device, non_blocking=True) for k, v in batch.items()}
