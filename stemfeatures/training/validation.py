"""How good a network is on real development songs while it is being trained.

The averaged weights are scored by the package's own evaluation, the one that ``stemfeatures evaluate`` prints. One
number decides which step is best: the mean SDR in dB over data sets and stems, plus ten times the mean of what else
the songs hold the truth for (overall accuracy of the vocals' F0, F measure of the beats), all of them larger for
better. A checkpoint chosen by it has seen these songs, and its card says so.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..datasets.multitrack import MultiTrack
from ..evaluation import CheckpointEstimator, evaluate
from ..models import checkpoints

#: What is shown and summed up: metric by task.
SHOWN = {"separation": "sdr_db", "f0": "overall_accuracy", "beats": "beat_f_measure"}


@dataclass(frozen=True)
class Validation:
    """``score`` as the module's docstring tells; ``metrics`` by task, NaN where the songs hold no truth for it."""

    score: float
    metrics: dict[str, float]


def validate(
    model: nn.Module, songs: str | Path | Sequence[MultiTrack], *, device: str = "cpu", limit: int | None = None
) -> Validation:
    """Score a network on tracks with truth, or a folder of them, at most ``limit`` of a data set.

    Raises as :func:`stemfeatures.evaluation.evaluate`.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = checkpoints.save(model, Path(folder) / "now.safetensors", {})
        task = "all" if len(checkpoints.stems_of(checkpoint)) > 2 else "separation"
        summary = evaluate(task, songs, CheckpointEstimator(str(checkpoint.path), device=device), limit=limit).summary()
    metrics = {}
    for task, metric in SHOWN.items():
        rows = summary[(summary["task"] == task) & (summary["metric"] == metric) & (summary["n"] > 0)]
        metrics[task] = float(rows.groupby("dataset")["mean"].mean().mean()) if len(rows) else math.nan
    known = {task: value for task, value in metrics.items() if math.isfinite(value)}
    others = [10 * value for task, value in known.items() if task != "separation"]
    score = known.get("separation", 0.0) + (sum(others) / len(others) if others else 0.0)
    return Validation(score, metrics)
