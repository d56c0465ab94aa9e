"""Training recipes: dataclasses read from TOML, written back into every checkpoint."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .losses import LossWeights


@dataclass(frozen=True)
class TrainConfig:
    """A recipe.

    Attributes
    ----------
    name : name of the checkpoint. seed : seeds weights and examples.
    steps : optimiser steps; the learning rate warms up over ``warmup`` of them, stays, and falls linearly to zero
        over the last ``decay`` share.
    batch_size, n_frames : examples a step and their length in frames.
    ema : decay of the averaged weights that are exported.
    model : overrides of :class:`~stemfeatures.models.joint.JointConfig`.
    """

    name: str = "joint"
    seed: int = 0
    steps: int = 2000
    batch_size: int = 8
    n_frames: int = 256
    learning_rate: float = 1.5e-3
    warmup: int = 100
    decay: float = 0.4
    weight_decay: float = 1e-4
    clip: float = 5.0
    ema: float = 0.995
    save_every: int = 100
    log_every: int = 10
    model: dict[str, Any] = field(default_factory=dict)
    loss: LossWeights = field(default_factory=LossWeights)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def learning_rate_at(self, step: int) -> float:
        """Rate of step ``step`` (0-based)."""
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        fall = min(1.0, (self.steps - step) / max(self.decay * self.steps, 1))
        return self.learning_rate * rise * max(fall, 0.0)


def load_config(path: str | Path, **overrides: Any) -> TrainConfig:
    """Read a recipe; ``overrides`` that are not None win.

    Raises
    ------
    ModelError
        On a missing file, bad TOML or an unknown key.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"cannot read the recipe: {error}", source=str(path), stage="train") from error
    values |= {k: v for k, v in overrides.items() if v is not None}
    known = {f.name for f in fields(TrainConfig)}
    losses = values.pop("loss", {})
    unknown = (values.keys() - known) | (losses.keys() - {f.name for f in fields(LossWeights)})
    if unknown:
        raise ModelError(f"unknown keys in the recipe: {', '.join(sorted(unknown))}", source=str(path), stage="train")
    return TrainConfig(**values, loss=LossWeights(**losses))
