"""What a run leaves behind besides its state: losses, validations, and the best network so far.

``log.csv`` (a row every ``log_every`` steps), ``validation.csv`` and ``best.safetensors`` (where development songs are
looked at), and the same curves for TensorBoard in ``tensorboard/`` where that is installed.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from .._util.csv_log import append_row, whole_lines
from ..errors import TrainingError
from ..models import checkpoints
from ..models.network import Network
from .validation import SHOWN, Validation

LOG = "log.csv"
VALIDATIONS = "validation.csv"
BEST = "best.safetensors"


class Journal:
    """The records of one run; goes on where an earlier one stopped at ``step``.

    Parameters
    ----------
    terms : Sequence[str]
        Columns of the log.

    Attributes
    ----------
    best_step : int | None
        Step of the best validation, None before the first.
    best_score : float | None
        Its score.
    """

    def __init__(self, run_dir: Path, step: int, *, terms: Sequence[str]) -> None:
        self.run_dir, self.terms = run_dir, tuple(terms)
        best = best_validation(run_dir, step)
        self.best_step: int | None = best[0] if best else None
        self.best_score: float | None = best[1] if best else None
        self._board = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1)

    def losses(self, step: int, learning_rate: float, minutes: float, losses: Mapping[str, float]) -> None:
        """Note the mean losses since the last call; ``minutes`` since this process began."""
        values = [f"{losses.get(k, float('nan')):.5f}" for k in self.terms]
        self._append(
            LOG,
            ["step", "learning_rate", "minutes", *self.terms],
            [step, f"{learning_rate:.3g}", f"{minutes:.2f}", *values],
        )
        self._show(step, {"learning_rate": learning_rate} | {f"train/{k}": v for k, v in losses.items()})

    def validation(self, step: int, validation: Validation, model: Network) -> bool:
        """Note a look at the development songs; keeps the network and returns True when it is the best so far."""
        row = [step, f"{validation.score:.4f}", *(f"{validation.metrics[task]:.4f}" for task in SHOWN)]
        self._append(VALIDATIONS, ["step", "score", *SHOWN], row)
        self._show(step, {"development/score": validation.score})
        self._show(step, {f"development/{SHOWN[task]}": value for task, value in validation.metrics.items()})
        if self.best_score is not None and validation.score <= self.best_score:
            return False
        self.best_step, self.best_score = step, validation.score
        checkpoints.save(model, self.run_dir / BEST, {"architecture": model.architecture})
        return True

    def load_best(self, device: str) -> Network | None:
        """The best network so far, None before the first look."""
        return checkpoints.load_network(self.run_dir / BEST, device=device) if self.best_step is not None else None

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def _append(self, name: str, header: list[str], row: list) -> None:
        append_row(self.run_dir / name, header, row)

    def _show(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


def read_validations(run_dir: str | Path) -> list[tuple[int, float]]:
    """``(step, score)`` of every look at the development songs; empty where there was none.

    A last line that a crash has cut off is none.

    Raises
    ------
    TrainingError
        The file cannot be read; the message names the line.
    """
    path = Path(run_dir) / VALIDATIONS
    if not path.is_file():
        return []
    rows = csv.DictReader(whole_lines(path))
    try:
        return [(int(row["step"]), float(row["score"])) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"line {rows.line_num}: not a step and its score", source=str(path)) from error


def best_validation(run_dir: str | Path, step: int) -> tuple[int, float] | None:
    """``(step, score)`` of the best look up to ``step``, the first of equals; None where there was none."""
    looks = [row for row in read_validations(run_dir) if row[0] <= step]
    return max(looks, key=lambda row: (row[1], -row[0])) if looks else None


def looks_without_better(run_dir: str | Path, step: int, *, since: int = 0) -> int:
    """Looks up to ``step`` after the best one of the phase that began at ``since``: what an earlier phase has reached
    does not count, for a phase may begin afresh."""
    looks = [row for row in read_validations(run_dir) if since < row[0] <= step]
    best = max(looks, key=lambda row: (row[1], -row[0]), default=(step, 0.0))[0]
    return sum(row[0] > best for row in looks)
